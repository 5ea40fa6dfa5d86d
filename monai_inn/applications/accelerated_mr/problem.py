"""Accelerated MR: which images are possible, given fewer samples of k-space than pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_inn.applications.accelerated_mr import gaussian
from monai_inn.applications.accelerated_mr.acquisition import (
    Acquisition,
    cartesian_mask,
    central_mask,
    is_central,
    simulated_sensitivities,
)
from monai_inn.applications.accelerated_mr.application import MRApplication
from monai_inn.applications.accelerated_mr.images import ImagePrior
from monai_inn.problems import InverseProblem, Observation
from monai_inn.problems.drawing import Prior
from monai_inn.problems.parameters import pixel_parameters
from monai_inn.problems.stationary import StationaryNormal, filtered

__all__ = ["AcceleratedMR"]

_PIXEL_MM = 3.0  # as the first bundles have it
_ROWS = 64  # images that are reconstructed at once
_WITHIN = 3.0  # power inside a brain, which takes three tenths of a slice, over that of the slice
_RINGS = 10  # of frequencies, at most, in which the power of k-space is compared with the prior's


class AcceleratedMR(InverseProblem):
    """Complex image of undersampled Cartesian k-space of several coils.

    The unknown image has a real and an imaginary part. Sensitivities carry what phase varies smoothly, as
    those that are estimated from the centre of k-space do, so that the image is nearly real. The mask, the
    sensitivities and the level of the noise are known of each observation; they are its context.

    The posterior is conditioned on that of a stationary Gaussian prior with the spectrum of the training
    images. A problem of a spectrum alone simulates images of that prior. A bundle that has learned from
    images holds none, and refuses to simulate.

    Args:
        images: magnitudes to simulate from, ``(n, rows, columns)``, brightness about 0 to 1.
        spectrum: spectrum of real and imaginary part, ``(2, rows, columns)``; that of the images by default.
        coils: number of coils; k-space of more is compressed.
        factors: least and largest acceleration of simulations.
        noise_sd: least and largest standard deviation of the noise of real and of imaginary part.
        centre: rows, or rows and columns, in the middle of k-space that are complete.
        low_resolution: share of simulations that sample the centre of k-space alone, by the factors above.
        from_images: whether the spectrum is that of images which may be absent.
        pixel_mm: size of a pixel of the images, in mm.

    Raises:
        ValueError: if sizes are odd, a range is not one of positive numbers, the share is not one, or the
            pixel has no size.
    """

    name: ClassVar[str] = "accelerated_mr"
    flow = {"start": "given"}  # noqa: RUF012

    def __init__(
        self,
        images: Tensor | None,
        spectrum: Tensor | None = None,
        coils: int = 4,
        factors: Sequence[float] = (2.0, 8.0),
        noise_sd: Sequence[float] = (0.005, 0.05),
        centre: int = 4,
        low_resolution: float = 0.0,
        from_images: bool = False,
        pixel_mm: float = _PIXEL_MM,
    ) -> None:
        if spectrum is None:
            if images is None:
                raise ValueError(
                    "accelerated MR needs images to learn from, or their spectrum; give one of them."
                )
            spectrum = ImagePrior(images).spectrum()
        self.images, self.coils, self.centre = images, int(coils), int(centre)
        self.spectrum = spectrum
        if not 0 < pixel_mm < math.inf:
            raise ValueError(f"pixel_mm = {pixel_mm}; give the size of a pixel in mm, above 0.")
        self.pixel_mm = float(pixel_mm)
        self.size = tuple(self.spectrum.shape[1:])
        if any(n % 2 for n in self.size) or self.coils < 1:
            raise ValueError(
                f"{self.coils} coils, images of {self.size}; give even sizes and 1 coil or more."
            )
        self.factors = _range("factors", factors, 1.0)
        self.noise_sd = _range("noise_sd", noise_sd, 0.0)
        self.low_resolution, self.from_images = float(low_resolution), from_images or images is not None
        if not 0 <= self.low_resolution <= 1:
            raise ValueError(f"low_resolution = {low_resolution}; give a share between 0 and 1.")
        places = [f"{i + 1} {j + 1}" for i in range(self.size[0]) for j in range(self.size[1])]
        each = [f"coil {c + 1} {part}" for c in range(self.coils) for part in ("real", "imaginary")]
        context = [
            f"{what} {at}" for what in ("mask", *(f"sensitivity of {e}" for e in each)) for at in places
        ]
        self.observation = Observation(
            tuple(each), "image", self.size, context=(*context, "noise_sd"), may_miss=True
        )
        about = {part: f"{part} part of the image" for part in ("real", "imaginary")}
        self.parameters = pixel_parameters("image", "1", self.size, about)
        self.targets = self.space.names

    @property
    def application(self) -> MRApplication:
        """Words of accelerated MR."""
        return MRApplication(self)

    @property
    def prior(self) -> Prior:
        """Images of brains, or the stationary Gaussian of their spectrum."""
        if self.images is None:
            return StationaryNormal(torch.zeros(self.spectrum.numel()), self.spectrum)
        return ImagePrior(self.images)

    def simulate_clean(self, n: int, seed: int = 0, first_block: int = 0) -> tuple[Tensor, Tensor]:
        """Draw images and their k-space.

        Raises:
            ValueError: if the images are absent that a bundle has learned from.
        """
        if self.from_images and self.images is None:
            raise ValueError(
                "a bundle holds no patient's images, so that nothing can be drawn from it; make the problem "
                "of images."
            )
        return super().simulate_clean(n, seed, first_block)

    def draw_context(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw masks by lines, by points and of the centre, sensitivities and levels of noise, ``(n, K)``."""
        factor, sd = (
            low * (high / low) ** torch.rand(n, generator=generator)
            for low, high in (self.factors, self.noise_sd)
        )
        is_lines = torch.rand(n, generator=generator) < 0.5
        mask = cartesian_mask(self.size, factor, is_lines, self.centre, generator)
        sensitivities = simulated_sensitivities(n, self.coils, self.size, generator)
        if self.low_resolution:  # drawn last, so that all else of a seed stays
            kept = torch.tensor(self.size) / factor.sqrt().unsqueeze(1)
            is_low = torch.rand(n, 1, 1, generator=generator) < self.low_resolution
            mask = torch.where(is_low, central_mask(self.size, kept), mask)
        return self.context_of(Acquisition(mask, sensitivities, sd))

    def context_of(self, acquisition: Acquisition) -> Tensor:
        """Return acquisitions as context ``(N, K)``."""
        maps = torch.view_as_real(acquisition.sensitivities).movedim(-1, 2)
        parts = (acquisition.mask.flatten(1), maps.flatten(1), acquisition.noise_sd.unsqueeze(1))
        return torch.cat([part.float() for part in parts], 1)

    def acquisition(self, context: Tensor) -> Acquisition:
        """Return the acquisitions of context ``(N, K)``."""
        pixels = math.prod(self.size)
        mask, maps, sd = context.split([pixels, 2 * self.coils * pixels, 1], 1)
        maps = maps.reshape(-1, self.coils, 2, *self.size)
        return Acquisition(mask.view(-1, *self.size), torch.complex(maps[:, :, 0], maps[:, :, 1]), sd[:, 0])

    def kspace(self, y: Tensor) -> Tensor:
        """Return the k-space ``(N, coils, rows, columns)`` of observations, 0 where nothing was sampled."""
        values = self.observation.parts(y).values.unflatten(-1, (self.coils, 2))
        return torch.view_as_complex(values.contiguous()).movedim(-1, 1)

    def row(self, acquisition: Acquisition, kspace: Tensor) -> Tensor:
        """Return observations ``(N, C)`` of k-space ``(N, coils, rows, columns)``."""
        values = torch.view_as_real(kspace.movedim(1, -1)).flatten(3)
        values = torch.where(acquisition.mask.unsqueeze(-1) > 0, values, torch.nan).flatten(1)
        return torch.cat([values.float(), self.context_of(acquisition)], 1)

    def forward(self, theta: Tensor) -> Tensor:
        """Return the complete k-space of images ``(…, D)``, of one set of coils; ``forward_with_context``."""
        context = self.draw_context(1, torch.Generator().manual_seed(0))
        usual = self.acquisition(context)
        complete = Acquisition(torch.ones_like(usual.mask), usual.sensitivities, usual.noise_sd)
        return self.forward_with_context(theta, self.context_of(complete).squeeze(0).to(theta))

    def forward_with_context(self, theta: Tensor, context: Tensor) -> Tensor:
        """Return the k-space of images ``(…, D)``, NaN where nothing is sampled, ``(…, C − K)``."""
        leading = theta.shape[:-1]
        context = context.expand(*leading, -1).reshape(-1, context.shape[-1])
        made = []
        for rows, settings in zip(
            self.image_of(theta).flatten(0, -4).split(_ROWS), context.split(_ROWS), strict=True
        ):
            acquisition = self.acquisition(settings)
            kspace = acquisition.forward(gaussian.as_complex(rows))
            made.append(self.row(acquisition, kspace)[:, : self.observation.num_values])
        return torch.cat(made).view(*leading, -1)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return observations ``(…, C)`` with white noise of the level that their context tells."""
        values, context = y.tensor_split([self.observation.num_values], -1)
        white = torch.randn(values.shape, generator=generator, dtype=y.dtype, device=y.device)
        return torch.cat([values + context[..., -1:] * white, context], -1)

    def image_of(self, theta: Tensor) -> Tensor:
        """Return parameters ``(…, D)`` as images ``(…, 2, rows, columns)``."""
        return theta.unflatten(-1, (*self.size, 2)).movedim(-1, -3)

    def agreeing(self, samples: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return posterior samples that agree with what was measured, to within its noise.

        The network's density describes the samples before; see ``gaussian.agreeing``. What data leave open is
        as wide as it is inside a brain, so that samples are not drawn to the middle there.

        Args:
            samples: of the network's posterior, ``(S, N, D)``.
            y: observations ``(N, C)``.
            generator: source of the noise.
        """
        acquisition = self.acquisition(y[:, self.observation.num_values :])
        prior = _WITHIN * self.spectrum.to(y)
        mean = gaussian.posterior_mean(acquisition, self.kspace(y), prior)
        images = self.image_of(samples)
        moved = [
            mean + gaussian.agreeing(acquisition, image - mean, 2 * prior, generator) for image in images
        ]
        return torch.stack(moved).movedim(2, -1).flatten(2)

    def gaussian_samples(self, number: int, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return samples ``(number, N, D)`` of a stationary Gaussian posterior, as wide as inside a brain."""
        acquisition = self.acquisition(y[:, self.observation.num_values :])
        prior = _WITHIN * self.spectrum.to(y)
        mean = gaussian.posterior_mean(acquisition, self.kspace(y), prior)
        white = torch.randn(number, *mean.shape, generator=generator).to(y)
        drawn = [
            mean + gaussian.agreeing(acquisition, filtered(w, prior.sqrt()), prior, generator) for w in white
        ]
        return torch.stack(drawn).movedim(2, -1).flatten(2)

    def seen_images(self, samples: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return magnitudes ``(S, N, 1, rows, columns)`` of samples that agree with what was measured.

        Of scans of low resolution, which a network without such simulations does not know, they are those of
        ``gaussian_samples``.
        """
        agreed = self.agreeing(samples, y, generator)
        is_low = is_central(self.acquisition(y[:, self.observation.num_values :]).mask)
        if not self.low_resolution and bool(is_low.any()):
            agreed[:, is_low] = self.gaussian_samples(len(samples), y[is_low], generator)
        images = self.image_of(agreed)
        return images.square().sum(-3, keepdim=True).sqrt()

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether observations are complete: a sampled centre, all coils, no NaN among the samples."""
        rows = y.reshape(-1, y.shape[-1])
        values = rows[:, : self.observation.num_values].unflatten(1, (math.prod(self.size), -1))
        context = rows[:, self.observation.num_values :].nan_to_num(0.0)
        mask = context[:, : values.shape[1]].unsqueeze(-1) > 0
        is_whole = (values.isfinite() | ~mask).all((1, 2)) & mask[:, 0, 0] & (context[:, -1] > 0)
        measured = values.nan_to_num(0.0).unflatten(-1, (self.coils, 2)).abs().sum((1, 3)) > 0
        return (is_whole & measured.all(1) & rows[:, self.observation.num_values :].isfinite().all(1)).view(
            y.shape[:-1]
        )

    def features(self, y: Tensor) -> Tensor:
        """Return mean and spectrum of the Gaussian posterior, the adjoint's image and two levels, ``(…, F)``.

        Channels of a place stand beside each other: 2 of the mean, 4 of the spectrum, 2 of what the adjoint
        makes of the samples, the logarithms of the level of the noise and of the mean posterior width.
        """
        rows = y.reshape(-1, y.shape[-1])
        made = [self._features(part) for part in rows.split(_ROWS)]
        return torch.cat(made).view(*y.shape[:-1], -1)

    def _features(self, y: Tensor) -> Tensor:
        acquisition, kspace = self.acquisition(y[:, self.observation.num_values :]), self.kspace(y)
        prior = self.spectrum.to(y)
        mean = gaussian.posterior_mean(acquisition, kspace, prior)
        spectrum = gaussian.posterior_spectrum(acquisition, prior)
        adjoint = gaussian.as_channels(acquisition.adjoint(kspace))
        width = spectrum[:, :2].mean((1, 2, 3)).log() / 2
        levels = torch.stack([acquisition.noise_sd.log(), width], 1)
        maps = levels[:, :, None, None].expand(-1, -1, *self.size)
        return torch.cat([mean, spectrum, adjoint, maps], 1).movedim(1, -1).flatten(1)

    def density_features(self, y: Tensor) -> Tensor:
        """Return the power of k-space over the prior's in rings of frequencies, logs, ``(…, rings)``."""
        rows = y.reshape(-1, y.shape[-1])
        acquisition, kspace = self.acquisition(rows[:, self.observation.num_values :]), self.kspace(rows)
        expected = self.spectrum.sum(0).to(y) + 2 * self.coils * acquisition.noise_sd.square().view(-1, 1, 1)
        power = kspace.abs().square().sum(1) / expected
        frequencies = (torch.fft.fftfreq(n, device=y.device).abs() for n in self.size)
        reach = torch.stack(torch.meshgrid(*frequencies, indexing="ij"))
        count = min(_RINGS, min(self.size) // 4)  # none is empty
        ring = (reach.amax(0) * 2 * count).long().clamp_max(count - 1).flatten()
        sums = torch.zeros(2, len(rows), count, dtype=y.dtype, device=y.device)
        for i, values in enumerate((power * acquisition.mask, acquisition.mask)):
            sums[i].index_add_(1, ring, values.flatten(1))
        share = (sums[0] + 1) / (sums[1] + 1)  # rings without samples tell nothing
        return share.log().view(*y.shape[:-1], count)

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments but the spectrum, and without images."""
        # Stores and checkpoints of problems without them know no such arguments.
        low = {"low_resolution": self.low_resolution} if self.low_resolution else {}
        pixel = {"pixel_mm": self.pixel_mm} if self.pixel_mm != _PIXEL_MM else {}
        return {
            **low,
            **pixel,
            "images": None,
            "from_images": self.from_images,
            "coils": self.coils,
            "factors": list(self.factors),
            "noise_sd": list(self.noise_sd),
            "centre": self.centre,
        }

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The spectrum, which a bundle stores beside the weights."""
        return {"spectrum": self.spectrum}


def _range(name: str, limits: Sequence[float], least: float) -> tuple[float, float]:
    """Return a range.

    Raises:
        ValueError: if it is not one of finite numbers, of which the first is not below ``least``.
    """
    low, high = map(float, limits)
    if not max(least, 1e-12) <= low <= high < math.inf:
        raise ValueError(f"{name} = {list(limits)}; give two finite numbers in order, above {least}.")
    return low, high
