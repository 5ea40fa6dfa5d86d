"""X-rays in pictures and volumes: stored grey values, and what the file says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_inn.files import BadFileError
from monai_inn.reading.limits import check_affine
from monai_inn.transforms.formats import StoredImage
from monai_inn.transforms.planes import read_planes

__all__ = ["CONTRASTS", "Xray", "check_frame", "describe", "read_stored"]

CONTRASTS = ("intensity", "attenuation")

_PICTURES = ("PNG", "JPEG")


@dataclass(frozen=True, eq=False)
class Xray:
    """An X-ray as it lies in a file.

    Args:
        source: name of the file, for messages.
        values: grey values, float32, shape ``(rows, columns)``; the first row is the top, the first column
            the left of the image on a screen. Larger is brighter, where the file says which way screens
            show it; where ``contrast`` is known, larger means more of it.
        spacing_mm: distance of rows and of columns on the detector; None if unknown.
        contrast: ``"intensity"`` if bone is dark and values are linear in photons, ``"attenuation"`` if bone
            is bright and values are linear in line integrals; None if the file does not say.
        is_scaled: whether values are numbers with a meaning of their own, as in files of floating point;
            integers are grey values of arbitrary scale.
        geometry: what a DICOM file says of the C-arm, any of ``lao_deg`` (positive to the patient's left),
            ``cra_deg`` (positive to the head), ``source_detector_mm``, ``source_isocentre_mm`` and
            ``imager_spacing_mm`` (rows, columns); None if nothing.
        notes: sentences about what was assumed in reading.
    """

    source: str
    values: Tensor
    spacing_mm: tuple[float, float] | None = None
    contrast: str | None = None
    is_scaled: bool = False
    geometry: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def read_stored(path: Path, kind: str, frame: int | None) -> Xray:
    """Read an X-ray of any format but DICOM; a volume has one slice, or ``frame`` says which.

    Raises:
        BadFileError: if it is coloured, has transparent pixels, or has several frames and ``frame`` does not
            say which.
    """
    planes = read_planes(path, kind)
    values = planes.values(check_frame(path, len(planes), frame) - 1)
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    if kind in _PICTURES:
        note = "A picture says nothing of its contrast, spacing or geometry."
        if values.dtype.itemsize == 1:
            note += " It has 256 grey levels at most; a file of 16 bits keeps more of the X-ray."
        return Xray(str(path), tensor, notes=(note,))
    is_scaled = values.dtype.kind == "f"
    if planes.stored is None:
        note = "A TIFF says nothing of its contrast or geometry; its resolution is not used."
        return Xray(str(path), tensor, is_scaled=is_scaled, notes=(note,))
    spacing = _spacing(path, planes.stored)
    notes = ["Axes are taken as columns (to the right) and rows (down), whatever the affine."]
    if spacing:
        notes.append(f"Spacing of {describe(spacing)} mm is taken as that on the detector.")
    else:
        notes.append("The affine is the default of 1 mm, so the spacing counts as unknown.")
    return Xray(str(path), tensor, spacing_mm=spacing, is_scaled=is_scaled, notes=tuple(notes))


def _spacing(path: Path, stored: StoredImage) -> tuple[float, float] | None:
    """Distance of rows and columns; None for the affine that libraries write when they are given none."""
    in_plane = np.abs(stored.affine[:3, [0, 1, 3]])
    if np.array_equal(in_plane, np.diag([1.0, 1.0, 0.0])):
        return None
    check_affine(path, stored.affine, axes=2)
    columns, rows = np.linalg.norm(stored.affine[:3, :2], axis=0)
    return float(rows), float(columns)


def check_frame(path: Path, count: int, frame: int | None) -> int:
    """Return the number of the frame to read, counted from 1.

    Raises:
        BadFileError: if there are several frames and none is asked for, or there is none of that number.
    """
    if frame is None and count != 1:
        raise BadFileError(
            f"{path}: holds {count} frames, expected one X-ray; choose it with --frame 1 … {count}."
        )
    number = 1 if frame is None else frame
    if not 1 <= number <= count:
        raise BadFileError(f"{path}: no frame {number}; it has {count}, counted from 1.")
    return number


def describe(pair: tuple[float, float]) -> str:
    """Two lengths, height first, as messages show them."""
    return f"{pair[0]:.4g} × {pair[1]:.4g}"
