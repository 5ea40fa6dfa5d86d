"""Volumes of colors with an alpha for each voxel, which slice views draw in grades.

The alpha of a color table they only take as on or off.
"""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from .colors import HATCH_RGB
from .marks import matrix_of, place
from .run import Run

__all__ = ["graded", "hatch"]

_SOURCE = "INN.source"
_STRIPES, _LEAST_PERIOD = 64, 6  # across the longest side of an image; voxels
_TINT_RGB = (255, 255, 255)
_TINT_ALPHA, _STRIPE_ALPHA = 140, 255


def graded(
    run: Run, volume: slicer.vtkMRMLScalarVolumeNode, share: NDArray[np.floating], alpha: NDArray[np.floating]
) -> slicer.vtkMRMLVectorVolumeNode:
    """Return a map as colors with an alpha for each voxel.

    Args:
        run: whose map it is.
        volume: the map, with its color table; voxels without a value stay clear.
        share: position of each voxel on the color scale, 0 to 1, shape ``(K, J, I)``.
        alpha: 0 to 1, likewise.
    """
    table = vtk_to_numpy(volume.GetDisplayNode().GetColorNode().GetLookupTable().GetTable())[:, :3]
    rgba = np.empty((*share.shape, 4), np.uint8)
    rgba[..., :3] = table[(share * (len(table) - 1)).round().astype(int)]
    rgba[..., 3] = np.where(np.isfinite(slicer.util.arrayFromVolume(volume)), (255 * alpha).round(), 0)
    return _colors(run, "graded", rgba, volume)


def hatch(run: Run) -> slicer.vtkMRMLVectorVolumeNode | None:
    """Return tint and stripes over usable voxels that are out of distribution; nothing if there are none."""
    untrusted = run.untrusted() & run.usable()
    like = next((n for n in map(run.find, ("ood", "valid", "median")) if n is not None), None)
    if like is None or not untrusted.any():
        return None
    if (known := _made_from(run, like)) is not None:
        return known
    period = max(_LEAST_PERIOD, max(untrusted.shape) // _STRIPES)
    k, j, i = np.indices(untrusted.shape, dtype=np.int32)
    stripe = (i + j + k) % period < max(2, period // 4)
    rgba = np.zeros((*untrusted.shape, 4), np.uint8)
    rgba[..., :3] = np.where(stripe[..., None], HATCH_RGB, _TINT_RGB)
    rgba[..., 3] = np.where(untrusted, np.where(stripe, _STRIPE_ALPHA, _TINT_ALPHA), 0)
    node = _colors(run, "withheld", rgba, like)
    node.SetAttribute(_SOURCE, _version(like))
    return node


def _made_from(run: Run, like: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLVectorVolumeNode | None:
    """The stripes that were made from these voxels already: a slider must not wait for new ones."""
    node = run.find("withheld")
    is_current = node is not None and node.GetAttribute(_SOURCE) == _version(like)
    return node if is_current else None


def _version(volume: slicer.vtkMRMLVolumeNode) -> str:
    return f"{volume.GetID()} {volume.GetImageData().GetMTime()}"


def _colors(
    run: Run, kind: str, rgba: NDArray[np.uint8], like: slicer.vtkMRMLVolumeNode
) -> slicer.vtkMRMLVectorVolumeNode:
    node = run.node(kind, "", "vtkMRMLVectorVolumeNode")
    place(node, rgba, matrix_of(like), like)
    node.GetDisplayNode().InterpolateOff()  # stripes and voxels keep their edges
    return node
