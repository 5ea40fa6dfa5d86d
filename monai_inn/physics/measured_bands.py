"""Band responses that people measured: tables of them, behind a filter and under a light source."""

from __future__ import annotations

from os import PathLike

import numpy as np
from numpy.typing import NDArray

from monai_inn.physics.band_responses import BandResponses, Curve, on_axis, trimmed
from monai_inn.physics.chromophores import wavelength_range_nm
from monai_inn.physics.tables import read_table

__all__ = ["measured_bands", "read_curve"]

Array = NDArray[np.float64]

# Beyond, a table is not in nm: the axis of responses has a number a nanometre. Nor is one of smaller numbers,
# such as those of rows, or micrometres.
_LONGEST_NM = 100_000.0
_SHORTEST_NM = 100.0

# What is left below zero after the dark signal was subtracted, as a share of the column's peak.
_DARK_SHARE = 0.02

# Share of a band's response that may be lost: beyond the tables of tissue, or where a filter or a light
# source was not measured.
_LOST_SHARE = 0.05


def measured_bands(
    path: str | PathLike[str],
    passband_nm: tuple[float, float] | None = None,
    illuminant: Curve | None = None,
    transmission: Curve | None = None,
) -> tuple[BandResponses, tuple[str, ...]]:
    """Read a table of responses: ``#`` comments, a header line, then wavelength in nm and one column a band.

    Args:
        path: the table; see ``tables.read_table`` for how it may be written. Values down to -2 % of a band's
            peak count as zero.
        passband_nm: range that the band-pass filter lets through; the whole table if not given.
        illuminant: light source; equal power if not given.
        transmission: curve of a filter or lens; all light passes if not given.

    Returns:
        Response × transmission × light inside the pass-band, cut to the wavelengths for which the absorption
        of tissue is known, 250–1000 nm; and a warning if a band lost up to 5 % of its response by that.

    Raises:
        ValueError: if the file is not such a table, wavelengths do not ascend, a response is clearly
            negative, the pass-band is not inside the table, or more than 5 % of a band's response lies beyond
            250–1000 nm or where the light or the filter was not measured.
    """
    names, wavelength, bands = _columns(path, at_least=2)
    low, high = (wavelength[0], wavelength[-1]) if passband_nm is None else passband_nm
    if passband_nm is not None:
        _check_passband(path, wavelength, low, high)
    axis = np.arange(np.ceil(max(low, wavelength[0])), np.floor(min(high, wavelength[-1])) + 1)
    if axis.size < 2:
        raise ValueError(
            f"{path}: from {max(low, wavelength[0]):g} to {min(high, wavelength[-1]):g} nm are fewer than "
            "two whole nanometres. Widen the pass-band, and check that wavelengths are in nm."
        )
    response = np.stack([np.interp(axis, wavelength, column) for column in bands.T])
    for name, curve in (("the transmission of the filter", transmission), ("the light source", illuminant)):
        if curve is not None:
            response = _times(path, names, axis, response, curve, name)
    axis, response, warnings = _within_tables(path, names, axis, response)
    return trimmed(names, axis, response), warnings


def read_curve(path: str | PathLike[str]) -> Curve:
    """Read the power of a light source or the transmission of a filter: wavelength in nm, then one value.

    Returns:
        Wavelengths in nm and values on the file's scale, both ``(W,)``.

    Raises:
        ValueError: if the file is not such a table, wavelengths do not ascend, or a value is clearly
            negative.
    """
    names, wavelength, values = _columns(path, at_least=1)
    if len(names) != 1:
        raise ValueError(
            f"{path} has {len(names) + 1} columns; expected wavelength_nm and one column of values."
        )
    return wavelength, values[:, 0]


