"""Measured spectra of real tissue and of optical phantoms, shipped with the package."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_inn.physics.tables import DATA, read_table

__all__ = ["Phantom", "load", "names", "phantoms", "subjects"]

_FOLDER = DATA / "tissue_spectra"


class Phantom(NamedTuple):
    """Optical properties of one slab: wavelengths and coefficients ``(W,)``, thickness in cm."""

    wavelength_nm: NDArray[np.float64]
    mu_a_per_cm: NDArray[np.float64]
    mu_s_per_cm: NDArray[np.float64]
    g: float
    n: float
    thickness_cm: float


def names() -> tuple[str, ...]:
    """Return the names of the shipped tables of tissue spectra."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.csv")))


def load(
    table: str,
) -> tuple[NDArray[np.float64], dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]]:
    """Read mean spectra of tissues with their spread over subjects.

    Args:
        table: ``"pig_organs"``, ``"human_rat_organs"`` or ``"pig_kidney_states"`` (L1-normalised over
            500-1000 nm: they sum to one), or ``"nist_skin_001_050"`` (absolute reflectance with specular
            light; one label ``"skin"``, over 50 people).

    Returns:
        Wavelengths in nm, shape ``(W,)``, and for each label, such as ``"pig liver"``, the mean and the
        standard deviation over subjects, both ``(W,)``.

    Raises:
        ValueError: if there is no such table.
    """
    content = read_table(_path(table))
    if "mean_l1" not in content.header:
        wavelength, curves = subjects(table)
        values = np.stack(list(curves.values()))
        return wavelength, {"skin": (values.mean(0), values.std(0, ddof=1))}
    numbers = content.numbers("wavelength_nm", "mean_l1", "sd_l1")
    labels = np.array([" ".join(row[:2]) for row in content.rows])
    axis: NDArray[np.float64] = numbers[labels == labels[0], 0]
    spectra = {}
    for label in dict.fromkeys(labels.tolist()):
        rows = numbers[labels == label]
        if not np.array_equal(rows[:, 0], axis):
            raise ValueError(f"table {table!r}: {label!r} has another wavelength axis than {labels[0]!r}.")
        spectra[label] = (rows[:, 1], rows[:, 2])
    return axis, spectra


def subjects(table: str = "nist_skin_001_050") -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Read one curve a subject.

    Args:
        table: ``"nist_skin_001_050"``, absolute reflectance factor with specular light.

    Returns:
        Wavelengths in nm, shape ``(W,)``, and the curve ``(W,)`` of each subject.

    Raises:
        ValueError: if there is no such table, or it holds means only.
    """
    content = read_table(_path(table))
    if content.header[0] != "wavelength_nm":
        raise ValueError(f"table {table!r} holds means over subjects only; read it with load({table!r}).")
    numbers = content.numbers()
    return numbers[:, 0], {name: numbers[:, i] for i, name in enumerate(content.header) if i}


def phantoms() -> dict[str, Phantom]:
    """Return the optical properties of the shipped phantom materials, by name."""
    result = {}
    for path in sorted((DATA / "phantoms").glob("*.csv")):
        content = read_table(path)
        found = re.search(r"n = ([\d.]+), thickness ([\d.]+) mm, g = ([\d.]+)", content.comments[0])
        if found is None:
            raise ValueError(f"{path} does not state n, thickness and g in its comment line.")
        n, thickness_mm, g = map(float, found.groups())
        wavelength, mu_a, mu_s = content.numbers("wavelength_nm", "mu_a_cm-1", "mu_s_cm-1").T
        result[path.stem] = Phantom(wavelength, mu_a, mu_s, g, n, thickness_mm / 10)
    return result


def _path(table: str) -> str:
    """Path of a shipped table."""
    if table not in names():
        raise ValueError(f"unknown table {table!r} of tissue spectra; choose one of {', '.join(names())}.")
    return str(_FOLDER / f"{table}.csv")
