"""Gaussian images that are the same at every place, by their frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_inn.problems.drawing import Prior, SampleShape

__all__ = ["StationaryNormal", "filtered"]


class StationaryNormal(Prior):
    """Gaussian density of flattened images, the same at every place up to its mean; event shape ``(D,)``.

    Channels are independent. In a row those of a place stand beside each other.

    Args:
        mean: mean images, flattened, ``(*batch, D)``.
        spectrum: variance of each frequency of the Fourier transform of norm ``"ortho"``, the same at
            ``k`` and ``−k``, ``(C, rows, columns)``.
    """

    def __init__(self, mean: Tensor, spectrum: Tensor) -> None:
        self.mean_image, self.spectrum = mean, spectrum
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    def sample(self, sample_shape: SampleShape = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw images ``(*sample_shape, *batch, D)``."""
        shape = (*sample_shape, *self.batch_shape, *self.spectrum.shape)
        white = torch.randn(shape, generator=generator, dtype=self.mean_image.dtype).to(self.mean_image)
        return self.mean_image + filtered(white, self.spectrum.sqrt()).movedim(-3, -1).flatten(-3)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of images ``(…, D)``, shape ``(…)``."""
        channels, *size = self.spectrum.shape
        images = (value - self.mean_image).unflatten(-1, (*size, channels)).movedim(-1, -3)
        white = filtered(images, self.spectrum.rsqrt())
        constant = 0.5 * float(self.spectrum.log().sum()) + 0.5 * value.shape[-1] * math.log(2 * math.pi)
        return -0.5 * white.square().sum((-3, -2, -1)) - constant


def filtered(images: Tensor, response: Tensor) -> Tensor:
    """Return images ``(…, rows, columns)`` with each frequency multiplied by a real, even response."""
    values = torch.fft.fft2(images, norm="ortho") * response.to(images)
    return torch.fft.ifft2(values, norm="ortho").real
