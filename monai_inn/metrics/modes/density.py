"""Density of samples in several dimensions, and the clusters that it proposes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from torch import Tensor

from monai_inn.metrics.modes.space import ModeSpace
from monai_inn.metrics.modes.valleys import FEWEST

__all__ = ["Between", "Density", "absorb", "candidates", "densest", "spread_ties"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
# Smallest density between pairs of samples (indices), in the density's own unit.
Between = Callable[[Labels, Labels], Array]

# A kernel is half as wide as the typical ball around a sample that holds this share of all of them.
_SHARE = 0.05
# Samples whose balls are looked at.
_SOME = 100
# No finer structure than this, in units of the tolerance, is resolved.
_FINEST = 0.2
# A cluster that is separate has its own samples as neighbours, down to the fewest that can be a mode.
_NEIGHBOURS = FEWEST - 1
# Half a tolerance, over which equal values are spread, and a variance that is rounding.
_FINEST_CELL, _NO_SPREAD = 0.5, 1e-12
_STARTS, _CLIMB_STEPS, _CLIMBED = 50, 200, 1e-3


class Density:
    """Kernel density of points ``(S, E)`` and their neighbours; ``fine`` is that of a narrower kernel.

    Args:
        points: embedded samples, shape ``(S, E)``, in units of the tolerance.
        columns: the same with arcs in place of circles, shape ``(S, C)``.
        turns: lengths of these circles, ``inf`` for the other columns, shape ``(C,)``.
        log_density: the flow's own log density at the samples, which replaces the kernel's where given.
        between: the flow's own density between samples, where it can be asked for it.
    """

    def __init__(
        self,
        points: Array,
        columns: Array,
        turns: Array,
        log_density: Array | None = None,
        between: Between | None = None,
    ) -> None:
        self.points, self.columns, self.turns = points, columns, turns
        if log_density is None:
            left, right = self._factors
            kernel = np.exp((left / self.width**2 @ right.T).astype(np.float32))
            # Without a sample's own share, which is most of the density where there is little.
            self.value = kernel.sum(1, dtype=np.float64) - 1
            # The fourth power of a kernel is one of half the width.
            np.square(kernel, out=kernel)
            self.fine = np.einsum("ij,ij->i", kernel, kernel).astype(np.float64) - 1
        else:
            self.value = self.fine = np.exp(log_density - log_density.max())
        self._between = between
        self.is_exact = between is not None
        self.is_given = log_density is not None
        self.neighbours = KDTree(points).query(points, min(_NEIGHBOURS + 1, len(points)))[1]

    @functools.cached_property
    def _factors(self) -> tuple[Array, Array]:
        """Matrices whose product is −½ of squared distances, several times as fast as subtracting.

        The centre keeps their rounding small.
        """
        centred = self.points - self.points.mean(0)
        half = np.square(centred).sum(1, keepdims=True) / -2
        one = np.ones_like(half)
        return np.hstack([centred, half, one]), np.hstack([centred, one, half])

    @functools.cached_property
    def width(self) -> float:
        """Width of the kernel."""
        left, right = self._factors
        rank = min(len(left) - 1, max(FEWEST, round(_SHARE * len(left))))
        some = left[:: max(1, len(left) // _SOME)] @ right.T
        near = np.partition(some, -1 - rank, axis=1)[:, -1 - rank]
        return max(_FINEST, math.sqrt(max(0.0, -2 * float(np.median(near)))) / 2)

    def between(self, first: Labels, second: Labels) -> Array:
        """Smallest density at two samples, and between them where that is known, for pairs of indices."""
        ends = np.minimum(self.value[first], self.value[second])
        return ends if self._between is None else np.minimum(ends, self._between(first, second))


def absorb(points: Array, labels: Labels, fewest: int) -> Labels:
    """Give samples in a cluster of fewer than ``fewest`` the nearest label of a larger one."""
    small = np.bincount(labels)[labels] < fewest
    if small.all():
        return np.zeros(len(labels), np.int64)
    if small.any():
        labels = labels.copy()
        nearest = KDTree(points[~small]).query(points[small])[1]
        labels[small] = labels[~small][nearest]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def candidates(density: Density) -> Labels:
    """Cluster every sample with the local maximum that steps to the densest neighbour lead to.

    Returns:
        Labels ``0…`` of clusters of at least ``FEWEST`` samples, shape ``(S,)``.
    """
    height = density.value[density.neighbours]
    up = density.neighbours[np.arange(len(height)), height.argmax(1)]
    # A sample is among its own neighbours but need not come first; equal heights must not lead in a ring.
    up = np.where(density.value[up] > density.value, up, np.arange(len(up)))
    while (up[up] != up).any():
        up = up[up]
    return absorb(density.points, np.unique(up, return_inverse=True)[1], FEWEST)


def densest(points: Array, dimension: int) -> Array:
    """Return the maximum of the kernel density of points ``(n, E)``, by mean shift from the best sample.

    The kernel has the shape of the mode, in its ``dimension`` widest directions: across a curved space there
    is spread, but no freedom.
    """
    centred = points - points.mean(0)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(points))
    kept = np.flatnonzero(variance > _NO_SPREAD * max(1.0, float(variance[-1])))[-dimension:]
    if not kept.size:
        return points[0]
    # The width that serves the maximum of a density best, in standard deviations.
    width = 1.06 * len(points) ** (-1 / (dimension + 6))
    scaled = centred @ axes[:, kept] / (np.sqrt(variance[kept]) * width)
    # Starts along the widest direction, which do not depend on where the origin is.
    along = scaled[np.argsort(scaled[:, -1], kind="stable")]
    some = along[np.linspace(0, len(along) - 1, min(_STARTS, len(along))).round().astype(int)]
    place = some[int(np.exp(-0.5 * cdist(some, scaled, "sqeuclidean")).sum(1).argmax())]
    for _ in range(_CLIMB_STEPS):
        weight = np.exp(-0.5 * np.square(scaled - place).sum(1))
        moved = weight @ scaled / weight.sum()
        step, place = float(np.abs(moved - place).max()), moved
        if step < _CLIMBED:
            break
    weight = np.exp(-0.5 * np.square(scaled - place).sum(1))
    return weight @ points / weight.sum()


def spread_ties(samples: Tensor, space: ModeSpace) -> Tensor:
    """Spread equal values over the cells between them, up to half a tolerance to either side.

    Parameters that are integers, or clamped to a bound, would otherwise show valleys between any two values.
    Samples without equal values come back as they are.
    """
    ordered = np.sort(samples.numpy(), axis=0)
    is_tied = (ordered[1:] == ordered[:-1]).any(0) & (ordered[:1] != ordered[-1:]).any(0)
    tied = [column for column in np.flatnonzero(is_tied) if column not in space.pose_columns]
    result = samples.clone() if tied else samples
    for column in tied:
        value, index, number = np.unique(samples[:, column].numpy(), return_inverse=True, return_counts=True)
        half = np.minimum(np.diff(value) / 2, _FINEST_CELL * float(space.scale[column]))
        below, above = np.append(half[0], half), np.append(half, half[-1])
        # A fixed shuffle within each cell, so that columns do not come to depend on one another.
        order = np.lexsort((np.random.default_rng(column).random(len(index)), index))
        place = np.empty(len(index))
        place[order] = np.arange(len(index)) - np.repeat(number.cumsum() - number, number) + 0.5
        moved = value[index] - below[index] + place / number[index] * (below + above)[index]
        result[:, column] = torch.as_tensor(np.where(number[index] > 1, moved, value[index]))
    return result
