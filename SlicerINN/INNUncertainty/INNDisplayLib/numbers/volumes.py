"""The volume in which an event holds, at both ends of how voxels err together: numbers alone, no scene."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..translating import tr as _
from .decisions import pieces
from .posteriors import either_way

__all__ = ["RegionVolume", "region_volume"]

Interval = tuple[float, float, float]

_MOST_EXACT = 2000  # voxels whose sum is counted exactly; that of more is normal to within a voxel


@dataclass(frozen=True)
class RegionVolume:
    """Volume in which an event holds, at both ends of what nobody knows: how voxels err together.

    Args:
        expected: its mean, which does not depend on that.
        independent: low end, median and high end if each voxel errs for itself.
        shared: the same if all err alike, that is, lie at the same level of their posteriors.
        unknown: volume of the voxels that are not trusted, which is in none of the other numbers.
        mass: probability inside the intervals.
        unit: mm³, or mm² of a single slice.
    """

    expected: float
    independent: Interval
    shared: Interval
    unknown: float
    mass: float
    unit: str

    @property
    def text(self) -> str:
        """The volume in words."""
        area, volume = _("Area: {expected} {unit} expected."), _("Volume: {expected} {unit} expected.")
        first = volume if self.unit == "mm³" else area
        last = _("Not trusted, and in none of these numbers: {unknown} {unit}")
        return "\n".join(
            [
                first.format(expected=_sized(self.expected), unit=self.unit),
                either_way(self.mass, self, _sized, f" {self.unit}"),
                last.format(unknown=_sized(self.unknown), unit=self.unit),
            ]
        )


def _sized(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def region_volume(
    probability: NDArray[np.floating],
    withheld: NDArray[np.bool_],
    voxel: float,
    mass: float = 0.95,
    unit: str = "mm³",
) -> RegionVolume:
    """Return the volume in which an event holds.

    Args:
        probability: of the event in each voxel, any shape; NaN where it is not known.
        withheld: voxels that are not trusted, same shape.
        voxel: volume of one, or its area.
        mass: probability inside the intervals.
        unit: of ``voxel``.
    """
    tails = ((1 - mass) / 2, 0.5, (1 + mass) / 2)
    events = _Events(tails)
    for _piece, p, is_left_out in pieces(probability, withheld):
        events.add(p[~is_left_out])
    shared, independent = (tuple(voxel * n for n in counts) for counts in (events.shared, events.counts()))
    unknown = voxel * (probability.size - events.number)
    return RegionVolume(voxel * events.mean, independent, shared, unknown, mass, unit)


class _Events:
    """Events with a probability each, taken in a piece at a time.

    Args:
        levels: of the quantiles of how many happen.
    """

    def __init__(self, levels: tuple[float, ...]) -> None:
        self._levels = levels
        self.number = self._always = self._open = 0
        self.mean = self._squares = 0.0
        self.shared = np.zeros(len(levels))
        self._undecided: list[NDArray[np.float64]] = []

    def add(self, probability: NDArray[np.floating]) -> None:
        """Take in a piece ``(N,)``."""
        exact, is_open = probability.astype(np.float64), (probability > 0) & (probability < 1)
        self.number += len(exact)
        self.mean += float(exact.sum())
        self._squares += float((exact * exact).sum())
        self._always += np.count_nonzero(probability >= 1)
        self._open += np.count_nonzero(is_open)
        # At a common level u all events with a probability above u happen.
        self.shared += [np.count_nonzero(probability > 1 - level) for level in self._levels]
        if self._open <= _MOST_EXACT:
            self._undecided.append(exact[is_open])

    def counts(self) -> tuple[float, ...]:
        """Quantiles of the number that happens, if they are independent."""
        if self._open <= _MOST_EXACT:
            share = np.ones(1)
            for p in np.concatenate([*self._undecided, np.empty(0)]):
                share = np.append(share * (1 - p), 0) + np.insert(share * p, 0, 0)
            found = np.searchsorted(share.cumsum(), np.array(self._levels) * (1 - 1e-12)).clip(0, self._open)
            return tuple(self._always + float(count) for count in found)
        deviation = math.sqrt(max(0.0, self.mean - self._squares))
        normal = (self.mean + deviation * NormalDist().inv_cdf(level) for level in self._levels)
        return tuple(min(max(count, self._always), self._always + self._open) for count in normal)
