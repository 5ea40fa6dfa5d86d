"""An X-ray at each of its sizes, what counts of it, and how much of it a pose explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.poses.fit import Fit, Level
from monai_inn.applications.registration.poses.search import distinct
from monai_inn.applications.registration.radiograph import Radiograph
from monai_inn.applications.registration.raycasting import RayCaster
from monai_inn.applications.registration.whitening import (
    Whitening,
    assumed_density,
    contrast_of,
    pixel_noise,
)

__all__ = ["Shot", "enlarged", "lead_of", "opened", "shrunk"]

_ELSEWHERE = 5.0, 8.0  # degrees and mm
# Errors of a simulation are a share of the contrast; at the finest size no larger for a bright background.
_MOST_CONTRAST = 1.5
# Of a voxel, by which surfaces are off in a simulation, and pixels to both sides of one that are as wrong. At
# the finest size skin and table, where nearly all photons come through, would otherwise decide the pose.
_MISPLACED, _MISPLACED_FINEST, _AROUND_FINEST = 0.15, 0.3, 5
_OPEN = 0.99  # share of a pixel


class Shot(NamedTuple):
    """An X-ray at each size; at the finest its open field, what counts of it, and its photons' variance."""

    images: Sequence[tuple[Detector, Tensor]]
    field: Tensor
    counted: Tensor
    photons: Tensor

    def level(self, number: int, window: Tensor, caster: RayCaster) -> Level:
        """Return the X-ray at one of its sizes, before it is known what stays unexplained.

        Args:
            number: of the size.
            window: which of its pixels count, shape ``(rows, columns)``.
            caster: line integrals that its detector sees.
        """
        detector, image = self.images[number]
        scattering = None if bool((self.field == 1).all()) else shrunk(self.field, image)
        radiograph = Radiograph(caster, scattering)
        pixel_mm = detector.spacing_at_isocentre_mm
        contrast, misplaced, around = contrast_of(image, window), _MISPLACED, 1
        if number == len(self.images) - 1:
            contrast = min(contrast, _MOST_CONTRAST)
            misplaced, around = _MISPLACED_FINEST, _AROUND_FINEST
        photons = shrunk(self.photons, image) * (image.numel() / self.photons.numel())
        off = misplaced * radiograph.caster.spacing_mm / pixel_mm
        noise = pixel_noise(image, photons, contrast, off, around)
        density = assumed_density(image, window, pixel_mm, contrast, noise)
        return Level(radiograph, image, Whitening(window, density, noise))


def lead_of(level: Level, fit: Fit, poses: Tensor) -> tuple[float, float]:
    """What the best fit explains, and how much of what the best fit away from some poses leaves."""
    x = torch.cat([poses, fit.x[:, :6]])
    score = torch.cat([torch.full((len(poses),), math.inf), -fit.loss])
    chosen = distinct(x, score, level.radiograph.detector, _ELSEWHERE, len(poses) + 1) - len(poses)
    others = chosen[chosen >= 0][:1]
    x = fit.x[[int(fit.loss.argmin()), *others.tolist()]]
    explained, *second = _explained(level, level.radiograph(x[:, :6], x[:, 6:]))
    return explained, 1 - (1 - explained) / max(1 - sum(second), 1e-6)


def _explained(level: Level, models: Tensor) -> list[float]:
    """Squared correlation of an X-ray with each model where errors of any simulation are small."""
    window, pixel_mm = level.whitening.window, level.radiograph.detector.spacing_at_isocentre_mm
    noise, contrast = level.whitening.noise, min(contrast_of(level.image, window), _MOST_CONTRAST)
    whitening = Whitening(window, assumed_density(level.image, window, pixel_mm, contrast, noise), noise)
    own, *others = (whitening(part - part[window > 0.5].mean()).double() for part in (level.image, *models))
    return [float((own @ one) ** 2 / (own.square().sum() * one.square().sum())) for one in others]


def shrunk(field: Tensor, like: Tensor) -> Tensor:
    """A field at a smaller size: the share of each pixel that is open."""
    return torch.nn.functional.adaptive_avg_pool2d(field[None], (like.shape[0], like.shape[1]))[0]


def opened(field: Tensor, like: Tensor) -> Tensor:
    """The pixels of a smaller size that are open as a whole."""
    return (shrunk(field, like) > _OPEN).float()


def enlarged(window: Tensor, like: Tensor) -> Tensor:
    """A window at a larger size."""
    return torch.nn.functional.interpolate(window[None, None], like.shape, mode="nearest")[0, 0]
