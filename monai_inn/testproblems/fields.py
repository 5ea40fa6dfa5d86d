"""Unknown images whose posteriors are known: a Gaussian field, and one with a lesion or without."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from monai_inn.problems import Observation, Parameter, stationary
from monai_inn.problems.drawing import Prior, SampleShape
from monai_inn.problems.known import WhiteNoise, check_positive
from monai_inn.problems.parameters import pixel_parameters
from monai_inn.problems.stationary import StationaryNormal

__all__ = [
    "GaussianField",
    "LesionField",
    "LesionPosterior",
    "falling_power",
    "filtered",
    "squared_waves",
]

_CORNER = 3.0  # waves across the image from which on power falls
_FALL = 1.5


def squared_waves(side: int) -> Tensor:
    """Return the square of each frequency of a square image, in waves across it, ``(side, side)``."""
    wave = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)
    return wave.square()[:, None] + wave.square()


def falling_power(side: int) -> Tensor:
    """Return the spectrum ``∝ (1 + (k / 3)²)^{−3/2}`` of unit variance, ``(side, side)``."""
    power = (1 + squared_waves(side) / _CORNER**2) ** -_FALL
    return power / power.mean()


def filtered(rows: Tensor, response: Tensor) -> Tensor:
    """Return images ``(…, D)`` with each frequency multiplied by a real response ``(side, side)``."""
    return stationary.filtered(rows.unflatten(-1, response.shape), response).flatten(-2)


class GaussianField(WhiteNoise):
    """Blurred and noisy image of a Gaussian random field.

    The field has unit variance and the power ``∝ (1 + (k / 3)²)^{−3/2}`` at ``k`` waves across the image,
    and goes on at the opposite border. Its posterior is Gaussian, with the mean of Wiener's filter and at
    each frequency the variance ``S σ² / (h² S + σ²)``.

    Args:
        side: pixels along each axis.
        blur_px: standard deviation of the Gaussian blur, pixels.
        noise_sd: standard deviation of the noise of each pixel.

    Raises:
        ValueError: if a number is not positive.
    """

    name: ClassVar[str] = "gaussian_field"

    def __init__(self, side: int = 32, blur_px: float = 1.0, noise_sd: float = 0.3) -> None:
        self.side, self.blur_px = int(check_positive("side", side)), check_positive("blur_px", blur_px)
        self.noise_sd = check_positive("noise_sd", noise_sd)
        self.spectrum = falling_power(self.side)
        self.blur = torch.exp(-2 * (math.pi * self.blur_px / self.side) ** 2 * squared_waves(self.side))
        self.observation = Observation.image((self.side, self.side), "brightness")
        about = {"field": "value of the field"}
        self.parameters = pixel_parameters("field", "1", (self.side, self.side), about)
        self.targets = self.space.names

    @property
    def prior(self) -> Distribution:
        """Density of the field, ``(D,)``."""
        return StationaryNormal(torch.zeros(self.side**2), self.spectrum[None])

    def forward(self, theta: Tensor) -> Tensor:
        """Return the blurred images ``(…, D)`` of fields ``(…, D)``."""
        return filtered(theta, self.blur)

    def reference_posterior(self, y: Tensor) -> StationaryNormal:
        """Return the exact posterior of observations ``(…, D)``."""
        variance = self.blur**2 * self.spectrum + self.noise_sd**2
        mean = filtered(y, self.blur * self.spectrum / variance)
        return StationaryNormal(mean, (self.spectrum * self.noise_sd**2 / variance)[None])


class LesionField(GaussianField):
    """A Gaussian field that holds a lesion, with a probability of one half, in its middle.

    The first parameter says which class it is; the lesion is a Gaussian blob of known height and width. The
    posterior is a mixture of two Gaussians, whose shares follow from the evidence of either class.

    Args:
        side: pixels along each axis.
        blur_px: standard deviation of the Gaussian blur, pixels.
        noise_sd: standard deviation of the noise of each pixel.
        height: of the lesion over the field, standard deviations of the field.
        width_px: standard deviation of the lesion, pixels.

    Raises:
        ValueError: if a number is not positive.
    """

    name: ClassVar[str] = "lesion_field"

    def __init__(
        self,
        side: int = 32,
        blur_px: float = 1.0,
        noise_sd: float = 0.3,
        height: float = 1.0,
        width_px: float = 2.0,
    ) -> None:
        super().__init__(side, blur_px, noise_sd)
        self.height, self.width_px = check_positive("height", height), check_positive("width_px", width_px)
        distance = torch.arange(self.side, dtype=torch.float64) - self.side // 2
        along = torch.exp(-0.5 * (distance / self.width_px).square())
        self.lesion = self.height * torch.outer(along, along).flatten()
        which = Parameter("lesion", "1", 0.0, 2.0, "whether there is a lesion", categories=("no", "yes"))
        self.parameters = (which, *self.parameters)
        self.targets = ("lesion",)

    @property
    def prior(self) -> Distribution:
        """Density of class and field, ``(1 + D,)``."""
        return LesionPosterior(super().prior, self.lesion, torch.tensor(0.0))

    def forward(self, theta: Tensor) -> Tensor:
        """Return the blurred images ``(…, D)`` of class and field ``(…, 1 + D)``."""
        return super().forward(theta[..., 1:])

    def reference_posterior(self, y: Tensor) -> LesionPosterior:  # type: ignore[override]
        """Return the exact posterior of observations ``(…, D)``."""
        variance = self.blur**2 * self.spectrum + self.noise_sd**2
        seen = filtered(self.lesion, self.blur)
        weight = filtered(seen, 1 / variance).to(y)
        log_odds = ((y - seen.to(y) / 2) * weight).sum(-1)
        gain = self.blur * self.spectrum / variance
        left = self.lesion - filtered(seen, gain)
        return LesionPosterior(super().reference_posterior(y), left, log_odds)


class LesionPosterior(Prior):
    """Mixture of two Gaussian fields; event shape ``(1 + D,)``, the class first.

    Args:
        without: density of images without a lesion, ``(D,)`` for a batch of observations.
        lesion: what a lesion adds to their mean, ``(D,)``.
        log_odds: of a lesion, ``(*batch,)``.
    """

    def __init__(self, without: Distribution, lesion: Tensor, log_odds: Tensor) -> None:
        self.without, self.lesion, self.log_odds = without, lesion, log_odds
        super().__init__(without.batch_shape, torch.Size([len(lesion) + 1]), validate_args=False)

    @property
    def probability(self) -> Tensor:
        """Probability of a lesion, ``(*batch,)``."""
        return self.log_odds.sigmoid()

    def sample(self, sample_shape: SampleShape = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw class and image, ``(*sample_shape, *batch, 1 + D)``."""
        without = self.without
        assert isinstance(without, Prior)
        image = without.sample(sample_shape, generator)
        u = torch.rand(image.shape[:-1], generator=generator, dtype=image.dtype).to(image)
        share = torch.rand(image.shape[:-1], generator=generator, dtype=image.dtype).to(image)
        is_there = (u < self.probability).to(image)
        number = (is_there + share.clamp_max(1 - 1e-6)).unsqueeze(-1)
        return torch.cat([number, image + is_there.unsqueeze(-1) * self.lesion.to(image)], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of class and image ``(…, 1 + D)``, shape ``(…)``."""
        is_there = (value[..., 0] >= 1).to(value)
        image = value[..., 1:] - is_there.unsqueeze(-1) * self.lesion.to(value)
        sign = 2 * is_there - 1
        return torch.nn.functional.logsigmoid(sign * self.log_odds) + self.without.log_prob(image)
