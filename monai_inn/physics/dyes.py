"""Dyes that surgery brings into tissue: their absorption bands, from a table that users extend."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_inn.physics.tables import DATA, read_table

__all__ = ["Dye", "gaussian_band", "read_dyes"]

_COLUMNS = ("peak_nm", "fwhm_nm", "height")
_RANGE_NM = 200.0, 3000.0
_LEAST_WIDTH_NM = 1.0


class Dye(NamedTuple):
    """A dye: its name, and peak and full width at half maximum in nm and relative height of each band."""

    name: str
    bands: tuple[tuple[float, float, float], ...]

    def absorbance(self, wavelength_nm: ArrayLike) -> NDArray[np.float64]:
        """Return the absorbance relative to that of the first band at its peak, shaped as the wavelengths."""
        axis = np.asarray(wavelength_nm, np.float64)
        found = np.zeros_like(axis)
        for peak, width, height in self.bands:
            found += height * gaussian_band(axis, peak, width)
        return found

    @classmethod
    def from_config(cls, config: Iterable[Any]) -> Dye:
        """Return the dye that JSON made a list of."""
        name, bands = config
        return cls(str(name), tuple((float(p), float(w), float(h)) for p, w, h in bands))


def gaussian_band(wavelength_nm: NDArray[np.float64], peak_nm: float, fwhm_nm: float) -> NDArray[np.float64]:
    """Return a band of height one."""
    band: NDArray[np.float64] = np.exp(-4 * np.log(2) * ((wavelength_nm - peak_nm) / fwhm_nm) ** 2)
    return band


def read_dyes(path: str | PathLike[str] = DATA / "dyes.csv") -> tuple[Dye, ...]:
    """Read a table of dyes; the shipped one by default.

    Args:
        path: CSV file with the columns ``dye``, ``peak_nm``, ``fwhm_nm`` (full width at half maximum) and
            ``height``, relative to the dye's first band. A dye has a row for each of its bands.

    Raises:
        ValueError: if it is not such a table, or its wavelengths cannot be in nanometres.
    """
    table = read_table(path)
    if "dye" not in table.header:
        raise ValueError(f"{path} has no column 'dye'; expected dye, {', '.join(_COLUMNS)}.")
    numbers = table.numbers(*_COLUMNS)
    names = [row[table.header.index("dye")] for row in table.rows]
    for name, (peak, width, height) in zip(names, numbers.tolist(), strict=True):
        if not (_RANGE_NM[0] <= peak <= _RANGE_NM[1] and _LEAST_WIDTH_NM <= width <= peak):
            raise ValueError(
                f"{path}: a band of {name!r} at {peak:g}, {width:g} wide, is none in nanometres; give "
                f"peak_nm from {_RANGE_NM[0]:g} to {_RANGE_NM[1]:g}, fwhm_nm from {_LEAST_WIDTH_NM:g} on."
            )
        if height <= 0:
            raise ValueError(f"{path}: a band of {name!r} has the height {height:g}; give one above zero.")
    bands = numbers.tolist()
    return tuple(
        Dye(name, tuple((p, w, h) for own, (p, w, h) in zip(names, bands, strict=True) if own == name))
        for name in dict.fromkeys(names)
    )
