"""Random errors of a multispectral camera, from stray light to read noise."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from monai_inn.physics.cameras import Camera

__all__ = ["add_noise", "under_light"]


def add_noise(camera: Camera, y: Tensor, generator: torch.Generator | None, per_image: bool) -> Tensor:
    """Add the errors of a camera in the order in which they arise.

    Stray light adds ``U(0, glare_max)`` to all bands; the wavelength axis is shifted by up to the jitter, to
    first order; every band is multiplied by a gain from ``N(1, calibration_sd²)``; then comes Gaussian noise
    of variance ``y / SNR² + read_noise²`` with the signal-to-noise ratio at white log-uniform over its range.

    Args:
        camera: whose noise settings to use.
        y: values relative to white, shape ``(…, C)``, or ``(B, C, *spatial)`` if ``per_image``.
        generator: source of the random numbers.
        per_image: draw all but the Gaussian noise once an image instead of once a row.

    Returns:
        Noisy values, same shape.

    Raises:
        ValueError: if the number of bands differs from the camera's.
    """
    axis = 1 if per_image else -1
    if y.ndim < (2 if per_image else 1) or y.shape[axis] != camera.num_bands:
        raise ValueError(
            f"y has shape {tuple(y.shape)}, expected {camera.num_bands} bands on axis {axis}, "
            f"as camera {camera.name!r} has them."
        )
    y = y.movedim(axis, -1)
    shared = (y.shape[0], *[1] * (y.ndim - 1)) if per_image else (*y.shape[:-1], 1)
    device = y.device if generator is None else generator.device

    def uniform(shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=y.dtype, device=device).to(y.device)

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=y.dtype, device=device).to(y.device)

    y = y + camera.glare_max * uniform(shared)
    if camera.wavelength_jitter_nm:
        shift_nm = camera.wavelength_jitter_nm * (2 * uniform(shared) - 1)
        y = y + shift_nm * (y @ _derivative(tuple(camera.centre_nm)).to(y).T)
    y = y * (1 + camera.calibration_sd * normal((*shared[:-1], camera.num_bands)))
    low, high = (math.log(v) for v in camera.white_snr)
    snr = (low + (high - low) * uniform(shared)).exp()
    noisy = y + (y.clamp_min(0) / snr.square() + camera.read_noise**2).sqrt() * normal(tuple(y.shape))
    return noisy.movedim(-1, axis)


def under_light(camera: Camera, share: float) -> Camera:
    """Return a camera that gets another share of the light for which its noise is given.

    The shot noise relative to white grows as 1 / √share, the read noise as 1 / share.

    Raises:
        ValueError: if the share is not positive.
    """
    if not 0 < share < math.inf:
        raise ValueError(
            f"camera {camera.name!r}: light = {share}; give a positive share of the usual light."
        )
    low, high = (snr * math.sqrt(share) for snr in camera.white_snr)
    name = camera.name if share == 1 else f"{camera.name}, light × {share:g}"
    return replace(camera, name=name, white_snr=(low, high), read_noise=camera.read_noise / share)


@functools.lru_cache(maxsize=16)
def _derivative(centre_nm: tuple[float, ...]) -> Tensor:
    """Matrix ``(C, C)`` that differentiates along the bands, per nm, by central differences."""
    return torch.from_numpy(np.gradient(np.eye(len(centre_nm)), np.array(centre_nm), axis=0))
