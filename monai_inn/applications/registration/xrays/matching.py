"""From an X-ray of any device to the observation that a bundle's detector would have made."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.xrays.contrast import line_integrals
from monai_inn.applications.registration.xrays.formats import Xray, describe
from monai_inn.files import BadFileError

__all__ = ["area_weights", "check_pixels", "known_spacing", "match_detector"]

# Calibrations of X-ray systems agree to about a percent; beyond, poses would be off by millimetres.
_TOLERANCE = 0.02
# Line integrals relative to the bundle's brightest; outside, contrast or scale are more likely wrong.
_USUAL_BRIGHTEST = (0.2, 3.0)
# What rounding makes of an observation that is the same everywhere.
_NOTHING = 1e-6


def match_detector(
    xray: Xray,
    detector: Detector,
    brightest: float,
    *,
    contrast: str | None = None,
    unattenuated: float | None = None,
    scale: float | None = None,
    spacing_mm: float | tuple[float, float] | None = None,
    mirror: bool = False,
) -> tuple[Tensor, list[str]]:
    """Turn an X-ray into the observation that a registration problem's detector would have made.

    Grey values become line integrals, these are averaged over the area of each of the detector's pixels,
    about the centre of the image, and divided by ``brightest``. An image whose contrast is given wrongly
    gives an observation all the same: nothing in a single X-ray tells for certain. Such an image is unlike
    anything that the bundle was trained on, and finding that is the purpose of its trust score.

    Args:
        xray: the image, see ``read_xray``.
        detector: image size and distances that the bundle was trained for.
        brightest: line integral that counts as 1, see ``PoseRegistration``.
        contrast: ``"intensity"`` if bone is dark, ``"attenuation"`` if it is bright; by default what the file
            says.
        unattenuated: grey value where nothing is in the beam. By default the 99.9th percentile of an
            intensity image, so that air must be in it, and 0 of an attenuation image.
        scale: line integral of one grey value of an attenuation image; 1 by default if the file is of
            floating point, needed if it holds integers.
        spacing_mm: distance of pixels, or of rows and of columns, on the detector; by default that of the
            file.
        mirror: whether to reverse the columns, for images shown from the other side of the patient.

    Returns:
        Observation of shape ``(detector.rows * detector.columns,)``, float32, and sentences about what was
        assumed, those of reading not included.

    Raises:
        ValueError: if the contrast or scale is unknown, the image has values that are not finite or is the
            same everywhere, its field of view is unknown or smaller than the detector's, or the distance from
            source to detector differs from the bundle's by more than 2 %.
    """
    if not 0 < brightest < math.inf:
        raise ValueError(
            f"brightest = {brightest}, expected a positive line integral; take the problem's own."
        )
    check_pixels(xray)
    notes = _check_distances(xray, detector)
    image, made = line_integrals(xray, contrast, unattenuated, scale)
    notes += made
    spacing, assumed = _known_spacing(xray, detector, spacing_mm)
    notes += assumed + _check_field(xray, detector, spacing)
    rows = area_weights(image.shape[0], spacing[0], detector.rows, detector.spacing_mm)
    columns = area_weights(image.shape[1], spacing[1], detector.columns, detector.spacing_mm)
    observed = rows @ image @ columns.T / brightest
    if mirror:
        observed = observed.flip(-1)
        notes.append("Columns were reversed, as asked for.")
    return _checked(xray, observed.flatten().float(), notes), notes


def check_pixels(xray: Xray) -> None:
    """Refuse images in which nothing can be found."""
    bad = float((~torch.isfinite(xray.values)).double().mean())
    if bad:
        raise BadFileError(
            f"{xray.source}: {bad:.2%} of the pixels are NaN or infinite, expected finite grey values; "
            "fill or crop them."
        )
    low, high = xray.values.min(), xray.values.max()
    if low == high:
        raise BadFileError(
            f"{xray.source}: every pixel is {float(low):g}, the image is empty; export the X-ray again."
        )


def _check_distances(xray: Xray, detector: Detector) -> list[str]:
    """Compare the C-arm of the file with the bundle's: the detector must agree, the isocentre is noted."""
    geometry = xray.geometry or {}
    given, expected = geometry.get("source_detector_mm"), detector.source_detector_mm
    if detector.beam == "cone" and given and abs(given / expected - 1) > _TOLERANCE:
        raise BadFileError(
            f"{xray.source}: the detector was {given:g} mm from the source, the bundle expects {expected:g} "
            "mm; give an X-ray of that distance, or fit a bundle for this one."
        )
    given, expected = geometry.get("source_isocentre_mm"), detector.source_isocentre_mm
    if detector.beam == "cone" and given and abs(given / expected - 1) > _TOLERANCE:
        return [
            f"The isocentre was {given:g} mm from the source, {expected:g} mm in the bundle; distances along "
            "the beam (away) are from the bundle's."
        ]
    return []


