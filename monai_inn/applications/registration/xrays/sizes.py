"""An X-ray as it is, at several sizes, each with its detector: for registration without a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.xrays.contrast import bare_beam, line_integrals
from monai_inn.applications.registration.xrays.formats import Xray
from monai_inn.applications.registration.xrays.matching import area_weights, check_pixels, known_spacing
from monai_inn.applications.registration.xrays.reading import read_xray
from monai_inn.files import BadFileError

__all__ = ["detectors_like", "images_by_size", "left_out_of"]

_MOST_LEFT_OUT = 0.9
_DARKEST = 1e-3  # of the largest intensity: what no photon reaches is no darker


def images_by_size(
    xray: Xray,
    sizes: Sequence[int],
    *,
    source_detector_mm: float | None = None,
    source_isocentre_mm: float | None = None,
    contrast: str | None = None,
    unattenuated: float | None = None,
    scale: float | None = None,
    spacing_mm: float | tuple[float, float] | None = None,
    mirror: bool = False,
) -> tuple[list[tuple[Detector, Tensor]], list[str]]:
    """Return minus log intensity at each size, with its detector, and sentences about what was assumed.

    Args:
        xray: the image, see ``read_xray``.
        sizes: pixels along the longer side.
        source_detector_mm: distance from source to detector; that of the file, or 1020 mm.
        source_isocentre_mm: distance from source to isocentre; that of the file, or 5/6 of the former.
        contrast: see ``match_detector``, as the others.
        unattenuated: grey value where nothing is in the beam; only a start, for the exposure is fitted.
        scale: line integral of one grey value of an attenuation image.
        spacing_mm: distance of pixels on the detector; that of the file by default.
        mirror: whether to reverse the columns.

    Raises:
        ValueError: as ``match_detector``, or if the spacing is not known or the image smaller than a size.
    """
    check_pixels(xray)
    if (contrast or xray.contrast) is None and known_spacing(xray, spacing_mm)[0] is None:
        raise BadFileError(  # at once what a picture lacks, not one after the other
            f"{xray.source}: the file says neither whether bone is dark or bright nor how far its pixels are "
            "apart; give --contrast intensity (bone dark) or attenuation (bone bright), and --spacing, in mm "
            "on the detector."
        )
    if unattenuated is None and (contrast or xray.contrast) == "intensity":
        unattenuated = bare_beam(xray.values)
    image, notes = line_integrals(xray, contrast, unattenuated, scale)
    detectors, spacing, assumed = _seen_by(xray, sizes, source_detector_mm, source_isocentre_mm, spacing_mm)
    notes += assumed
    intensity = torch.exp(-(image.flip(-1) if mirror else image))
    if mirror:
        notes.append("Columns were reversed, as asked for.")
    found = []
    for detector in detectors:
        along, across = (
            area_weights(n, s, m, detector.spacing_mm)
            for n, s, m in zip(image.shape, spacing, (detector.rows, detector.columns), strict=True)
        )
        averaged = along @ intensity @ across.T
        found.append((detector, -averaged.clamp_min(_DARKEST * float(averaged.max())).log().float()))
    return found, notes


def _seen_by(
    xray: Xray,
    sizes: Sequence[int],
    source_detector_mm: float | None,
    source_isocentre_mm: float | None,
    spacing_mm: float | tuple[float, float] | None,
) -> tuple[list[Detector], tuple[float, float], list[str]]:
    """Detectors of each size for an X-ray, the distance of its pixels, and what was assumed."""
    told, notes = xray.geometry or {}, []
    known = source_detector_mm or told.get("source_detector_mm")
    distances = _distances(known, source_isocentre_mm or told.get("source_isocentre_mm"))
    if not known:
        notes.append(
            f"Source to detector: {distances[0]:g} mm, for the file does not say; --source-detector."
        )
    spacing, assumed = known_spacing(xray, spacing_mm)
    if spacing is None:
        raise BadFileError(
            f"{xray.source}: the distance of pixels is unknown; give --spacing, in mm on the detector."
        )
    rows, columns = xray.values.shape
    if max(rows, columns) < max(sizes):
        raise BadFileError(
            f"{xray.source}: has {rows} × {columns} pixels; {max(sizes)} along the longer side are needed."
        )
    detectors = _detectors(rows * spacing[0], columns * spacing[1], sizes, distances)
    return detectors, spacing, notes + assumed


def _distances(to_detector: float | None, to_isocentre: float | None) -> tuple[float, float]:
    """From source to detector and to isocentre; those of a usual C-arm where they are not known."""
    found = to_detector or 1020.0
    return found, to_isocentre or found * 850 / 1020


def left_out_of(path: str | PathLike[str], detector: Detector, mirror: bool = False) -> Tensor:
    """Return the share of each pixel that a mask leaves out, ``(rows, columns)``.

    Args:
        path: picture of the X-ray's shape, any size; what is not black in it is left out.
        detector: the pixels.
        mirror: whether the X-ray's columns are reversed, and the mask's with them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a picture, has another shape, or leaves out all but a tenth.
    """
    mask = (read_xray(path).values > 0).float()
    mask = mask.flip(-1) if mirror else mask
    rows, columns = mask.shape
    if abs(rows * detector.columns - columns * detector.rows) > max(rows, columns):
        raise BadFileError(
            f"{path}: a mask of {rows} × {columns} pixels is not of the X-ray's shape, "
            f"{detector.rows} × {detector.columns}; draw it on the X-ray."
        )
    across = [
        area_weights(n, 1 / n, m, 1 / m) for n, m in ((rows, detector.rows), (columns, detector.columns))
    ]
    share = across[0] @ mask.to(across[0]) @ across[1].T
    if float(share.mean()) > _MOST_LEFT_OUT:
        raise BadFileError(
            f"{path}: leaves out {float(share.mean()):.0%} of the X-ray; what is not black in a mask is left "
            "out, so perhaps it is inverted."
        )
    return share.clamp(0, 1).float()


def _detectors(
    height: float, width: float, sizes: Sequence[int], distances: tuple[float, float]
) -> list[Detector]:
    """Detectors of a height and a width in mm, with ``sizes`` pixels along the longer side."""
    found = []
    for size in sizes:
        pitch = max(height, width) / size
        rows, columns = (max(8, round(side / pitch)) for side in (height, width))
        found.append(Detector(rows, columns, pitch, *distances))
    return found


def detectors_like(
    xray: str | PathLike[str] | None,
    side_mm: float | None,
    sizes: Sequence[int],
    *,
    source_detector_mm: float | None = None,
    source_isocentre_mm: float | None = None,
    spacing_mm: float | None = None,
) -> list[Detector]:
    """Return detectors of each size for X-rays like one that is there, or of a square side.

    Args:
        xray: file of an X-ray.
        side_mm: side of the image on the detector, if there is no X-ray.
        sizes: pixels along the longer side.
        source_detector_mm: see ``images_by_size``, as the others.
        source_isocentre_mm: distance from source to isocentre.
        spacing_mm: distance of the X-ray's pixels on the detector.

    Raises:
        ValueError: as ``images_by_size``, or if neither or both of X-ray and side are given.
    """
    if (xray is None) == (side_mm is None):
        raise ValueError(
            "give an X-ray of the same C-arm (--like XRAY), or the side of its image (--side MM)."
        )
    if xray is not None:
        read = read_xray(xray)
        check_pixels(read)
        return _seen_by(read, sizes, source_detector_mm, source_isocentre_mm, spacing_mm)[0]
    if side_mm is None or not 20 <= side_mm <= 1000:
        raise ValueError(f"--side {side_mm:g}; an image of 20 to 1000 mm is expected.")
    return _detectors(side_mm, side_mm, sizes, _distances(source_detector_mm, source_isocentre_mm))
