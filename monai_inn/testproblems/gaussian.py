"""Normal noise on a hidden vector: mixed by a matrix, and inside a box."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from monai_inn.problems import Observation, Parameter
from monai_inn.problems.devices import settings_of
from monai_inn.problems.known import KnownPosterior, WhiteNoise, check_positive, split_parameters

__all__ = ["GaussianUniform", "LinearGaussian"]


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

    name = "linear_gaussian"

    def __init__(
        self,
        num_parameters: int = 4,
        num_observations: int = 3,
        noise_sd: float = 0.3,
        matrix_seed: int = 0,
    ) -> None:
        self.num_parameters, self.num_observations = num_parameters, num_observations
        self.noise_sd, self.matrix_seed = noise_sd, matrix_seed
        self.parameters = tuple(
            Parameter(f"x{i + 1}", "1", -torch.inf, torch.inf, f"component {i + 1} of the hidden vector")
            for i in range(num_parameters)
        )
        self.targets = self.space.names
        self.observation = Observation.pixel(*(f"y{i + 1}" for i in range(num_observations)))
        generator = torch.Generator().manual_seed(matrix_seed)
        matrix = torch.randn(num_observations, num_parameters, generator=generator, dtype=torch.float64)
        self.matrix = matrix / num_parameters**0.5

    @classmethod
    def of_device(cls, spec: str) -> LinearGaussian:
        """Return the problem of so many observations, such as ``"3"`` or ``"3@noise_sd=0.1"``."""
        number, settings = settings_of(spec, ("noise_sd",))
        if not number.isdecimal() or int(number) < 1:
            raise ValueError(f"device {spec!r}: give a number of observations, such as '3@noise_sd=0.1'.")
        return cls(num_observations=int(number), noise_sd=settings.get("noise_sd", 0.3))

    def forward(self, theta: Tensor) -> Tensor:
        """Return ``A x``, shape ``(…, C)``."""
        return theta @ self.matrix.to(theta).T

    def reference_posterior(self, y: Tensor) -> MultivariateNormal:
        """Return the exact Gaussian posterior of observations ``(…, C)``."""
        a = self.matrix.to(y)
        precision = torch.eye(a.shape[1]).to(y) + a.T @ a / self.noise_sd**2
        mean = torch.linalg.solve(precision, (y @ a / self.noise_sd**2).unsqueeze(-1)).squeeze(-1)
        return MultivariateNormal(mean, precision_matrix=precision)


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

    name = "gaussian_uniform"

    def __init__(self, num_parameters: int = 10, noise_sd: float = math.sqrt(0.1)) -> None:
        if num_parameters != int(num_parameters) or num_parameters < 1:
            raise ValueError(f"num_parameters = {num_parameters}; give a positive integer.")
        count = self.num_parameters = int(num_parameters)
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
