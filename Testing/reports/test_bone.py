"""The coarse bone that a registration leaves for 3-D views: right values in their right places."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch

from monai_inn.applications.registration.projection import AttenuationVolume
from monai_inn.applications.registration.results.files import write_bone

SIZE = 24, 20, 9
SLOPE = np.array([2e-4, -1e-4, 1.5e-4])  # 1/mm², along R, A and S
BYTE = (0.045 - 0.022) / 255


def volume(spacing):
    """A linear attenuation on turned and flipped axes: the mean of a block is its value in the middle."""
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * spacing, [5.0, -7.0, 9.0]
    at = np.moveaxis(np.indices(SIZE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    values = 0.033 + at @ SLOPE
    return AttenuationVolume(torch.from_numpy(values), torch.from_numpy(affine))


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [((1.0, 1.2, 2.5), (12, 10, 9)), ((0.6, 3.0, 0.2), (6, 20, 1)), ((4.0, 4.0, 4.0), SIZE)],
)
def test_blocks_of_voxels_keep_value_and_place(tmp_path, spacing, shape):
    write_bone(tmp_path / "bone.nii.gz", volume(spacing))
    image = nibabel.load(tmp_path / "bone.nii.gz")
    assert image.shape == shape
    assert image.get_data_dtype() == np.uint8
    at = np.moveaxis(np.indices(shape), 0, -1) @ image.affine[:3, :3].T + image.affine[:3, 3]
    wanted = (0.033 + at @ SLOPE).clip(0.022, 0.045)
    np.testing.assert_allclose(image.get_fdata(), wanted, atol=0.51 * BYTE)
