"""Concentrations of contrast agent from the signals of T2*-weighted series, of one echo or two."""

from __future__ import annotations

from os import PathLike
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.perfusion.models.signal import relaxation_change
from monai_inn.applications.perfusion.series.concentrations import baseline_of, checked
from monai_inn.applications.perfusion.series.images import Series, check_place
from monai_inn.applications.perfusion.series.reading import read_series

__all__ = ["Susceptibility", "ratio_of_echoes"]

_TE_MS, _RELAXIVITIES = (1.0, 200.0), (0.5, 500.0)


class Susceptibility(NamedTuple):
    """What was given of how changes of R2* become concentrations.

    Attributes:
        te_ms: echo time in ms; ``None`` for what the files say.
        relaxivity: of R2* in the tissue, in 1/mM/s.
        artery_relaxivity: of R2* in the blood of an artery in the series, in 1/mM/s.
        baseline: number of images before the bolus, found if it is not given.
    """

    te_ms: float | None = None
    relaxivity: float | None = None
    artery_relaxivity: float | None = None
    baseline: int | None = None

    def concentrations(
        self, series: Series, curve: Tensor | None, arrival: int, notes: list[str]
    ) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        """Return concentrations in mM of a series ``(T, x, y, z)``, float32, and of a curve of its artery.

        A voxel without signal in one of its frames is NaN in all.

        Args:
            series: signals, or ratios of two echoes.
            curve: their mean in an artery ``(T,)``, if that is to be converted, too.
            arrival: first image in which the artery has tracer.
            notes: is extended by what was assumed, for people.

        Returns:
            Both concentrations, and the settings for the record.

        Raises:
            ValueError: if a setting is missing or out of range.
        """
        te_s = _echo_time_s(series, self.te_ms, "--te MS")
        first = baseline_of(series, self.baseline, arrival, notes)
        settings: dict[str, Any] = {"te_s": te_s, "baseline_frames": first}

        def converted(values: Tensor, where: str, given: float | None, option: str) -> Tensor:
            name = f"relaxivity of R2* in the {where}"
            relaxivity = checked(series.path, name, given, " /mM/s", _RELAXIVITIES, option)
            settings[f"{where}_relaxivity_per_mM_s"] = relaxivity
            values = values.double()
            return relaxation_change(values, values[:first].mean(0), te_s) / relaxivity

        made = converted(series.values, "tissue", self.relaxivity, "--relaxivity R").float()
        made = torch.where((made.isnan() & series.values.isfinite()).any(0), torch.nan, made)
        if curve is not None:
            curve = converted(curve, "artery", self.artery_relaxivity, "--artery-relaxivity R")
        return made, curve, settings


def ratio_of_echoes(
    series: Series, te_ms: float | None, second: str | PathLike[str], second_te_ms: float | None, skip: int
) -> Series:
    """Return the ratio of a second echo to a series, with the time between both as its echo time.

    Args:
        series: images of the first echo, without those to be left out.
        te_ms: its echo time in ms; ``None`` for what its files say.
        second: all images of the later echo.
        second_te_ms: its echo time in ms; ``None`` likewise.
        skip: number of its images to leave out at the beginning.

    Raises:
        ValueError: if an echo time is missing or out of range, or the second echo does not fit the first.
    """
    other = read_series(second)
    check_place(series, other, "the second echo")
    images, expected = len(other.values) - skip, len(series.values)
    if images != expected:
        raise ValueError(f"{second}: {images} images, but {series.path} has {expected}; give as many.")
    te_s = _echo_time_s(series, te_ms, "--te MS")
    between_s = _echo_time_s(other, second_te_ms, "--second-te MS") - te_s
    if between_s <= 0:
        raise ValueError(
            f"{second}: an echo time {-1000 * between_s:g} ms before that of {series.path}, expected a later "
            "one; exchange the two series."
        )
    first, later = series.values, other.values[skip:]
    ratio = torch.where(first > 0, later / first, torch.where(first.isfinite(), 0.0, torch.nan))
    note = f"Ratio of two echoes, {1000 * between_s:g} ms apart: what T1 does to both cancels."
    return series._replace(values=ratio, te_s=between_s, notes=(*series.notes, note))


def _echo_time_s(series: Series, given_ms: float | None, option: str) -> float:
    said_ms = None if series.te_s is None else 1000 * series.te_s
    value = said_ms if given_ms is None else given_ms
    return checked(series.path, "echo time", value, " ms", _TE_MS, option) / 1000
