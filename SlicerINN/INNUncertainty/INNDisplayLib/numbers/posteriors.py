"""What stored quantiles of each voxel tell: probabilities, densities, and the mean over a region."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..translating import tr as _
from .differences import mean_direction, wrapped

__all__ = ["RegionMean", "density", "interval_at", "probability_below", "region_mean", "share_above"]

Array = NDArray[np.floating]

_DRAWN_PIXELS, _DRAWS = 50, 4000
_PIECE = 1 << 15  # voxels worked on at a time, which stay in the cache
_POINTS, _SAMPLES = 160, 64
LARGE = 2_000_000
"""Voxels above which a step of a slider must not wait for a volume, and compiled loops pay."""


def compiled_loops(voxels: int) -> Any:
    """Return the compiled loops for an image of so many voxels; ``None`` if it is small, or without numba."""
    if voxels <= LARGE:
        return None
    try:
        from . import kernels
    except (ImportError, RuntimeError):  # no numba, or no folder in which it may keep the machine code
        return None
    return kernels


def probability_below(quantiles: Array | Sequence[Array], levels: Array, threshold: float) -> Array:
    """Return the probability that each voxel's value lies below a threshold.

    Between stored levels the distribution is linear; beyond the outermost two it goes on with their slope.

    Args:
        quantiles: ascending along the last axis, shape ``(..., L)``, or one array ``(...)`` for each level;
            NaN where there is no posterior.
        levels: of the quantiles, ascending, shape ``(L,)``.
        threshold: in the unit of the quantiles.

    Returns:
        Shape ``(...)``; NaN where the quantiles are.
    """
    layers = [*np.moveaxis(quantiles, -1, 0)] if isinstance(quantiles, np.ndarray) else [*quantiles]
    rows = [layer.reshape(-1) for layer in layers]
    found = np.empty(rows[0].shape, np.float32)

    loops = compiled_loops(found.size) if all(row.dtype == np.float32 for row in rows) else None
    numbers = np.asarray(levels, np.float32), np.float32(threshold)

    def work(start: int) -> None:
        piece = slice(start, start + _PIECE)
        if loops is not None:
            loops.fill_below(found[piece], tuple(row[piece] for row in rows), *numbers)
        else:
            _fill_below(found[piece], [row[piece] for row in rows], levels, threshold)

    with ThreadPoolExecutor() as pool:  # NumPy lets other threads work meanwhile
        for _done in pool.map(work, range(0, len(found), _PIECE)):
            pass
    return found.reshape(layers[0].shape)


def _fill_below(found: Array, rows: list[Array], levels: Array, threshold: float) -> None:
    """The same of some voxels, into an array of their own."""
    steps = np.diff(np.asarray(levels, np.float32))
    with np.errstate(divide="ignore", invalid="ignore"):
        for place, (low, high) in enumerate(pairwise(rows)):
            # The segment in which the threshold lies, or the outermost one that is continued to it.
            here = low < threshold if place else np.ones(len(low), bool)
            if not here.any():
                break
            share = (threshold - low) / (high - low)
            np.copyto(found, np.float32(levels[place]) + share * steps[place], where=here)
            if not place:
                found[(low == high) & (low == threshold)] = 0  # all at the threshold, none below it
    np.clip(found, 0, 1, out=found)


def share_above(samples: Iterable[Array], threshold: float) -> Array:
    """Return the share of samples of each voxel that lie above a threshold.

    Args:
        samples: of all voxels, one array ``(...)`` a sample; NaN where there is no posterior.
        threshold: in the unit of the samples.

    Returns:
        Shape ``(...)``; NaN where the samples are.

    Raises:
        ValueError: if there is no sample.
    """
    count, above = 0, None
    for values in samples:
        if above is None:
            above = np.where(np.isnan(values), np.float32(np.nan), np.float32(0))
        above += values > threshold
        count += 1
    if above is None:
        raise ValueError(_("no sample is stored; write the result again with at least one."))
    return above / np.float32(count)


def interval_at(quantiles: Array, levels: Array, mass: float) -> tuple[float, float, float]:
    """Return low end, median and high end of the central interval of one voxel's quantiles ``(L,)``."""
    wanted = ((1 - mass) / 2, 0.5, (1 + mass) / 2)
    low, median, high = (float(v) for v in np.interp(wanted, levels, quantiles))
    return low, median, high


