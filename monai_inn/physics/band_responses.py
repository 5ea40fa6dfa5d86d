"""Band responses of cameras on a 1 nm axis, and what all ways to them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BandResponses",
    "Curve",
    "check_response",
    "gaussian_bands",
    "interpolation_matrix",
    "on_axis",
    "trimmed",
]

Curve = tuple[ArrayLike, ArrayLike]
"""Ascending wavelengths in nm, and relative power of a light source or transmission of a filter there."""

# Gaussian bands are cut at this many standard deviations.
_CUT = 3.0


class BandResponses(NamedTuple):
    """Responses ``(C, K)`` at 1 nm steps from ``first_nm`` on, at most one, and the band names."""

    names: tuple[str, ...]
    first_nm: float
    response: NDArray[np.float64]


def gaussian_bands(
    centre_nm: Sequence[float] | NDArray[np.float64],
    fwhm_nm: float | Sequence[float],
    illuminant: Curve | None,
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
    light = 1.0 if illuminant is None else on_axis(illuminant, axis, "illuminant")
    return trimmed(names, axis, response * light)


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


def interpolation_matrix(axis: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix ``(K, W)`` of linear interpolation from an ascending grid ``(W,)`` to an axis ``(K,)``."""
    left = np.clip(np.searchsorted(grid, axis, side="right") - 1, 0, grid.size - 2)
    share = (axis - grid[left]) / (grid[left + 1] - grid[left])
    matrix, rows = np.zeros((axis.size, grid.size)), np.arange(axis.size)
    matrix[rows, left] = 1 - share
    matrix[rows, left + 1] += share
    return matrix


def trimmed(names: Sequence[str], axis: NDArray[np.float64], response: NDArray[np.float64]) -> BandResponses:
    """Cut the axis to where any band sees something and scale to a maximum of one."""
    seen = np.flatnonzero(response.any(0))
    first, last = (int(seen[0]), int(seen[-1])) if seen.size else (0, axis.size - 1)
    used = response[:, first : last + 1]
    # Six digits describe a response better than it was measured, and keep the description of a camera small.
    rounded = [[float(f"{v:.6g}") for v in row] for row in used / max(float(used.max()), 1e-300)]
    return BandResponses(tuple(names), float(axis[first]), np.array(rounded))


def on_axis(curve: Curve, axis: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Sample a curve on an axis ``(K,)`` in nm by linear interpolation; it is zero outside its wavelengths.

    Raises:
        ValueError: if it is not a curve of values that are not negative; the message calls it ``name``.
    """
    wavelength, value = (np.asarray(v, dtype=np.float64) for v in curve)
    is_curve = wavelength.ndim == 1 and wavelength.shape == value.shape and wavelength.size > 1
    if not is_curve or (np.diff(wavelength) <= 0).any() or (value < 0).any():
        raise ValueError(
            f"{name} has wavelengths of shape {wavelength.shape} and values of shape {value.shape}; expected "
            "at least two ascending wavelengths in nm and as many values that are not negative."
        )
    return np.interp(axis, wavelength, value, left=0.0, right=0.0)
