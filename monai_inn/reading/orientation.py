"""Where an image lies in the patient, and which way up a plane of it is drawn.

Radiologists look at a plane from the feet or the front; an image without a geometry is drawn as stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SliceView", "edge_letters", "places_patient", "same_grid", "slice_view", "stored_affine"]

# World axes of the screen (down, right) and their signs in LPS, by the axis across the plane, in LPS.
_SCREENS = {2: ((1, 1), (0, 1)), 1: ((2, -1), (0, 1)), 0: ((2, -1), (1, 1))}  # axial, coronal, sagittal
_SAME_MM = _SAME_VOXELS = 0.01
_THICK = 1.5  # times as thick as its pixels are wide, a slice is drawn as it was measured


class SliceView(NamedTuple):
    """How one plane of an image is drawn.

    Attributes:
        axes: axes of the array across the plane, down the screen and to the right.
        flips: which of them run against the index.
        pixel_mm: height and width of a pixel.
        letters: what lies at the left, right, top and bottom of the screen: R, L, A, P, S or I.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    pixel_mm: tuple[float, float]
    letters: str

    def plane(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the middle plane ``(rows, columns)`` of an array ``spatial`` of one to three axes."""
        array = values[None] if values.ndim == 1 else values
        array = array.reshape(*array.shape, *[1] * (3 - array.ndim)).transpose(self.axes)
        array = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return array[len(array) // 2]


def stored_affine(axes: int) -> NDArray[np.float64]:
    """Return the affine of an image without geometry: rows run down on screen, columns to the right.

    It is that of ITK's reading of a PNG; the determinant is +1. Indices are ``(row, column)`` or, of three
    ``axes``, ``(slice, row, column)``.
    """
    picture = np.array([[0.0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    return picture[:, [2, 0, 1, 3]] if axes == 3 else picture


def places_patient(affine: NDArray[np.float64]) -> bool:
    """Return whether an affine says how the patient lies.

    One that turns no axis and leaves one unshifted is what programs write that do not know.
    """
    turns = np.abs(affine[:3, :3]) > 1e-6 * np.abs(affine[:3, :3]).max()
    return bool(turns.sum() > 3 or (np.abs(affine[:3, 3]) > 1e-6).all())


def same_grid(affine: ArrayLike, wanted: ArrayLike, shape: Sequence[int]) -> bool:
    """Return whether two images of one shape have the same voxels in the patient.

    Their outermost voxels may be 0.01 mm or a hundredth of a voxel apart, which files round away.

    Args:
        affine: index to millimetres of one image, ``(4, 4)``.
        wanted: that of the other.
        shape: voxels along each axis.
    """
    ends = np.stack(np.meshgrid(*((0, n - 1) for n in shape), indexing="ij"), -1).reshape(-1, len(shape))
    one, other = (np.asarray(each, np.float64) for each in (affine, wanted))
    off = ends @ (one - other)[:3, : len(shape)].T + (one - other)[:3, 3]
    voxel = np.linalg.norm(other[:3, : len(shape)], axis=0).min()
    return bool(np.abs(off).max() <= max(_SAME_MM, _SAME_VOXELS * voxel))


def slice_view(shape: tuple[int, ...], affine: NDArray[np.float64] | None = None) -> SliceView:
    """Return how the plane of an image is drawn that people look at first.

    It is the axial one, the patient's right on the left and the front on top, unless slices are thick along
    another axis, or there is only one. How the file orders its axes makes no difference.

    Args:
        shape: of the image, ``spatial``, one to three axes.
        affine: index to RAS millimetres, ``(4, 4)``, or ``(3, 3)`` of two axes; as stored by default.
    """
    to_ras = stored_affine(len(shape)) if affine is None else affine
    if to_ras.shape == (3, 3):
        to_ras = np.insert(np.insert(to_ras, 2, 0, 0), 2, (0, 0, 1, 0), 1)
    sizes = (1, *shape) if len(shape) == 1 else (*shape, 1)[:3]
    mm = np.linalg.norm(to_ras[:3, :3], axis=0)
    cosines = np.array([[-1.0], [-1.0], [1.0]]) * to_ras[:3, :3] / mm  # LPS
    # The axis of the array that runs most along each axis of the patient.
    own = max(permutations(range(3)), key=lambda order: sum(abs(cosines[w, a]) for w, a in enumerate(order)))
    flat = [w for w in (2, 1, 0) if (*sizes, 1)[own[w]] == 1]
    thickness = {w: mm[own[w]] * (_THICK if w == 2 else 1.0) for w in (2, 1, 0)}
    across = flat[0] if flat else max(thickness, key=thickness.__getitem__)
    down, right = _SCREENS[across]
    along = ((across, 1), down, right)
    to_right, to_down = (np.eye(3)[w] * sign * (-1, -1, 1) for w, sign in (right, down))
    return SliceView(
        tuple(own[w] for w, _ in along),
        tuple(bool(cosines[w, own[w]] * sign < 0) for w, sign in along),
        (float(mm[own[down[0]]]), float(mm[own[right[0]]])),
        edge_letters(to_right, to_down),
    )


def edge_letters(right: NDArray[np.float64], down: NDArray[np.float64]) -> str:
    """Return what lies at the left, right, top and bottom of a view, of its directions in RAS."""

    def letter(direction: NDArray[np.float64]) -> str:
        axis = int(np.abs(direction).argmax())
        return ("LR", "PA", "IS")[axis][int(direction[axis] > 0)]

    return letter(-right) + letter(right) + letter(-down) + letter(down)
