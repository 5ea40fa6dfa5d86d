"""Linear observation of a Gaussian vector in Gaussian noise: the problem whose posterior is known exactly."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from monai_inn.problems.known import WhiteNoise
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter

__all__ = ["LinearGaussian"]


class LinearGaussian(WhiteNoise):
    """``y = A x + n`` with ``x ~ N(0, I)`` and ``n ~ N(0, noise_sd² I)``.

    The oracle of the package: every network, training run and metric is checked against its closed form
    ``Σ = (I + AᵀA / σ²)⁻¹``, ``µ = Σ Aᵀ y / σ²``. With fewer observations than parameters ``A`` has a null
    space, in which the posterior must equal the prior.

    Args:
        num_parameters: length of ``x``.
        num_observations: length of ``y``.
        noise_sd: standard deviation of the noise on each observation.
        matrix_seed: seed of the random matrix ``A``.
    """

    name: ClassVar[str] = "linear_gaussian"

    def __init__(
        self,
        num_parameters: int = 4,
        num_observations: int = 3,
        noise_sd: float = 0.3,
        matrix_seed: int = 0,
    ) -> None:
        self._config = {
            "num_parameters": num_parameters,
            "num_observations": num_observations,
            "noise_sd": noise_sd,
            "matrix_seed": matrix_seed,
        }
        self.parameters = tuple(
            Parameter(f"x{i + 1}", "1", -torch.inf, torch.inf, f"component {i + 1} of the hidden vector")
            for i in range(num_parameters)
        )
        self.targets = self.space.names
        self.observation = Observation.pixel(*(f"y{i + 1}" for i in range(num_observations)))
        self.noise_sd = noise_sd
        generator = torch.Generator().manual_seed(matrix_seed)
        matrix = torch.randn(num_observations, num_parameters, generator=generator, dtype=torch.float64)
        self.matrix = matrix / num_parameters**0.5

    def forward(self, theta: Tensor) -> Tensor:
        """Return ``A x``, shape ``(…, C)``."""
        return theta @ self.matrix.to(theta).T

    def reference_posterior(self, y: Tensor) -> MultivariateNormal:
        """Return the exact Gaussian posterior of observations ``(…, C)``."""
        a = self.matrix.to(y)
        precision = torch.eye(a.shape[1]).to(y) + a.T @ a / self.noise_sd**2
        mean = torch.linalg.solve(precision, (y @ a / self.noise_sd**2).unsqueeze(-1)).squeeze(-1)
        return MultivariateNormal(mean, precision_matrix=precision)

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self._config)
