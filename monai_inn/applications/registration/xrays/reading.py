"""Reading an X-ray of any supported format; of DICOM its pixels and their relationship to the beam.

Attributes are those of DICOM PS3.3: the X-Ray Image module of XA and RF (C.8.7) and the DX Image module
(C.8.11).
"""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.applications.registration.xrays import headers
from monai_inn.applications.registration.xrays.formats import CONTRASTS, Xray, check_frame, read_stored
from monai_inn.files import BadFileError, damage_named
from monai_inn.reading.dicom import frame_pixels
from monai_inn.reading.grey_dicom import check_grey, highest_stored, load_image
from monai_inn.transforms.planes import READABLE_PLANES, format_of_plane

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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = load_image(path)
        _check_modality(path, image)
        check_grey(path, image)
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


def _check_modality(path: Path, image: Any) -> None:
    modality = " ".join(str(image.get("Modality") or "").upper().split())
    if modality not in _MODALITIES:
        raise BadFileError(
            f"{path}: a DICOM object of modality {modality}, expected an X-ray (XA, RF, CR or DX)."
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
            return stored if rising else float(highest_stored(header.image)) - stored, "intensity", notes
        return _from_logarithm(stored, rising), "attenuation", [*notes, _LOGARITHM]
    shown = np.asarray(apply_modality_lut(stored, image), np.float64)
    if is_inverted:
        shown = apply_modality_lut(np.array([highest_stored(header.image)]), image)[0] - shown
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


READABLE_XRAYS = READABLE_PLANES
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
    kind = format_of_plane(source, "one X-ray")
    advice = "the file is damaged, truncated or of another format. Copy it again."
    with damage_named(source, kind, advice):
        return read_dicom(source, frame) if kind == "DICOM" else read_stored(source, kind, frame)
