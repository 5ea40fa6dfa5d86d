"""Band responses that look as if a filter had been forgotten, or as if columns had been mixed up."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monai_inn.physics.band_responses import Curve

__all__ = ["band_warnings", "blocks_light", "check_peaks"]

Array = NDArray[np.float64]

# Largest share of a band's response that may lie where nobody expects it.
_LEAK = 0.05
_WIDTHS = 3.0  # further from its peak than so many widths, a band is not expected to see
_OFF_CENTRE_NM = 10.0
_SHOWN = 8

# A name that is a number is a wavelength only in this range; otherwise bands are simply counted.
_WAVELENGTHS_NM = (200.0, 2500.0)
_NAME = re.compile(r"(?P<bare>\d+(?:[.,]\d+)?)|(?:.*[^\d.,])?(?P<unit>\d+(?:[.,]\d+)?)\s*nm", re.IGNORECASE)

_ADVICE = (
    "A mosaic sensor needs its band-pass filter, or answers are biased: give --passband LOW HIGH in nm, "
    "passband_nm=(LOW, HIGH) in Python. If the table holds the filter already, give the range that it covers."
)


def band_warnings(
    names: Sequence[str], first_nm: float, response: Array, *, has_filter: bool, has_peaks: bool
) -> list[str]:
    """Return what is doubtful about the bands of a camera, one text each; none for a sound one.

    A band leaks if more than 5 % of its response lies far away. If all names are wavelengths, that is outside
    their range, widened by the median width of a band at half maximum. Otherwise it is further from the peak
    than three times the band's own width. A band is off its name if its centre of mass is more than 10 nm
    away.

    Args:
        names: one name a band.
        first_nm: wavelength of the first column of ``response``; columns are 1 nm apart.
        response: what each band sees behind all that was declared, shape ``(C, K)``; no row is all zero.
        has_filter: whether a pass-band or a filter was declared; then no band leaks.
        has_peaks: whether peak wavelengths were declared; then names need not be centres of mass.
    """
    axis = first_nm + np.arange(response.shape[1], dtype=np.float64)
    named = _wavelengths(names)
    texts = []
    if not has_filter:
        texts += _leaks(names, named, axis, response)
    off = abs(response @ axis / response.sum(1) - named)
    if not has_peaks and (off > _OFF_CENTRE_NM).any():
        texts.append(
            f"the centre of mass is more than {_OFF_CENTRE_NM:g} nm from the band's name in "
            f"{_worst(names, np.nan_to_num(off), _OFF_CENTRE_NM, '{:.0f} nm')}. Check the order of the "
            "columns, and give --passband LOW HIGH if a band sees light outside its filter. If the names "
            "are the vendor's peaks, declare them in a camera file: peaks_nm."
        )
    return texts


def blocks_light(transmission: Curve) -> bool:
    """Whether a curve is that of a filter: somewhere it lets less than 5 % of its maximum through."""
    values = np.asarray(transmission[1], dtype=np.float64)
    return bool(values.min() < _LEAK * values.max())


def check_peaks(camera: str, names: Sequence[str], peaks_nm: Sequence[float]) -> None:
    """Raise a ValueError unless there is no peak wavelength, or for each band a positive one of its own."""
    if not peaks_nm:
        return
    advice = "Give one in nm for each band, in the order of the table, or leave peaks_nm out."
    if len(peaks_nm) != len(names) or not (np.isfinite(peaks_nm).all() and min(peaks_nm) > 0):
        raise ValueError(f"camera {camera!r} has {len(names)} bands and peaks_nm = {[*peaks_nm]}. {advice}")
    for band, peak in enumerate(peaks_nm):
        first = peaks_nm.index(peak)
        if first != band:
            raise ValueError(
                f"camera {camera!r}: the peaks_nm of bands {names[first]!r} and {names[band]!r} are both "
                f"{peak:g} nm, and images could not be matched by them. {advice}"
            )


def _leaks(names: Sequence[str], named: Array, axis: Array, response: Array) -> list[str]:
    """The warning about responses far away, if any; ``named`` is NaN where a name is not a wavelength."""
    peak, width = axis[response.argmax(1)], np.array([_width(row) for row in response])
    if np.isnan(named).any():
        outside = abs(axis - peak[:, None]) > _WIDTHS * width[:, None]
        where = f"further from the band's peak than {_WIDTHS:g} times its width"
    else:
        margin = float(np.median(width))
        low, high = named.min() - margin, named.max() + margin
        outside = np.broadcast_to((axis < low) | (axis > high), response.shape)
        where = f"outside {low:.0f} to {high:.0f} nm, the range of the bands' names"
    share = (response * outside).sum(1) / response.sum(1)
    if not (share > _LEAK).any():
        return []
    return [
        f"more than {_LEAK:.0%} of the response lies {where} in {_worst(names, share, _LEAK, '{:.0%}')}. "
        f"{_ADVICE}"
    ]


def _worst(names: Sequence[str], amount: Array, limit: float, form: str) -> str:
    """How many bands exceed a limit, and the worst of them with their amounts."""
    order = [int(i) for i in np.argsort(-amount, kind="stable") if amount[i] > limit]
    shown = ", ".join(f"{names[i]} {form.format(amount[i])}" for i in order[:_SHOWN])
    more = f" and {len(order) - _SHOWN} more" if len(order) > _SHOWN else ""
    return f"{len(order)} of {len(names)} bands ({shown}{more})"


def _wavelengths(names: Sequence[str]) -> Array:
    """The wavelength in nm that each name is, NaN where it is none, shape ``(C,)``."""
    found = [_NAME.fullmatch(name.strip()) for name in names]
    values = np.array(
        [np.nan if m is None else float((m["bare"] or m["unit"]).replace(",", ".")) for m in found]
    )
    is_count = any(
        m is not None and m["bare"] and not _is_light(v) for m, v in zip(found, values, strict=True)
    )
    return np.full_like(values, np.nan) if is_count else np.where(_is_light(values), values, np.nan)


def _is_light(values: Array) -> NDArray[np.bool_]:
    return (values >= _WAVELENGTHS_NM[0]) & (values <= _WAVELENGTHS_NM[1])


def _width(row: Array) -> float:
    """Full width at half maximum in nm of the highest peak of a response ``(K,)``, at least 1 nm."""
    peak, half = int(row.argmax()), row.max() / 2
    edges = []
    for side in (row[peak:], row[peak::-1]):
        below = np.flatnonzero(side < half)
        if below.size:
            k = int(below[0])
            edges.append(k - (half - side[k]) / (side[k - 1] - side[k]))
        else:
            edges.append(float(side.size - 1))
    return max(1.0, sum(edges))
