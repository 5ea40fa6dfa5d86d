"""The Haar transform of images and volumes, one level at a time, and what it does to each frequency.

A level halves every axis. Its bands come first: the coarse image, ``2^{d/2}`` times the mean of each block of
``2^d`` pixels, then the ``2^d − 1`` details. The transform is orthonormal, so that its log-determinant is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

__all__ = ["coarse", "frequency_responses", "join", "split"]


def split(image: Tensor, dims: int) -> Tensor:
    """Return the bands ``(…, 2^d · C, *spatial / 2)`` of images ``(…, C, *spatial)``, coarse first.

    Args:
        image: values; every spatial size is even.
        dims: number ``d`` of spatial axes.
    """
    bands = [image]
    for axis in range(-dims, 0):
        halves = []
        for band in bands:
            even, odd = (band.unflatten(axis, (-1, 2)).select(axis, i) for i in (0, 1))
            halves.append(((even + odd) * math.sqrt(0.5), (even - odd) * math.sqrt(0.5)))
        bands = [band for pair in halves for band in pair]
    return torch.cat(bands, -dims - 1)


def join(bands: Tensor, dims: int) -> Tensor:
    """Return the images whose bands these are; undoes ``split``."""
    parts = list(bands.chunk(2**dims, -dims - 1))
    for axis in range(-1, -dims - 1, -1):
        joined = []
        for low, high in zip(parts[::2], parts[1::2], strict=True):
            pair = torch.stack([low + high, low - high], axis) * math.sqrt(0.5)
            joined.append(pair.flatten(axis - 1, axis))
        parts = joined
    return parts[0]


def coarse(image: Tensor, dims: int, levels: int) -> Tensor:
    """Return the coarse image of some levels, ``2^{levels · d/2}`` times the means of blocks."""
    for _ in range(levels):
        image = split(image, dims).narrow(-dims - 1, 0, image.shape[-dims - 1])
    return image


def frequency_responses(sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return what each band takes of each frequency of an image, complex, ``(2^d, *sizes)``.

    With discrete Fourier transforms of norm ``"ortho"``, band ``i`` at frequency ``κ`` is the sum of response
    ``i`` times the image's transform over the ``2^d`` frequencies that ``κ`` stands for, ``κ`` plus 0 or half
    of the size along each axis.
    """
    along = []
    for size in sizes:
        turn = torch.exp(2j * math.pi * torch.arange(size, dtype=torch.float64) / size)
        along.append((0.5 * (1 + turn), 0.5 * (1 - turn)))
    responses = []
    for choice in product((0, 1), repeat=len(sizes)):
        response = torch.ones((), dtype=torch.complex128)
        for axis, which in zip(along, choice, strict=True):
            response = response.unsqueeze(-1) * axis[which]
        responses.append(response)
    return torch.stack(responses).to(dtype)
