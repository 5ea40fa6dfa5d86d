"""The products of matrices by which radiographs are searched, against what they stand for."""

from __future__ import annotations

import math

import pytest
import torch

from monai_inn.applications.registration.poses.search import _correlation, _smoothed


def test_correlation_is_that_of_every_part():
    generator = torch.Generator().manual_seed(0)
    larger, image, window = (torch.rand(n, generator=generator) for n in ((3, 9, 11), (6, 5), (6, 5)))
    window[:2] = 0  # behind a blade
    found = _correlation(larger, image, window)
    assert found.shape == (3, 4, 7)
    parts = larger.unfold(1, 6, 1).unfold(2, 5, 1).flatten(3).double()
    weight = (window / window.sum()).flatten().double()
    own = image.flatten().double()
    own = own - (weight * own).sum()
    parts = parts - (weight * parts).sum(-1, keepdim=True)
    covariance = (weight * parts * own).sum(-1)
    expected = covariance / ((weight * parts.square()).sum(-1) * (weight * own.square()).sum()).sqrt()
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_nothing_correlates_with_an_empty_image():
    larger = torch.zeros(1, 8, 8)
    assert (_correlation(larger, torch.rand(5, 5), torch.ones(5, 5)) == 0).all()


@pytest.mark.parametrize("width", [0.35, 1.4, 3.0])
def test_blurs_are_those_of_scipy(width):
    from scipy.ndimage import gaussian_filter

    images = torch.rand(2, 12, 14, generator=torch.Generator().manual_seed(1))
    found = _smoothed(images, width)
    reach = min(math.ceil(3 * width), 11)
    for image, own in zip(images.double().numpy(), found, strict=True):
        expected = torch.from_numpy(gaussian_filter(image, width, mode="nearest", radius=reach))
        torch.testing.assert_close(own.double(), expected, atol=1e-6, rtol=0)
