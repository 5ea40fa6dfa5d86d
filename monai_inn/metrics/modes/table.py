"""All modes and pairs of many cases, and their scores under any weights of the cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.metrics.modes.detection import Mode
from monai_inn.metrics.modes.matching import Assignment, match
from monai_inn.metrics.modes.space import ModeSpace

__all__ = ["ModeTable", "tabulate", "weighted_scores"]

Array = NDArray[np.float64]


class ModeTable(NamedTuple):
    """Counts of ``N`` cases, their ``M`` modes and ``P`` matched pairs.

    Attributes:
        modes: number of modes, shape ``(N,)``.
        references: number of references, shape ``(N,)``.
        hits: number of pairs, shape ``(N,)``.
        mass_error: sum over the references of the errors of their masses, shape ``(N,)``; 0 without masses.
        divergence: divergence of the masses of pairs, shape ``(N,)``; 0 without masses.
        mode_case: case of each mode, shape ``(M,)``.
        mass: its mass, shape ``(M,)``.
        is_hit: whether it matches a reference, shape ``(M,)``.
        pair_case: case of each pair, shape ``(P,)``.
        distance: its distance, shape ``(P,)``.
        rank: rank of its mode, shape ``(P,)``.
    """

    modes: Array
    references: Array
    hits: Array
    mass_error: Array
    divergence: Array
    mode_case: NDArray[np.int64]
    mass: Array
    is_hit: NDArray[np.bool_]
    pair_case: NDArray[np.int64]
    distance: Array
    rank: Array


def tabulate(
    modes: Sequence[Sequence[Mode]],
    references: Sequence[Tensor],
    space: ModeSpace,
    masses: Sequence[Tensor] | None,
    assignment: Assignment,
) -> ModeTable:
    """Match the modes of each case with its references and lay all cases out in arrays."""
    number = len(modes)
    hits, mass_error, divergence = np.zeros(number), np.zeros(number), np.zeros(number)
    is_hit, pair_case, distance, rank = [], [], [], []
    for case, (found, known) in enumerate(zip(modes, references, strict=True)):
        pairs = match(found, known, space, assignment)
        mass = torch.tensor([mode.mass for mode in found], dtype=torch.float64)
        hits[case] = len(pairs.mode)
        hit = torch.zeros(len(found), dtype=torch.bool)
        hit[pairs.mode] = True
        is_hit += hit.tolist()
        pair_case += [case] * len(pairs.mode)
        distance += pairs.distance.tolist()
        # Equally heavy modes share the mean of their ranks.
        above, equal = (mass > mass[pairs.mode, None]).sum(1), (mass == mass[pairs.mode, None]).sum(1)
        rank += (above + (equal + 1) / 2).tolist()
        if masses is not None:
            true, seen = masses[case].double()[pairs.reference], mass[pairs.mode]
            missed = masses[case].double()[pairs.missed_references]
            mass_error[case] = float((seen - true).abs().sum() + missed.sum())
            divergence[case] = float((true * (true / seen).log() - true + seen).sum())
    per_case = np.array([len(found) for found in modes])
    return ModeTable(
        per_case.astype(np.float64),
        np.array([float(len(known)) for known in references]),
        hits,
        mass_error,
        divergence,
        np.repeat(np.arange(number), per_case),
        np.array([mode.mass for found in modes for mode in found]),
        np.array(is_hit, dtype=bool),
        np.array(pair_case, dtype=np.int64),
        np.array(distance),
        np.array(rank),
    )


def weighted_scores(table: ModeTable, weights: Array, exhaustive: bool) -> dict[str, Array]:
    """Scores under weights ``(B, N)`` of the cases, each ``(B,)``; NaN where there is nothing to score."""
    has_reference, has_pair = table.references > 0, table.hits > 0
    modes, references, hits = weights @ table.modes, weights @ table.references, weights @ table.hits
    with np.errstate(invalid="ignore", divide="ignore"):
        precision_of_case = table.hits / table.modes
        recall_of_case = np.where(has_reference, table.hits / table.references, 0.0)
        f1_of_case = 2 * table.hits / (table.modes + table.references)
        with_reference, with_pair = weights @ has_reference, weights @ has_pair
        pair_weights = weights[:, table.pair_case]
        pairs = pair_weights.sum(1)
        average_precision = _average_precision(table, weights) if exhaustive else pairs * np.nan
        return {
            "precision": hits / modes,
            "recall": hits / references,
            "f1": 2 * hits / (modes + references),
            "macro_precision": weights @ precision_of_case / weights.sum(1),
            "macro_recall": weights @ recall_of_case / with_reference,
            "macro_f1": weights @ f1_of_case / weights.sum(1),
            "average_precision": average_precision,
            "distance_median": _quantile(table.distance, pair_weights, 0.5),
            "distance_95": _quantile(table.distance, pair_weights, 0.95),
            "mass_error": weights @ table.mass_error / references,
            "mass_divergence": weights @ table.divergence / with_pair,
            "all_found": weights @ (has_reference & (table.hits == table.references)) / with_reference,
            "rank": pair_weights @ table.rank / pairs,
            "modes_per_case": modes / weights.sum(1),
        }


def _average_precision(table: ModeTable, weights: Array) -> Array:
    """Area under the interpolated precision–recall curve, ``(B,)``; equal masses are one step."""
    order = np.argsort(-table.mass, kind="stable")
    each = weights[:, table.mode_case[order]]
    hits, seen = (each * table.is_hit[order]).cumsum(1), each.cumsum(1)
    mass = table.mass[order]
    last = np.flatnonzero(np.append(mass[:-1] != mass[1:], True))
    hits, seen = hits[:, last], seen[:, last]
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area = (np.diff(hits, prepend=0.0, axis=1) * precision).sum(1)
    return area / (weights @ table.references)


def _quantile(values: Array, weights: Array, q: float) -> Array:
    """Quantile of values ``(P,)`` under weights ``(B, P)``; on a step the mean of both neighbours."""
    if not values.size:
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    ordered, cumulative = values[order], weights[:, order].cumsum(1)
    target = q * cumulative[:, -1:]
    below = np.minimum((cumulative < target - 1e-9).sum(1), values.size - 1)
    above = np.minimum((cumulative <= target + 1e-9).sum(1), values.size - 1)
    return np.where(cumulative[:, -1] > 0, (ordered[below] + ordered[above]) / 2, np.nan)
