"""Coverage of posterior intervals with exact bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import beta, binom
from torch import Tensor

from monai_inn.metrics.cases import check_share
from monai_inn.metrics.sbc import rank_counts, sbc_ranks

__all__ = ["Coverage", "coverage", "coverage_interval", "coverage_of_counts"]

LEVELS = (0.5, 0.68, 0.9, 0.95)


class Coverage(NamedTuple):
    """Coverage of central posterior intervals, with bounds.

    Attributes:
        level: nominal coverage of the intervals, shape ``(Q,)``.
        coverage: share of cases whose truth lies inside, shape ``(Q, D)``; below ``level`` = over-confident.
        low: lower bound of the coverage, shape ``(Q, D)``.
        high: upper bound of the coverage, shape ``(Q, D)``; a level outside ``low…high`` is missed.
    """

    level: Tensor
    coverage: Tensor
    low: Tensor
    high: Tensor


def coverage(
    samples: Tensor,
    truth: Tensor,
    level: Sequence[float] | Tensor = LEVELS,
    mask: Tensor | None = None,
    period: Tensor | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Coverage:
    """Return the coverage of central posterior intervals with exact (Clopper–Pearson) bounds.

    Args:
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        level: nominal coverages between 0 and 1, ``Q`` of them.
        mask: cases to count, boolean, shape ``(N,)``; all of them by default.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        confidence: coverage of the bounds themselves.
        seed: seed by which cases on the edge of an interval are counted in or out, and ties broken.

    Returns:
        Coverage and bounds. ``S`` samples only offer intervals between order statistics; a level between two
        of them is met exactly by counting in a truth in the gap with the probability that makes up for it.
        Hits are then a whole, binomial number and the bounds hold for any ``S``. They do take the cases to be
        independent, which neighbouring pixels of an image are not.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: as for ``check_cases``, if no case counts, or a level or the confidence is not in (0, 1).

    Source: Clopper and Pearson, The use of confidence or fiducial limits, 1934.
    """
    ranks = sbc_ranks(samples, truth, mask, seed, period)
    return coverage_of_counts(rank_counts(ranks, samples.shape[0]), level, confidence, seed)


def coverage_of_counts(
    counts: Tensor,
    level: Sequence[float] | Tensor = LEVELS,
    confidence: float = 0.95,
    seed: int = 0,
) -> Coverage:
    """Return ``coverage`` from rank histograms ``(D, S + 1)``, which may be sums over batches."""
    cases = int(counts[0].sum())
    if cases < 1:
        raise ValueError("no case to measure coverage on; the mask leaves none, or there were none.")
    level = torch.as_tensor(level, dtype=torch.float64).flatten().cpu()
    if not bool(((level > 0) & (level < 1)).all()):
        raise ValueError(f"levels are {level.tolist()}, expected numbers inside (0, 1), such as 0.9.")
    hits = _hits(counts.cpu().numpy(), level.numpy(), seed)
    low, high = _clopper_pearson(hits, cases, confidence)
    return Coverage(level, torch.from_numpy(hits / cases), torch.from_numpy(low), torch.from_numpy(high))


def coverage_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a rate of which ``hits`` of ``n`` independent cases were seen.

    Raises:
        ValueError: if not ``0 ≤ hits ≤ n`` and ``n ≥ 1``, or the confidence is not between 0 and 1.

    Source: Clopper and Pearson, The use of confidence or fiducial limits, 1934.
    """
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"{hits} hits in {n} cases; expected 0 ≤ hits ≤ n and n ≥ 1.")
    low, high = _clopper_pearson(np.asarray(hits), n, confidence)
    return float(low), float(high)


def _hits(counts: np.ndarray[Any, Any], level: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Cases inside the central intervals of levels ``(Q,)``, from histograms ``(D, S + 1)``, ``(Q, D)``."""
    num_ranks = counts.shape[1]
    # Rank r owns r…r + 1 of 0…S + 1; the interval reaches from `edge` to its mirror image.
    edge = (1 - level) * num_ranks / 2
    lower = np.floor(edge).astype(np.int64)
    upper = num_ranks - 1 - lower
    share = np.where(lower < upper, lower + 1 - edge, level * num_ranks)
    cumulative = np.concatenate([np.zeros((len(counts), 1), dtype=np.int64), counts.cumsum(1)], 1)
    inside = np.where(
        lower + 1 < upper, cumulative[:, upper] - cumulative[:, np.minimum(lower + 1, upper)], 0
    )
    # One uniform number per rank, whatever the level: the hits never fall where the level rises.
    uniform = np.random.default_rng([seed, *b"coverage"]).random(counts.shape).clip(1e-16, 1 - 1e-16)
    below = binom.ppf(uniform[:, lower], counts[:, lower], share)
    above = np.where(lower < upper, binom.ppf(uniform[:, upper], counts[:, upper], share), 0)
    return (inside + below + above).T.astype(np.int64)


def _clopper_pearson(
    hits: np.ndarray[Any, Any], n: int, confidence: float
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Bounds of the rates behind ``hits`` of ``n``, each of the shape of ``hits``."""
    check_share(confidence=confidence)
    tail = (1 - confidence) / 2
    low = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1), n - hits + 1), 0.0)
    high = np.where(hits < n, beta.ppf(1 - tail, hits + 1, np.maximum(n - hits, 1)), 1.0)
    return low, high
