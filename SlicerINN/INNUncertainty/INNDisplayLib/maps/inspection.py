"""One voxel under the cursor: what is known of it, in words with units, as a curve and as a chart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import slicer.util
from numpy.typing import NDArray

from ..numbers.posteriors import density, interval_at, probability_below
from ..results.result import Shown
from ..results.run import Run
from ..results.sequences import sample_arrays
from ..scene.charts import BAND, WARNING, add_line, new_chart
from ..scene.marks import indices_at
from ..translating import tr as _

__all__ = [
    "OUTSIDE",
    "TRUSTED",
    "UNUSABLE",
    "WITHHELD",
    "Mode",
    "Reading",
    "peaks",
    "read_at",
    "show_posterior",
    "voxel_at",
]

TRUSTED, WITHHELD, UNUSABLE, OUTSIDE = "in distribution", "out of distribution", "not usable", "outside"
_DIP = 0.6  # a valley below this share of the lower peak parts two modes, as in the map of their number
_LEAST_MASS = 0.03


@dataclass(frozen=True)
class Mode:
    """A peak of a marginal posterior: where it is, and the probability between the valleys beside it."""

    value: float
    mass: float


@dataclass(frozen=True)
class Reading:
    """What is known of one parameter at one voxel.

    Args:
        state: in distribution, out of it, not usable, or outside the image.
        parameter: whose values these are.
        voxel: its (k, j, i); ``None`` outside.
        interval: low end, median and high end; ``None`` without them or a usable voxel.
        mass: probability inside the interval.
        modes: peaks of the marginal posterior, the heaviest first.
        below: threshold and the probability to lie below it, if a threshold was asked for.
        curve: values and their density, in one over the unit.
        reason: why it is out of distribution, in words.
        says_nothing: whether the interval is hardly narrower than before the measurement.
        samples: values of the stored samples, of an unknown image.
        above: threshold and the share of samples above it, if a threshold was asked for.
        summary: median and width of the interval, where that is all that is known.
    """

    state: str
    parameter: Shown
    voxel: tuple[int, int, int] | None = None
    interval: tuple[float, float, float] | None = None
    mass: float = 0.95
    modes: tuple[Mode, ...] = ()
    below: tuple[float, float] | None = None
    curve: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
    reason: str = ""
    says_nothing: bool = False
    samples: tuple[float, ...] = ()
    above: tuple[float, float] | None = None
    summary: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """One line for the cursor, with the pattern of the verdict; no number comes without its warning."""
        if self.state == OUTSIDE:
            return _("outside the image")
        if self.state == UNUSABLE:
            return _("[+++] NOT USABLE: no measurement here, too dark, saturated or masked")
        values = self._values()
        if self.state == WITHHELD:
            why = f" ({self.reason})" if self.reason else ""
            warning = _("[///] NOT EXPLAINED, out of distribution{why}. Do not use: {values}")
            return warning.format(why=why, values=values)
        if self.says_nothing:
            warning = _("[...] NOT INFORMATIVE about {name}, hardly more than known before: {values}")
            return warning.format(name=self.parameter.label, values=values)
        return _("{values}, in distribution").format(values=values)

    def _values(self) -> str:
        if self.summary is not None:
            median, width = self.summary
            return _("{name} {median}, {mass:.0%} interval {width} wide").format(
                name=self.parameter.label,
                median=self.parameter.text(median),
                mass=self.mass,
                width=self.parameter.text(width),
            )
        if self.interval is None:
            return _("{name}: no posterior stored").format(name=self.parameter.label)
        low, median, high = self.interval
        shown, many = self.parameter, len(self.modes)
        parts = [f"{shown.label} {shown.text(median)}", f"{self.mass:.0%} {low:.3g}–{high:.3g}{shown.suffix}"]
        if many:
            parts.append(_("1 mode") if many == 1 else _("{many} modes").format(many=many))
        if self.above is not None:
            threshold, share = self.above
            parts.append(
                _("{share:.0%} of {number} samples > {threshold}").format(
                    share=share, number=len(self.samples), threshold=shown.text(threshold)
                )
            )
        if self.below is not None:
            threshold, share = self.below
            parts.append(f"P(< {shown.text(threshold)}) {_percent(share)}")
        return ", ".join(parts)


def _percent(share: float) -> str:
    """A probability from a few dozen quantiles; its ends are not known better than that."""
    return "< 2 %" if share < 0.02 else "> 98 %" if share > 0.98 else f"{share:.0%}"


def voxel_at(
    volume: slicer.vtkMRMLVolumeNode, ras: tuple[float, float, float]
) -> tuple[int, int, int] | None:
    """The (k, j, i) of a world position, through the volume's transform; ``None`` outside."""
    i, j, k = np.floor(indices_at(volume, [ras])[0] + 0.5).astype(int).tolist()
    size = volume.GetImageData().GetDimensions()
    return (k, j, i) if all(0 <= v < n for v, n in zip((i, j, k), size, strict=True)) else None


