"""How an object was thrown, from where it landed."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Poisson

from monai_inn.problems import Observation, Parameter, ParameterSpace
from monai_inn.problems.drawing import FlatPrior, SampleShape
from monai_inn.problems.exact.references import rejection_sample
from monai_inn.problems.known import KnownPosterior, WhiteNoise, check_positive, split_parameters

__all__ = ["InverseBallistics"]

_GRAVITY_M_S2, _DRAG_KG_S, _MASS_KG = 9.81, 0.25, 0.2
_POSITION_SD_M, _HEIGHT_MEAN_M, _HEIGHT_SD_M = 0.5, 1.5, 0.5
_LOW_RAD, _HIGH_RAD = math.radians(9), math.radians(81)
_SPEED_MEAN_M_S = 15
_NEWTON_STEPS = 25


class InverseBallistics(WhiteNoise, KnownPosterior):
    """Position, height, angle and speed of a throw with air drag, from where the object hit the ground.

    One observation of four parameters: flat and lobbed throws land at the same place. Two parameters of the
    original are not densities, and a flow needs densities. Its speed is an integer of a Poisson law: here a
    uniform number in ±½ is added, and the object really flies with the sum. Its height is
    ``max(0, N(1.5, 0.5²))``: here the parameter is the normal number, and heights below the ground (0.1 %)
    count as on it.

    The exact posterior: samples are independent, by rejection on height, angle and speed, then the position
    in closed form. The density's evidence is a Gauss quadrature over the three.

    Args:
        noise_sd_m: standard deviation of the noise on the place of impact, in m.

    Raises:
        ValueError: if the noise is not positive.

    Source: Kruse et al., Benchmarking invertible architectures on inverse problems, 2021.
    """

    name = "inverse_ballistics"
    observation = Observation.pixel("impact")

    def __init__(self, noise_sd_m: float = 0.1) -> None:
        self.noise_sd = self.noise_sd_m = check_positive("noise_sd_m", noise_sd_m)
        unbounded = (-math.inf, math.inf)
        height = "height of the release point; on the ground if negative"
        self.parameters = (
            Parameter("position", "m", *unbounded, "place of the release point", sd=_POSITION_SD_M),
            Parameter("height", "m", *unbounded, height, mean=_HEIGHT_MEAN_M, sd=_HEIGHT_SD_M),
            Parameter("angle", "rad", _LOW_RAD, _HIGH_RAD, "angle of the throw to the ground"),
            Parameter(
                "speed",
                "m/s",
                *unbounded,
                "speed of the throw",
                mean=float(_SPEED_MEAN_M_S),
                sd=math.sqrt(_SPEED_MEAN_M_S + 1 / 12),
            ),
        )
        self.targets = self.space.names

    @property
    def prior(self) -> Distribution:
        """Prior over the parameters, event shape ``(4,)``."""
        return _ThrowPrior(self.space)

    def forward(self, theta: Tensor) -> Tensor:
        """Return the place of impact in m, ``(…, 1)``, of parameters ``(…, 4)``."""
        position, height, angle, speed = split_parameters(theta, self.space)
        return (position + _range(height, angle, speed)).unsqueeze(-1).to(theta.dtype)

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 4)`` given one observation ``(1,)``."""
        throws = rejection_sample(_draw_throws, lambda rows: self._misfit(y, _range(*rows.unbind(1))), n)
        variance = 1 / (1 / _POSITION_SD_M**2 + 1 / self.noise_sd_m**2)
        mean = variance * (y[0] - _range(*throws.unbind(1))) / self.noise_sd_m**2
        position = mean + math.sqrt(variance) * torch.randn(n, dtype=torch.float64)
        return torch.cat([position[:, None], throws], 1)

    def _misfit(self, y: Tensor, distance: Tensor) -> Tensor:
        """Log likelihood of the distance flown, the position integrated out, less its bound."""
        return -0.5 * (y[0] - distance).square() / (_POSITION_SD_M**2 + self.noise_sd_m**2)

    def log_evidence(self, y: Tensor) -> float:
        """Log of the prior predictive density of one observation ``(1,)``, nats, good to 0.001."""
        distance, log_weight = _throw_quadrature()
        total = (log_weight + self._misfit(y.cpu().double(), distance)).logsumexp(0)
        return float(total) - 0.5 * math.log(2 * math.pi * (_POSITION_SD_M**2 + self.noise_sd_m**2))


