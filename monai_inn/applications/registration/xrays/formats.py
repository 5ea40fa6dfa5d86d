"""Readers of X-rays from pictures and volumes: stored grey values, and what the file says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.files import BadFileError
from monai_inn.reading.limits import check_affine
from monai_inn.reading.pictures import load_tiff, open_picture
from monai_inn.transforms.formats import StoredImage, arrange_pages
from monai_inn.transforms.volumes import read_nifti, read_nrrd

__all__ = ["CONTRASTS", "Xray", "read_picture", "read_tiff_xray", "read_volume"]

CONTRASTS = ("intensity", "attenuation")

# What Pillow calls grey, and colour or palette. Other modes, as CMYK, never hold an X-ray.
_GREY_MODES = ("L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_COLOUR_MODES = ("LA", "RGB", "RGBA", "P", "PA", "1")


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


def read_picture(path: Path, frame: int | None) -> Xray:
    """Read a PNG or JPEG of 8 or 16 bits; grey values as stored, without any display curve removed.

    Raises:
        BadFileError: if it is coloured or has transparent pixels.
    """
    with open_picture(path) as image:
        check_frame(path, getattr(image, "n_frames", 1), frame)
        if image.mode in _COLOUR_MODES:
            image.load()
            array = np.moveaxis(np.asarray(image.convert("RGBA")), -1, 0)
        elif image.mode in _GREY_MODES:
            array = np.asarray(image)[None]
        else:
            raise BadFileError(f"{path}: colour mode {image.mode}, expected a grey image. Save it as grey.")
    note = "A picture says nothing of its contrast, spacing or geometry."
    if array.dtype.itemsize == 1:
        note += " It has 256 grey levels at most; a file of 16 bits keeps more of the X-ray."
    return _pack(path, grey(path, array), notes=(note,))


def read_tiff_xray(path: Path, frame: int | None) -> Xray:
    """Read a grey TIFF of integers or floating point; pages are frames.

    Raises:
        BadFileError: if it is coloured, or has several pages and ``frame`` does not say which.
    """
    pages = load_tiff(path)
    array = arrange_pages(path, pages).array
    if array.ndim != 3:
        raise BadFileError(f"{path}: axes of length {array.shape}, expected one image. Save a single page.")
    is_colour = len(array) in (3, 4) and pages.samples > 1
    number = check_frame(path, 1 if is_colour else len(array), frame)
    plane = grey(path, array) if is_colour else array[number - 1]
    note = "A TIFF says nothing of its contrast or geometry; its resolution is not used."
    return _pack(path, plane, is_scaled=array.dtype.kind == "f", notes=(note,))


def read_volume(path: Path, frame: int | None) -> Xray:
    """Read a NIfTI, NRRD or MetaImage of one slice, whose axes are columns, rows and slices.

    Raises:
        BadFileError: if it is coloured, or has several slices and ``frame`` does not say which.
    """
    is_nifti = path.name.lower().endswith((".nii", ".nii.gz"))
    stored = read_nifti(path) if is_nifti else read_nrrd(path)
    array = stored.array
    if array.ndim == 4 and 1 in (len(array), array.shape[3]):
        # Slices, or a series in time of one slice: either way frames.
        array = np.moveaxis(array[0], -1, 0) if len(array) == 1 else array[..., 0]
    if array.ndim != 3:
        raise BadFileError(f"{path}: {array.ndim - 1}-D with channels, expected (columns, rows).")
    is_vector = not is_nifti and len(stored.array) > 1
    number = check_frame(path, 1 if is_vector else len(array), frame)
    plane = (grey(path, array) if is_vector else array[number - 1]).T
    values = plane * stored.slope + stored.intercept if (stored.slope, stored.intercept) != (1, 0) else plane
    spacing = _spacing(path, stored)
    notes = ["Axes are taken as columns (to the right) and rows (down), whatever the affine."]
    if spacing:
        notes.append(f"Spacing of {describe(spacing)} mm is taken as that on the detector.")
    else:
        notes.append("The affine is the default of 1 mm, so the spacing counts as unknown.")
    return _pack(path, values, spacing_mm=spacing, is_scaled=values.dtype.kind == "f", notes=tuple(notes))


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


def grey(path: Path, channels: NDArray[Any]) -> NDArray[Any]:
    """Return the one grey image in equal colour channels ``(3 or 4, rows, columns)``, or a lone channel.

    Raises:
        BadFileError: if the channels differ, or the fourth, the opacity, is not the same everywhere.
    """
    colours, opacity = channels[:3], channels[3:]
    if (colours != colours[:1]).any():
        raise BadFileError(
            f"{path}: a colour image, expected an X-ray in grey. Save it as grey, without marks."
        )
    if opacity.size and opacity.min() != opacity.max():
        raise BadFileError(
            f"{path}: has transparent pixels, expected a whole X-ray. Save it without opacity."
        )
    return colours[0]


def describe(pair: tuple[float, float]) -> str:
    """Two lengths, height first, as messages show them."""
    return f"{pair[0]:.4g} × {pair[1]:.4g}"


def _pack(path: Path, values: NDArray[Any], **known: Any) -> Xray:
    """An X-ray of an array ``(rows, columns)`` of real numbers."""
    if values.dtype.kind not in "biuf":
        raise BadFileError(f"{path}: holds values of type {values.dtype}, expected real numbers.")
    if values.ndim != 2 or values.size == 0:
        raise BadFileError(f"{path}: shape {values.shape}, expected (rows, columns). Save a single X-ray.")
    return Xray(str(path), torch.from_numpy(np.ascontiguousarray(values, np.float32)), **known)
