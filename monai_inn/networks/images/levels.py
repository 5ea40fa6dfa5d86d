"""Gaussian density of images factorised over their Haar levels, one spectrum or one for each image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.networks.images.haar import frequency_responses, join, split

__all__ = ["LEAST_SHARE", "Level", "colour", "factorised", "of_unit_variance", "whiten"]

LEAST_SHARE = 1e-9
"""Of the mean power: keeps a frequency invertible that images do not have."""


class Level(NamedTuple):
    """Gaussian density of one level's details given the coarse image, frequency by frequency.

    Matrices act on channels and come for the half of the frequencies that ``torch.fft.rfftn`` returns. The
    first axis has one entry for each of ``N`` images, or a single one for all.

    Attributes:
        regression: of the details on the coarse image, ``(N, K, C, *half)``; ``None`` for the coarsest level,
            whose coarse image is among the ``K`` channels.
        root: lower-triangular root of the covariance that is left, ``(N, K, K, *half)``.
        log_det: logarithm of the determinant of ``root`` over all frequencies, ``(N,)``.
        coarse_sd: standard deviation of the coarse image's channels, ``(N, C)``.
    """

    regression: Tensor | None
    root: Tensor
    log_det: Tensor
    coarse_sd: Tensor


@torch.no_grad()
def factorised(spectrum: Tensor, levels: int) -> list[Level]:
    """Return the levels of Gaussian images, finest first.

    Args:
        spectrum: covariance of the channels at each frequency of a discrete Fourier transform of norm
            ``"ortho"``, complex, ``(N, C, C, *size)``.
        levels: number of Haar levels.
    """
    dtype, made = spectrum.real.dtype, []
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
        if number == levels - 1:
            regression, left = None, bands
        else:
            regression = torch.linalg.solve(bands[..., :c, :c], bands[..., :c, c:]).mH
            left = bands[..., c:, c:] - regression @ bands[..., :c, c:]
        root = torch.linalg.cholesky((left + left.mH) / 2)
        log_det = root.diagonal(dim1=-2, dim2=-1).real.log().sum(-1)
        log_det = (log_det * _times(last).to(log_det)).flatten(1).sum(1)
        coarse_sd = power[..., :c].mean(places).sqrt()
        stored = [None if m is None else _channels_first(m, dtype) for m in (regression, root)]
        made.append(Level(stored[0], stored[1], log_det.to(dtype), coarse_sd.to(dtype)))  # type: ignore[arg-type]
    return made


def whiten(levels: Sequence[Level], residual: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return white details of residuals, coarsest first.

    Args:
        levels: levels of ``N`` images, or of all, finest first.
        residual: images minus their mean, ``(S · N, C, *size)``; coarse images if ``levels`` are the coarser
            ones.

    Returns:
        White channels of each level, ``(S · N, K, *size / 2^level)``; the coarse image of each level but the
        coarsest, of unit variance, ``(S · N, C, …)``; the log-determinant, ``(N,)`` or ``(1,)``.
    """
    white, seen = [], []
    c, dims = residual.shape[1], residual.ndim - 2
    log_det = torch.zeros_like(levels[0].log_det)
    for level in levels:
        bands = split(residual, dims)
        residual, details = bands[:, :c], bands if level.regression is None else bands[:, c:]
        transformed = _transform(details)
        if level.regression is not None:
            transformed = transformed - _product(level.regression, _transform(residual))
            seen.append(of_unit_variance(level, residual))
        white.append(_back(_solve(level.root, transformed), details.shape))
        log_det = log_det - level.log_det
    return white[::-1], seen[::-1], log_det


def colour(level: Level, white: Tensor, coarse: Tensor | None) -> Tensor:
    """Return the residual, one level finer, of a level's white channels and its coarse image.

    Args:
        level: the level.
        white: shape ``(S · N, K, …)``.
        coarse: the residual's coarse image ``(S · N, C, …)``; ``None`` for the coarsest level.
    """
    dims = white.ndim - 2
    transformed = _product(level.root, _transform(white))
    if coarse is None or level.regression is None:
        return join(_back(transformed, white.shape), dims)
    transformed = transformed + _product(level.regression, _transform(coarse))
    return join(torch.cat([coarse, _back(transformed, white.shape)], 1), dims)


def of_unit_variance(level: Level, coarse: Tensor) -> Tensor:
    """Return a level's coarse image ``(S · N, C, …)`` with unit variance."""
    sd = level.coarse_sd.view(*level.coarse_sd.shape, *[1] * (coarse.ndim - 2))
    return (_by_image(coarse, len(sd)) / sd).flatten(0, 1)


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


def _transform(image: Tensor) -> Tensor:
    return torch.fft.rfftn(image, dim=tuple(range(2, image.ndim)), norm="ortho")


def _back(transformed: Tensor, shape: torch.Size) -> Tensor:
    axes = tuple(range(2, len(shape)))
    return torch.fft.irfftn(transformed, s=shape[2:], dim=axes, norm="ortho")


def _by_image(rows: Tensor, images: int) -> Tensor:
    """Rows ``(S · N, …)`` as ``(S, N, …)``, images fastest."""
    return rows.unflatten(0, (-1, images))


def _product(matrix: Tensor, transformed: Tensor) -> Tensor:
    rows = _by_image(transformed, len(matrix))
    return torch.einsum("nkj...,snj...->snk...", matrix.to(rows.dtype), rows).flatten(0, 1)


def _solve(root: Tensor, transformed: Tensor) -> Tensor:
    """Solve the lower-triangular system of each frequency."""
    rows: list[Tensor] = []
    by_image = _by_image(transformed, len(root))
    for k in range(root.shape[1]):
        value = by_image[:, :, k]
        for j, before in enumerate(rows):
            value = value - root[:, k, j] * before
        rows.append(value / root[:, k, k])
    return torch.stack(rows, 2).flatten(0, 1)
