"""What an acquisition must be for the networks to know it: each refusal says what came and how to mend it.

The limits are those of the simulations that networks are trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.applications.perfusion.fitting.quick_fit import delays_that_fit
from monai_inn.applications.perfusion.models.acquisition import (
    DYNAMIC,
    FEWEST_WEIGHTINGS,
    LARGEST_WEIGHTING,
    LEAST_PEAK_MM,
    Frames,
)
from monai_inn.applications.perfusion.models.arteries import ARTERY
from monai_inn.applications.perfusion.series.measured_artery import arrival_of

__all__ = [
    "check_arrival",
    "check_artery",
    "check_times",
    "check_tissue",
    "check_weightings",
    "is_millimolar",
]

Curve = NDArray[Any]

_ROUNDING = 1e-3
_FAMILY = {parameter.name: parameter for parameter in ARTERY}
_MOST_MM = 1.5 * _FAMILY["peak"].high  # with noise and deviations from the family
_BELOW_ZERO = 0.5  # of the peak: five standard deviations of the largest noise
_MOST_BEFORE = 0.5  # of the peak, in the first frame
_TISSUE_MM, _MOST_VOXELS = 20.0, 0.9  # what so many voxels have in most frames at most
# What the median of so many voxels has at first only in signals: mM, and a share of the peak.
_BASELINE_MM, _ENOUGH = 0.3, 20
_RESTING, _MANY = 0.25, 200
# Delays behind the artery that are tried, in s; how much of a curve a fit may leave; beyond the simulations.
_TRIED_S, _UNFITTED, _BEYOND_S = (-60.0, 60.0, 2.5), 0.2, 5.0


def is_millimolar(unit: str) -> bool:
    """Whether a unit is that of the concentrations of the simulations."""
    return unit in ("mM", "mmol/L", "mmol/l")


def check_times(times: Curve, path: str, frames: Frames = DYNAMIC) -> None:
    """Refuse times ``(T,)`` in s that no acquisition of the simulations has, whose limits are ``frames``.

    Raises:
        ValueError: if there are too few or too many, they do not ascend, or they are in another unit.
    """
    number, most = len(times), frames.most
    if not frames.fewest <= number <= most:
        mend = "take means (--average N), or leave some out" if number > most else "give the whole series"
        raise ValueError(f"{path}: {number} frames, expected {frames.fewest} to {most}; {mend}.")
    steps = np.diff(times)
    if not (steps > 0).all():
        at = int(np.argmin(steps > 0)) + 1
        raise ValueError(
            f"{path}: frame {at + 1} is {times[at]:g} s, not later than the {times[at - 1]:g} s of the frame "
            "before; put frames and times in order."
        )
    length, (shortest, longest) = float(times[-1] - times[0]), frames.lasting_s
    if shortest * (1 - _ROUNDING) <= length <= longest * (1 + _ROUNDING):
        return
    looks, mend = "", f"the network knows none of that length; give frames of {shortest:g} to {longest:g} s"
    for unit, factor in (("minutes", 60.0), ("milliseconds", 1e-3)):
        if shortest <= factor * length <= longest:
            looks, mend = f", which looks like {unit}", "give times in s"
    raise ValueError(
        f"{path}: the frames last {length:g} s in all{looks}, expected {shortest:g} to {longest:g} s; {mend}."
    )


def check_artery(artery: Curve, times: Curve, path: str) -> None:
    """Refuse an arterial curve ``(T,)`` in mM, at times in s, that is not one of a bolus in plasma.

    Raises:
        ValueError: if there is no tracer in it, it is negative, in another unit, or its bolus lies outside.
    """
    there = np.isfinite(artery)
    curve, at = artery[there], times[there]
    if not curve.size or not curve.any():
        raise ValueError(f"{path}: the artery has no tracer at all (all zero); give its curve in mM.")
    peak, lowest = float(curve.max()) + 0.0, float(curve.min())  # not −0
    expected = f"expected a peak of {LEAST_PEAK_MM:g} to {_MOST_MM:g} mM"
    if peak > _MOST_MM:
        raise ValueError(
            f"{path}: the peak of the artery is {peak:g}, {expected}: it looks like a signal, or like µM; "
            "convert it to mM."
        )
    if lowest < min(-_BELOW_ZERO * peak, -LEAST_PEAK_MM):
        raise ValueError(
            f"{path}: the artery goes from {lowest:g} to {peak:g} mM, expected concentrations above zero; "
            "correct its sign, or its baseline."
        )
    if peak < LEAST_PEAK_MM:
        raise ValueError(
            f"{path}: the peak of the artery is {peak:g}, {expected}: it looks like mol/L, or like a vessel "
            "that the bolus does not reach; give mM of an artery."
        )
    if artery[0] > _MOST_BEFORE * peak:
        raise ValueError(
            f"{path}: the artery begins at {artery[0]:g} of {peak:g} mM, expected none before the bolus; "
            "give the series from before the injection."
        )
    last_before = float(at[max(arrival_of(curve) - 1, 0)] - times[0])
    latest = _FAMILY["arrival"].high + _FAMILY["rise"].high
    if last_before > latest:
        raise ValueError(
            f"{path}: the bolus reaches the artery later than {last_before:g} s after the first frame, "
            f"expected within {latest:g} s; leave out the first {int((times < last_before - latest).sum())} "
            "frames, or correct the curve's times."
        )


def check_arrival(tissue: Curve, artery: Curve, times: Curve, limits: tuple[float, float], path: str) -> None:
    """Refuse an artery ``(T,)`` that the tracer reaches at another time than the tissues ``(T, n)`` say.

    For each tissue that a fit of the extended Tofts model explains, the delay that fits best is found; their
    median must lie within the delays of the simulations, ``limits`` in s. A few tissues decide nothing.

    Raises:
        ValueError: if it does not.
    """
    low, high, step = _TRIED_S
    rows = torch.from_numpy(np.ascontiguousarray(tissue.T))
    rows = rows[rows.nan_to_num(0.0).abs().sum(1) > 0]
    if len(rows) < _ENOUGH:
        return
    blood, clock = (torch.from_numpy(part).expand(len(rows), -1) for part in (artery, times))
    delay, left = delays_that_fit(rows, blood, clock, torch.arange(low, high + step / 2, step))
    fitted = delay[left < _UNFITTED]
    if len(fitted) < _ENOUGH:
        return
    median, (first, last) = float(fitted.median()), limits
    beyond = max(_BEYOND_S, float(np.diff(times).min()))
    if not first - beyond <= median <= last + beyond:
        order = "after" if median > 0 else "before"
        raise ValueError(
            f"{path}: the tracer reaches the tissues {abs(median):g} s {order} the artery, expected a median "
            f"delay of {first:g} to {last:g} s; correct the times of the artery."
        )


def check_tissue(tissue: Curve, path: str) -> None:
    """Refuse voxels ``(T, n)`` that are signals and not concentrations in mM.

    Raises:
        ValueError: in that case.
    """
    some = np.isfinite(tissue).any(0) & np.nan_to_num(tissue).any(0)
    voxels = np.where(np.isfinite(tissue), tissue, np.nan)[:, some]
    if not voxels.size:
        return
    usual = float(np.quantile(np.abs(np.nanmedian(voxels, 0)), _MOST_VOXELS))
    level = float(np.median(next(frame[np.isfinite(frame)] for frame in voxels if np.isfinite(frame).any())))
    peak = float(np.median(np.nanmax(voxels, 0)))
    number = voxels.shape[1]
    is_signal = (number >= _ENOUGH and level > _BASELINE_MM) or (number >= _MANY and level > _RESTING * peak)
    if usual > _TISSUE_MM or is_signal:
        raise ValueError(
            f"{path}: most voxels have about {level:g} at first and {peak:g} at most, expected "
            "concentrations in mM, near 0 before the bolus: these look like signals; convert them with "
            "`monai-inn concentration`."
        )


def check_weightings(b: Curve, path: str) -> None:
    """Refuse b-values ``(N,)`` in s/mm² that no acquisition of the simulations has.

    Raises:
        ValueError: if one is negative, none is 0, or they are in another unit or too large or small.
    """
    if len(b) < FEWEST_WEIGHTINGS:
        raise ValueError(
            f"{path}: {len(b)} images, expected {FEWEST_WEIGHTINGS} at least; give the others too."
        )
    least, most = LARGEST_WEIGHTING
    largest = float(b.max())
    if (b < 0).any():
        raise ValueError(f"{path}: a b-value is {b.min():g} s/mm², expected none below 0; correct it.")
    if not (b == 0).any():
        raise ValueError(
            f"{path}: the least b-value is {b.min():g} s/mm², expected an image at 0; add it, or set it to 0 "
            "if the scanner calls it otherwise."
        )
    if largest < 10:
        raise ValueError(
            f"{path}: b-values up to {largest:g}, which looks like ms/µm², expected s/mm²; multiply by 1000."
        )
    if not least * (1 - _ROUNDING) <= largest <= most * (1 + _ROUNDING):
        mend = "leave out the images above" if largest > most else "the network knows no such acquisition"
        raise ValueError(
            f"{path}: b-values up to {largest:g} s/mm², expected up to a largest of {least:g} to {most:g}; "
            f"{mend}."
        )
