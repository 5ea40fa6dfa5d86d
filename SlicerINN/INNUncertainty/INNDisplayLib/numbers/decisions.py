"""Regions of decision of a probability map: numbers alone, no scene."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from ..translating import tr as _
from .posteriors import compiled_loops

__all__ = ["Division", "Region", "label_regions", "merge_islands"]

Labels = NDArray[np.uint8]


class Region(IntEnum):
    """Labels of voxels."""

    EXCLUDED = 0
    CERTAIN = 1
    POSSIBLE = 2
    UNKNOWN = 3


# What may be said of an island of one label inside another: never more than both of them say.
_BOTH = np.array([[0, 2, 2, 3], [2, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]], np.uint8)
_PIECE = 1 << 15  # voxels worked on at a time, which stay in the cache


@dataclass(frozen=True)
class Division:
    """Where the lines between regions are drawn.

    Args:
        is_above: whether the event is a value above the threshold; below it by default.
        certain: least probability of the event in the certain region.
        possible: least probability in the possible region.
        smallest: islands smaller than this are dissolved; mm³, or mm² in a single slice.

    Raises:
        ValueError: if the probabilities are not in order, or the size is negative.
    """

    is_above: bool = False
    certain: float = 0.95
    possible: float = 0.05
    smallest: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.possible < self.certain <= 1:
            text = _(
                "Certain from {certain:.3g} and possible from {possible:.3g}: these must be "
                "probabilities above 0, the first of them the larger one; change one of the two."
            )
            raise ValueError(text.format(certain=self.certain, possible=self.possible))
        if not 0 <= self.smallest < math.inf:
            raise ValueError(
                _("Smallest island {size:g}: give 0 or a positive size.").format(size=self.smallest)
            )

    def event(self, below: NDArray[np.floating]) -> NDArray[np.floating]:
        """The probability of the event, from that of a value below the threshold."""
        return 1 - below if self.is_above else below


def label_regions(
    probability: NDArray[np.floating], withheld: NDArray[np.bool_], division: Division
) -> Labels:
    """Return the region of each voxel, before islands are dissolved.

    Args:
        probability: of the event, any shape; NaN where it is not known.
        withheld: voxels whose numbers are not to be used, same shape.
        division: where the lines are drawn.
    """
    labels = np.empty(probability.size, np.uint8)
    for piece, p, is_left_out in pieces(probability, withheld):
        found = np.uint8(Region.POSSIBLE) * (p >= division.possible)
        found -= p >= division.certain  # 1 is certain
        found[is_left_out] = Region.UNKNOWN
        labels[piece] = found
    return labels.reshape(probability.shape)


def pieces(
    probability: NDArray[np.floating], withheld: NDArray[np.bool_]
) -> Iterator[tuple[slice, NDArray[np.floating], NDArray[np.bool_]]]:
    """Yield voxels a piece at a time: where, probabilities, and which of them must not be used."""
    rows, is_withheld = probability.reshape(-1), withheld.reshape(-1)
    for start in range(0, len(rows), _PIECE):
        piece = slice(start, start + _PIECE)
        yield piece, rows[piece], is_withheld[piece] | np.isnan(rows[piece])


def merge_islands(labels: Labels, least: float) -> Labels:
    """Dissolve islands of fewer voxels than a number, so that nothing looks more certain than it is.

    An island is what hangs together by faces of voxels. One of *certain* or *excluded* gets the label
    that holds for it and for most of what it touches: *possible* beside *possible*, *unknown* beside
    *unknown*, and *possible* where *certain* and *excluded* meet. Islands of *possible* and *unknown* stay,
    because whatever is around them would claim more.

    Args:
        labels: shape ``(K, J, I)``.
        least: number of voxels.
    """
    if least <= 1:
        return labels
    loops = compiled_loops(labels.size)
    if loops is not None:
        merged: Labels = loops.merge_islands(np.ascontiguousarray(labels), float(least), _BOTH)
        return merged
    merged = labels.copy()
    for value in (Region.EXCLUDED, Region.CERTAIN):
        mask = labels == value
        islands, count = label(mask)
        island = islands[mask]
        mask[mask] = (np.bincount(island, minlength=count + 1) < least)[island]
        at = np.nonzero(mask)
        island = np.unique(islands[at], return_inverse=True)[1]
        around = _around(labels, at, island)
        most = 3 - around[:, ::-1].argmax(1)  # of equals the less certain one
        merged[at] = np.where(around.any(1), _BOTH[value, most], value)[island]
    return merged


def _around(labels: Labels, at: tuple[NDArray[np.intp], ...], island: NDArray[np.intp]) -> NDArray[np.intp]:
    """How many faces of each island, ``(N, 4)``, touch voxels of each label but their own.

    Args:
        labels: shape ``(K, J, I)``.
        at: places of the voxels of islands.
        island: which one each belongs to.
    """
    number = int(island.max(initial=-1)) + 1
    around = np.zeros(4 * number, np.intp)
    for axis in range(3):
        for step in (-1, 1):
            beside = [index + step if a == axis else index for a, index in enumerate(at)]
            inside = (beside[axis] >= 0) & (beside[axis] < labels.shape[axis])
            other = labels[tuple(index[inside] for index in beside)]
            differs = other != labels[tuple(index[inside] for index in at)]
            around += np.bincount(4 * island[inside][differs] + other[differs], minlength=4 * number)
    return around.reshape(number, 4)
