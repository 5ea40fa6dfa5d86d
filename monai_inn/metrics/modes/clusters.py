"""Which clusters of samples are modes: those that a valley of density separates from all others."""

from __future__ import annotations

import math
from itertools import combinations, count

import numpy as np
from numpy.typing import NDArray

from monai_inn.metrics.modes.density import Density, absorb
from monai_inn.metrics.modes.valleys import LINK, SIGNIFICANT, deepest_valley

__all__ = ["separate"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

# Where samples in a projected valley are this dense, compared with those on the humps, the way between the
# humps is bent, not interrupted. Kernels fill valleys, so that the limit is above LINK; what is seen must be
# so many standard errors below it.
_BENT, _ERRORS = 0.9, 2.5
# No bend leaves as little as this share of the lower hump in the projected valley.
_VOID = 0.1
# Edges between two clusters whose middle is looked at.
_EDGES = 4


def separate(density: Density, labels: Labels, fewest: int, narrowest: float) -> Labels:
    """Merge candidate clusters until a true valley lies between any two that remain.

    Two clusters are one mode if their samples, projected on the line that separates them best, show no valley
    below ``LINK`` of the lower hump beyond noise; or if the samples in that valley lie as densely as those on
    the humps, so that the way between is bent but not interrupted (a ring, a banana). A projection sees a
    valley with far fewer samples than a density in many dimensions can.
    Where the flow's own density between samples is known there is no noise: two clusters are one mode if the
    best way from sample to sample, or the straight one between the peaks, never falls below ``LINK``.
    Where it is known at the samples alone, a way from sample to sample settles the same; only clusters
    without one are looked at as above.
    """
    if density.is_given and not density.is_exact:
        labels = _connected(density, labels)
    members = {label: np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)}
    peak = {label: int(m[density.value[m].argmax()]) for label, m in members.items()}
    saddle = _saddles(density, labels)
    fresh = count(len(members))
    passed: set[tuple[int, int]] = set()

    def share(pair: tuple[int, int]) -> float:
        lower = min(density.value[peak[label]] for label in pair)
        return float(saddle.get(pair, 0.0) / lower) if lower > 0 else 0.0

    def likelihood(pair: tuple[int, int]) -> tuple[float, float]:
        # The likeliest to be one first, so that the parts of a mode meet before they meet another.
        a, b = (density.points[peak[label]] for label in pair)
        return -share(pair), float(np.square(a - b).sum())

    def is_apart(pair: tuple[int, int]) -> bool:
        a, b = pair
        if density.is_exact:
            ends = np.array([[peak[a]], [peak[b]]])
            lower = float(density.value[ends].min())
            straight = float(density.between(*ends)[0])
            apart = max(share(pair) * lower, straight) < LINK * lower
        else:
            apart = _is_valley(density, members[a], members[b], narrowest)
        if apart:
            passed.add(pair)
        return apart

    def first_of(pairs: list[tuple[int, int]]) -> tuple[int, int] | None:
        left = sorted((pair for pair in pairs if pair not in passed), key=likelihood)
        return next((pair for pair in left if not is_apart(pair)), None)

    while True:
        # Most pairs have no neighbours in common, and are looked at only when few clusters are left.
        joined = first_of(list(saddle)) or first_of(list(combinations(sorted(members), 2)))
        if joined is None:
            break
        _merge(*joined, next(fresh), density.value, members, peak, saddle)
    result = np.empty(len(labels), np.int64)
    for number, indices in enumerate(members.values()):
        result[indices] = number
    return absorb(density.points, result, fewest)


def _connected(density: Density, labels: Labels) -> Labels:
    """Join clusters between which some way from neighbour to neighbour never falls below ``LINK``."""
    top = [float(density.value[labels == label].max()) for label in range(int(labels.max()) + 1)]
    root = list(range(len(top)))
    # The highest pass first: a pass that is too low for the peaks at hand is too low for higher ones.
    for (a, b), height in sorted(_saddles(density, labels).items(), key=lambda item: -item[1]):
        first, second = root[a], root[b]
        if first != second and height >= LINK * min(top[first], top[second]):
            top[first] = max(top[first], top[second])
            root = [first if r == second else r for r in root]
    return np.unique(np.array(root)[labels], return_inverse=True)[1].astype(np.int64)


