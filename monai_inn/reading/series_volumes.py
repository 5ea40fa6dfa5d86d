"""A volume that is a folder of DICOM files, as scanners and archives give it, read by ITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError
from monai_inn.reading.dicom import frame_grid, frames_of, series_headers
from monai_inn.reading.limits import check_limit, import_library

__all__ = ["load_series"]

_ADVICE = "convert it to NIfTI"
_SAME_PLACE_MM = 0.05
_BYTES = 8  # of a value, as ITK may hold it


def load_series(folder: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the values of a DICOM series, ``(I, J, K)`` and rescaled, and their affine to RAS in mm.

    MONAI's ``ITKReader`` reads it, which knows compressed files. Before, the headers are asked whether it is
    one series on a regular grid; after, whether ITK has put the slices where the headers say.

    Args:
        folder: folder with one series; files that are not DICOM are passed over.

    Raises:
        BadFileError: if it holds no series or several, is damaged, has a slice missing, or is too large.
        ImportError: if itk or pydicom is missing.
    """
    import_library("itk", folder, "itk")
    import_library("pydicom", folder, "itk")
    from monai.data.image_reader import ITKReader

    found = series_headers(folder)
    frames = [frame for path, image in found for frame in frames_of(path, image)]
    grid = frame_grid(folder, frames, _ADVICE)
    shape = int(found[0][1].Columns), int(found[0][1].Rows), int(grid.slices.max()) + 1
    if shape[2] != len(frames):
        raise BadFileError(
            f"{folder}: {len(frames)} images at {shape[2]} places, expected one at each; give a folder with "
            "one phase of one series."
        )
    check_limit(folder, _BYTES * int(np.prod(shape)))
    reader = ITKReader()
    try:
        values, meta = reader.get_data(reader.read(folder))
    except RuntimeError as error:  # ITK's own, of several lines
        raise BadFileError(
            f"{folder}: ITK cannot read the series; a file may be damaged. Copy it again, or {_ADVICE}."
        ) from error
    affine = np.asarray(meta["affine"], np.float64)
    expected = grid.ras
    ends = np.array([[0, 0, 0, 1], [*(n - 1 for n in shape), 1]], np.float64).T
    if values.shape != shape or np.abs((affine - expected) @ ends).max() > _SAME_PLACE_MM:
        raise BadFileError(f"{folder}: ITK puts the slices elsewhere than their headers do; {_ADVICE}.")
    return values, affine