def density(quantiles: Array, levels: Array, low: float, high: float) -> tuple[Array, Array]:
    """Return a smooth density of one voxel on a grid: values, and density in one over their unit.

    Equally likely values are read off the quantiles and smoothed with Silverman's bandwidth for as many
    samples as the quantiles stand for; what leaks over a bound is folded back.

    Args:
        quantiles: shape ``(L,)``.
        levels: shape ``(L,)``.
        low: lower bound of the parameter; ``-inf`` if there is none.
        high: upper bound.
    """
    points = np.interp((np.arange(_POINTS) + 0.5) / _POINTS, levels, quantiles)
    spread = min(points.std(), np.subtract(*np.quantile(points, [0.75, 0.25])) / 1.349)
    width = max(0.9 * spread * _SAMPLES**-0.2, 1e-3 * max(np.ptp(points), 1e-9))
    margin = 4 * width
    grid = np.linspace(max(low, points[0] - margin), min(high, points[-1] + margin), _POINTS)
    total = np.zeros_like(grid)
    for center in (points, 2 * low - points, 2 * high - points):
        if np.isfinite(center).all():
            total += np.exp(-0.5 * ((grid[:, None] - center) / width) ** 2).sum(1)
    return grid, total / (len(points) * width * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class RegionMean:
    """Posterior of the mean over a region, at both ends of what nobody knows: how errors go together.

    A model that looks at one voxel at a time says nothing of the errors of neighbors. If all err alike, the
    interval of the mean is ``shared``; if each errs for itself it is ``independent``. The truth lies between.
    ``expected`` is the same for both: the mean of the posterior means.
    """

    voxels: int
    left_out: int
    expected: float
    shared: tuple[float, float, float]
    independent: tuple[float, float, float]


def either_way(mass: float, found: Any, written: Callable[[float], str], suffix: str) -> str:
    """Say the central interval of something of many voxels at both ends of how their errors go together.

    Args:
        mass: probability inside.
        found: has low end, median and high end as ``shared`` and ``independent``.
        written: a number for people.
        suffix: the unit as it follows a number.
    """
    shared, independent = (
        f"{written(low)}–{written(high)}{suffix}" for low, _median, high in (found.shared, found.independent)
    )
    lines = (
        _("{mass:.0%} if errors are fully shared: {shared}"),
        _("{mass:.0%} if errors are independent: {independent}"),
        _("How the errors of neighbors go together is not known; the truth lies between the two."),
    )
    return "\n".join(lines).format(mass=mass, shared=shared, independent=independent)


def region_mean(
    quantiles: Array,
    levels: Array,
    trusted: NDArray[np.bool_],
    mass: float = 0.95,
    turn: float = 0.0,
    center: float = 0.0,
) -> RegionMean:
    """Return the posterior of the mean of a parameter over a region.

    The circle of an angle is cut opposite to the mean direction of its medians.

    Args:
        quantiles: of the region's voxels, shape ``(N, L)``.
        levels: shape ``(L,)``.
        trusted: which of them count, shape ``(N,)``; the others are left out and counted.
        mass: probability inside the intervals.
        turn: a whole turn in the unit of an angle; 0 for what lies on a line.
        center: middle of the range of an angle; the mean direction is given within half a turn of it.

    Returns:
        Low end, median and high end of the mean, for errors that are fully shared and for independent ones.

    Raises:
        ValueError: if no voxel can be trusted.
    """
    rows = quantiles[trusted & np.isfinite(quantiles[:, 0])].astype(np.float64)
    if not len(rows):
        text = _("The region has {voxels} voxels and none that can be trusted; draw it elsewhere.")
        raise ValueError(text.format(voxels=len(quantiles)))
    if turn:
        medians = rows[:, [len(levels) // 2]]
        direction = wrapped(mean_direction(medians.T, turn), turn, center)
        rows += wrapped(medians, turn, direction) - medians
    # If all errors are shared every voxel is at the same level at once: quantiles of the mean are their mean.
    shared = interval_at(rows.mean(0), np.asarray(levels), mass)
    mean, variance = _moments(rows, np.asarray(levels))
    if len(rows) <= _DRAWN_PIXELS:
        independent = _drawn(rows, np.asarray(levels), mass)
    else:  # the mean of many is normal
        reach = math.sqrt(variance.sum()) / len(rows) * NormalDist().inv_cdf((1 + mass) / 2)
        center = float(mean.mean())
        independent = center - reach, center, center + reach
    return RegionMean(len(rows), len(quantiles) - len(rows), float(mean.mean()), shared, independent)


def _moments(rows: Array, levels: Array) -> tuple[Array, Array]:
    """Mean and variance of each voxel, exact for piecewise linear quantiles."""
    ends, values = _continued(levels, rows)
    weight, low, high = np.diff(ends), values[:, :-1], values[:, 1:]
    mean = ((low + high) / 2 * weight).sum(1)
    square = ((low**2 + low * high + high**2) / 3 * weight).sum(1)
    return mean, np.maximum(square - mean**2, 0)


def _drawn(rows: Array, levels: Array, mass: float) -> tuple[float, float, float]:
    """The mean of a few voxels that err independently, by drawing."""
    tails = ((1 - mass) / 2, 0.5, (1 + mass) / 2)
    level = np.random.default_rng(0).random((len(rows), _DRAWS))
    drawn = [np.interp(u, *_continued(levels, row)) for u, row in zip(level, rows, strict=True)]
    low, median, high = np.quantile(np.mean(drawn, 0), tails)
    return float(low), float(median), float(high)


def _continued(levels: Array, values: Array) -> tuple[Array, Array]:
    """Levels from 0 to 1 and their quantiles ``(..., L + 2)``, the tails with the slope of what is known."""
    first = values[..., :1] - (values[..., 1:2] - values[..., :1]) * levels[0] / (levels[1] - levels[0])
    rest = (1 - levels[-1]) / (levels[-1] - levels[-2])
    last = values[..., -1:] + (values[..., -1:] - values[..., -2:-1]) * rest
    return np.concatenate([[0.0], levels, [1.0]]), np.concatenate([first, values, last], -1)
