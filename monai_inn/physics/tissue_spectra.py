"""Measured spectra of real tissue and of optical phantoms, shipped with the package."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_inn.physics.tables import DATA, Table, read_table

__all__ = [
    "Curve",
    "Phantom",
    "curves",
    "draw_subjects",
    "load",
    "names",
    "organ_of",
    "organs",
    "phantoms",
    "subjects",
]

_FOLDER = DATA / "tissue_spectra"


_COLUMNS = ("species", "tissue", "wavelength_nm", "mean_l1", "sd_l1")
_ORGAN_TABLES = ("pig_organs", "human_rat_organs", "pig_kidney_states")
_NO_ORGANS = ("skin", "icg")
_SAME_ORGAN = {"pig kidney_physiological": "pig kidney"}

# How measured repeats of one tissue differ (50 forearms, 36 cheeks): 99 % of the variance lies in three
# smooth shapes, and 0.7 % is left.
_NUM_SHAPES, _SHAPE_LENGTH_NM, _ROUGHNESS, _ROUGH_STEP = 3, 150.0, 0.007, 2


class Curve(NamedTuple):
    """Mean reflectance of a tissue and its standard deviation over subjects, ``(W,)`` each, any unit."""

    wavelength_nm: NDArray[np.float64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


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
    return _means(content)


def _means(
    content: Table,
) -> tuple[NDArray[np.float64], dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]]:
    """Wavelengths, and mean and deviation of each label, of a table of means."""
    numbers = content.numbers("wavelength_nm", "mean_l1", "sd_l1")
    labels = np.array([" ".join(row[:2]) for row in content.rows])
    axis: NDArray[np.float64] = numbers[labels == labels[0], 0]
    spectra = {}
    for label in dict.fromkeys(labels.tolist()):
        rows = numbers[labels == label]
        if not np.array_equal(rows[:, 0], axis):
            raise ValueError(
                f"table {content.path}: {label!r} has another wavelength axis than {labels[0]!r}."
            )
        if not (rows[:, 2] > 0).all():
            raise ValueError(
                f"table {content.path}: the standard deviation sd_l1 of {label!r} is not above 0; give means "
                "over several subjects."
            )
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


def curves(folder: str | PathLike[str] | None = None) -> dict[str, Curve]:
    """Return all mean spectra with their spread over subjects, by species and tissue.

    Args:
        folder: tables in the form of the shipped ones, with the columns species, tissue, wavelength_nm,
            mean_l1 and sd_l1; the shipped tables by default.

    Raises:
        ValueError: if the folder holds no such table, or one without deviations between subjects.
    """
    if folder is None:
        tables = [_path(name) for name in _ORGAN_TABLES]
    else:
        tables = [str(path) for path in sorted(Path(folder).glob("*.csv"))]
    found: dict[str, Curve] = {}
    for table in tables:
        content = read_table(table)
        if "mean_l1" in content.header:
            wavelength, spectra = _means(content)
            found |= {label: Curve(wavelength, *rows) for label, rows in spectra.items()}
    if not found:
        raise ValueError(f"{folder}: no table there has the columns {', '.join(_COLUMNS)}.")
    return found


def organ_of(label: str) -> str | None:
    """Return the perfused organ that a curve is of; ``None`` for skin and dyes."""
    if any(word in label for word in _NO_ORGANS):
        return None
    return _SAME_ORGAN.get(label, label)


def organs(folder: str | PathLike[str] | None = None) -> dict[str, list[Curve]]:
    """Return the curves of perfused organs, without skin and dyes; several of one organ together.

    Arguments and errors are those of ``curves``.
    """
    found: dict[str, list[Curve]] = {}
    for label, curve in curves(folder).items():
        if organ := organ_of(label):
            found.setdefault(organ, []).append(curve)
    return found


def draw_subjects(curve: Curve, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw spectra of ``n`` subjects around a measured mean, ``(n, W)``.

    Their standard deviation is the measured one, their correlation along the wavelength that of measured
    repeats: a few smooth shapes, and a little roughness.
    """
    relative = curve.sd / curve.mean
    distance = (curve.wavelength_nm[:, None] - curve.wavelength_nm) / _SHAPE_LENGTH_NM
    variance, axes = np.linalg.eigh(np.exp(-0.5 * distance**2) * relative[:, None] * relative)
    shapes = axes[:, -_NUM_SHAPES:] * np.sqrt(variance[-_NUM_SHAPES:])
    shapes *= (relative / np.sqrt(np.square(shapes).sum(1)))[:, None]
    size = curve.mean.size
    rough = rng.standard_normal((n, -(-size // _ROUGH_STEP))).repeat(_ROUGH_STEP, axis=1)[:, :size]
    deviation = rng.standard_normal((n, _NUM_SHAPES)) @ shapes.T + _ROUGHNESS * rough
    drawn: NDArray[np.float64] = curve.mean * np.maximum(1 + deviation, 0.05)
    return drawn


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