def read_at(
    run: Run, ras: tuple[float, float, float], parameter: str = "", threshold: float | None = None
) -> Reading:
    """Read a run's posterior at a world position.

    Args:
        run: the run.
        ras: world position in millimeters.
        parameter: name of a parameter; the first one by default.
        threshold: asks for the probability to lie below it, in the parameter's unit.
    """
    shown = run.parameter(parameter)
    volume = run.find("median", shown.name) or run.find("valid")
    voxel = None if volume is None else voxel_at(volume, ras)
    if voxel is None:
        return Reading(OUTSIDE, shown)
    if not run.usable(voxel):
        return Reading(UNUSABLE, shown, voxel)
    state = WITHHELD if run.untrusted(voxel) else TRUSTED
    verdict = {"reason": run.reason(voxel), "says_nothing": bool(run.uninformative(shown.name, voxel))}
    stored = run.layers(shown.name)
    ends = [run.array(kind, shown.name) for kind in ("interval_low", "median", "interval_high")]
    if stored is None and all(values is not None for values in ends):
        low, median, high = (float(values[voxel]) for values in ends)
        samples = tuple(float(values[voxel]) for values in sample_arrays(run, shown.name))
        above = None
        if threshold is not None and samples:
            above = threshold, sum(value > threshold for value in samples) / len(samples)
        interval = low, median, high
        return Reading(state, shown, voxel, interval, run.interval, samples=samples, above=above, **verdict)
    known = [run.array(kind, shown.name) for kind in ("median", "interval_width")]
    if stored is None and all(values is not None and np.isfinite(values[voxel]) for values in known):
        median, width = (float(values[voxel]) for values in known)
        return Reading(state, shown, voxel, mass=run.interval, summary=(median, width), **verdict)
    if stored is None or not np.isfinite([layer[voxel] for layer in stored[0]]).all():
        return Reading(state, shown, voxel, **verdict)
    quantiles, levels = np.array([layer[voxel] for layer in stored[0]], float), stored[1]
    mass = run.interval
    curve = density(quantiles, levels, shown.low, shown.high)
    below = None
    if threshold is not None:
        below = threshold, float(probability_below(quantiles, levels, threshold))
    ends = interval_at(quantiles, levels, mass)
    return Reading(state, shown, voxel, ends, mass, peaks(*curve), below, curve, **verdict)


def peaks(values: NDArray[np.floating], height: NDArray[np.floating]) -> tuple[Mode, ...]:
    """The modes of a density on a grid, the heaviest first.

    Two peaks are two modes if the valley between them is below 60 % of the lower one and either holds more
    than 3 % of the mass.
    """
    tops = _separate_tops(height)
    valleys = [a + int(np.argmin(height[a:b])) for a, b in pairwise(tops)]
    edges = [0, *valleys, len(height) - 1]
    total = np.concatenate([[0.0], np.cumsum(np.diff(values) * (height[1:] + height[:-1]) / 2)])
    masses = [(total[b] - total[a]) / total[-1] for a, b in pairwise(edges)]
    found = [Mode(float(values[t]), float(m)) for t, m in zip(tops, masses, strict=True) if m > _LEAST_MASS]
    return tuple(sorted(found, key=lambda mode: -mode.mass))


def _separate_tops(height: NDArray[np.floating]) -> list[int]:
    """Grid points of the peaks that a deep enough valley parts from the next one."""
    padded = np.concatenate([[-np.inf], height, [-np.inf]])
    candidates = [t for t in range(len(height)) if padded[t] < height[t] >= padded[t + 2]]
    tops: list[int] = []
    for top in candidates:
        while tops and height[tops[-1] : top + 1].min() > _DIP * min(height[tops[-1]], height[top]):
            if height[top] <= height[tops[-1]]:
                top = tops[-1]
            tops.pop()
        tops.append(top)
    return tops


def show_posterior(run: Run, reading: Reading) -> slicer.vtkMRMLPlotChartNode:
    """Put a reading into the run's chart.

    Args:
        run: whose chart it is; made at the first call.
        reading: what is known at the voxel; without a posterior the chart is empty and says why.

    Returns:
        The chart: the density with the central interval marked below it, axes with units.
    """
    shown = reading.parameter
    values, height = reading.curve if reading.curve is not None else (np.zeros(0), np.zeros(0))
    low, _median, high = reading.interval or (0.0, 0.0, 0.0)
    inside = np.where((values >= low) & (values <= high), height, 0.0)
    axis = _("posterior density") if shown.unit == "1" else _("posterior density per {unit}")
    axes = shown.label + shown.bracket, axis.format(unit=shown.unit)
    whole, central = _("density"), _("inside the interval")
    columns = {shown.name: values, whole: height, central: inside}
    chart = new_chart(run, "posterior", reading.text, axes, columns)
    is_withheld = reading.state == WITHHELD  # also told by dashes, for pink is slate to some
    for column, width in ((whole, 3), (central, 1)):
        color = WARNING if is_withheld else BAND
        add_line(run, "posterior", (shown.name, column), color, width, is_withheld)
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(shown.low, shown.high)
    return chart
