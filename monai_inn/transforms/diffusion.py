"""Diffusion-weighted DICOM series: one image for each b-value, in whatever order their files lie.

Attributes are those of DICOM PS3.3, MR Diffusion (C.8.13.5.9), or what vendors have in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_inn.files import BadFileError
from monai_inn.reading.dicom import Frame, frame_grid, frames_of, series_headers
from monai_inn.reading.dicom_frames import frames_by_slice, number_of, series_values
from monai_inn.transforms.formats import StoredImage

__all__ = ["read_diffusion"]

_STANDARD = number_of("DiffusionBValue", "MRDiffusion")
_INSTANCE = number_of("InstanceNumber")
# Where Siemens, GE and Philips write it in classic images: group, private creator, element.
_PRIVATE = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
)
_GE_FLAG = 1e5  # GE adds a large multiple of it to some b-values
_PARTS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}


def read_diffusion(path: Path) -> StoredImage:
    """Read a series of diffusion-weighted DICOM images: one file a slice, or one file of all.

    Args:
        path: folder of the series, or its only file.

    Returns:
        Images ``(T, x, y, z)`` by ascending b-value, and ``b`` in s/mm² of each as a label. Images of the
        same b-value, as of several directions, follow one another as they were taken.

    Raises:
        BadFileError: if there is no series or more than one, a file is damaged, images do not form a grid,
            one of them does not say its b-value, or slices were not all taken at the same ones.
        ImportError: if pydicom is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of careless values that are read all the same
        found = series_headers(path)
        frames = [frame for file, image in found for frame in frames_of(file, image)]
        b = np.array([_b_value(path, frame) for frame in frames])
        _check_parts(path, found)
        grid = frame_grid(path, frames, "convert it to NIfTI")
        taken = np.array([_INSTANCE(frame) or 0 for frame in frames])
        number = np.array([frame.number for frame in frames])
        members = frames_by_slice(path, grid.slices)
        places = np.stack([k[np.lexsort((number[k], taken[k], b[k]))] for k in members], 1)
        differ = np.ptp(b[places], axis=1)
        if differ.any():
            of = b[places[differ.argmax()]]
            raise BadFileError(
                f"{path}: slices have different b-values, {of.min():g} and {of.max():g} s/mm² in one image; "
                "some are missing. Copy the whole series."
            )
        values = series_values(path, frames, places)
        return StoredImage(values, grid.ras, is_oriented=True, labels={"b": b[places[:, 0]].tolist()})


def _b_value(source: Path, frame: Frame) -> float:
    """The b-value of a frame in s/mm²."""
    stated = _STANDARD(frame), *(_private(frame.places[-1], *where) for where in _PRIVATE)
    b = next((value for value in stated if value is not None), None)
    if b is None:
        raise BadFileError(
            f"{source}: {frame.path.name} does not say its b-value (DiffusionBValue). Of DICOM only "
            "diffusion-weighted series are read here; convert others to NIfTI."
        )
    return b


def _private(image: Any, group: int, creator: str, element: int) -> float | None:
    """The first number of a vendor's attribute; ``None`` if it is missing."""
    try:
        value = image.private_block(group, creator)[element].value
    except KeyError:
        return None
    return float(value[0] if isinstance(value, Sequence) else value) % _GE_FLAG


def _check_parts(source: Path, found: list[tuple[Path, Any]]) -> None:
    """Refuse a series with phases beside magnitudes, which would pass for signals."""
    parts = {_PARTS[kind] for _, image in found for kind in image.get("ImageType") or () if kind in _PARTS}
    if parts - {"magnitude"}:
        raise BadFileError(
            f"{source}: holds {' and '.join(sorted(parts))} images, expected magnitudes; give a folder with "
            "those alone."
        )
