"""From voxels in Slicer's order to an ITK image in its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
from numpy.typing import NDArray

__all__ = ["itk_image"]

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_image(array: NDArray[Any], matrix: NDArray[np.float64]) -> sitk.Image:
    """Return an image of voxels ``(K, J, I)``, or of vectors ``(K, J, I, C)``.

    Args:
        array: the voxels.
        matrix: index to RAS millimeters, ``(4, 4)``.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=array.ndim == 4)
    lps = _RAS_TO_LPS @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image
