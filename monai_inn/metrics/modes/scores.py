"""Modes as detected objects, over many cases: precision, recall, average precision, errors after matching."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from monai_inn.metrics.modes.detection import Mode
from monai_inn.metrics.modes.matching import Assignment
from monai_inn.metrics.modes.space import ModeSpace
from monai_inn.metrics.modes.table import tabulate, weighted_scores

__all__ = ["ModeScores", "mode_scores"]

_NOT_EXHAUSTIVE = (
    "the references are not all solutions, so a mode without one need not be wrong: no precision, F1 or "
    "average precision; read recall, rank and modes_per_case."
)
_NEED_ALL = {"precision", "f1", "macro_precision", "macro_f1", "average_precision"}
_NEED_MASSES = {"mass_error", "mass_divergence"}
_MASS_SLACK = 1e-3


class ModeScores(NamedTuple):
    """How well modes found agree with reference solutions; ``None`` where the references cannot tell.

    Attributes:
        precision: share of all modes that match a reference.
        recall: share of all references that a mode matches.
        f1: harmonic mean of both.
        macro_precision: precision per case, mean over the cases.
        macro_recall: recall per case, mean over the cases that have a reference.
        macro_f1: F1 per case, mean over the cases.
        average_precision: area under the interpolated precision–recall curve of all modes ranked by mass.
        distance_median: median distance of matched pairs, in units of the tolerance.
        distance_95: their 95 % quantile.
        mass_error: mean of |mass − reference mass| over the references; a missed one has no mass.
        mass_divergence: ``Σ w ln(w/ŵ) − w + ŵ`` in nats over the matched pairs of a case, mean over cases
            with a match: the Kullback–Leibler divergence of the masses ``ŵ`` from those of the references
            ``w`` where all are matched, and never negative where some are not.
        all_found: share of the cases with references of which none is missed.
        rank: mean rank by mass of the matching modes, 1 the heaviest; what a user clicks through.
        modes_per_case: mean number of modes.
        num_cases: number of cases.
        num_modes: number of modes of all cases.
        num_references: number of references of all cases.
        intervals: bootstrap interval of each of the above that is a number from the sample.
        withheld: why some scores are ``None``; empty if none is.
    """

    precision: float | None
    recall: float
    f1: float | None
    macro_precision: float | None
    macro_recall: float
    macro_f1: float | None
    average_precision: float | None
    distance_median: float | None
    distance_95: float | None
    mass_error: float | None
    mass_divergence: float | None
    all_found: float
    rank: float | None
    modes_per_case: float
    num_cases: int
    num_modes: int
    num_references: int
    intervals: dict[str, tuple[float, float]]
    withheld: str


def mode_scores(
    modes: Sequence[Sequence[Mode]],
    references: Sequence[Tensor],
    space: ModeSpace,
    exhaustive: bool,
    reference_masses: Sequence[Tensor] | None = None,
    assignment: Assignment = "greedy",
    groups: Sequence[int] | Tensor | None = None,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ModeScores:
    """Score the modes of many cases as detected objects, with their mass as confidence.

    Compare only scores that were made with one ``min_mass``: the smaller it is, the more modes there are.

    Args:
        modes: modes of each case, as ``find_modes_batch`` returns them.
        references: known solutions of each case, shape ``(R, D)``; ``R`` differs and may be 0.
        space: tolerances, angles and poses.
        exhaustive: whether the references are *all* solutions. If they are not, a mode without a reference is
            no error, and precision, F1 and average precision are withheld.
        reference_masses: true mass of each reference, ``(R,)`` per case, sum 1.
        assignment: ``"greedy"`` or ``"hungarian"``, see ``assign``.
        groups: patient of each case, shape ``(N,)``; whole patients are resampled, since cases of one are
            alike.
        bootstrap: number of resamplings; 0 for no intervals.
        confidence: coverage of the intervals.
        seed: seed of the resampling.

    Raises:
        ValueError: if the numbers of cases differ, a case has no mode (a posterior always has one), there is
            no reference at all, masses do not sum to 1, or shapes do not fit.

    Source: Adler et al., Application-driven validation of posteriors in inverse problems, 2023; all-point
    interpolation as in Everingham et al., The PASCAL visual object classes challenge, 2015.
    """
    _check(modes, references, reference_masses, groups, bootstrap, confidence)
    table = tabulate(modes, references, space, reference_masses, assignment)
    number = len(modes)
    point = {
        name: float(v[0]) for name, v in weighted_scores(table, np.ones((1, number)), exhaustive).items()
    }
    hidden = set() if exhaustive else _NEED_ALL
    hidden = hidden | (_NEED_MASSES if reference_masses is None else set())
    kept = {n: None if n in hidden or math.isnan(v) else v for n, v in point.items()}
    intervals: dict[str, tuple[float, float]] = {}
    if bootstrap:
        ids = np.arange(number) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        rng = np.random.default_rng(seed)
        count = int(ids.max()) + 1
        weights = rng.multinomial(count, np.full(count, 1 / count), size=bootstrap)[:, ids]
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        for name, values in weighted_scores(table, weights.astype(np.float64), exhaustive).items():
            finite = values[np.isfinite(values)]
            if kept[name] is not None and finite.size:
                low, high = np.quantile(finite, tails)
                intervals[name] = (float(low), float(high))
    return ModeScores(
        **kept,  # type: ignore[arg-type]
        num_cases=number,
        num_modes=int(table.modes.sum()),
        num_references=int(table.references.sum()),
        intervals=intervals,
        withheld="" if exhaustive else _NOT_EXHAUSTIVE,
    )


def _check(
    modes: Sequence[Sequence[Mode]],
    references: Sequence[Tensor],
    masses: Sequence[Tensor] | None,
    groups: Sequence[int] | Tensor | None,
    bootstrap: int,
    confidence: float,
) -> None:
    lengths = {"modes": len(modes), "references": len(references)}
    lengths |= {} if masses is None else {"reference_masses": len(masses)}
    lengths |= {} if groups is None else {"groups": len(groups)}
    if len(set(lengths.values())) > 1 or not len(modes):
        raise ValueError(f"numbers of cases differ or are zero: {lengths}; give one entry per case to each.")
    if bootstrap < 0 or not 0 < confidence < 1:
        raise ValueError(
            f"bootstrap = {bootstrap}, confidence = {confidence}: give a number ≥ 0 and a share between 0 "
            "and 1."
        )
    for case, found in enumerate(modes):
        total = sum(mode.mass for mode in found)
        if not found:
            raise ValueError(f"case {case} has no mode, but every posterior has one; use find_modes.")
        if abs(total - 1) > _MASS_SLACK:
            raise ValueError(f"masses of the modes of case {case} sum to {total:.4g}, expected 1.")
    for case, mass in enumerate(masses or ()):
        if mass.shape != references[case].shape[:1]:
            raise ValueError(
                f"case {case} has {references[case].shape[0]} references, but masses of shape "
                f"{tuple(mass.shape)}."
            )
        if len(mass) and (abs(float(mass.sum()) - 1) > _MASS_SLACK or not bool((mass > 0).all())):
            raise ValueError(
                f"reference masses of case {case} are {mass.tolist()}; give positive ones that sum to 1."
            )
    if not sum(len(reference) for reference in references):
        raise ValueError("no case has a reference; mode_scores needs at least one known solution.")
