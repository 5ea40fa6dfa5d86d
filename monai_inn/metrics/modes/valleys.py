"""Is there a valley between two humps of a sample, or is it noise? Counting in windows on a line."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST", "LINK", "SIGNIFICANT", "Valley", "cut_line", "deepest_valley", "open_circle"]

Array = NDArray[np.float64]

# Two humps are one mode if the density between them stays above this share of the lower one.
LINK = 0.7
# Standard errors by which a valley must lie below both humps, beyond what the best of so many windows shows.
# Samples without a valley (normal, uniform, exponential, Student; 200 to 2000 draws) pass in 0 to 4 %.
SIGNIFICANT = 1.7
# A hump of fewer samples cannot be significant.
FEWEST = 8
# The narrowest window holds this share of the samples where they are densest, or so many, of few samples a
# quarter: in narrower ones there is more chance than structure.
_SHARE, _HELD, _QUARTER = 0.05, 50, 0.25
# Windows grow by this factor from the narrowest to half the line.
_GROWTH = 1.5
_MOST_WINDOWS = 2048
# Part of a turn over which the emptiest place of a circle is sought.
_SEAM = 1 / 8


class Valley(NamedTuple):
    """The deepest valley on a line.

    Attributes:
        significance: standard errors by which it lies below the lower hump, less what chance gives; ``-inf``
            if there is none.
        position: centre of the window that has the fewest samples.
        left: centre of the window of the hump before it.
        right: centre of the window of the hump behind it.
        width: width of the windows.
    """

    significance: float
    position: float
    left: float
    right: float
    width: float

    def windows(self) -> tuple[tuple[float, float], ...]:
        """Ends of the windows of the valley and both humps."""
        centres, half = (self.position, self.left, self.right), self.width / 2
        return tuple((centre - half, centre + half) for centre in centres)


def deepest_valley(
    ordered: Array,
    low: float = -math.inf,
    high: float = math.inf,
    narrowest: float = 0.0,
    total: int | None = None,
) -> Valley:
    """Return the most significant valley of a sorted sample.

    Windows of one width are slid along the line. Counts are Poisson and their roots have variance ¼, so that
    ``√2 (√hump − √valley)`` is a number of standard errors, with the lower of the highest counts on either
    side as the hump. The more windows of such a hump there are in the sample, the deeper is the deepest by
    chance: ``√(2 ln(total / hump))`` is taken off, as for the largest of so many normal numbers. Windows
    above ``LINK`` of the hump do not count. All widths are tried: narrow ones see two broad humps that nearly
    touch, wide ones a few samples far away.

    Args:
        ordered: sorted values, shape ``(n,)``.
        low: smallest position of the valley.
        high: largest position.
        narrowest: narrowest window, so that finer structure is not seen.
        total: number of samples searched, if these are a part of them.

    Returns:
        The valley; its significance is ``-inf`` if there is none.

    Source: the penalty is that of Dümbgen and Spokoiny, Multiscale testing of qualitative hypotheses, 2001.
    """
    best = Valley(-math.inf, math.nan, math.nan, math.nan, math.nan)
    held = max(FEWEST, round(_SHARE * ordered.size), min(_HELD, round(_QUARTER * ordered.size)))
    if ordered.size < 2 * FEWEST:
        return best
    first, last = float(ordered[0]), float(ordered[-1])
    width = max(narrowest, float((ordered[held - 1 :] - ordered[: 1 - held]).min()))
    # Values that repeat have no width of their own.
    width = max(width, (last - first) / _MOST_WINDOWS)
    while 0 < width <= (last - first) / 2:
        number = min(_MOST_WINDOWS, int(4 * (last - first) / width) + 2)
        centre = np.linspace(first, last, number)
        edge = np.searchsorted(ordered, np.concatenate([centre - width / 2, centre + width / 2]))
        count = edge[number:] - edge[:number]
        left = np.maximum.accumulate(count)
        hump = np.minimum(left, np.maximum.accumulate(count[::-1])[::-1])
        chance = np.sqrt(2 * np.log((total or ordered.size) / np.maximum(hump, 1)))
        score = math.sqrt(2) * (np.sqrt(hump) - np.sqrt(count)) - chance
        score[(count >= LINK * hump) | (centre < low) | (centre > high)] = -math.inf
        top = float(score.max())
        if top > best.significance:
            # The middle of the bottom, not its first window.
            bottom = np.flatnonzero(score == top)
            middle = int(bottom[bottom.size // 2])
            before, behind = int(count[:middle].argmax()), middle + int(count[middle:].argmax())
            best = Valley(top, float(centre[middle]), float(centre[before]), float(centre[behind]), width)
        width *= _GROWTH
    return best


def cut_line(ordered: Array, fewest: int, narrowest: float, total: int | None = None) -> list[float]:
    """Return the ascending positions that cut a sorted sample into its modes, each of ``fewest`` samples."""
    total = total or ordered.size
    if ordered.size < 2 * fewest:
        return []
    valley = deepest_valley(ordered, float(ordered[fewest - 1]), float(ordered[-fewest]), narrowest, total)
    if valley.significance < SIGNIFICANT:
        return []
    split = int(np.searchsorted(ordered, valley.position))
    if not fewest <= split <= ordered.size - fewest:
        return []
    left = cut_line(ordered[:split], fewest, narrowest, total)
    return [*left, valley.position, *cut_line(ordered[split:], fewest, narrowest, total)]


def open_circle(angles: Array, turn: float) -> Array:
    """Return angles counted from the emptiest place of the circle on, between 0 and ``turn``."""
    ordered = np.sort(np.remainder(angles, turn))
    around = np.concatenate([ordered, ordered + turn])
    start = np.linspace(0, turn, 257)[:-1]
    count = np.searchsorted(around, start + _SEAM * turn) - np.searchsorted(around, start)
    # The middle of the emptiest stretch, which may itself lie across the end of the turn.
    empty = start[count == count.min()] * (2 * math.pi / turn)
    middle = math.atan2(np.sin(empty).mean(), np.cos(empty).mean()) * (turn / (2 * math.pi))
    if count[int(np.remainder(middle, turn) / turn * 256)] > count.min():
        middle = float(start[count.argmin()])
    seam = middle + _SEAM * turn / 2
    return np.remainder(angles - seam, turn)
