"""Coverage of intervals with exact bounds; by how much intervals are too narrow and values too high."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import beta, binom, chi2, norm
from torch import Tensor

from monai_inn.metrics.calibration.sbc import rank_counts, sbc_ranks
from monai_inn.metrics.cases import check_levels, check_share

__all__ = [
    "Coverage",
    "WidthShift",
    "coverage",
    "coverage_interval",
    "coverage_of_counts",
    "needed_cases_for_shift",
    "needed_cases_for_width",
    "rate_of",
    "width_and_shift",
]

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
    level = check_levels(level)
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


def rate_of(hits: int, n: int) -> dict[str, float]:
    """Return a rate of which ``hits`` of ``n`` independent cases were seen, and its exact 95 % bounds."""
    low, high = coverage_interval(hits, n)
    return {"value": hits / n, "low": low, "high": high}


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


_FEWEST = 20


class WidthShift(NamedTuple):
    """How posterior widths and positions compare with what they should be; one entry per parameter.

    Attributes:
        width: width of the posterior over the calibrated one; 0.9 = intervals 10 % too narrow.
        width_low: lower confidence bound.
        width_high: upper confidence bound.
        width_p: p-value of ``width = 1``, exact.
        shift: how far the posterior lies above the truth, in posterior standard deviations.
        shift_low: lower confidence bound.
        shift_high: upper confidence bound.
        shift_p: p-value of ``shift = 0``, exact.
        cases: number of cases.
    """

    width: Tensor
    width_low: Tensor
    width_high: Tensor
    width_p: Tensor
    shift: Tensor
    shift_low: Tensor
    shift_high: Tensor
    shift_p: Tensor
    cases: int


def width_and_shift(pit: Tensor, confidence: float = 0.95) -> WidthShift:
    """Return width and shift of posteriors from the probability integral transform of the truth.

    ``z = Φ⁻¹(PIT)`` of an exact posterior is standard normal whatever the posterior's shape, so that the
    tests of its mean (normal) and its spread (χ²) are exact. For a Gaussian posterior that is too narrow by
    a factor ``f`` and too high by ``h`` standard deviations they estimate ``width = f`` and ``shift = h``.
    Among ``S`` posterior samples the scores end near ``Φ⁻¹(1 − 1 / 2S)``: a grossly over-confident posterior
    is worse than the figure.

    Args:
        pit: output of ``pit``, strictly between 0 and 1, shape ``(N, D)``.
        confidence: of the bounds. Those of the width allow for scores that are not normal.

    Raises:
        ValueError: if there are fewer than 20 cases, or values outside (0, 1).
    """
    if pit.ndim != 2 or not bool(((pit > 0) & (pit < 1)).all()):
        raise ValueError(
            f"pit has shape {tuple(pit.shape)} and must hold (cases, parameters) strictly inside (0, 1)."
        )
    cases = len(pit)
    if cases < _FEWEST:
        raise ValueError(f"{cases} cases are too few to measure widths; give at least {_FEWEST}.")
    z = torch.special.ndtri(pit.double())
    mean, variance = z.mean(0), z.var(0)
    sd = variance.sqrt()
    quantile = float(norm.ppf((1 + confidence) / 2))
    kurtosis = (z - mean).pow(4).mean(0) / z.var(0, correction=0).square()
    log_error = quantile * ((kurtosis - 1).clamp_min(0.1) / (4 * cases)).sqrt()
    error = quantile * sd / math.sqrt(cases)
    lower = torch.as_tensor(chi2.cdf(((cases - 1) * variance).cpu().numpy(), cases - 1))
    upper = torch.as_tensor(chi2.sf(((cases - 1) * variance).cpu().numpy(), cases - 1))
    return WidthShift(
        width=1 / sd,
        width_low=(-log_error).exp() / sd,
        width_high=log_error.exp() / sd,
        width_p=(2 * torch.minimum(lower, upper)).to(sd).clamp_max(1.0),
        shift=-mean,
        shift_low=-mean - error,
        shift_high=-mean + error,
        shift_p=torch.special.erfc(mean.abs() * math.sqrt(cases / 2)),
        cases=cases,
    )


def needed_cases_for_width(deviation: float, confidence: float = 0.95, power: float = 0.8) -> int:
    """Return how many cases show intervals that are wrong by the share ``deviation`` with that power.

    Raises:
        ValueError: if the deviation is not positive.
    """
    return math.ceil(_needed(deviation, confidence, power) / 2)


def needed_cases_for_shift(deviation: float, confidence: float = 0.95, power: float = 0.8) -> int:
    """Return how many cases show a shift by ``deviation`` posterior standard deviations with that power.

    Raises:
        ValueError: if the deviation is not positive.
    """
    return math.ceil(_needed(deviation, confidence, power))


def _needed(deviation: float, confidence: float, power: float) -> float:
    if not deviation > 0:
        raise ValueError(f"deviation = {deviation}; give the positive deviation that must not be missed.")
    return float(((norm.ppf((1 + confidence) / 2) + norm.ppf(power)) / deviation) ** 2)
