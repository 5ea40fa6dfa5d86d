"""What the header of a DICOM X-ray says of spacing, C-arm and processing.

Attributes are those of DICOM PS3.3: the X-Ray Acquisition and XA Positioner modules (C.8.7), the DX modules
(C.8.11) and the functional groups of enhanced XA (C.8.19).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from monai_inn.applications.registration.xrays.formats import describe

__all__ = ["Header", "read_geometry", "read_remarks", "read_spacing"]


class Header:
    """Attributes of one frame: of the image itself, else of its functional groups, as enhanced images have.

    Args:
        image: the dataset.
        number: the frame, counted from 1.
    """

    def __init__(self, image: Any, number: int) -> None:
        self.image, self.number = image, number
        self.modality = str(image.get("Modality") or "").upper()

    @property
    def is_fluoroscopy(self) -> bool:
        """Whether the modules of XA and RF images apply."""
        return self.modality in ("XA", "RF")

    def get(self, keyword: str) -> Any:
        """Value of an attribute; None if it is absent or empty."""
        for place in self._places():
            value = place.get(keyword)
            if value is not None and value != "" and not (hasattr(value, "__len__") and len(value) == 0):
                return value
        return None

    def number_of(self, keyword: str) -> float | None:
        """A finite number, or None."""
        value = self.get(keyword)
        return float(value) if value is not None and math.isfinite(float(value)) else None

    def pair(self, keyword: str) -> tuple[float, float] | None:
        """Two positive numbers, or None."""
        value = self.get(keyword)
        if (
            not isinstance(value, Sequence)
            or len(value) != 2
            or not all(0 < float(v) < math.inf for v in value)
        ):
            return None
        return float(value[0]), float(value[1])

    def _places(self) -> Iterator[Any]:
        yield self.image
        own = self.image.get("PerFrameFunctionalGroupsSequence") or []
        shared = self.image.get("SharedFunctionalGroupsSequence") or []
        for group in [*own[self.number - 1 : self.number], *shared[:1]]:
            for element in group:
                if element.VR == "SQ":
                    yield from element.value[:1]


def read_spacing(header: Header) -> tuple[tuple[float, float] | None, list[str]]:
    """Distance of rows and columns on the detector, and what was assumed."""
    for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = header.pair(keyword)
        if spacing:
            return spacing, []
    spacing = header.pair("PixelSpacing")
    if spacing is None:
        return None, ["No pixel spacing in the file."]
    if header.get("PixelSpacingCalibrationType") is None:
        return spacing, [f"Pixel spacing of {describe(spacing)} mm is taken as that on the detector."]
    factor = _magnification(header)
    if factor is None:
        return None, [
            "Pixel spacing is in the patient and the magnification unknown: spacing counts as unknown."
        ]
    on_detector = (spacing[0] * factor, spacing[1] * factor)
    return on_detector, [
        f"Spacing on the detector is that in the patient times a magnification of {factor:.4g}."
    ]


def _magnification(header: Header) -> float | None:
    """Size on the detector over size in the patient."""
    factor = header.number_of("EstimatedRadiographicMagnificationFactor")
    detector = header.number_of("DistanceSourceToDetector")
    patient = header.number_of("DistanceSourceToPatient")
    if not factor and detector and patient:
        factor = detector / patient
    return factor if factor and factor >= 1 else None


def read_geometry(header: Header) -> tuple[dict[str, Any], list[str]]:
    """What the file says of the C-arm, and what it does not.

    Angles are of the first frame where the C-arm turns in the course of a sequence. The distance from the
    source to the patient is that to the isocentre in XA and RF only; in DX it ends at the table.
    """
    found: dict[str, Any] = {}
    turns = header.get("PositionerMotion") == "DYNAMIC" and header.number > 1
    if not turns:
        found["lao_deg"] = header.number_of("PositionerPrimaryAngle")
        found["cra_deg"] = header.number_of("PositionerSecondaryAngle")
    found["source_detector_mm"] = header.number_of("DistanceSourceToDetector") or None
    isocentre = header.number_of("DistanceSourceToIsocenter")
    if not isocentre and header.is_fluoroscopy:
        isocentre = header.number_of("DistanceSourceToPatient")
    found["source_isocentre_mm"] = isocentre or None
    found["imager_spacing_mm"] = header.pair("ImagerPixelSpacing")
    notes = (
        ["The C-arm turns and the angles are those of the first frame: they are left out."] if turns else []
    )
    missing = [
        _NAMES[key] for key in _NAMES if found.get(key) is None and not (turns and key.endswith("_deg"))
    ]
    if missing:
        notes.append(f"No {', '.join(missing)} in the file; nothing of it can be checked.")
    return {key: value for key, value in found.items() if value is not None}, notes


_NAMES = {
    "lao_deg": "LAO/RAO angle",
    "cra_deg": "CRA/CAU angle",
    "source_detector_mm": "distance from source to detector",
    "source_isocentre_mm": "distance from source to isocentre",
}


def read_remarks(header: Header, stored: NDArray[Any]) -> list[str]:
    """What the file says of how it was processed."""
    notes = []
    if header.get("PresentationIntentType") == "FOR PRESENTATION":
        notes.append(
            "Processed for presentation, so grey values may not be linear in photons or attenuation."
        )
    if (
        header.get("FieldOfViewHorizontalFlip") == "YES"
        or (header.number_of("FieldOfViewRotation") or 0) % 360
    ):
        notes.append(
            "The file says that the image was mirrored or turned; check that it is the bundle's view."
        )
    padding = header.get("PixelPaddingValue")
    if padding is not None and isinstance(padding, int):
        share = float((stored == padding).mean())
        if share:
            notes.append(f"{share:.1%} of the pixels are padding; they count as if they were measured.")
    return notes
