"""Reading an X-ray of any supported format; of DICOM its pixels and their relationship to the beam.

Attributes are those of DICOM PS3.3: the X-Ray Image module of XA and RF (C.8.7) and the DX Image module
(C.8.11).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.applications.registration.xrays import formats as xray_formats
from monai_inn.applications.registration.xrays import headers
from monai_inn.applications.registration.xrays.formats import CONTRASTS, Xray, check_frame
from monai_inn.files import BadFileError, damage_named, require_file
from monai_inn.reading.dicom import frame_pixels, is_dicom
from monai_inn.reading.pictures import check_pixels, load_dicom

__all__ = ["CONTRASTS", "READABLE_XRAYS", "Xray", "read_dicom", "read_xray"]

_MODALITIES = ("XA", "RF", "CR", "DX", "DR", "RG", "OT", "")
# Share of pixels, in percent, that may be brighter than the beam in air: noise, markers, defects.
_OUTLIERS = 0.1


def read_dicom(path: Path, frame: int | None) -> Xray:
    """Read one frame of an XA, RF, CR or DX image.

    Args:
        path: the file.
        frame: number of the frame, counted from 1; may be None if there is only one.

    Raises:
        BadFileError: if it is damaged, compressed in a way that nothing here can read, no X-ray, coloured,
            or has several frames and ``frame`` does not say which.
        ImportError: if pydicom is missing.
    """
    if not is_dicom(path):
        raise BadFileError(
            f"{path}: is not a DICOM file, or is damaged; give the file the ending of its "
            "format, or copy it again."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = load_dicom(path)
        _check_kind(path, image)
        check_pixels(path, image)
        number = check_frame(path, int(image.get("NumberOfFrames") or 1), frame)
        header = headers.Header(image, number)
        stored = frame_pixels(path, image, number - 1)
        values, contrast, notes = _contrast(stored, header)
    spacing, spacing_notes = headers.read_spacing(header)
    geometry, geometry_notes = headers.read_geometry(header)
    notes += spacing_notes + geometry_notes + headers.read_remarks(header, stored)
    return Xray(
        str(path),
        torch.from_numpy(np.ascontiguousarray(values, np.float32)),
        spacing,
        contrast,
        geometry=geometry or None,
        notes=tuple(notes),
    )


def _check_kind(path: Path, image: Any) -> None:
    """Refuse what is not an X-ray in shades of grey."""
    modality = str(image.get("Modality") or "").upper()
    if modality not in _MODALITIES:
        raise BadFileError(
            f"{path}: a DICOM object of modality {modality}, expected an X-ray (XA, RF, CR or DX)."
        )
    if any(keyword not in image for keyword in ("Rows", "Columns", "PhotometricInterpretation", "PixelData")):
        raise BadFileError(
            f"{path}: a DICOM file without a whole image, damaged or truncated. Copy it again."
        )
    if image.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise BadFileError(
            f"{path}: photometric interpretation {image.PhotometricInterpretation}, expected MONOCHROME1 or "
            "MONOCHROME2. Export the X-ray in grey, without marks."
        )


def _contrast(stored: NDArray[Any], header: headers.Header) -> tuple[NDArray[Any], str | None, list[str]]:
    """Grey values, larger is more; which contrast they have; and what was assumed.

    The relationship to the beam is that of the stored numbers, whatever screens make of them. In XA and RF
    the modality look-up table leads back to what is linear in the beam; elsewhere it is a step of the
    display.
    """
    from pydicom.pixels.processing import apply_modality_lut

    image = header.image
    relation = str(header.get("PixelIntensityRelationship") or "").upper()
    sign = header.number_of("PixelIntensityRelationshipSign")
    is_inverted = image.PhotometricInterpretation == "MONOCHROME1"
    is_table = header.is_fluoroscopy and bool(image.get("ModalityLUTSequence"))
    if is_table and relation in ("LOG", "DISP", "LIN"):
        note = f"{relation} pixels were made linear in photons with the file's modality look-up table."
        return apply_modality_lut(stored, image), "intensity", [note]
    if relation in ("LIN", "LOG") and (sign or not is_inverted):
        rising = sign is None or sign > 0
        notes = [] if sign else [f"{relation} pixels without a sign: larger is taken as more photons."]
        if relation == "LIN":
            return stored if rising else float(_highest(header)) - stored, "intensity", notes
        return _from_logarithm(stored, rising), "attenuation", [*notes, _LOGARITHM]
    shown = np.asarray(apply_modality_lut(stored, image), np.float64)
    if is_inverted:
        shown = apply_modality_lut(np.array([_highest(header)]), image)[0] - shown
    known = f"says {relation}" if relation else "does not relate grey values to the beam"
    note = f"The file {known}, so whether bone is dark or bright must be given; values are as shown."
    return shown, None, [note]


_LOGARITHM = (
    f"LOG pixels have neither origin nor unit: the brightest {_OUTLIERS:g} % of the beam counts as "
    "unattenuated, and the scale must be given."
)


def _from_logarithm(stored: NDArray[Any], rising: bool) -> NDArray[Any]:
    """Numbers proportional to line integrals, 0 in air, of numbers linear in the logarithm of the beam."""
    falling = -stored.astype(np.float64) if rising else stored.astype(np.float64)
    return falling - np.percentile(falling, _OUTLIERS)


def _highest(header: headers.Header) -> int:
    """Largest number that the stored bits can hold."""
    return int(2 ** (int(header.image.BitsStored) - int(header.image.PixelRepresentation)) - 1)


_Reader = Callable[[Path, "int | None"], Xray]
_FORMATS: dict[str, tuple[_Reader, tuple[str, ...]]] = {
    "PNG": (xray_formats.read_picture, (".png",)),
    "JPEG": (xray_formats.read_picture, (".jpg", ".jpeg")),
    "TIFF": (xray_formats.read_tiff_xray, (".tif", ".tiff")),
    "NIfTI": (xray_formats.read_volume, (".nii", ".nii.gz")),
    "NRRD": (xray_formats.read_volume, (".nrrd", ".nhdr")),
    "MetaImage": (xray_formats.read_volume, (".mha", ".mhd")),
    "DICOM": (read_dicom, (".dcm", ".dicom")),
}
READABLE_XRAYS: tuple[str, ...] = tuple(ending for _, endings in _FORMATS.values() for ending in endings)
"""File name endings that ``read_xray`` takes; DICOM files are known by their content as well."""


def read_xray(path: str | PathLike[str], *, frame: int | None = None) -> Xray:
    """Read an X-ray of any supported format: PNG, JPEG, TIFF, NIfTI, NRRD, MetaImage or DICOM.

    Nothing is assumed of values here but which way is up; ``match_detector`` turns them into line integrals.

    Args:
        path: the file; DICOM files may have any ending.
        frame: number of the frame, slice or page, counted from 1; needed where there are several.

    Returns:
        Grey values in the order of a screen, float32, shape ``(rows, columns)``, with what the file says of
        spacing, contrast and geometry.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, empty, coloured, of unknown format, no X-ray, or has several
            frames and ``frame`` does not say which.
        ImportError: if the library for the format is missing.
    """
    source = Path(path)
    name = _format_of(source)
    advice = "the file is damaged, truncated or of another format. Copy it again."
    with damage_named(source, name, advice):
        return _FORMATS[name][0](source, frame)


def _format_of(path: Path) -> str:
    """Format by the file's ending, DICOM by its first bytes as well."""
    require_file(path, f"one X-ray ({', '.join(READABLE_XRAYS)})")
    if path.stat().st_size == 0:
        raise BadFileError(f"{path}: the file is empty (0 bytes). Copy it again.")
    lower = path.name.lower()
    for name, (_, endings) in _FORMATS.items():
        if lower.endswith(endings):
            return name
    if is_dicom(path):
        return "DICOM"
    raise BadFileError(
        f"{path}: unknown ending {path.suffix!r}, expected one of {', '.join(READABLE_XRAYS)}, or DICOM."
    )
