"""From grey values of an X-ray to line integrals of attenuation."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from monai_inn.applications.registration.xrays.formats import CONTRASTS, Xray
from monai_inn.files import BadFileError

__all__ = ["bare_beam", "line_integrals"]

_AIR_PERCENTILE = 99.9


def line_integrals(
    xray: Xray, contrast: str | None, unattenuated: float | None, scale: float | None
) -> tuple[Tensor, list[str]]:
    """Return line integrals of attenuation, float64, shape ``(rows, columns)``, and what was assumed.

    Args:
        xray: the image.
        contrast: ``"intensity"``, ``"attenuation"``, or None for what the file says.
        unattenuated: grey value where nothing is in the beam, see ``match_detector``.
        scale: line integral of one grey value of an attenuation image.

    Raises:
        ValueError: if the contrast or scale is unknown, or no grey value can be that of the bare beam.
    """
    for name, value in (("unattenuated", unattenuated), ("scale", scale)):
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} = {value}, expected a finite number.")
    chosen = contrast or xray.contrast
    if chosen is None:
        raise BadFileError(
            f"{xray.source}: the file does not say whether bone is dark or bright; "
            "give --contrast intensity (bone dark) or attenuation (bone bright)."
        )
    if chosen not in CONTRASTS:
        raise ValueError(f"contrast {chosen!r}, expected intensity (bone dark) or attenuation (bone bright).")
    notes = []
    if xray.contrast and chosen != xray.contrast:
        notes.append(f"Taken as {chosen}, as asked for, although the file says {xray.contrast}.")
    values = xray.values.double()
    if chosen == "attenuation":
        image, assumed = _from_attenuation(xray, values, unattenuated, scale)
    elif scale is not None:
        raise ValueError(
            "a scale was given with an intensity image, expected one with attenuation only; leave it out."
        )
    else:
        image, assumed = _from_intensity(xray, values, unattenuated)
    return image, notes + assumed


def bare_beam(values: Tensor) -> float:
    """Return the grey value where nothing is in the beam, of an image of intensities that shows air."""
    return float(np.percentile(values.numpy(), _AIR_PERCENTILE))


def _from_attenuation(
    xray: Xray, values: Tensor, unattenuated: float | None, scale: float | None
) -> tuple[Tensor, list[str]]:
    if scale is None and not xray.is_scaled:
        raise BadFileError(
            f"{xray.source}: an attenuation image of integers, whose grey values have no scale; give "
            "--scale, the line integral of one grey value, or a file of floating point that holds line "
            "integrals."
        )
    factor = 1.0 if scale is None else scale
    if factor <= 0:
        raise ValueError(f"scale = {factor:g}, expected the line integral of one grey value, above 0.")
    notes = [] if scale else ["Values were taken as line integrals of attenuation as they are."]
    if unattenuated is None and scale:
        notes.append("Grey value 0 counts as unattenuated.")
    return (values - (unattenuated or 0.0)) * factor, notes


def _from_intensity(xray: Xray, values: Tensor, unattenuated: float | None) -> tuple[Tensor, list[str]]:
    notes = []
    air = unattenuated
    if air is None:
        air = bare_beam(values)
        notes.append(
            f"Unattenuated beam: {air:g}, the {_AIR_PERCENTILE:g}th percentile; air must be in the image, "
            "else give --unattenuated."
        )
    positive = values > 0
    if air <= 0 or not positive.any():
        raise BadFileError(
            f"{xray.source}: the unattenuated beam is {air:g}, expected a grey value above 0; give "
            "--unattenuated."
        )
    share = 1 - float(positive.double().mean())
    if share:
        floor = float(values[positive].min()) / 2
        values = values.clamp(min=floor)
        notes.append(f"{share:.2%} of the pixels got no photons; they count as {floor:g}.")
    return -(values / air).log(), notes