def _merge(
    a: int,
    b: int,
    new: int,
    value: Array,
    members: dict[int, Labels],
    peak: dict[int, int],
    saddle: dict[tuple[int, int], float],
) -> None:
    """Put two clusters in one, in place."""
    members[new] = np.concatenate([members.pop(a), members.pop(b)])
    peak[new] = max(peak.pop(a), peak.pop(b), key=lambda i: value[i])
    for pair in [p for p in saddle if a in p or b in p]:
        height = saddle.pop(pair)
        other = [c for c in pair if c not in (a, b)]
        if other:
            saddle[other[0], new] = max(height, saddle.get((other[0], new), 0.0))


def _saddles(density: Density, labels: Labels) -> dict[tuple[int, int], float]:
    """Highest pass between each pair of clusters that neighbours of the graph connect."""
    start = np.repeat(np.arange(len(labels)), density.neighbours.shape[1])
    end = density.neighbours.ravel()
    crossing = labels[start] != labels[end]
    start, end = start[crossing], end[crossing]
    low, high = np.minimum(labels[start], labels[end]), np.maximum(labels[start], labels[end])
    key = low * (int(labels.max()) + 1) + high
    order = np.lexsort((-np.minimum(density.value[start], density.value[end]), key))
    start, end, key, low, high = start[order], end[order], key[order], low[order], high[order]
    kept = np.arange(len(key)) - np.searchsorted(key, key) < _EDGES
    result: dict[tuple[int, int], float] = {}
    if kept.any():
        heights = density.between(start[kept], end[kept])
        for a, b, height in zip(low[kept].tolist(), high[kept].tolist(), heights.tolist(), strict=True):
            result[a, b] = max(height, result.get((a, b), 0.0))
    return result


def _is_valley(density: Density, a: Labels, b: Labels, narrowest: float) -> bool:
    """Whether a valley that is not noise, and that no bent way avoids, lies between two clusters.

    On a circle there are two ways from one to the other, and a valley must lie on both.
    """
    both = np.concatenate([a, b])
    columns, number = density.columns[both], len(a)
    cyclic = np.flatnonzero(np.isfinite(density.turns))
    turns = density.turns[cyclic]
    middle = np.zeros(columns.shape[1])
    start, end = (_circular_mean(density.columns[c][:, cyclic], turns) for c in (a, b))
    middle[cyclic] = start + _wrap(end - start, turns) / 2
    ways = [middle]
    for column, turn in zip(cyclic, turns, strict=True):
        # Where the far half of the circle is empty, nobody goes that way.
        if np.abs(_wrap(columns[:, column] - middle[column], turn)).max() > turn / 4:
            other = middle.copy()
            other[column] += turn / 2
            ways.append(other)
    for way in ways:
        unrolled = columns - way
        unrolled[:, cyclic] = _wrap(unrolled[:, cyclic], turns)
        if not _is_valley_on_line(unrolled, number, density, both, narrowest):
            return False
    return True


def _is_valley_on_line(
    points: Array, number: int, density: Density, indices: Labels, narrowest: float
) -> bool:
    """The same for the first ``number`` points and the others, without circles."""
    x, y = points[:number], points[number:]
    start, end = x.mean(0), y.mean(0)
    own = np.concatenate([x - start, y - end])
    within = own.T @ own / len(own)
    # The entries of a rotation leave directions without spread; the ridge keeps the inverse out of them.
    within[np.diag_indices_from(within)] += 1e-3 * np.trace(within) / len(within) + 1e-12
    axis = np.linalg.solve(within, end - start)
    axis /= max(float(np.linalg.norm(axis)), 1e-12)
    line = points @ axis
    low, high = float(np.median(line[:number])), float(np.median(line[number:]))
    order = np.argsort(line)
    line, value = line[order], density.fine[indices][order]
    valley = deepest_valley(line, low, high, narrowest, len(density.points))
    if valley.significance < SIGNIFICANT:
        return False
    inside, *humps = (value[slice(*np.searchsorted(line, edges))] for edges in valley.windows())
    if inside.size < _VOID * min(hump.size for hump in humps):
        return True
    hump = min(humps, key=lambda values: float(values.mean()))
    share = float(inside.mean() / max(float(hump.mean()), 1e-12))
    return share * (1 + _ERRORS * math.sqrt(1 / inside.size + 1 / hump.size)) < _BENT


def _wrap(values: Array, turn: Array) -> Array:
    return np.remainder(values + turn / 2, turn) - turn / 2


def _circular_mean(values: Array, turns: Array) -> Array:
    angle = values * (2 * math.pi / turns)
    return np.arctan2(np.sin(angle).mean(0), np.cos(angle).mean(0)) * turns / (2 * math.pi)
