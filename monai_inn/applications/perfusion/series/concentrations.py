"""Concentrations of contrast agent from the signals of a series, by its settings and a T1 of each voxel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.perfusion.models.signal import Echo, concentration_of, t1_of_flip_angles
from monai_inn.applications.perfusion.series.images import Series, check_place
from monai_inn.applications.perfusion.series.reading import read_series

__all__ = ["Conversion", "Settings", "baseline_frames", "baseline_of", "checked", "conversion_of"]

_VOXELS = 1 << 16  # at a time, in double precision
_RELAXIVITY = 4.5
_TR_MS, _FLIP_DEG, _T1_S, _RELAXIVITIES = (0.5, 200.0), (1.0, 90.0), (0.05, 10.0), (1.0, 30.0)
_CHANGED = 2.0  # times the change between the first two images


class Settings(NamedTuple):
    """What was given of how signals become concentrations; ``None`` is what the files say.

    Attributes:
        t1: number in s, or file of a map in s.
        flip_angles: files of images at several flip angles, from which T1 is computed.
        angles_deg: their flip angles in degrees.
        flip_deg: flip angle of the series in degrees.
        tr_ms: repetition time of the series in ms.
        relaxivity: of the contrast agent in 1/mM/s, 4.5 if it is not given.
        baseline: number of images before the bolus, found if it is not given.
    """

    t1: str | None = None
    flip_angles: Sequence[str | PathLike[str]] = ()
    angles_deg: Sequence[float] | None = None
    flip_deg: float | None = None
    tr_ms: float | None = None
    relaxivity: float | None = None
    baseline: int | None = None


class Conversion(NamedTuple):
    """How the signals of one series become concentrations.

    Attributes:
        echo: settings of the series and of the contrast agent.
        t1_s: T1 without contrast agent in s, ``(x, y, z)``; NaN where it is not known.
        baseline: number of images before the bolus.
    """

    echo: Echo
    t1_s: Tensor
    baseline: int

    def of_curve(self, signal: Tensor, t1_s: Tensor | float) -> Tensor:
        """Return concentrations in mM, ``(T, …)``, of signals of that shape in any unit."""
        return concentration_of(signal, signal[: self.baseline].mean(0), t1_s, self.echo)

    def of_image(self, values: Tensor) -> Tensor:
        """Return concentrations in mM, ``(T, x, y, z)``, float32.

        A voxel whose signal no concentration gives in one of its frames is NaN in all: what is too bright
        for the settings would otherwise go missing from the curve, and only its low values would stay.
        """
        parts = zip(values.flatten(1).split(_VOXELS, 1), self.t1_s.flatten().split(_VOXELS), strict=True)

        def convert(signal: Tensor, t1_s: Tensor) -> Tensor:
            found = self.of_curve(signal.double(), t1_s.double())
            fails = (found.isnan() & signal.isfinite()).any(0)
            return torch.where(fails, torch.nan, found).float()

        return torch.cat([convert(*part) for part in parts], 1).reshape(values.shape)


def conversion_of(series: Series, settings: Settings, arrival: int, notes: list[str]) -> Conversion:
    """Return how a series is converted, from what was given and what its files say.

    Args:
        series: signals.
        settings: what was given.
        arrival: first image in which the artery has tracer.
        notes: is extended by what was assumed, for people.

    Raises:
        ValueError: if a setting is missing or out of range, or files do not fit the series.
    """
    echo = _echo(series, settings, notes)
    baseline = baseline_of(series, settings.baseline, arrival, notes)
    return Conversion(echo, _t1(series, settings, float(echo.tr_s), notes), baseline)


def baseline_of(series: Series, given: int | None, arrival: int, notes: list[str]) -> int:
    """Return how many images come before the bolus, as given or found; see ``conversion_of``.

    Raises:
        ValueError: if there is none.
    """
    baseline = given
    if baseline is None:
        baseline = baseline_frames(series.values, arrival)
        notes.append(f"Baseline: the first {baseline} images, as none was given.")
    if not 1 <= baseline < len(series.values):
        raise ValueError(
            f"{series.path}: {baseline} images before the bolus, expected one at least; give the "
            "series from before the injection, or --baseline N."
        )
    return baseline


def baseline_frames(values: Tensor, arrival: int) -> int:
    """Return how many images ``(T, …)`` come before the bolus reaches anything.

    These are the ones before its arrival in the artery, and of these the ones before the first that differs
    from the first image twice as much as the second does: tissue may be ahead of an artery elsewhere.
    """
    first = values[0]
    bright = first > first[first > 0].median() if bool((first > 0).any()) else first > 0
    change = [float((image - first)[bright].abs().nanmedian()) for image in values[1:arrival]]
    usual = _CHANGED * change[0] if change else 0.0
    return next((k for k, size in enumerate(change[1:], 2) if size > usual > 0), arrival)


def _echo(series: Series, settings: Settings, notes: list[str]) -> Echo:
    """Settings of the series, given or else as its files say."""
    angles = sorted(set(series.flip_deg or ()))
    if settings.flip_deg is None and len(angles) > 1:
        raise ValueError(
            f"{series.path}: flip angles from {angles[0]:g} to {angles[-1]:g}°, expected one; give the "
            "dynamic series here, and that of several flip angles by --flip-angles."
        )

    def chosen(what: str, given: float | None, said: float | None, unit: str, *rest: Any) -> float:
        if given is not None and said is not None and not math.isclose(given, said, rel_tol=1e-6):
            notes.append(f"The {what} is {given:g}{unit}, as given; the files say {said:g}{unit}.")
        return checked(series.path, what, said if given is None else given, unit, *rest)

    said_ms = None if series.tr_s is None else 1000 * series.tr_s
    relaxivity = settings.relaxivity
    if relaxivity is None:
        relaxivity = _RELAXIVITY
        notes.append(f"Relaxivity {_RELAXIVITY:g} /mM/s, as none was given.")
    return Echo(
        chosen("flip angle", settings.flip_deg, next(iter(angles), None), "°", _FLIP_DEG, "--flip DEG"),
        chosen("repetition time", settings.tr_ms, said_ms, " ms", _TR_MS, "--tr MS") / 1000,
        chosen("relaxivity", relaxivity, None, " /mM/s", _RELAXIVITIES, "--relaxivity R"),
    )


def checked(
    path: Path, what: str, value: float | None, unit: str, limits: tuple[float, float], option: str
) -> float:
    """Return a setting that is in its range.

    Raises:
        ValueError: if it is not there, or not in its range.
    """
    if value is None:
        raise ValueError(f"{path}: its files do not say the {what}; give {option}.")
    if not limits[0] <= value <= limits[1]:
        raise ValueError(
            f"{path}: {what} {value:g}{unit}, expected {limits[0]:g} to {limits[1]:g}{unit}; give {option}."
        )
    return float(value)


def _t1(series: Series, settings: Settings, tr_s: float, notes: list[str]) -> Tensor:
    """T1 of each voxel in s, ``(x, y, z)``."""
    size = series.values.shape[1:]
    if settings.flip_angles:
        t1_s = _t1_of_files(series, settings, tr_s)
        notes.append(f"T1 from {len(settings.flip_angles)} file(s) of several flip angles.")
    elif settings.t1 is None:
        raise ValueError(
            f"{series.path}: T1 is needed; give --flip-angles FILES, or --t1 with a map or a number of s."
        )
    elif _number(settings.t1) is not None:
        t1_s = torch.full(size, checked(series.path, "T1", _number(settings.t1), " s", _T1_S, "--t1 in s"))
        notes.append(f"T1 {settings.t1} s in all voxels.")
    else:
        t1_s = _t1_map(series, Path(settings.t1))
    return t1_s


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _t1_map(series: Series, path: Path) -> Tensor:
    image = read_series(path)
    check_place(series, image, "the map of T1")
    if len(image.values) != 1:
        raise ValueError(f"{path}: {len(image.values)} images, expected one map of T1.")
    values = image.values[0] / (1000 if image.units == "ms" else 1)
    values = torch.where(values > 0, values, torch.nan)
    mend = 'divide a map in ms by 1000, or write {"units": "ms"} into its JSON file'
    return _plausible(path, values, mend)


def _plausible(path: Path, t1_s: Tensor, mend: str) -> Tensor:
    """A map of T1, of which the usual value is one of a tissue."""
    usual, (low, high) = float(t1_s.nanmedian()), _T1_S
    if not low <= usual <= high:
        raise ValueError(f"{path}: T1 is usually {usual:.3g}, expected {low:g} to {high:g} s; {mend}.")
    return t1_s


def _t1_of_files(series: Series, settings: Settings, tr_s: float) -> Tensor:
    """T1 by least squares on images at several flip angles."""
    images = [read_series(path) for path in settings.flip_angles]
    for image in images:
        check_place(series, image, "the images at several flip angles")
    values = torch.cat([image.values for image in images])
    said = [angle for image in images for angle in image.flip_deg or (None,) * len(image.values)]
    angles = list(settings.angles_deg or said)
    name = images[0].path
    if len(angles) != len(values):
        raise ValueError(
            f"{name}: {len(values)} images, but {len(angles)} flip angles; give --angles for all."
        )
    flips = [checked(name, "flip angle", angle, "°", (0.1, 90.0), "--angles DEG …") for angle in angles]
    if len(set(flips)) < 2:
        raise ValueError(f"{name}: all images have a flip angle of {flips[0]:g}°; give images of several.")
    times = {image.tr_s for image in images} - {None}
    if len(times) > 1:
        raise ValueError(f"{name}: images of several repetition times; give those of one.")
    own = times.pop() if times else tr_s
    own_ms = checked(name, "repetition time", 1000 * (own or 0.0), " ms", _TR_MS, "it in its JSON, in s")
    degrees = torch.tensor(flips, dtype=torch.float64)
    parts = values.flatten(1).split(_VOXELS, 1)
    found = [t1_of_flip_angles(part.T.double(), degrees, own_ms / 1000)[0].float() for part in parts]
    t1_s = torch.cat(found).reshape(values.shape[1:])
    return _plausible(name, t1_s, "correct flip angles and repetition time")