def known_spacing(
    xray: Xray, given: float | tuple[float, float] | None
) -> tuple[tuple[float, float] | None, list[str]]:
    """Return the distance of rows and of columns on the detector, None if unknown, and what was assumed.

    Raises:
        ValueError: if what is given is not a length.
    """
    spacing = (given, given) if isinstance(given, int | float) else given
    if spacing is None:
        return xray.spacing_mm, []
    if not all(0 < s < math.inf for s in spacing):
        raise ValueError(f"spacing_mm = {given}, expected positive lengths in mm.")
    if xray.spacing_mm is None or np.allclose(spacing, xray.spacing_mm, rtol=_TOLERANCE):
        return spacing, []
    return spacing, [
        f"Spacing {describe(spacing)} mm as given; the file says {describe(xray.spacing_mm)} mm."
    ]


def _known_spacing(
    xray: Xray, detector: Detector, given: float | tuple[float, float] | None
) -> tuple[tuple[float, float], list[str]]:
    """Distance of rows and of columns on the detector, and what was assumed."""
    spacing, notes = known_spacing(xray, given)
    if spacing is not None:
        return spacing, notes
    rows, columns = xray.values.shape
    ratio = (columns / rows) / (detector.columns / detector.rows)
    if abs(ratio - 1) > _TOLERANCE:
        raise BadFileError(
            f"{xray.source}: the spacing is unknown and the shape, {rows} × {columns} pixels, is not the "
            f"detector's, {detector.rows} × {detector.columns}; give --spacing, the distance of pixels on "
            "the detector in mm."
        )
    height, width = detector.rows * detector.spacing_mm, detector.columns * detector.spacing_mm
    return (height / rows, width / columns), [
        f"Spacing unknown: the field of view counts as the detector's, {describe((height, width))} mm."
    ]


def _check_field(xray: Xray, detector: Detector, spacing: tuple[float, float]) -> list[str]:
    """Compare fields of view: an error if the detector sees more than the image, a note if less."""
    rows, columns = xray.values.shape
    given = (rows * spacing[0], columns * spacing[1])
    needed = (detector.rows * detector.spacing_mm, detector.columns * detector.spacing_mm)
    ratios = [g / n for g, n in zip(given, needed, strict=True)]
    if min(ratios) < 1 - _TOLERANCE:
        raise BadFileError(
            f"{xray.source}: the field of view is {describe(given)} mm on the detector, the bundle needs "
            f"{describe(needed)} mm; give a larger X-ray, or fit a bundle for this field."
        )
    notes = []
    if max(ratios) > 1 + _NOTHING:
        notes.append(
            f"Cropped about the centre from {describe(given)} mm to the detector's {describe(needed)} mm."
        )
    if min(ratios) < 1 - _NOTHING:
        notes.append(f"The field of view, {describe(given)} mm, is a little small; its edge was extended.")
    return notes


def area_weights(count: int, spacing: float, out: int, out_spacing: float) -> Tensor:
    """Return weights that average pixels over the area of a detector's, about the common centre, on one axis.

    Within a pixel values run as a line whose mean is the pixel's and whose slope is that of its neighbours,
    so that means are kept and ramps are exact at any ratio of spacings. Where edges of pixels coincide these
    are plain averages. Beyond the image its edge goes on.

    Args:
        count: pixels of the image.
        spacing: their distance in mm.
        out: pixels of the detector.
        out_spacing: their distance in mm.

    Returns:
        Float64, shape ``(out, count)``; rows sum to 1.
    """
    edges = (torch.arange(out + 1, dtype=torch.float64) - out / 2) * (out_spacing / spacing) + count / 2
    pixel = torch.arange(count, dtype=torch.float64)
    low, high = edges[:-1, None], edges[1:, None]
    start, end = torch.maximum(low, pixel), torch.minimum(high, pixel + 1)
    inside = (end - start).clamp(min=0)
    moment = inside * ((start + end) / 2 - pixel - 0.5)
    inside[:, :1] += high.clamp(max=0) - low.clamp(max=0)
    inside[:, -1:] += high.clamp(min=count) - low.clamp(min=count)
    return (inside + _slope_weights(moment)) / (high - low)


def _slope_weights(moment: Tensor) -> Tensor:
    """Weights of pixels from those of their slopes, ``(out, count)``: central, one-sided at the ends."""
    weights = torch.zeros_like(moment)
    if moment.shape[1] > 1:
        central = moment[:, 1:-1] / 2
        weights[:, 2:] += central
        weights[:, :-2] -= central
        weights[:, 1] += moment[:, 0]
        weights[:, 0] -= moment[:, 0]
        weights[:, -1] += moment[:, -1]
        weights[:, -2] -= moment[:, -1]
    return weights


def _checked(xray: Xray, observation: Tensor, notes: list[str]) -> Tensor:
    """Refuse an observation that shows nothing, and note one that is far from what the bundle knows."""
    low, high = float(observation.min()), float(observation.max())
    if high - low <= _NOTHING * max(1.0, abs(high)):
        raise BadFileError(
            f"{xray.source}: the detector's field of view shows nothing, the same value everywhere; centre "
            "the X-ray on the patient, or check the spacing."
        )
    if not _USUAL_BRIGHTEST[0] <= high <= _USUAL_BRIGHTEST[1]:
        notes.append(
            f"The largest line integral is {high:.3g} times the largest that the bundle expects; check "
            "contrast, unattenuated value and scale."
        )
    return observation
