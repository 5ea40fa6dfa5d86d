"""Modes of posterior samples: where they are, how much of the posterior they hold, how wide they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from monai_inn.metrics.modes.clusters import separate
from monai_inn.metrics.modes.density import Between, Density, candidates, densest, spread_ties
from monai_inn.metrics.modes.space import ModeSpace
from monai_inn.metrics.modes.valleys import FEWEST, cut_line, open_circle

__all__ = ["Mode", "find_modes", "find_modes_batch"]

Array = NDArray[np.float64]
LogProb = Callable[[Tensor], Tensor]

# Windows narrower than half the tolerance would find what nobody tells apart.
_NARROWEST = 0.5
# Kernel densities of more samples cost more than they tell; the others join their nearest neighbour.
_MOST_SAMPLES = 2000
# Points at which the flow's density is asked for along a segment.
_SEGMENT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Kernels differ by chance, and more if there are fewer samples.
_SAME_SCALE = 0.6


class Mode(NamedTuple):
    """A local maximum of a posterior.

    Attributes:
        parameters: where its samples are densest, or its sample of highest ``log_prob``, shape ``(D,)``.
        mass: share of the samples that belong to it.
        spread: standard deviation of its samples per parameter, in its unit, shape ``(D,)``.
        log_prob: log density at ``parameters`` in nats, if the densities were given.
        members: numbers of the samples that belong to it, shape ``(n,)``.
    """

    parameters: Tensor
    mass: float
    spread: Tensor
    log_prob: float | None
    members: Tensor | None = None


def find_modes(
    samples: Tensor,
    space: ModeSpace,
    log_prob: Tensor | LogProb | None = None,
    min_mass: float = 0.02,
) -> list[Mode]:
    """Return the modes of one posterior, the heaviest first; their masses sum to 1.

    Candidates are merged until a valley separates any two: the density between them falls below 0.7 of the
    lower peak, and the fall is more than noise of the sample. So a broad posterior, a ridge or a banana is
    one mode. What lies closer than about half a tolerance is not told apart. One parameter is cut at its
    valleys directly. The sample sets limits: with 1,000 draws of up to four
    parameters, normal modes of equal mass are told apart from 4 standard deviations on, one of 30 % from 5
    and one of 10 % from 6 on.

    Args:
        samples: posterior samples of one case, shape ``(S, D)``, physical units.
        space: tolerances, angles and poses.
        log_prob: log density of the samples in nats, shape ``(S,)``; or the function that gives it for
            parameters ``(…, D)``, with which valleys are exact and need no significance.
        min_mass: smallest share of samples of a mode; never fewer than 8 samples.

    Returns:
        At least one mode.

    Raises:
        ValueError: if the samples are no ``(S, D)`` of the space or not finite, the log densities do not fit
            them, or ``min_mass`` is outside (0, 0.5].

    Source: Adler et al., Application-driven validation of posteriors in inverse problems, 2023 (modes as
    detected objects). The detection itself follows Chazal et al., Persistence-based clustering in Riemannian
    manifolds, 2013, with a test of each valley.
    """
    if not 0 < min_mass <= 0.5:
        raise ValueError(f"min_mass = {min_mass}; give a share of the samples above 0 and at most 0.5.")
    if samples.ndim != 2 or samples.shape[0] < 1:
        raise ValueError(
            f"samples have shape {tuple(samples.shape)}, expected (samples, parameters) of one case; "
            "for several use find_modes_batch."
        )
    samples = space.check(samples, "samples")
    heights = _log_density(samples, log_prob)
    # A fixed order, so that the order of the samples cannot matter.
    points = space.embed(samples).numpy()
    order = np.lexsort(points.T[::-1])
    samples, heights = samples[order], None if heights is None else heights[order]
    spread = spread_ties(samples, space)
    points = points[order] if spread is samples else space.embed(spread).numpy()
    fewest = max(FEWEST, math.ceil(min_mass * min(len(points), _MOST_SAMPLES)))
    if len(space) == 1 and not space.poses and not callable(log_prob):
        labels = _labels_of_one_parameter(spread[:, 0].numpy(), space, min_mass)
    else:
        kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), _MOST_SAMPLES)).astype(int))
        cases = _Cases(spread, points, heights, log_prob if callable(log_prob) else None)
        labels = _labels(cases.some(kept), space, fewest)
        if len(kept) < len(points):
            labels = labels[KDTree(points[kept]).query(points)[1]]
    own = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    modes = [_mode(samples, space, heights, rows, order) for rows in own]
    return sorted(modes, key=lambda mode: (-mode.mass, mode.parameters.tolist()))


def find_modes_batch(
    samples: Tensor,
    space: ModeSpace,
    log_prob: Tensor | None = None,
    min_mass: float = 0.02,
) -> list[list[Mode]]:
    """Return the modes of each case of ``samples (S, N, D)``, log densities ``(S, N)``; see ``find_modes``.

    Raises:
        ValueError: as for ``find_modes``, or if the shapes do not belong together.
    """
    if samples.ndim != 3 or (log_prob is not None and log_prob.shape != samples.shape[:2]):
        raise ValueError(
            f"samples have shape {tuple(samples.shape)} and log_prob "
            f"{None if log_prob is None else tuple(log_prob.shape)}, expected (samples, cases, parameters) "
            "and (samples, cases)."
        )
    return [
        find_modes(samples[:, n], space, None if log_prob is None else log_prob[:, n], min_mass)
        for n in range(samples.shape[1])
    ]


class _Cases(NamedTuple):
    """Samples under study: parameters, embedding, log densities, and the flow's density."""

    samples: Tensor
    points: Array
    heights: Array | None
    log_prob: LogProb | None

    def some(self, rows: NDArray[Any]) -> _Cases:
        """Those with the numbers, or where the mask is true."""
        heights = None if self.heights is None else self.heights[rows]
        return _Cases(self.samples[rows], self.points[rows], heights, self.log_prob)


