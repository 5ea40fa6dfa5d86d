"""The Haar transform of images, and what its bands take of each frequency."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from monai_inn.networks.images import haar


@pytest.mark.parametrize("size", [(8, 12), (4, 6, 8)])
def test_bands_are_an_orthonormal_transform(size: tuple[int, ...]) -> None:
    image = torch.randn(3, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bands = haar.split(image, len(size))
    assert bands.shape == (3, 2 * 2 ** len(size), *(n // 2 for n in size))
    torch.testing.assert_close(haar.join(bands, len(size)), image)
    torch.testing.assert_close(bands.square().sum(), image.square().sum())


@pytest.mark.parametrize(("size", "pool"), [((8, 16), "avg_pool2d"), ((8, 8, 16), "avg_pool3d")])
def test_the_coarse_image_holds_the_means_of_blocks(size: tuple[int, ...], pool: str) -> None:
    image = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    means = getattr(torch.nn.functional, pool)(image, 4)
    torch.testing.assert_close(haar.coarse(image, len(size), 2), means * 2 ** len(size))


@pytest.mark.parametrize("size", [(8, 6), (4, 8, 6)])
def test_responses_are_those_of_the_bands(size: tuple[int, ...]) -> None:
    dims, axes = len(size), tuple(range(-len(size), 0))
    image = torch.randn(1, 1, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    values = torch.fft.fftn(image, dim=axes, norm="ortho")[0, 0]
    responses = haar.frequency_responses(size, torch.complex128)
    expected = torch.fft.fftn(haar.split(image, dims), dim=axes, norm="ortho")[0]
    found = torch.zeros_like(expected)
    for choice in product((0, 1), repeat=dims):
        there = tuple(slice(c * n // 2, (c + 1) * n // 2) for c, n in zip(choice, size, strict=True))
        found += responses[(slice(None), *there)] * values[there]
    torch.testing.assert_close(found, expected)
