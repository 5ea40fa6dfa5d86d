"""Calibration of posterior intervals: do central q intervals hold the truth in a share q of the cases?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.metrics.calibration.sbc import rank_counts, sbc_ranks
from monai_inn.metrics.cases import check_levels

__all__ = [
    "CalibrationCurve",
    "NoiseFloor",
    "calibration_curve",
    "calibration_error",
    "calibration_noise_floor",
    "curve_of_counts",
]


class CalibrationCurve(NamedTuple):
    """Coverage of central posterior intervals.

    Attributes:
        level: nominal coverage of the intervals, shape ``(Q,)``.
        coverage: share of cases whose truth lies inside, shape ``(Q, D)``; below ``level`` = over-confident.
    """

    level: Tensor
    coverage: Tensor

    @property
    def error(self) -> Tensor:
        """Median over the levels of ``|coverage − level|``, shape ``(D,)``."""
        # The mean of the two middle values, which torch's own median does not take.
        return (self.coverage - self.level[:, None]).abs().quantile(0.5, dim=0)


class NoiseFloor(NamedTuple):
    """Calibration error that a *perfect* posterior shows on finitely many cases.

    Attributes:
        mean: its expectation.
        upper: the value that it stays below in 95 % of the repetitions.
    """

    mean: float
    upper: float


def calibration_curve(
    samples: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    level: Tensor | None = None,
    period: Tensor | None = None,
) -> CalibrationCurve:
    """Return the coverage of central posterior intervals at many levels.

    Args:
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        mask: cases to count, boolean, shape ``(N,)``.
        level: nominal coverages between 0 and 1, shape ``(Q,)``; 1, 2, …, 99 % by default.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.

    Returns:
        The levels and, per parameter, the coverage. The intervals lie between order statistics of the
        samples, so that no interpolated quantile makes a correct posterior look over-confident.

    Raises:
        ValueError: if the shapes do not belong together, no case counts, or a level is outside (0, 1).

    Source: Ardizzone et al., Analyzing inverse problems with invertible neural networks, 2019, section 4.2.
    """
    ranks = sbc_ranks(samples, truth, mask, period=period)
    return curve_of_counts(rank_counts(ranks, samples.shape[0]), level)


def curve_of_counts(counts: Tensor, level: Tensor | None = None) -> CalibrationCurve:
    """Return the calibration curve from rank histograms ``(D, S + 1)``, which may be sums over batches.

    The interval between order statistics ``k`` and ``S + 1 − k`` covers exactly ``1 − 2k / (S + 1)``; the
    coverage at a level between two such values is the mixture of both intervals that has that level.
    """
    cases = counts[0].sum()
    if int(cases) < 1:
        raise ValueError("no case to measure calibration on; the mask leaves none, or there were none.")
    level = check_levels(level).to(counts.device)
    cumulative = torch.nn.functional.pad(counts.double().cumsum(1) / cases, (1, 0))
    coverage = _interpolate(cumulative, 0.5 + level / 2) - _interpolate(cumulative, 0.5 - level / 2)
    return CalibrationCurve(level, coverage)


def calibration_error(
    samples: Tensor, truth: Tensor, mask: Tensor | None = None, period: Tensor | None = None
) -> Tensor:
    """Return the median over the levels 1…99 % of ``|coverage − level|``, per parameter, shape ``(D,)``.

    A perfect posterior does not reach zero: compare with ``calibration_noise_floor``. The prior is perfectly
    calibrated too, so never show this figure without the width of the posterior beside it.

    Args:
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        mask: cases to count, boolean, shape ``(N,)``.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.

    Raises:
        ValueError: as for ``calibration_curve``.
    """
    return calibration_curve(samples, truth, mask, period=period).error


def calibration_noise_floor(n: int) -> NoiseFloor:
    """Return the calibration error that an exact posterior shows on ``n`` independent cases.

    Raises:
        ValueError: if ``n`` is not positive.

    Source: simulation of uniform ranks, repeated by the tests.
    """
    if n < 1:
        raise ValueError(f"n = {n} cases; give a positive number.")
    return NoiseFloor(mean=0.29 / math.sqrt(n), upper=0.60 / math.sqrt(n))


def _interpolate(cumulative: Tensor, u: Tensor) -> Tensor:
    """Value at ``u (Q,)`` of functions given at equal steps on [0, 1], ``(D, K)`` → ``(Q, D)``."""
    position = u * (cumulative.shape[1] - 1)
    left = position.floor().long().clamp(0, cumulative.shape[1] - 2)
    weight = position - left
    return (cumulative[:, left] * (1 - weight) + cumulative[:, left + 1] * weight).T
