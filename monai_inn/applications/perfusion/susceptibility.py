"""Concentrations of contrast agent from the signals of T2*-weighted series, of one echo or two."""

from __future__ import annotations

from os import PathLike
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.perfusion.concentrations import baseline_of, checked
from monai_inn.applications.perfusion.series_files import Series, check_place, read_series
from monai_inn.applications.perfusion.signal import relaxation_change

__all__ = ["SusceptibilityConversion", "SusceptibilitySettings", "susceptibility_of", "with_echoes"]

_TE_MS, _RELAXIVITIES = (1.0, 200.0), (0.5, 500.0)


class SusceptibilitySettings(NamedTuple):
    """What was given of how changes of R2* become concentrations.

    Attributes:
        relaxivity: of R2* in the tissue, in 1/mM/s.
        artery_relaxivity: of R2* in the blood of an artery in the series, in 1/mM/s.
        baseline: number of images before the bolus, found if it is not given.
    """

    relaxivity: float | None = None
    artery_relaxivity: float | None = None
    baseline: int | None = None


class SusceptibilityConversion(NamedTuple):
    """How the signals of one series, or the ratio of two, become concentrations.

    Attributes:
        te_s: echo time, or time between two echoes, in s.
        relaxivity: of R2* in the tissue, in 1/mM/s.
        artery_relaxivity: of R2* in the blood; ``None`` if no artery of the series is converted.
        baseline: number of images before the bolus.
    """

    te_s: float
    relaxivity: float
    artery_relaxivity: float | None
    baseline: int

    def of_image(self, values: Tensor) -> Tensor:
        """Return concentrations in mM of signals ``(T, x, y, z)``, float32.

        A voxel without signal in one of its frames is NaN in all.
        """
        found = self._change(values) / self.relaxivity
        return torch.where((found.isnan() & values.isfinite()).any(0), torch.nan, found)

    def of_artery(self, curve: Tensor) -> Tensor:
        """Return concentrations in mM in the blood of signals ``(T,)``."""
        assert self.artery_relaxivity is not None
        return self._change(curve) / self.artery_relaxivity

    def record(self) -> dict[str, Any]:
        """Return what is written beside the image."""
        found = {
            "te_s": self.te_s,
            "relaxivity_per_mM_s": self.relaxivity,
            "artery_relaxivity_per_mM_s": self.artery_relaxivity,
            "baseline_frames": self.baseline,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _change(self, values: Tensor) -> Tensor:
        return relaxation_change(values, values[: self.baseline].mean(0), self.te_s)


def with_echoes(
    series: Series,
    te_ms: float | None,
    second: str | PathLike[str] | None,
    second_te_ms: float | None,
    skip: int = 0,
) -> Series:
    """Return a series with its echo time, or the ratio of the second echo to it with the time between both.

    Args:
        series: images of one echo, without those to be left out.
        te_ms: its echo time in ms; ``None`` for what its files say.
        second: images of a later echo, if there are any.
        second_te_ms: its echo time in ms; ``None`` likewise.
        skip: number of images to leave out at the beginning of the second echo.

    Raises:
        ValueError: if an echo time is missing or out of range, or the second echo does not fit the first.
    """
    te_s = _echo_time_s(series, te_ms, "--te MS")
    if second is None:
        if second_te_ms is not None:
            raise ValueError("--second-te goes with --second-echo; give both, or --te for one echo.")
        return series._replace(te_s=te_s)
    other = read_series(second, is_spoiled=False)
    check_place(series, other, "the second echo")
    images, expected = len(other.values) - skip, len(series.values)
    if images != expected:
        raise ValueError(
            f"{second}: {images} images, but {series.path} has {expected}; give the same frames."
        )
    between_s = _echo_time_s(other, second_te_ms, "--second-te MS") - te_s
    if between_s <= 0:
        raise ValueError(
            f"{second}: an echo time {-1000 * between_s:g} ms before that of {series.path}, expected a later "
            "one; exchange the two series."
        )
    first, later = series.values, other.values[skip:]
    note = f"Ratio of two echoes, {1000 * between_s:g} ms apart: what T1 does to both cancels."
    return series._replace(
        values=torch.where(first > 0, later / first, torch.where(first.isfinite(), 0.0, torch.nan)),
        te_s=between_s,
        notes=(*series.notes, note),
    )


def susceptibility_of(
    series: Series, settings: SusceptibilitySettings, arrival: int, is_artery_inside: bool, notes: list[str]
) -> SusceptibilityConversion:
    """Return how a series of ``with_echoes`` is converted.

    Args:
        series: signals, or ratios of two echoes.
        settings: what was given.
        arrival: first image in which the artery has tracer.
        is_artery_inside: whether an artery of the series is converted, too.
        notes: is extended by what was assumed, for people.

    Raises:
        ValueError: if a setting is missing or out of range.
    """

    def relaxivity(what: str, value: float | None, option: str) -> float:
        return checked(
            series.path, f"relaxivity of R2* in the {what}", value, " /mM/s", _RELAXIVITIES, option
        )

    assert series.te_s is not None
    return SusceptibilityConversion(
        series.te_s,
        relaxivity("tissue", settings.relaxivity, "--relaxivity R"),
        relaxivity("artery", settings.artery_relaxivity, "--artery-relaxivity R")
        if is_artery_inside
        else None,
        baseline_of(series, settings.baseline, arrival, notes),
    )


def _echo_time_s(series: Series, given_ms: float | None, option: str) -> float:
    said_ms = None if series.te_s is None else 1000 * series.te_s
    value = said_ms if given_ms is None else given_ms
    return checked(series.path, "echo time", value, " ms", _TE_MS, option) / 1000
