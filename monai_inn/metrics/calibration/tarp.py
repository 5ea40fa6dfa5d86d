"""Tests of accuracy with random points: are joint posteriors calibrated, correlations included?"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import kstest
from torch import Tensor

from monai_inn.metrics.calibration.sbc import break_ties, count_in_chunks, unit_share
from monai_inn.metrics.cases import angles, check_cases, check_levels, check_scale, check_share
from monai_inn.seeding import stream

__all__ = ["TarpResult", "other_truths", "prior_scale", "tarp", "tarp_fractions", "tarp_of_fractions"]

_RESAMPLINGS = 1000
# With two cases that are each other's reference the two fractions would depend on one another.
_LEAST_CASES = 3


class TarpResult(NamedTuple):
    """Expected coverage of regions around random points.

    Attributes:
        level: nominal coverage of the regions, shape ``(Q,)``.
        coverage: share of cases whose truth lies inside, shape ``(Q,)``. Beside the diagonal on one side at
            high and on the other at low levels = too narrow or too wide, on one side only = biased.
        low: lower bootstrap bound of the coverage, shape ``(Q,)``.
        high: upper bootstrap bound of the coverage, shape ``(Q,)``.
        statistic: Kolmogorov–Smirnov distance of coverage and level over all levels.
        p_value: its p-value; small = the posterior is wrong.
    """

    level: Tensor
    coverage: Tensor
    low: Tensor
    high: Tensor
    statistic: float
    p_value: float


def tarp(
    samples: Tensor,
    truth: Tensor,
    references: Tensor | None = None,
    mask: Tensor | None = None,
    period: Tensor | None = None,
    scale: Tensor | None = None,
    level: Tensor | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> TarpResult:
    """Test whether posterior samples have the right joint law, by their distances from random points.

    Marginal ranks miss a wrong correlation; this finds it. What it finds depends on the references. As long
    as they ignore the observation, so may the posterior: pass some that depend on it as well. And where they
    lie all around the posterior a shift cancels out to first order: points far out on one side see it.

    Args:
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        references: as for ``tarp_fractions``.
        mask: cases to count, boolean, shape ``(N,)``; all of them by default.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        scale: as for ``tarp_fractions``.
        level: nominal coverages between 0 and 1, shape ``(Q,)``; 1, 2, …, 99 % by default.
        confidence: coverage of the bootstrap bounds at each level.
        seed: seed of the references, of ties and of the bootstrap.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: as for ``tarp_fractions`` and ``tarp_of_fractions``.

    Source: Lemos et al., Sampling-based accuracy testing of posterior estimators for general inference, 2023.
    """
    fractions = tarp_fractions(samples, truth, references, mask, period, scale, seed)
    return tarp_of_fractions(fractions, level, confidence, seed)


def tarp_fractions(
    samples: Tensor,
    truth: Tensor,
    references: Tensor | None = None,
    mask: Tensor | None = None,
    period: Tensor | None = None,
    scale: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Return the share of posterior samples that lie closer to a reference than the truth does.

    Args:
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        references: one point per case, shape ``(N, D)``, same units. They may depend on the observation, but
            neither on the truth nor on the samples beyond that; the truth of another case by default.
        mask: cases to count, boolean, shape ``(N,)``; all of them by default.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles,
            which are compared on their circle.
        scale: length of one unit of distance per parameter, shape ``(D,)``; ``prior_scale`` by default.
        seed: seed of the default references, and of the spreading over ``1 / (S + 1)`` and of ties.

    Returns:
        Shape ``(number of true in mask,)``, float64, inside (0, 1): uniform for an exact posterior, whatever
        the number of samples.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: as for ``check_cases``, if references or scale do not fit, or if there are fewer than 3
            cases to draw references from.

    Source: Lemos et al., Sampling-based accuracy testing of posterior estimators for general inference, 2023.
    """
    every = truth.shape
    samples, truth = check_cases(samples, truth, mask, period)
    if references is None:
        references = other_truths(truth, seed)
    elif references.shape != every:
        raise ValueError(
            f"references have shape {tuple(references.shape)}, expected that of truth, {tuple(every)}: "
            "one point per case."
        )
    else:
        references = (references if mask is None else references[mask]).to(truth)
    if not bool(references.isfinite().all()):
        raise ValueError("references hold NaN or infinite values; give a point for each case that counts.")
    unit = prior_scale(truth, period) if scale is None else check_scale(scale, truth.shape[1], "scale")
    weight = (1 / unit).to(samples)

    def distances(cases: slice) -> tuple[Tensor, Tensor]:
        # Truth and samples go through the same arithmetic: what is equal stays equal.
        drawn, true = (
            _squared_distance(points, references[cases], weight, period)
            for points in (samples[:, cases], truth[None, cases])
        )
        return drawn, true[0]

    counts = count_in_chunks(samples, truth.shape[:1], distances)
    return unit_share(break_ties(*counts, seed), samples.shape[0])


