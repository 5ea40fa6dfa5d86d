"""Cumulative rank plots of simulation-based calibration, with bands that hold at all points at once."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.signal import fftconvolve
from scipy.stats import binom, poisson
from torch import Tensor

from monai_inn.metrics.cases import check_share

__all__ = ["EcdfDifference", "ecdf_difference", "ecdf_envelope"]

_MAX_POINTS = 100
# Halvings of the search for the pointwise level: its logarithm is known to 1/1000 then.
_HALVINGS = 12
# From here on the discreteness of the counts no longer moves the pointwise level.
_MANY_CASES = 1_000_000

Array = np.ndarray[Any, Any]


class EcdfDifference(NamedTuple):
    """How far cumulative shares of ranks are from uniform.

    Attributes:
        z: expected share of ranks below each point, shape ``(K,)``.
        difference: share seen minus ``z``, shape ``(D, K)``. A hump left and a dip right = over-confident,
            the reverse = under-confident, all above = the posterior lies too high, all below = too low.
        low: lower end of the band around zero, shape ``(K,)``.
        high: upper end of the band around zero, shape ``(K,)``.
        is_inside: whether a parameter's curve stays in the band everywhere, shape ``(D,)``.
    """

    z: Tensor
    difference: Tensor
    low: Tensor
    high: Tensor
    is_inside: Tensor


def ecdf_envelope(
    num_cases: int, num_samples: int, confidence: float = 0.95
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the band that the cumulative shares of exactly uniform ranks do not leave anywhere.

    Args:
        num_cases: number ``N`` of independent cases.
        num_samples: number ``S`` of posterior samples behind each rank.
        confidence: probability to stay inside at all points together.

    Returns:
        Expected share of ranks below each of up to 100 points, and the lower and upper end of the band
        there, three of shape ``(K,)``. Each point lies between two of the ``S + 1`` ranks, where the law of
        the counts is known exactly. As counts are whole, the probability to stay inside is ``confidence`` or
        a little more.

    Raises:
        ValueError: if a number is below 1, or the confidence is not between 0 and 1.

    Source: Säilynoja, Bürkner and Vehtari, Graphical test for discrete uniformity and its applications in
    goodness-of-fit evaluation and multiple sample comparison, 2022. Their pointwise level is found by another
    recursion: uniform counts are Poisson counts given their sum, and those of separate bins convolve.
    """
    if num_cases < 1 or num_samples < 1:
        raise ValueError(f"{num_cases} cases and {num_samples} samples; give at least one of both.")
    check_share(confidence=confidence)
    z = _points(num_samples) / (num_samples + 1)
    low, high = _band(z, num_cases, _pointwise_level(num_cases, num_samples, confidence))
    return torch.from_numpy(z), torch.from_numpy(low / num_cases), torch.from_numpy(high / num_cases)


def ecdf_difference(counts: Tensor, confidence: float = 0.95) -> EcdfDifference:
    """Compare cumulative shares of ranks with uniform ones.

    Args:
        counts: rank histograms of ``rank_counts``, shape ``(D, S + 1)``, which may be sums over batches.
        confidence: probability with which the curve of one exact parameter stays in the band everywhere.

    Raises:
        ValueError: if there is no case, or the confidence is not between 0 and 1.
    """
    cases, num_samples = int(counts[0].sum()), counts.shape[1] - 1
    if cases < 1:
        raise ValueError("no case to compare ranks of; the mask leaves none, or there were none.")
    z, low, high = ecdf_envelope(cases, num_samples, confidence)
    below = torch.from_numpy(_points(num_samples)) - 1
    share = counts.cpu().cumsum(1)[:, below].double() / cases
    is_inside = ((share >= low) & (share <= high)).all(1)
    return EcdfDifference(z, share - z, low - z, high - z, is_inside)


def _points(num_samples: int) -> Array:
    """Numbers of lowest ranks that are counted together, at most 100 of ``1…S``, symmetric."""
    if num_samples <= _MAX_POINTS:
        return np.arange(1, num_samples + 1)
    half = np.arange(1, _MAX_POINTS // 2 + 1) * (num_samples + 1) // (_MAX_POINTS + 1)
    return np.concatenate([half, (num_samples + 1 - half)[::-1]])


def _band(z: Array, num_cases: int, pointwise: float) -> tuple[Array, Array]:
    """Counts between which each point alone stays with probability ``1 − pointwise``."""
    return binom.ppf(pointwise / 2, num_cases, z), binom.isf(pointwise / 2, num_cases, z)


@lru_cache(maxsize=256)
def _pointwise_level(num_cases: int, num_samples: int, confidence: float) -> float:
    """Largest probability to leave the band at one point that keeps the joint one at ``1 − confidence``."""
    points, num_cases = _points(num_samples), min(num_cases, _MANY_CASES)
    # Leaving anywhere is at least as likely as at one point, and at most as likely as the sum over points.
    low, high = math.log((1 - confidence) / len(points)), math.log(1 - confidence)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_wide = _stays_inside(points, num_cases, num_samples, math.exp(middle)) >= confidence
        low, high = (middle, high) if is_wide else (low, middle)
    return math.exp(low)


def _stays_inside(points: Array, num_cases: int, num_samples: int, pointwise: float) -> float:
    """Probability that uniform ranks stay in the band of a pointwise level at all points."""
    low, high = _band(points / (num_samples + 1), num_cases, pointwise)
    ends = np.append(points, num_samples + 1)
    expected = np.diff(ends, prepend=0) * (num_cases / (num_samples + 1))
    low, high = (np.append(band, num_cases).astype(np.int64) for band in (low, high))
    # Probability of every count at the last point, for paths that were inside at all points before it.
    inside, last_low, last_high = np.ones(1), 0, 0
    for mean, next_low, next_high in zip(expected, low, high, strict=True):
        step = poisson.pmf(np.arange(next_low - last_high, next_high - last_low + 1), mean)
        inside = fftconvolve(step, inside, mode="valid")
        last_low, last_high = int(next_low), int(next_high)
    return float(inside[0] / poisson.pmf(num_cases, num_cases))