def _columns(path: str | PathLike[str], at_least: int) -> tuple[tuple[str, ...], Array, Array]:
    """Names ``C``, wavelengths ``(W,)`` and values ``(W, C)`` of a table, checked."""
    table = read_table(path)
    if len(table.header) < 1 + at_least:
        what = "at least two bands" if at_least == 2 else "one column of values"
        raise ValueError(
            f"{path} has {len(table.header)} columns; expected wavelength_nm and {what}, separated by "
            "commas, semicolons or tabs."
        )
    numbers = table.numbers()
    wavelength, values = numbers[:, 0], numbers[:, 1:]
    if len(wavelength) < 2:
        raise ValueError(f"{path} has one row of numbers; expected a row for each of several wavelengths.")
    if wavelength.min() <= 0 or not _SHORTEST_NM < wavelength.max() <= _LONGEST_NM:
        raise ValueError(
            f"{path}: its first column, {table.header[0]!r}, runs from {wavelength.min():g} to "
            f"{wavelength.max():g}, expected wavelengths in nm; put a column wavelength_nm first."
        )
    if (np.diff(wavelength) <= 0).any():
        row = int(np.argmax(np.diff(wavelength) <= 0)) + 2
        raise ValueError(
            f"{path}, data row {row}: wavelengths must ascend, but {wavelength[row - 1]:g} nm follows "
            f"{wavelength[row - 2]:g} nm. Sort the rows and remove duplicates."
        )
    too_low = values < -_DARK_SHARE * values.max(0).clip(0)
    if too_low.any():
        row, band = (int(v) for v in np.argwhere(too_low)[0])
        raise ValueError(
            f"{path}, data row {row + 1}, band {table.header[band + 1]!r}: negative response "
            f"{values[row, band]:g}, more than {_DARK_SHARE:.0%} of the band's peak. Subtract the dark "
            "signal and set what remains below zero to zero."
        )
    return table.header[1:], wavelength, values.clip(0)


def _check_passband(path: str | PathLike[str], wavelength: Array, low: float, high: float) -> None:
    """Raise a ValueError unless a pass-band ascends and lies inside the wavelengths ``(W,)`` of a table."""
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(
            f"the pass-band {low:g} to {high:g} nm is not a range; give the lower wavelength in nm, then the "
            "higher one, for example 470 620."
        )
    steps = np.diff(wavelength)  # a table of steps of 5 nm may end 5 nm too early
    if low < wavelength[0] - steps[0] or high > wavelength[-1] + steps[-1]:
        raise ValueError(
            f"{path} covers {wavelength[0]:g} to {wavelength[-1]:g} nm, which does not cover the pass-band "
            f"{low:g} to {high:g} nm. Give a pass-band inside the table, or a table that covers it, both in "
            "nm."
        )


def _times(
    path: str | PathLike[str], names: tuple[str, ...], axis: Array, response: Array, curve: Curve, what: str
) -> Array:
    """Responses ``(C, K)`` times a curve; a ValueError if much of a band lies where there is no curve."""
    product = response * on_axis(curve, axis, what)
    wavelength, value = (np.asarray(v, dtype=np.float64) for v in curve)
    if_constant = (response * np.interp(axis, wavelength, value)).sum(1)
    lost = 1 - product.sum(1) / np.where(if_constant > 0, if_constant, 1.0)
    lost[if_constant <= 0] = 0.0
    if (lost > _LOST_SHARE).any():
        worst = int(lost.argmax())
        raise ValueError(
            f"{path}: {what} is given from {wavelength[0]:g} to {wavelength[-1]:g} nm, but band "
            f"{names[worst]!r} has about {lost[worst]:.0%} of its response outside. Give values for these "
            "wavelengths, or a pass-band that leaves them out."
        )
    return product


def _within_tables(
    path: str | PathLike[str], names: tuple[str, ...], axis: Array, response: Array
) -> tuple[Array, Array, tuple[str, ...]]:
    """Axis and responses where the absorption of tissue is known, and a warning if that cut something off."""
    low, high = wavelength_range_nm()
    inside, total = (axis >= low) & (axis <= high), response.sum(1)
    if inside.all() or not total.any():
        return axis, response, ()
    lost = response[:, ~inside].sum(1) / np.where(total > 0, total, 1.0)
    worst = int(lost.argmax())
    text = (
        f"band {names[worst]!r} has {lost[worst]:.1%} of its response outside {low:g} to {high:g} nm, where "
        "the absorption of tissue is not known"
    )
    if lost[worst] > _LOST_SHARE:
        raise ValueError(f"{path}: {text}. Give a pass-band inside that range: --passband LOW HIGH.")
    warnings = (f"{text}; that was cut off.",) if lost[worst] > 0 else ()
    return axis[inside], response[:, inside], warnings
