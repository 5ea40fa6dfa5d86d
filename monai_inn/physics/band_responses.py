"""Band responses of cameras on a 1 nm axis, from measured tables or from centres and widths."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_inn.physics.tables import read_table

__all__ = [
    "BandResponses",
    "Illuminant",
    "check_response",
    "gaussian_bands",
    "interpolation_matrix",
    "measured_bands",
]

Illuminant = tuple[ArrayLike, ArrayLike]
"""Wavelengths in nm and relative power of a light source."""

# Beyond, a table is not in nm: the axis of responses has a number a nanometre.
_LONGEST_NM = 100_000.0

# Gaussian bands are cut at this many standard deviations.
_CUT = 3.0


class BandResponses(NamedTuple):
    """Responses ``(C, K)`` at 1 nm steps from ``first_nm`` on, at most one, and the band names."""

    names: tuple[str, ...]
    first_nm: float
    response: NDArray[np.float64]


def measured_bands(
    path: str | PathLike[str], passband_nm: tuple[float, float] | None, illuminant: Illuminant | None
) -> BandResponses:
    """Read a table of responses: ``#`` comments, a header line, then wavelength in nm and one column a band.

    Args:
        path: the CSV file.
        passband_nm: range that the band-pass filter lets through; the whole table if not given.
        illuminant: light source; equal power if not given.

    Returns:
        Response × light inside the pass-band.

    Raises:
        ValueError: if the file is not such a table, wavelengths do not ascend, a response is negative, or
        nothing
            lies inside the pass-band.
    """
    table = read_table(path)
    if len(table.header) < 3:
        raise ValueError(
            f"{path} has {len(table.header)} columns; expected wavelength_nm and at least two bands."
        )
    numbers = table.numbers()
    wavelength, bands = numbers[:, 0], numbers[:, 1:]
    if (np.diff(wavelength) <= 0).any():
        row = int(np.argmax(np.diff(wavelength) <= 0)) + 2
        raise ValueError(
            f"{path}, data row {row}: wavelengths must ascend, but {wavelength[row - 1]:g} nm follows "
            f"{wavelength[row - 2]:g} nm. Sort the rows and remove duplicates."
        )
    if (bands < 0).any():
        row, band = (int(v) for v in np.argwhere(bands < 0)[0])
        raise ValueError(
            f"{path}, data row {row + 1}, band {table.header[band + 1]!r}: negative response "
            f"{bands[row, band]:g}. Subtract the dark signal and set what remains below zero to zero."
        )
    if wavelength[0] <= 0 or wavelength[-1] > _LONGEST_NM:
        raise ValueError(
            f"{path} covers {wavelength[0]:g} to {wavelength[-1]:g}, expected wavelengths in nm, "
            f"above 0 and up to {_LONGEST_NM:g}."
        )
    low, high = passband_nm or (-np.inf, np.inf)
    axis = np.arange(np.ceil(max(low, wavelength[0])), np.floor(min(high, wavelength[-1])) + 1)
    if axis.size < 2:
        raise ValueError(
            f"{path} covers {wavelength[0]:g} to {wavelength[-1]:g} nm, which does not overlap the pass-band "
            f"{low:g} to {high:g} nm. Check that its wavelengths are in nm."
        )
    response = np.stack([np.interp(axis, wavelength, column) for column in bands.T])
    return _trimmed(table.header[1:], axis, response * _light(illuminant, axis))


def gaussian_bands(
    centre_nm: Sequence[float] | NDArray[np.float64],
    fwhm_nm: float | Sequence[float],
    illuminant: Illuminant | None,
    range_nm: tuple[float, float],
) -> BandResponses:
    """Return Gaussian bands, named by their centres, that see nothing outside a range.

    Args:
        centre_nm: band centres in nm, shape ``(C,)``.
        fwhm_nm: full width at half maximum in nm, one number or one a band.
        illuminant: light source; equal power if not given.
        range_nm: the sensor sees nothing outside.

    Returns:
        Response × light.

    Raises:
        ValueError: if there are fewer than two bands, a width is not positive, or nothing lies in the range.
    """
    centre = np.asarray(centre_nm, dtype=np.float64)
    width = np.broadcast_to(np.asarray(fwhm_nm, dtype=np.float64), centre.shape)
    if centre.ndim != 1 or centre.size < 2 or not (width > 0).all() or not np.isfinite([centre, width]).all():
        raise ValueError(
            f"centre_nm has shape {centre.shape} and the smallest fwhm_nm is {width.min(initial=np.inf):g}; "
            "expected at least two finite centres and positive widths."
        )
    sd = width / np.sqrt(8 * np.log(2))
    low = max(range_nm[0], (centre - _CUT * sd).min())
    high = min(range_nm[1], (centre + _CUT * sd).max())
    axis = np.arange(np.floor(low), np.ceil(high) + 1)
    if axis.size < 2:
        raise ValueError(
            f"centre_nm spans {centre.min():g} to {centre.max():g} nm, outside range_nm = {range_nm}; "
            "wavelengths must be in nm."
        )
    offset = (axis - centre[:, None]) / sd[:, None]
    # The second limit is for bands so narrow that they would fall between the points of the axis.
    reach = np.maximum(_CUT, 1 / sd[:, None])
    response = np.where(abs(offset) <= reach, np.exp(-(offset**2) / 2), 0.0)
    names = tuple(f"{c:.0f} nm" for c in centre)
    return _trimmed(names, axis, response * _light(illuminant, axis))


def check_response(
    camera: str, names: Sequence[str], axis_nm: NDArray[np.float64], response: NDArray[np.float64]
) -> None:
    """Raise a ValueError unless responses are finite, not negative, one row a name, and no band is blind."""
    if response.ndim != 2 or response.shape[0] != len(names):
        raise ValueError(
            f"camera {camera!r}: response has shape {response.shape}, expected "
            f"({len(names)} bands, wavelengths)."
        )
    if not np.isfinite(response).all() or (response < 0).any():
        raise ValueError(f"camera {camera!r}: responses must be finite and not negative.")
    for band, total in zip(names, response.sum(1), strict=True):
        if total <= 0:
            raise ValueError(
                f"camera {camera!r}: band {band!r} sees nothing from {axis_nm[0]:g} to {axis_nm[-1]:g} nm. "
                "Widen the pass-band or leave the band out."
            )


def interpolation_matrix(
    axis: NDArray[np.float64], grid: NDArray[np.float64], slope: bool = False
) -> NDArray[np.float64]:
    """Matrix ``(K, W)`` of linear interpolation from an ascending grid ``(W,)`` to an axis ``(K,)``.

    With ``slope`` it gives the derivative there: the slope between the points of the grid around it.
    """
    left = np.clip(np.searchsorted(grid, axis, side="right") - 1, 0, grid.size - 2)
    step = grid[left + 1] - grid[left]
    share = (axis - grid[left]) / step
    matrix, rows = np.zeros((axis.size, grid.size)), np.arange(axis.size)
    matrix[rows, left] = -1 / step if slope else 1 - share
    matrix[rows, left + 1] += 1 / step if slope else share
    return matrix


def _trimmed(names: Sequence[str], axis: NDArray[np.float64], response: NDArray[np.float64]) -> BandResponses:
    """Cut the axis to where any band sees something and scale to a maximum of one."""
    seen = np.flatnonzero(response.any(0))
    first, last = (int(seen[0]), int(seen[-1])) if seen.size else (0, axis.size - 1)
    used = response[:, first : last + 1]
    # Six digits describe a response better than it was measured, and keep the description of a camera small.
    rounded = [[float(f"{v:.6g}") for v in row] for row in used / max(float(used.max()), 1e-300)]
    return BandResponses(tuple(names), float(axis[first]), np.array(rounded))


def _light(illuminant: Illuminant | None, axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative power of the light on the axis."""
    if illuminant is None:
        return np.ones_like(axis)
    wavelength, power = (np.asarray(v, dtype=np.float64) for v in illuminant)
    is_curve = wavelength.ndim == 1 and wavelength.shape == power.shape
    if not is_curve or (np.diff(wavelength) <= 0).any() or (power < 0).any():
        raise ValueError(
            f"illuminant has wavelengths of shape {wavelength.shape} and powers {power.shape}; expected "
            "ascending wavelengths in nm and as many powers that are not negative."
        )
    return np.interp(axis, wavelength, power, left=0.0, right=0.0)