def _log_density(samples: Tensor, log_prob: Tensor | LogProb | None) -> Array | None:
    """Log densities of samples ``(S, D)`` as an array, checked."""
    if log_prob is None:
        return None
    values = torch.as_tensor(log_prob(samples) if callable(log_prob) else log_prob)
    if values.shape != samples.shape[:1]:
        raise ValueError(
            f"log_prob has shape {tuple(values.shape)}, expected one value per sample, {(samples.shape[0],)}."
        )
    heights = values.detach().cpu().double().numpy()
    if np.isnan(heights).any() or not np.isfinite(heights.max()):
        raise ValueError("log_prob holds NaN or +inf, or no finite value at all; give log densities in nats.")
    return heights


def _labels_of_one_parameter(values: Array, space: ModeSpace, min_mass: float) -> NDArray[np.int64]:
    turn, scale = float(space.period[0]), float(space.scale[0])
    line = open_circle(values, turn) / scale if math.isfinite(turn) else values / scale
    cuts = cut_line(np.sort(line), max(FEWEST, math.ceil(min_mass * line.size)), _NARROWEST)
    return np.searchsorted(np.array(cuts), line, side="right").astype(np.int64)


def _labels(cases: _Cases, space: ModeSpace, fewest: int, width: float = math.inf) -> NDArray[np.int64]:
    """Labels of all samples; clusters much finer than the kernel of ``width`` are searched again.

    Given densities have no kernel, and are searched once.
    """
    number = len(cases.points)
    one = np.zeros(number, np.int64)
    if number < 2 * fewest or float(np.ptp(cases.points, axis=0).max()) <= _NARROWEST:
        return one
    columns, turns = space.unroll(cases.samples)
    density = Density(cases.points, columns.numpy(), turns.numpy(), cases.heights, _between(cases, space))
    if not density.is_given and density.width > _SAME_SCALE * width:
        return one
    labels = separate(density, candidates(density), fewest, _NARROWEST)
    if labels.max() == 0 or density.is_given:
        return labels
    found = 0
    result = np.empty(number, np.int64)
    for label in range(int(labels.max()) + 1):
        own = labels == label
        result[own] = found + _labels(cases.some(own), space, fewest, density.width)
        found = int(result[own].max()) + 1
    return result


def _between(cases: _Cases, space: ModeSpace) -> Between | None:
    """The flow's smallest density between samples, relative to its highest at a sample."""
    if cases.log_prob is None or cases.heights is None:
        return None
    log_prob, top = cases.log_prob, float(cases.heights.max())

    def lowest(first: NDArray[np.int64], second: NDArray[np.int64]) -> Array:
        points = [space.middle(cases.samples[first], cases.samples[second], share) for share in _SEGMENT]
        heights = log_prob(torch.stack(points)).detach().cpu().double().amin(0)
        return np.exp(heights.numpy() - top)

    return lowest


def _mode(
    samples: Tensor, space: ModeSpace, heights: Array | None, own: NDArray[np.int64], order: NDArray[np.int64]
) -> Mode:
    """Describe the mode of the samples with the numbers ``own``, which were ``order`` before sorting."""
    mass, samples = len(own) / len(samples), samples[own]
    if heights is None:
        points = space.embed(samples)
        place = torch.as_tensor(densest(points.numpy(), space.dimension))
        nearest = samples[int((points - place).square().sum(1).argmin())]
        peak, value = space.align(space.restore(place), nearest), None
    else:
        best = int(heights[own].argmax())
        peak, value = samples[best], float(heights[own][best])
    spread = space.difference(samples, peak).std(0, correction=0)
    return Mode(peak, mass, spread, value, torch.from_numpy(np.sort(order[own])))
