"""How well a score separates two classes: area under the ROC, precision, false alarms at a hit rate.

Everything takes the scores of the class to be found (``positives``, out of distribution) and of the other
(``negatives``, in distribution), HIGH = positive, as tensors or arrays of any shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["auroc", "average_precision", "bootstrap_interval", "fpr_at_tpr"]

Scores = Any
Array = NDArray[np.float64]


def auroc(positives: Scores, negatives: Scores) -> float:
    """Return the probability that a positive scores above a negative, ties counted half.

    Raises:
        ValueError: if a class is empty or a score is NaN.
    """
    pos, neg = _checked(positives, negatives)
    ranks = rankdata(np.concatenate([pos, neg]))
    return float((ranks[: pos.size].sum() / pos.size - (pos.size + 1) / 2) / neg.size)


def average_precision(positives: Scores, negatives: Scores) -> float:
    """Return the precision averaged over the hits, ``Σ (R_k − R_{k−1}) P_k``, without interpolation.

    It depends on the share of positives; with a useless score it equals that share.

    Raises:
        ValueError: if a class is empty or a score is NaN.
    """
    pos, neg = _checked(positives, negatives)
    threshold = np.unique(np.concatenate([pos, neg]))[::-1]
    # How many are at or above each distinct score.
    hits, alarms = (one.size - np.searchsorted(np.sort(one), threshold).astype(float) for one in (pos, neg))
    gained = np.diff(hits, prepend=0.0) / hits[-1]
    return float((gained * hits / (hits + alarms)).sum())


def fpr_at_tpr(positives: Scores, negatives: Scores, tpr: float = 0.95) -> float:
    """Return the false positive rate at the highest threshold that finds at least ``tpr`` of the positives.

    Raises:
        ValueError: if a class is empty, a score is NaN or ``tpr`` is not in (0, 1].
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr = {tpr} is not a hit rate; give a number above 0 and at most 1.")
    pos, neg = _checked(positives, negatives)
    needed = math.ceil(tpr * pos.size - 1e-9)
    return float((neg >= np.sort(pos)[pos.size - needed]).mean())


def bootstrap_interval(
    statistic: Callable[[Array, Array], float],
    positives: Scores,
    negatives: Scores,
    n: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a two-class statistic, each class resampled by itself.

    Args:
        statistic: such as ``auroc``; called with two one-dimensional arrays.
        positives: scores of the class to be found.
        negatives: scores of the other class.
        n: number of resamplings.
        seed: seed of the resampling.
        confidence: coverage of the interval.

    Raises:
        ValueError: if a class is empty, a score is NaN, ``n < 1`` or ``confidence`` is not a probability.
    """
    if n < 1 or not 0 < confidence < 1:
        raise ValueError(f"n = {n}, confidence = {confidence}: give n ≥ 1 and a confidence between 0 and 1.")
    pos, neg = _checked(positives, negatives)
    rng = np.random.default_rng(seed)
    values = [statistic(rng.choice(pos, pos.size), rng.choice(neg, neg.size)) for _ in range(n)]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _checked(positives: Scores, negatives: Scores) -> tuple[Array, Array]:
    """Both classes as flat float64 arrays."""
    flat = []
    for name, scores in (("positives", positives), ("negatives", negatives)):
        values = scores.detach().cpu().double().numpy() if isinstance(scores, torch.Tensor) else scores
        values = np.asarray(values, dtype=np.float64).ravel()
        if values.size == 0:
            raise ValueError(
                f"{name} is empty: two classes are needed to measure how well a score separates them."
            )
        if np.isnan(values).any():
            raise ValueError(
                f"{name}: {int(np.isnan(values).sum())} of {values.size} scores are NaN; leave them out."
            )
        flat.append(values)
    return flat[0], flat[1]
