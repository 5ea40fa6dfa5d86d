"""Where DICOM objects lie: how map axes become rows and columns, and the series that an image came from."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError
from monai_inn.reading.dicom import frame_grid, frames_of, series_headers
from monai_inn.reading.orientation import same_grid
from monai_inn.reading.volumes import LPS_TO_RAS

__all__ = ["Layout", "Source", "fit_layout", "read_source", "upright_layout"]

Matrix = NDArray[np.float64]

# May be empty in a file, or absent from files of careless devices; new objects must have them.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_OTHERWISE = "export without --source"


@dataclass(frozen=True)
class Layout:
    """How the axes ``(i, j, k)`` of maps become slices, rows and columns.

    Args:
        axes: the map axes that become slice, row and column.
        flips: which of these run backwards.
        affine: ``(slice, row, column)`` to LPS millimetres, shape ``(4, 4)``.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    affine: Matrix

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """A map ``(i, j, k, ...)`` as ``(slice, row, column, ...)``."""
        turned = array.transpose(*self.axes, *range(3, array.ndim))
        return np.ascontiguousarray(turned[tuple(slice(None, None, -1 if f else 1) for f in self.flips)])


@dataclass(frozen=True)
class Source:
    """Images that objects refer to, and their grid.

    Args:
        images: datasets, one for each instance; pixels are not needed.
        affine: ``(slice, row, column)`` to LPS millimetres, shape ``(4, 4)``.
        shape: slices, rows, columns.
        name: what messages call it.
    """

    images: tuple[Any, ...]
    affine: Matrix
    shape: tuple[int, int, int]
    name: str


def upright_layout(affine_ras: Matrix, shape: tuple[int, ...]) -> Layout:
    """Return the layout in which pictures stand upright as radiologists are used to, without resampling.

    The axis that runs most to left or right, else front or back, becomes columns. Columns run to the left or
    the back of the patient, rows to the back or the feet.

    Args:
        affine_ras: index ``(i, j, k)`` to RAS millimetres.
        shape: size of the maps.
    """
    affine = LPS_TO_RAS @ affine_ras
    along = [int(np.abs(affine[:3, a]).argmax()) for a in range(2)]
    axes = (2, 0, 1) if along[1] < along[0] else (2, 1, 0)
    flips = [False]
    for axis in axes[1:]:
        wanted = -1.0 if along[axis] == 2 else 1.0
        flips.append(bool(affine[along[axis], axis] * wanted < 0))
    return _layout(affine, shape, axes, tuple(flips))


def _layout(affine: Matrix, shape: tuple[int, ...], axes: tuple[int, ...], flips: tuple[bool, ...]) -> Layout:
    turned = affine.copy()
    for target, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        turned[:3, target] = -affine[:3, axis] if flip else affine[:3, axis]
        if flip:
            turned[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
    return Layout(axes, flips, turned)


def fit_layout(affine_ras: Matrix, shape: tuple[int, ...], source: Source) -> Layout:
    """Return the layout that puts maps on the grid of a series, pixel onto pixel.

    Args:
        affine_ras: index ``(i, j, k)`` to RAS millimetres.
        shape: size of the maps.
        source: the series.

    Raises:
        ValueError: if no turning or mirroring of the maps puts them there.
    """
    affine = LPS_TO_RAS @ affine_ras
    if shape[2] == 1 and source.shape[0] == 1:  # the thickness of a single slice is anybody's guess
        affine[:3, 2] = source.affine[:3, 0]
    steps = np.linalg.inv(source.affine)[:3, :3] @ affine[:3, :3]
    axes = tuple(int(a) for a in np.abs(steps).argmax(1))
    if sorted(axes) == [0, 1, 2] and tuple(shape[a] for a in axes) == source.shape:
        layout = _layout(affine, shape, axes, tuple(bool(steps[t, a] < 0) for t, a in enumerate(axes)))
        if same_grid(layout.affine, source.affine, source.shape):
            return Layout(layout.axes, layout.flips, source.affine)
    raise ValueError(
        f"{source.name}: the series lies elsewhere than the maps: {_grid(source.affine, source.shape)}, but "
        f"maps of {_grid(affine, shape)}; give the series that the image was made of, and infer without "
        "--shrink."
    )


def _grid(affine: Matrix, shape: tuple[int, ...]) -> str:
    spacing = " × ".join(f"{s:.4g}" for s in np.linalg.norm(affine[:3, :3], axis=0))
    origin = ", ".join(f"{x:.4g}" for x in affine[:3, 3])
    return f"{' × '.join(map(str, shape))} pixels of {spacing} mm at LPS ({origin}) mm"


def read_source(folder: str | PathLike[str]) -> Source:
    """Read the headers of a DICOM series; several bands at one place and multi-frame files are welcome.

    Raises:
        ValueError: if the folder holds no DICOM image, several series, or slices without a regular grid.
        OSError: if it cannot be read.
    """
    try:
        return _read_source(folder)
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:  # attributes are decoded, and found damaged, when they are first used
        raise BadFileError(
            f"{folder}: damaged DICOM files ({type(error).__name__}); copy them again."
        ) from error


def _read_source(folder: str | PathLike[str]) -> Source:
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder; give the folder of the DICOM series.")
    found = series_headers(folder)
    images = tuple(image for _, image in found)
    if any("FrameOfReferenceUID" not in image for image in images):
        raise ValueError(
            f"{folder}: the series has no frame of reference, so nothing can be placed in it; {_OTHERWISE}."
        )
    sizes = {(int(image.Rows), int(image.Columns)) for image in images}
    if len(sizes) > 1:
        raise ValueError(
            f"{folder}: images of different size, {sorted(sizes)}; give a folder with one series."
        )
    for image in images:
        for keyword in _MAY_BE_EMPTY:
            if keyword not in image:
                setattr(image, keyword, None)
    grid = frame_grid(
        folder, [frame for path, image in found for frame in frames_of(path, image)], _OTHERWISE
    )
    return Source(images, grid.affine, (int(grid.slices.max()) + 1, *sizes.pop()), str(folder))
