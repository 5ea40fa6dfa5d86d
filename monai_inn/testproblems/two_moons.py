"""Two crescents: a small posterior with structure at two scales."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_inn.problems.known import KnownPosterior, split_parameters
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter
from monai_inn.problems.references import rejection_sample

__all__ = ["TwoMoons"]

_OFFSET, _RADIUS, _RADIUS_SD = 0.25, 0.1, 0.01


class TwoMoons(KnownPosterior):
    """Point in a square of which one coordinate is seen without its sign, blurred to a crescent.

    The posterior is a pair of mirrored crescents. The noise-free observation is ``(−|a|, b)`` of the turned
    coordinates ``a = (x1 + x2) / √2`` and ``b = (x2 − x1) / √2``; the noise is not white, it adds a point of
    a half circle of radius ``N(0.1, 0.01²)`` around ``(0.25, 0)``.

    The exact posterior: samples are independent, a crescent, a sign, and rejection of points outside the
    square. The density's evidence is ½ unless the square cuts a crescent, and else good to 1 %.

    Source: Greenberg et al., Automatic posterior transformation, 2019, with the constants of Lueckmann et
    al., Benchmarking simulation-based inference, 2021.
    """

    name: ClassVar[str] = "two_moons"
    observation = Observation.pixel("y1", "y2")
    parameters = (
        Parameter("x1", "1", -1.0, 1.0, "first coordinate of the point"),
        Parameter("x2", "1", -1.0, 1.0, "second coordinate of the point"),
    )
    targets = ("x1", "x2")

    def forward(self, theta: Tensor) -> Tensor:
        """Return the observation without the crescent, ``(…, 2)``, of points ``(…, 2)``."""
        x1, x2 = split_parameters(theta, self.space)
        return (torch.stack([-(x1 + x2).abs(), x2 - x1], -1) / math.sqrt(2)).to(theta.dtype)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add a random point of the crescent."""
        uniform = torch.rand(y.shape[:-1], generator=generator, dtype=y.dtype, device=y.device)
        white = torch.randn(y.shape[:-1], generator=generator, dtype=y.dtype, device=y.device)
        angle, radius = math.pi * (uniform - 0.5), _RADIUS + _RADIUS_SD * white
        return y + torch.stack([_OFFSET + radius * angle.cos(), radius * angle.sin()], -1)

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 2)`` given one observation ``(2,)``."""
        zero = torch.zeros(1, 2, dtype=torch.float64)

        def propose(m: int) -> Tensor:
            sign = torch.randint(2, (m,)).double() * 2 - 1
            return _explanation(y, self.noise(zero.expand(m, 2)), sign)

        return rejection_sample(propose, lambda rows: torch.where(_in_square(rows), 0.0, -torch.inf), n)

    def log_evidence(self, y: Tensor) -> float:
        """Log of the prior predictive density of one observation ``(2,)``, nats, good to 0.01."""
        crescent = _crescent_nodes()
        row = y.cpu().double()
        signs = [crescent.new_full((len(crescent),), value) for value in (-1.0, 1.0)]
        shares = [_in_square(_explanation(row, crescent, sign)).double().mean() for sign in signs]
        # The prior density is ¼, and neither the turn nor the crescent's shift changes an area.
        return math.log(max(float(sum(shares)) / 4, 1e-300))

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of an observation ``(2,)`` given points ``(n, 2)``, nats, ``(n,)``."""
        across, along = (y - self.forward(theta)).unbind(-1)
        radius = torch.hypot(across - _OFFSET, along)
        z = (radius - _RADIUS) / _RADIUS_SD
        # Uniform over the half circle's length, which grows with the radius.
        crescent = (
            -0.5 * z.square() - math.log(_RADIUS_SD * math.sqrt(2 * math.pi)) - (math.pi * radius).log()
        )
        return torch.where(across > _OFFSET, crescent, -torch.inf)

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments: none."""
        return {}


def _explanation(y: Tensor, crescent: Tensor, sign: Tensor) -> Tensor:
    """Points ``(m, 2)`` that make ``y (2,)`` with these crescents ``(m, 2)``, NaN where none does."""
    size = crescent[:, 0] - y[0]
    a = torch.where(size >= 0, sign * size, torch.nan)
    b = y[1] - crescent[:, 1]
    return torch.stack([a - b, a + b], 1) / math.sqrt(2)


def _in_square(points: Tensor) -> Tensor:
    """Whether points ``(m, 2)`` are allowed by the prior, shape ``(m,)``; false for NaN."""
    return (points.abs() <= 1).all(-1)


@lru_cache(maxsize=1)
def _crescent_nodes() -> Tensor:
    """Points ``(K, 2)`` of equal probability under the crescent's law."""
    angle = math.pi * ((torch.arange(1000, dtype=torch.float64) + 0.5) / 1000 - 0.5)
    radius = _RADIUS + _RADIUS_SD * torch.special.ndtri((torch.arange(50, dtype=torch.float64) + 0.5) / 50)
    angle, radius = angle[:, None], radius[None]
    return torch.stack([_OFFSET + radius * angle.cos(), radius * angle.sin()], -1).reshape(-1, 2)
