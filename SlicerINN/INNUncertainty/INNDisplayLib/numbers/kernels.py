"""Loops over the voxels of large volumes, compiled by numba.

Importing this file takes about a second, so that functions import it, and for large volumes alone. Slicer has
numba with the packages of monai_inn. Each loop has a plain form where it is called, with the same results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__: list[str] = []

# Machine code on the disk belongs to the name of its module. The viewer has this file under another name, in
# a checkout at the same place, and compiles it in each session.
_OPTIONS = {"nogil": True, "error_model": "numpy", "cache": __package__ == "INNDisplayLib.numbers"}

Labels = NDArray[np.uint8]
Places = NDArray[np.int64]


@numba.njit(**_OPTIONS)
def fill_below(found: Any, rows: Any, levels: Any, threshold: np.float32) -> None:
    """Fill in the probability of each voxel to lie below a threshold, see ``posteriors.probability_below``.

    Args:
        found: to be filled, ``(N,)``; all numbers are float32.
        rows: quantiles, a tuple of L arrays ``(N,)``.
        levels: of the quantiles, ``(L,)``.
        threshold: in the unit of the quantiles.
    """
    for place in range(len(rows) - 1):
        lows, highs, level, step = (
            rows[place],
            rows[place + 1],
            levels[place],
            levels[place + 1] - levels[place],
        )
        for voxel in range(found.size):  # without a branch, so that many voxels are done at once
            low, high = lows[voxel], highs[voxel]
            here = level + (threshold - low) / (high - low) * step
            if place == 0:
                found[voxel] = np.float32(0) if low == high and low == threshold else here
            else:
                found[voxel] = here if low < threshold else found[voxel]
    for voxel in range(found.size):
        below = np.float32(0) if found[voxel] < 0 else found[voxel]
        found[voxel] = np.float32(1) if below > 1 else below


@numba.njit(**_OPTIONS)
def merge_islands(labels: Labels, least: float, both: Labels) -> Labels:
    """Dissolve small islands, see ``decisions.merge_islands``, by runs of equal labels along rows.

    Args:
        labels: shape ``(K, J, I)``, contiguous.
        least: number of voxels.
        both: what may be said of an island of one label inside another, ``(4, 4)``.
    """
    flat = labels.reshape(-1)
    starts = _starts(flat, labels.shape[2])
    number = len(starts) - 1
    island = _islands(flat, starts, labels.shape)
    sizes = np.zeros(number, np.int64)
    for run in range(number):
        sizes[island[run]] += starts[run + 1] - starts[run]
    small = np.full(number, -1)  # by island: which of the small ones it is
    count = 0
    for run in range(number):
        if island[run] == run and sizes[run] < least and flat[starts[run]] < 2:
            small[run] = count
            count += 1
    around = np.zeros((count, 4), np.int64)
    for one, other, faces in _contacts(starts, labels.shape):
        for own, beside in ((one, other), (other, one)):
            which, label = small[island[own]], flat[starts[beside]]
            if which >= 0 and label != flat[starts[own]]:
                around[which, label] += faces
    merged = flat.copy()
    for run in range(number):
        which = small[island[run]]
        if which >= 0 and around[which].any():
            most = 3 - np.argmax(around[which, ::-1])  # of equals the less certain one
            merged[starts[run] : starts[run + 1]] = both[flat[starts[run]], most]
    return merged.reshape(labels.shape)


@numba.njit(**_OPTIONS)
def _starts(flat: Labels, size: int) -> Places:
    """Where runs of equal labels begin, in rows of a size, and at last where the image ends."""
    count = flat.size // size + 1
    for row in range(0, flat.size, size):
        for place in range(row + 1, row + size):
            count += flat[place] != flat[place - 1]
    starts = np.empty(count, np.int64)
    starts[-1] = flat.size
    run = 0
    for row in range(0, flat.size, size):
        for place in range(row, row + size):
            if place == row or flat[place] != flat[place - 1]:
                starts[run] = place
                run += 1
    return starts


@numba.njit(**_OPTIONS)
def _islands(flat: Labels, starts: Places, shape: tuple[int, int, int]) -> Places:
    """The first run of the island that each run belongs to."""
    first = np.arange(len(starts) - 1)
    for one, other, _faces in _contacts(starts, shape):
        if flat[starts[one]] == flat[starts[other]]:
            while first[one] != one:
                first[one] = first[first[one]]
                one = first[one]
            while first[other] != other:
                first[other] = first[first[other]]
                other = first[other]
            first[max(one, other)] = min(one, other)
    for run in range(len(first)):
        first[run] = first[first[run]]
    return first


@numba.njit(**_OPTIONS)
def _contacts(starts: Places, shape: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield pairs of runs that touch along any axis, and by how many faces; a run touches itself."""
    planes, rows, size = shape
    # Along each axis: how far apart neighbors lie, and after how many voxels there is an edge.
    for step, period in ((1, size), (size, rows * size), (rows * size, planes * rows * size)):
        one, other, place = np.searchsorted(starts, step, "right") - 1, 0, step
        while place < starts[-1]:
            end = min(starts[one + 1], starts[other + 1] + step)
            if place % period >= step:
                yield one, other, end - place
            place = end
            one += starts[one + 1] == end
            other += starts[other + 1] + step == end
