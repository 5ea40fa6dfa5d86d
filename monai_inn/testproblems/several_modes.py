"""Problems with several modes: clusters on a ring, and the roots of a noisy number."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, VonMises

from monai_inn.problems import Observation, Parameter
from monai_inn.problems.exact.references import sample_table
from monai_inn.problems.known import KnownPosterior, WhiteNoise, check_positive, split_parameters

__all__ = ["ComplexRoots", "EightModes"]

_NODES = 1 << 14
_LARGEST_RADIUS = 8.0


class ComplexRoots(WhiteNoise, KnownPosterior):
    """Complex number ``x`` with a standard normal prior, of which a noisy n-th power is seen.

    Turning ``x`` by an n-th of a full turn changes neither prior nor likelihood: the posterior has ``n``
    modes of equal mass, which merge as the power goes to zero.

    The exact posterior: in polar coordinates the angle given the radius is von Mises and the radius has a
    density in closed form, of which a table of 16,384 nodes is inverted.

    Args:
        degree: the power ``n``.
        noise_sd: standard deviation of the noise on the real and on the imaginary part.

    Raises:
        ValueError: if the degree is not an integer of at least 2, or the noise is not positive.

    Source: a benchmark of this package.
    """

    name = "complex_roots"
    observation = Observation.pixel("power_real", "power_imaginary")

    def __init__(self, degree: int = 3, noise_sd: float = 0.2) -> None:
        if degree != int(degree) or degree < 2:
            raise ValueError(f"degree = {degree}; give an integer of at least 2.")
        self.degree, self.noise_sd = int(degree), check_positive("noise_sd", noise_sd)
        self.parameters = tuple(
            Parameter(name, "1", -math.inf, math.inf, f"{name} part of the root")
            for name in ("real", "imaginary")
        )
        self.targets = self.space.names

    def forward(self, theta: Tensor) -> Tensor:
        """Return the n-th power, real and imaginary part ``(…, 2)``, of numbers ``(…, 2)``."""
        real, imaginary = a, b = split_parameters(theta, self.space)
        for _ in range(self.degree - 1):
            real, imaginary = real * a - imaginary * b, real * b + imaginary * a
        return torch.stack([real, imaginary], -1).to(theta.dtype)

    def _radius_log_density(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Radii ``(K,)`` and the log of (prior × likelihood) there, the angle integrated out."""
        # The radius is within 8 posterior sd of the observed root or, where the modes merge, of zero.
        size, n, sd = float(torch.linalg.vector_norm(y)), self.degree, self.noise_sd
        highest = min(_LARGEST_RADIUS, (size + 8 * sd) ** (1 / n))
        lowest = max(0.0, size - 8 * sd) ** (1 / n)
        # A power that the prior hardly makes is explained by its noise as well.
        lowest = min(lowest, 0.9 * highest)
        radius = torch.linspace(lowest, highest, _NODES, dtype=torch.float64)
        power = radius**n
        angular = torch.special.i0e(power * size / sd**2).log()
        radial = radius.log() - radius.square() / 2 - 0.5 * ((power - size) / sd).square()
        return radius, radial + angular - math.log(2 * math.pi * sd**2)

    def log_evidence(self, y: Tensor) -> float:
        """Log of the prior predictive density of one observation ``(2,)``, nats."""
        radius, log_density = self._radius_log_density(y.cpu().double())
        shift = float(log_density.max())
        return shift + math.log(float(torch.trapezoid((log_density - shift).exp(), radius)))

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 2)`` given one observation ``(2,)``."""
        radius, log_density = self._radius_log_density(y)
        r = sample_table(radius, log_density, n)
        size = torch.linalg.vector_norm(y)
        concentration = (r**self.degree * size / self.noise_sd**2).clamp_min(1e-9)
        turned = VonMises(torch.zeros_like(r), concentration, validate_args=False).sample()
        branch = torch.randint(self.degree, (n,)) * (2 * math.pi)
        angle = (torch.atan2(y[1], y[0]) + turned + branch) / self.degree
        return torch.stack([r * angle.cos(), r * angle.sin()], 1)


_FAR, _NEAR, _SD = 2.4142, 1.0, 0.2
# Clockwise from the one on the upper left.
_CENTRES = (
    (-_FAR, _NEAR),
    (-_NEAR, _FAR),
    (_NEAR, _FAR),
    (_FAR, _NEAR),
    (_FAR, -_NEAR),
    (_NEAR, -_FAR),
    (-_NEAR, -_FAR),
    (-_FAR, -_NEAR),
)
_LABELS = {
    "all": (0, 1, 2, 3, 4, 5, 6, 7),
    "some": (0, 0, 0, 0, 1, 1, 2, 3),
    "none": (0, 0, 0, 0, 0, 0, 0, 0),
}


class EightModes(WhiteNoise):
    """Point drawn from one of eight Gaussians, of which a label is seen that several of them may share.

    The centres lie on a circle, ten standard deviations apart; the posterior is the mixture of those with
    the label that was seen. The label comes in eight channels, 1 in its own and 0 elsewhere, with white
    noise on each, so that it has a density.

    Args:
        labels: ``"all"`` (each Gaussian has its own), ``"some"`` (shared by 4, 2, 1 and 1) or ``"none"``
            (one for all: the observation says nothing).
        noise_sd: standard deviation of the noise on each channel.

    Raises:
        ValueError: if there are no such labels, or the noise is not positive.

    Source: Ardizzone et al., Analyzing inverse problems with invertible neural networks, 2019, section 4.1.
    """

    name = "eight_modes"
    observation = Observation.pixel(*(f"label_{i}" for i in range(len(_CENTRES))))

    def __init__(self, labels: str = "some", noise_sd: float = 0.1) -> None:
        if labels not in _LABELS:
            raise ValueError(f"unknown labels {labels!r}; choose one of {', '.join(_LABELS)}.")
        self.labels, self.noise_sd = labels, check_positive("noise_sd", noise_sd)
        spread = math.sqrt((_FAR**2 + _NEAR**2) / 2 + _SD**2)
        self.parameters = tuple(
            Parameter(name, "1", -math.inf, math.inf, f"{direction} coordinate of the point", sd=spread)
            for name, direction in (("x1", "horizontal"), ("x2", "vertical"))
        )
        self.targets = self.space.names

    @property
    def prior(self) -> MixtureSameFamily:
        """Equal mixture of the eight Gaussians, event shape ``(2,)``."""
        return _mixture(torch.zeros(len(_CENTRES)))

    def forward(self, theta: Tensor) -> Tensor:
        """Return the label of the nearest centre, 1 in its channel, ``(…, 8)``, of points ``(…, 2)``."""
        point = torch.stack(split_parameters(theta, self.space), -1)
        centres = torch.tensor(_CENTRES, dtype=point.dtype, device=point.device)
        nearest = (point.unsqueeze(-2) - centres).square().sum(-1).argmin(-1)
        return self._channels(theta)[nearest]

    def _channels(self, like: Tensor) -> Tensor:
        """Noise-free observation of each Gaussian, shape ``(8, 8)``."""
        eye = torch.eye(len(_CENTRES), dtype=like.dtype, device=like.device)
        return eye[list(_LABELS[self.labels])]

    def reference_posterior(self, y: Tensor) -> MixtureSameFamily:
        """Return the posterior of labels ``(…, 8)`` in closed form.

        Exact but for the mass of a Gaussian that is nearer to another centre, 6e-7.
        """
        distance = (y.unsqueeze(-2) - self._channels(y)).square().sum(-1)
        return _mixture(-0.5 * distance / self.noise_sd**2)


def _mixture(logits: Tensor) -> MixtureSameFamily:
    """Mixture of the eight Gaussians with weights ``softmax(logits)``, logits of shape ``(…, 8)``."""
    centres = logits.new_tensor(_CENTRES).expand(*logits.shape, 2)
    covariance = _SD**2 * torch.eye(2, dtype=logits.dtype, device=logits.device)
    return MixtureSameFamily(Categorical(logits=logits), MultivariateNormal(centres, covariance))