def tarp_of_fractions(
    fractions: Tensor, level: Tensor | None = None, confidence: float = 0.95, seed: int = 0
) -> TarpResult:
    """Return the coverage curve and the test of fractions ``(N,)``, of any number of batches together.

    Raises:
        ValueError: if there is none, or a level or the confidence is not between 0 and 1.
    """
    if fractions.ndim != 1 or fractions.numel() < 1:
        raise ValueError(
            f"fractions have shape {tuple(fractions.shape)}, expected (cases,) with at least one case."
        )
    check_share(confidence=confidence)
    level = check_levels(level, is_rising=True)
    values = np.sort(fractions.cpu().double().numpy())
    hits = np.searchsorted(values, level.numpy(), side="right")
    # To draw cases anew is to draw how many of them fall between one level and the next.
    share = np.diff(hits, prepend=0, append=values.size) / values.size
    drawn = (
        np.random.default_rng([seed, *b"bootstrap"])
        .multinomial(values.size, share, _RESAMPLINGS)[:, :-1]
        .cumsum(1)
    )
    low, high = np.quantile(drawn / values.size, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    test = kstest(values, "uniform")
    coverage, low, high = (torch.from_numpy(curve) for curve in (hits / values.size, low, high))
    return TarpResult(level, coverage, low, high, float(test.statistic), float(test.pvalue))


def prior_scale(truth: Tensor, period: Tensor | None = None) -> Tensor:
    """Return the standard deviation of parameters ``(N, D)``, as the unit of distances, shape ``(D,)``.

    An angle's is that of the point on its circle. It is 1 where all values are equal.

    Raises:
        ValueError: if there is no case.
    """
    if truth.shape[0] < 1:
        raise ValueError("no case to measure the spread of parameters on; the mask leaves none.")
    scale = truth.double().std(0, correction=0)
    for d in angles(period):
        radius = float(period[d]) / (2 * math.pi)  # type: ignore[index]
        angle = truth[:, d].double() / radius
        scale[d] = radius * (angle.cos().var(correction=0) + angle.sin().var(correction=0)).sqrt()
    return torch.where(scale > 0, scale, 1.0)


def other_truths(truth: Tensor, seed: int = 0) -> Tensor:
    """Give each case the truth of another one, at random, shape ``(N, D)``.

    No case gets its own, which would not be independent of what is tested. All cases form one ring, so that
    any ``N − 1`` of the fractions are independent if the posterior is exact.

    Raises:
        ValueError: if there are fewer than 3 cases.
    """
    if truth.shape[0] < _LEAST_CASES:
        raise ValueError(
            f"{truth.shape[0]} case(s); give at least {_LEAST_CASES} to take references from other cases "
            "(a thousand to see a posterior that is 10 % too narrow), or give references=."
        )
    order = torch.randperm(truth.shape[0], generator=stream(seed, "references")).to(truth.device)
    references = torch.empty_like(truth)
    references[order] = truth[order.roll(1)]
    return references


def _squared_distance(points: Tensor, centre: Tensor, weight: Tensor, period: Tensor | None) -> Tensor:
    """Squared distance of points ``(S, N, D)`` from centres ``(N, D)``, angles along their chord."""
    apart = points - centre
    for d in angles(period):
        diameter = float(period[d]) / math.pi  # type: ignore[index]
        # As far apart as on the circle of ``embed``, for half the trigonometry.
        apart[..., d].div_(diameter).sin_().mul_(diameter)
    return apart.mul_(weight).square_().sum(-1)
