"""Whether two images have the same voxels in the patient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_inn.reading.orientation import same_grid

SHAPE = 200, 160, 40
AFFINE = np.array([[0.0, -0.5, 0, 80], [0.7, 0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])


def turned(degrees):
    """The grid turned about its first voxel, which stays where it is."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    other = AFFINE.copy()
    other[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ AFFINE[:3, :3]
    return other


@pytest.mark.parametrize(("share", "is_same"), [(0.9, True), (1.1, False)])
def test_the_farthest_voxel_decides(share, is_same):
    """A turn by a small angle moves it by angle times distance, to one side more than to the other."""
    far = np.abs(AFFINE[:2, :2] @ [SHAPE[0] - 1, SHAPE[1] - 1]).max()
    assert same_grid(turned(np.degrees(share * 0.01 / far)), AFFINE, SHAPE) == is_same
    assert same_grid(turned(np.degrees(share * 0.01 / far)), AFFINE, (2, 2, 2)), "small images move less"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_counts_along_each_axis(axis):
    for shift, is_same in ((0.009, True), (-0.011, False)):
        other = AFFINE.copy()
        other[axis, 3] += shift
        assert same_grid(other, AFFINE, SHAPE) == is_same
        assert same_grid(torch.from_numpy(other), torch.from_numpy(AFFINE).float(), SHAPE) == is_same


def test_large_voxels_may_be_farther_apart_and_the_thickness_of_one_slice_does_not_count():
    other = 4 * AFFINE
    other[0, 3] += 0.019  # of voxels of 2 mm and more
    assert same_grid(other, 4 * AFFINE, SHAPE)
    thick = AFFINE.copy()
    thick[2, 2] = 5
    assert same_grid(thick, AFFINE, (200, 160, 1))
    assert not same_grid(thick, AFFINE, SHAPE)
    assert same_grid(thick, AFFINE, (200, 160)), "a picture has two axes"