class _ThrowPrior(FlatPrior):
    """The space's prior with the speed's own law: a Poisson number plus a uniform one in ±½."""

    def sample(self, sample_shape: SampleShape = (), generator: torch.Generator | None = None) -> Tensor:
        theta = super().sample(sample_shape, generator)
        theta[..., 3] = _draw_speed(theta[..., 3].numel(), generator).float().reshape(theta.shape[:-1])
        return theta

    def log_prob(self, value: Tensor) -> Tensor:
        others = FlatPrior(ParameterSpace(self.space.parameters[:3]))
        count = (value[..., 3] + 0.5).floor()
        speed = Poisson(value.new_tensor(float(_SPEED_MEAN_M_S))).log_prob(count.clamp_min(0))
        return others.log_prob(value[..., :3]) + torch.where(count >= 0, speed, -torch.inf)


def _draw_speed(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Speeds of the prior in m/s, shape ``(n,)``, float64."""
    count = torch.poisson(torch.full((n,), float(_SPEED_MEAN_M_S), dtype=torch.float64), generator)
    return count + torch.rand(n, generator=generator, dtype=torch.float64) - 0.5


def _draw_throws(n: int) -> Tensor:
    """Heights, angles and speeds of the prior, shape ``(n, 3)``, float64."""
    height = _HEIGHT_MEAN_M + _HEIGHT_SD_M * torch.randn(n, dtype=torch.float64)
    angle = _LOW_RAD + (_HIGH_RAD - _LOW_RAD) * torch.rand(n, dtype=torch.float64)
    return torch.stack([height, angle, _draw_speed(n)], 1)


def _range(height: Tensor, angle: Tensor, speed: Tensor) -> Tensor:
    """Horizontal distance flown in m until the object is at height 0 on its way down.

    The height over time is concave, so that Newton's method started behind the zero comes down to it
    without ever passing it.
    """
    height, speed = height.clamp_min(0), speed.clamp_min(0)
    # Times in units of the drag's time constant: the fall then ends at unit slope.
    tau = _MASS_KG / _DRAG_KG_S
    up = speed * angle.sin() / (_GRAVITY_M_S2 * tau) + 1
    start = height / (_GRAVITY_M_S2 * tau**2)
    time = start + up
    for _ in range(_NEWTON_STEPS):
        value = start - up * torch.expm1(-time) - time
        slope = up * (-time).exp() - 1
        time = (time - value / slope.clamp_max(-1e-12)).clamp_min(0)
    return -speed * angle.cos() * tau * torch.expm1(-time)


@lru_cache(maxsize=1)
def _throw_quadrature() -> tuple[Tensor, Tensor]:
    """Distances and log prior weights of the nodes of a quadrature over height, angle and speed, ``(K,)``."""
    heights = torch.linspace(-4.5, 4.5, 46, dtype=torch.float64)
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(96))
    angles = _LOW_RAD + (_HIGH_RAD - _LOW_RAD) * (nodes + 1) / 2
    inner, inner_weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(3))
    count = torch.arange(51, dtype=torch.float64)
    speeds = (count[:, None] + inner / 2).flatten()
    poisson = Poisson(torch.tensor(float(_SPEED_MEAN_M_S), dtype=torch.float64)).log_prob(count)
    grid = torch.cartesian_prod(_HEIGHT_MEAN_M + _HEIGHT_SD_M * heights, angles, speeds)
    speed_weights = (poisson[:, None] + inner_weights.log()).flatten()
    log_weight = (
        -0.5 * heights.square()[:, None, None] + weights.log()[:, None] + speed_weights[None, None]
    ).flatten()
    return _range(*grid.unbind(1)), log_weight - log_weight.logsumexp(0)
