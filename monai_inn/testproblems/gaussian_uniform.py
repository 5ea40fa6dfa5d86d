"""Noisy copy of a vector with a uniform prior: a Gaussian posterior, cut where the prior ends."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_inn.problems.arguments import check_positive, split_parameters
from monai_inn.problems.known import KnownPosterior, WhiteNoise
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter

__all__ = ["GaussianUniform"]

_BOUND = 1.0


class GaussianUniform(WhiteNoise, KnownPosterior):
    """``y = x + n`` with ``x`` uniform in a cube and white noise ``n``.

    The posterior is a product of normals that are cut at the faces of the cube, where much of its mass is.

    The exact posterior is one of independent truncated normals.

    Args:
        num_parameters: length of ``x`` and ``y``.
        noise_sd: standard deviation of the noise; √0.1 by default, as in the source.

    Raises:
        ValueError: if a number is not positive.

    Source: Lueckmann et al., Benchmarking simulation-based inference, 2021 ("Gaussian linear uniform").
    """

    name: ClassVar[str] = "gaussian_uniform"

    def __init__(self, num_parameters: int = 10, noise_sd: float = math.sqrt(0.1)) -> None:
        if num_parameters != int(num_parameters) or num_parameters < 1:
            raise ValueError(f"num_parameters = {num_parameters}; give a positive integer.")
        count = int(num_parameters)
        self.noise_sd = check_positive("noise_sd", noise_sd)
        self.parameters = tuple(
            Parameter(f"x{i + 1}", "1", -_BOUND, _BOUND, f"component {i + 1} of the hidden vector")
            for i in range(count)
        )
        self.targets = self.space.names
        self.observation = Observation.pixel(*(f"y{i + 1}" for i in range(count)))

    def forward(self, theta: Tensor) -> Tensor:
        """Return the vector itself, ``(…, D)``."""
        return torch.stack(split_parameters(theta, self.space), -1).to(theta.dtype)

    def _edges(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of N(|y|, noise²) below the prior's bounds: the lower tail is the precise one."""
        # torch.special.ndtr is 0 from −8.3 sd on.
        z = [(edge - y.abs()) / self.noise_sd for edge in (-_BOUND, _BOUND)]
        low, high = (0.5 * torch.special.erfc(-edge / math.sqrt(2)) for edge in z)
        return low, high.clamp_min(1e-300)

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, D)`` given one observation ``(D,)``."""
        low, high = self._edges(y)
        u = low + (high - low) * torch.rand(n, len(y), dtype=torch.float64)
        mirrored = y.abs() + self.noise_sd * torch.special.ndtri(u.clamp_min(1e-300))
        return (torch.where(y < 0, -1.0, 1.0) * mirrored).clamp(-_BOUND, _BOUND)

    def log_evidence(self, y: Tensor) -> float:
        """Log of the prior predictive density of one observation ``(D,)``, nats."""
        low, high = self._edges(y.cpu().double())
        return float(((high - low) / (2 * _BOUND)).log().sum())

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"num_parameters": len(self.parameters), "noise_sd": self.noise_sd}
