"""A straight way through a probability map: its voxels, and the risk along it. Numbers alone, no scene."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Risk", "VoxelPath", "any_event", "carried_points", "path_through", "risk_along", "tube_radius"]

Array = NDArray[np.float64]

_TUBE_SHARE = 0.95
_SAME = 1e-9


@dataclass(frozen=True)
class VoxelPath:
    """The voxels that a line goes through, in their order.

    Args:
        voxels: their (k, j, i), ``(V, 3)``; outside the volume too.
        ends: distances from the start of the line at which each is entered and left, mm, ``(V, 2)``.
        inside: which of them belong to the volume, ``(V,)``.
    """

    voxels: NDArray[np.intp]
    ends: Array
    inside: NDArray[np.bool_]

    @property
    def lengths(self) -> Array:
        """Length of the line in each voxel, mm."""
        return self.ends[:, 1] - self.ends[:, 0]

    @property
    def length(self) -> float:
        """Length of the line, mm."""
        return float(self.ends[-1, 1])


def path_through(index: Array, places: Array, shape: tuple[int, ...]) -> VoxelPath:
    """Return the voxels along a line, exactly: it is cut at each face that it goes through.

    Args:
        index: points of the line as (i, j, k), voxel centers at whole numbers, ``(P, 3)``. Between two of
            them the line is straight in the volume; more than two are for volumes under a bent transform.
        places: the same points in the world, mm, ``(P, 3)``.
        shape: of the volume, (K, J, I).
    """
    reached = np.concatenate([[0.0], np.linalg.norm(np.diff(places, axis=0), axis=1).cumsum()])
    pieces = [
        _pieces(start, stop, *span)
        for (start, stop), span in zip(pairwise(index), pairwise(reached), strict=True)
    ]
    voxels, ends = (np.concatenate(part) for part in zip(*pieces, strict=True))
    is_new = np.append(True, (voxels[1:] != voxels[:-1]).any(1))  # two pieces may lie in one voxel
    first = np.flatnonzero(is_new)
    last = np.append(first[1:], len(voxels)) - 1
    voxels, ends = voxels[first], np.stack([ends[first, 0], ends[last, 1]], 1)
    return VoxelPath(voxels, ends, ((voxels >= 0) & (voxels < shape)).all(1))


def _pieces(start: Array, stop: Array, from_mm: float, to_mm: float) -> tuple[NDArray[np.intp], Array]:
    """Voxels (k, j, i) of a straight piece, and where it enters and leaves each."""
    cuts = [np.array([0.0, 1.0])]
    for low, high in zip(start, stop, strict=True):
        faces = np.arange(np.ceil(min(low, high) + 0.5), np.floor(max(low, high) + 0.5) + 1) - 0.5
        if low != high:
            cuts.append((faces - low) / (high - low))
    share = np.unique(np.concatenate(cuts).clip(0, 1))
    share = np.append(share[:-1][np.diff(share) > _SAME], 1.0)  # rounding must not make pieces of no length
    middle = (share[1:] + share[:-1])[:, None] / 2
    voxels = np.floor(start + middle * (stop - start) + 0.5).astype(np.intp)[:, ::-1]
    reached = from_mm + share * (to_mm - from_mm)
    return voxels, np.stack([reached[:-1], reached[1:]], 1)


def any_event(probability: NDArray[np.floating]) -> tuple[float, float]:
    """Return the probability that an event happens in any of several voxels, at both ends of dependence.

    Args:
        probability: of the event in each, ``(N,)``.

    Returns:
        That if all err alike, the largest of them, and that if each errs for itself.
    """
    if not len(probability):
        return 0.0, 0.0
    exact = probability.astype(np.float64)
    return float(exact.max()), float(1 - np.prod(1 - exact))


@dataclass(frozen=True)
class Risk:
    """What a line crosses.

    Args:
        low: probability that it crosses the event, in the voxels that are trusted, if all err alike.
        high: the same if each errs for itself.
        unknown_mm: length in voxels that are not trusted, or outside the volume.
        length_mm: length of the line.
        at_mm: distance from its start at which the event is most likely.
        joint: how many of how many coherent samples cross the event; ``None`` without samples.
        tube_mm: radius of the tube that holds it in 95 % of the poses; 0 without poses.
    """

    low: float
    high: float
    unknown_mm: float
    length_mm: float
    at_mm: float
    joint: tuple[int, int] | None = None
    tube_mm: float = 0.0

    @property
    def order(self) -> tuple[float, float, float]:
        """What lines are ranked by: the worst case first, in which what is not trusted crosses the event."""
        return (1.0 if self.unknown_mm > 0 else self.high), self.high, self.unknown_mm


def risk_along(path: VoxelPath, probability: NDArray[np.floating], trusted: NDArray[np.bool_]) -> Risk:
    """Return the risk of a line.

    Args:
        path: its voxels.
        probability: of the event in each, ``(V,)``; NaN where it is not known.
        trusted: which of them may be used, ``(V,)``.
    """
    known = trusted & np.isfinite(probability)
    low, high = any_event(probability[known])
    worst = int(np.where(known, probability, -1).argmax())
    return Risk(low, high, float(path.lengths[~known].sum()), path.length, float(path.ends[worst].mean()))


def carried_points(camera_to_world: Array, shown: Array, points: Array) -> Array:
    """Return where points of a plan would lie if other poses were true, ``(S, P, 3)``.

    Args:
        camera_to_world: poses, ``(S, 4, 4)``.
        shown: the pose that the plan relies on, ``(4, 4)``.
        points: RAS in mm, ``(P, 3)``.
    """
    seen = np.linalg.solve(shown, np.c_[points, np.ones(len(points))].T)  # as the C-arm of the plan sees them
    return np.moveaxis(camera_to_world @ seen, 1, 2)[..., :3]


def tube_radius(lines: Array, line: Array) -> float:
    """Return the radius of the tube around a line that holds 95 % of others from end to end, mm.

    Args:
        lines: ends of the others, ``(S, 2, 3)``.
        line: its own ends, ``(2, 3)``.
    """
    direction = (line[1] - line[0]) / np.linalg.norm(line[1] - line[0])
    off = lines - line
    across = off - (off @ direction)[..., None] * direction
    # A straight line is farthest from another one at one of its ends.
    return float(np.quantile(np.linalg.norm(across, axis=2).max(1), _TUBE_SHARE))
