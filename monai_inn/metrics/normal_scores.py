"""By how much intervals are too narrow and values too high: spread and mean of the truth's normal scores."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.stats import chi2, norm
from torch import Tensor

__all__ = ["WidthShift", "needed_cases_for_shift", "needed_cases_for_width", "width_and_shift"]

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
