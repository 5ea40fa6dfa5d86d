"""Absorption of the substances that colour tissue, from published tables, in 1/cm on base e."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_inn.physics.tables import DATA, read_table

__all__ = [
    "CHROMOPHORES",
    "HAEMOGLOBIN_IN_BLOOD_G_PER_L",
    "Chromophore",
    "absorption_per_cm",
    "wavelength_range_nm",
]

HAEMOGLOBIN_IN_BLOOD_G_PER_L = 150.0
"""Haemoglobin of whole blood, the usual value in tissue optics (Jacques, Phys. Med. Biol. 58, R37, 2013)."""

_HAEMOGLOBIN_G_PER_MOL = 64_500.0  # per tetramer, the convention of the extinction table
_BILIRUBIN_G_PER_MOL = 584.66
_RANGE_NM = (250.0, 1000.0)  # range of the haemoglobin table
_PURE_TABLES_START_NM = 450.0  # first wavelength of the water, fat and melanin tables


@dataclass(frozen=True)
class Chromophore:
    """One absorbing substance.

    Args:
        name: identifier.
        unit: what an amount of one means; the absorption is given for that amount.
        table: file in ``data/chromophores``.
        column: column of that file.
        factor: from the column to 1/cm for an amount of one.
        source: where the numbers come from.
    """

    name: str
    unit: str
    table: str
    column: str
    factor: float
    source: str


def _molar(grams_per_litre: float, grams_per_mole: float) -> float:
    """Factor from molar extinction on base 10 in 1/(cm M) to absorption in 1/cm."""
    return math.log(10.0) * grams_per_litre / grams_per_mole


_BLOOD = _molar(HAEMOGLOBIN_IN_BLOOD_G_PER_L, _HAEMOGLOBIN_G_PER_MOL)
_PRAHL = "S. Prahl (OMLC), compiled from Gratzer and Kollias"
_SIMPA = "IMSY-DKFZ/simpa, commit 6949c2c3"
CHROMOPHORES: dict[str, Chromophore] = {
    c.name: c
    for c in (
        Chromophore(
            "oxyhaemoglobin", "volume fraction of blood", "haemoglobin", "HbO2_cm-1_per_M", _BLOOD, _PRAHL
        ),
        Chromophore(
            "deoxyhaemoglobin", "volume fraction of blood", "haemoglobin", "Hb_cm-1_per_M", _BLOOD, _PRAHL
        ),
        Chromophore("water", "volume fraction", "water", "mu_a_cm-1", 1.0, _SIMPA),
        Chromophore("fat", "volume fraction", "fat", "mu_a_cm-1", 1.0, _SIMPA),
        Chromophore(
            "bilirubin",
            "g/l",
            "bilirubin",
            "extinction_cm-1_per_M",
            _molar(1.0, _BILIRUBIN_G_PER_MOL),
            "PhotochemCAD 119 by way of OMLC",
        ),
        Chromophore("melanin", "volume fraction of melanosomes", "melanin", "mu_a_cm-1", 1.0, _SIMPA),
    )
}


def wavelength_range_nm() -> tuple[float, float]:
    """Return the first and last wavelength in nm for which every chromophore is defined."""
    return _RANGE_NM


def absorption_per_cm(name: str, wavelength_nm: ArrayLike) -> NDArray[np.float64]:
    """Absorption coefficient of one chromophore at an amount of one, linearly interpolated in its table.

    Below 450 nm, where the tables of water and fat end, both keep their value at 450 nm: they are 3e-4 and
    0.06 1/cm there, three orders of magnitude below whole blood, so the error is invisible in any tissue that
    holds blood. Melanin continues on the power law that its table follows. Bilirubin is zero above 700 nm.

    Args:
        name: key of ``CHROMOPHORES``. Haemoglobins are given as whole blood of 150 g/l.
        wavelength_nm: wavelengths in nm, any shape, 250-1000 nm.

    Returns:
        Absorption coefficient in 1/cm (natural logarithm) for an amount of one ``unit``, shape of
        ``wavelength_nm``.

    Raises:
        ValueError: if there is no such chromophore or a wavelength lies outside the tables.

    Example:
        >>> float(absorption_per_cm("oxyhaemoglobin", 800.0).round(2))
        4.37

    Source: data/chromophores/README.md; melanin law from Jacques and McAuliffe 1991, Photochem. Photobiol.
    53, 769.
    """
    if name not in CHROMOPHORES:
        raise ValueError(f"unknown chromophore {name!r}; choose one of {', '.join(CHROMOPHORES)}.")
    wavelength = np.asarray(wavelength_nm, dtype=np.float64)
    if not ((wavelength >= _RANGE_NM[0]) & (wavelength <= _RANGE_NM[1])).all():
        raise ValueError(
            f"wavelength_nm spans {wavelength.min():g} to {wavelength.max():g} nm, but the tables cover "
            f"{_RANGE_NM[0]:g} to {_RANGE_NM[1]:g} nm. Give the camera a pass-band inside that range."
        )
    chromophore = CHROMOPHORES[name]
    axis, value = _column(chromophore.table, chromophore.column)
    # np.interp holds the end values: right for water and fat below 450 nm and for bilirubin above 700 nm.
    absorption = np.interp(wavelength, axis, value)
    if name == "melanin":
        below = wavelength < _PURE_TABLES_START_NM
        absorption = np.where(below, value[0] * (wavelength / axis[0]) ** -3.33, absorption)
    return chromophore.factor * absorption


@functools.cache
def _column(table: str, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wavelengths and one column of a table."""
    axis, value = read_table(DATA / "chromophores" / f"{table}.csv").numbers("wavelength_nm", column).T
    return axis, value
