"""Variations of training images: where things go, a blur against scipy's, and what another device changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from monai_inn.applications.classification.problem import LabelledImages
from monai_inn.applications.classification.variations import VARIANTS, as_by_another_device, blurred, moved


def images(*shape: int) -> torch.Tensor:
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("changes", "shape"), [("shift", (3, 5, 7, 2)), ("shift", (3, 4, 5, 6, 1)), ("turn", (3, 6, 6, 3))]
)
def test_variants_differ_and_keep_what_is_inside(changes, shape):
    given = images(*shape)
    found = [moved(given, changes, n) for n in range(VARIANTS[changes](len(shape) - 2))]
    assert torch.equal(found[0], given)
    assert len({variant.numpy().tobytes() for variant in found}) == len(found)
    if changes == "turn":  # the same pixels elsewhere
        for variant in found:
            assert torch.equal(variant.flatten(1, 2).sort(1).values, given.flatten(1, 2).sort(1).values)
    else:
        for number, variant in enumerate(found[1:]):
            axis, step = 1 + number // 2, 1 if number % 2 == 0 else -1
            inner = slice(1, shape[axis] - 1)
            rolled = given.roll(-step, axis)
            index = [slice(None)] * len(shape)
            index[axis] = inner
            assert torch.equal(variant[tuple(index)], rolled[tuple(index)])


@pytest.mark.parametrize("shape", [(4, 12, 9, 3), (4, 9, 8, 7, 1)])
def test_a_blur_is_that_of_scipy(shape):
    given, sd = images(*shape).double(), torch.tensor([0.0, 0.4, 0.8, 1.2], dtype=torch.float64)
    found = blurred(given, sd)
    assert torch.equal(found[0], given[0])
    for row in range(1, 4):
        width = (0, *[float(sd[row])] * (len(shape) - 2), 0)
        expected = gaussian_filter(given[row : row + 1].numpy(), width, mode="nearest", radius=3)
        np.testing.assert_allclose(found[row], expected[0], atol=1e-9)


def test_another_device_changes_contrast_brightness_sharpness_and_noise():
    n = 4000
    flat = torch.full((n, 6, 6, 1), 128.0)
    edge = flat.clone()
    edge[:, :3], edge[:, 3:] = 118.0, 138.0
    found = as_by_another_device(edge, torch.Generator().manual_seed(1))
    assert found.shape == edge.shape
    assert found.min() >= 0
    assert found.max() <= 255
    noise = as_by_another_device(flat, torch.Generator().manual_seed(1)).std((1, 2, 3))
    clear = noise < 1e-3
    assert abs(float(clear.float().mean()) - 0.5) < 4 * (0.25 / n) ** 0.5
    assert float(noise.quantile(0.99)) > 12
    # 2,000 factors whose logarithms have the standard deviation .35: median and 84th percentile, 4 sd.
    contrast = (found[clear, 5].mean((1, 2)) - found[clear, 0].mean((1, 2))) / 20
    assert abs(float(contrast.median()) - 1) < 0.04
    assert abs(float(contrast.quantile(0.84)) - np.exp(0.35)) < 0.07
    # Half of the images, and those with a blur below .307 pixels, keep 99 % of a step.
    step = (found[clear, 3, 0, 0] - found[clear, 2, 0, 0]) / contrast / 20
    assert abs(float((step > 0.99).float().mean()) - (0.5 + 0.5 * 0.307 / 1.2)) < 4 * (0.24 / 2000) ** 0.5


def test_noise_of_the_problem_has_other_devices_unless_told_otherwise():
    rows = images(40, 16 * 16)
    far = LabelledImages(other_devices=True).noise(rows, torch.Generator().manual_seed(3)) - rows
    near = LabelledImages(other_devices=False).noise(rows, torch.Generator().manual_seed(3)) - rows
    assert near.std() < 3
    assert far.std() > 10
    again = LabelledImages(other_devices=True).noise(rows, torch.Generator().manual_seed(3)) - rows
    assert torch.equal(far, again)
