"""The Gaussian density of images, factorised over their Haar levels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from monai_inn.networks.images.haar import frequency_responses, split
from monai_inn.networks.images.levels import DenseLevel, Level, SpectralLevel

__all__ = ["LEAST_SHARE", "factorised", "factorised_densely"]

LEAST_SHARE = 1e-9
"""Of the mean power: keeps a frequency invertible that images do not have."""


@torch.no_grad()
def factorised(spectrum: Tensor, levels: int) -> list[Level]:
    """Return the levels of Gaussian images, finest first.

    Args:
        spectrum: covariance of the channels at each frequency of a discrete Fourier transform of norm
            ``"ortho"``, complex, ``(N, C, C, *size)``.
        levels: number of Haar levels.
    """
    dtype, made = spectrum.real.dtype, list[Level]()
    spectrum = spectrum.to(torch.complex128)
    c, dims = spectrum.shape[1], spectrum.ndim - 3
    for number in range(levels):
        bands = _folded(spectrum, dims)  # (N, *coarse, K, K)
        power = bands.diagonal(dim1=-2, dim2=-1).real
        places = tuple(range(1, dims + 1))
        ridge = LEAST_SHARE * power.mean((*places, -1)).view(-1, *[1] * (dims + 2))
        bands = bands + ridge * torch.eye(bands.shape[-1], device=bands.device)
        spectrum = bands[..., :c, :c].movedim((-2, -1), (1, 2))
        last = bands.shape[dims]
        # Real images: the other half of the frequencies are conjugates.
        bands = bands.narrow(dims, 0, last // 2 + 1)
        regression, root = _given_coarse(bands, 0 if number == levels - 1 else c)
        log_det = root.diagonal(dim1=-2, dim2=-1).real.log().sum(-1)
        log_det = (log_det * _times(last).to(log_det)).flatten(1).sum(1)
        coarse_sd = power[..., :c].mean(places).sqrt()
        stored = [None if m is None else _channels_first(m, dtype) for m in (regression, root)]
        made.append(SpectralLevel(stored[0], stored[1], log_det.to(dtype), coarse_sd.to(dtype)))  # type: ignore[arg-type]
    return made


@torch.no_grad()
def factorised_densely(covariance: Tensor, channels: int, size: Sequence[int], levels: int) -> list[Level]:
    """Return the levels of Gaussian images, finest first, in double precision.

    Args:
        covariance: of flattened images ``(channels, *size)``, a square matrix.
        channels: channels of the images.
        size: their spatial size.
        levels: number of Haar levels.
    """
    dims, made = len(size), list[Level]()
    covariance = covariance.double()
    for number in range(levels):
        for _ in range(2):  # rows, then columns
            images = covariance.unflatten(1, (channels, *(n // 2**number for n in size)))
            covariance = split(images, dims).flatten(1).T
        power = covariance.diagonal()
        bands = covariance + LEAST_SHARE * power.mean() * torch.eye(len(covariance)).to(covariance)
        coarse = len(bands) // 2**dims
        regression, root = _given_coarse(bands, 0 if number == levels - 1 else coarse)
        covariance = bands[:coarse, :coarse]
        log_det, coarse_sd = root.diagonal().log().sum(), power[:coarse].view(channels, -1).mean(1).sqrt()
        made.append(DenseLevel(regression, root, log_det.unsqueeze(0), coarse_sd.unsqueeze(0)))
    return made


def _given_coarse(bands: Tensor, coarse: int) -> tuple[Tensor | None, Tensor]:
    """Regression on the first ``coarse`` bands, if any, and the root of the covariance that it leaves.

    Args:
        bands: covariances, Hermitian, ``(…, K, K)``.
        coarse: number of bands that are given.
    """
    if not coarse:
        return None, torch.linalg.cholesky((bands + bands.mH) / 2)
    across = bands[..., :coarse, coarse:]
    regression = torch.linalg.solve(bands[..., :coarse, :coarse], across).mH
    left = bands[..., coarse:, coarse:] - regression @ across
    return regression, torch.linalg.cholesky((left + left.mH) / 2)


def _folded(spectrum: Tensor, dims: int) -> Tensor:
    """Covariance of the bands at each coarse frequency, ``(N, *coarse, K, K)``, of a spectrum."""
    responses = frequency_responses(spectrum.shape[-dims:], spectrum.dtype).to(spectrum.device)
    total = spectrum.new_zeros(())
    for choice in product((0, 1), repeat=dims):
        r, part = responses, spectrum
        for axis, which in zip(range(-dims, 0), choice, strict=True):
            r, part = (values.chunk(2, axis)[which] for values in (r, part))
        total = total + torch.einsum("a...,nij...,b...->naibj...", r, part, r.conj())
    return total.flatten(3, 4).flatten(1, 2).movedim((1, 2), (-2, -1))


def _times(size: int) -> Tensor:
    """How many of all frequencies of an axis each of its half stands for."""
    times = torch.full((size // 2 + 1,), 2.0)
    times[0] = 1
    if size % 2 == 0:
        times[-1] = 1
    return times


def _channels_first(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    return matrix.movedim((-2, -1), (1, 2)).to(dtype.to_complex()).contiguous()
