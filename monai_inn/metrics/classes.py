"""How good the probabilities of classes are, sets of classes with known coverage, and shares of classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_inn.metrics.calibration.coverage import rate_of
from monai_inn.metrics.detection.separation import auroc, bootstrap_interval

__all__ = [
    "ClassSets",
    "Reliability",
    "brier_score",
    "class_shares",
    "classification_figures",
    "expected_calibration_error",
    "reliability",
]

_BINS = 15
_RESAMPLED = 200
_STEPS = 500  # of expectation and maximisation, at most


class Reliability(NamedTuple):
    """Cases in bins of the probability of the most probable class, empty bins left out, each ``(B,)``.

    Attributes:
        cases: how many.
        confidence: mean probability of the most probable class.
        accuracy: share of cases in which that is the true class.
    """

    cases: Tensor
    confidence: Tensor
    accuracy: Tensor


def reliability(probability: Tensor, label: Tensor, bins: int = _BINS) -> Reliability:
    """Return accuracy by confidence, in bins of equal width.

    Args:
        probability: of each class, ``(N, K)``.
        label: true classes ``(N,)``.
        bins: number of bins between 0 and 1.

    Raises:
        ValueError: if shapes do not fit, or a row is not a probability.
    """
    confidence, hit = _hits(probability, label)
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = torch.bincount(index, minlength=bins).double()
    sums = [torch.bincount(index, values, minlength=bins) for values in (confidence, hit)]
    there = count > 0
    return Reliability(count[there].long(), *(total[there] / count[there] for total in sums))


def expected_calibration_error(probability: Tensor, label: Tensor, bins: int = _BINS) -> float:
    """Return the mean of ``|accuracy − confidence|`` over the bins of ``reliability``.

    It is positive for exact probabilities, too, see ``classification_figures`` for what is to be expected.
    Arguments and errors are those of ``reliability``.

    Source: Guo et al., On calibration of modern neural networks, 2017, equation 5.
    """
    found = reliability(probability, label, bins)
    return float((found.cases * (found.accuracy - found.confidence).abs()).sum() / found.cases.sum())


def brier_score(probability: Tensor, label: Tensor) -> float:
    """Return the mean squared distance of probabilities ``(N, K)`` from the truth ``(N,)``, from 0 to 2."""
    _check(probability, label)
    truth = torch.nn.functional.one_hot(label, probability.shape[1])
    return float((probability.double() - truth).square().sum(1).mean())


def classification_figures(
    probability: Tensor, label: Tensor, names: tuple[str, ...], seed: int = 0
) -> dict[str, Any]:
    """Return accuracy, log score, Brier score, calibration and AUROC with 95 % bounds; JSON-ready.

    Bounds of shares are those of Clopper and Pearson, the others come from resampled cases. Beside the
    calibration error stands the 95 % quantile of what exact probabilities like these would show.

    Args:
        probability: of each class, ``(N, K)``.
        label: true classes ``(N,)``.
        names: of the classes.
        seed: seed of the resampling.

    Raises:
        ValueError: if shapes do not fit, or a row is not a probability.
    """
    _, hit = _hits(probability, label)
    rng = np.random.default_rng(seed)
    draws = [torch.from_numpy(rng.integers(0, len(label), len(label))) for _ in range(_RESAMPLED)]

    def resampled(figure: Any) -> dict[str, float]:
        values = [figure(probability[rows], label[rows]) for rows in draws]
        low, high = np.quantile(values, [0.025, 0.975])
        return {"value": figure(probability, label), "low": float(low), "high": float(high)}

    exact = []
    cumulative = probability.double().cumsum(1)
    for _ in range(_RESAMPLED):
        level = torch.from_numpy(rng.random(len(label))).unsqueeze(1)
        drawn = (level > cumulative[:, :-1]).sum(1)
        exact.append(expected_calibration_error(probability, drawn))
    bins = reliability(probability, label)
    return {
        "cases": len(label),
        "classes": list(names),
        "accuracy": _share(hit),
        "accuracy_of_class": {
            name: _share(hit[label == k]) for k, name in enumerate(names) if bool((label == k).any())
        },
        "log_score_nats": resampled(_log_score),
        "brier": resampled(brier_score),
        "calibration_error": resampled(expected_calibration_error),
        "calibration_error_if_exact": float(np.quantile(exact, 0.95)),
        "auroc": {
            name: _auroc(probability[:, k], label == k, seed)
            for k, name in enumerate(names)
            if 0 < int((label == k).sum()) < len(label)
        },
        "reliability": [
            {"cases": int(n), "confidence": float(c), **rate_of(round(float(a * n)), int(n))}
            for n, c, a in zip(bins.cases, bins.confidence, bins.accuracy, strict=True)
        ],
    }


class ClassSets:
    """Sets of classes that hold the true one at a known rate, in each class by itself.

    The score of a held-out case is one minus the probability of its true class. A class belongs to the set of
    a new case if its score is not among the highest of its own held-out cases. The rate then holds whatever
    the shares of the classes, for exchangeable cases within a class.

    Args:
        probability: of each class, of held-out cases, ``(n, K)``.
        label: their true classes ``(n,)``.

    Raises:
        ValueError: if shapes do not fit.

    Source: Vovk et al., Algorithmic learning in a random world, 2005, section 4.5.
    """

    def __init__(self, probability: Tensor, label: Tensor) -> None:
        _check(probability, label)
        self._scores = [
            (1 - probability[label == k, k].double()).sort().values for k in range(probability.shape[1])
        ]

    def __call__(self, probability: Tensor, coverage: float = 0.9) -> Tensor:
        """Return which classes are in the sets of cases ``(N, K)``, boolean, ``(N, K)``.

        A class with too few held-out cases for the coverage is in every set.

        Raises:
            ValueError: if the coverage is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage = {coverage} is not a probability; give e.g. 0.9.")
        return self.p_values(probability) > 1 - coverage

    def p_values(self, probability: Tensor) -> Tensor:
        """Return the share of each class's held-out cases that fit it no better, ``(N, K)``."""
        columns = []
        for own, score in zip(self._scores, (1 - probability.double()).unbind(1), strict=True):
            below = torch.searchsorted(own, score.contiguous() - 1e-12)
            columns.append((1.0 + len(own) - below) / (len(own) + 1))
        return torch.stack(columns, 1)


def class_shares(log_likelihood: Tensor) -> Tensor:
    """Return the shares of classes under which observations are most likely together, ``(K,)``.

    Labels are not needed: only how likely each observation is in each class.

    Args:
        log_likelihood: ``log p(y | k)`` up to a constant of each observation, nats, ``(N, K)``.

    Source: Saerens, Latinne and Decaestecker, Adjusting the outputs of a classifier to new a priori
    probabilities, 2002.
    """
    values = log_likelihood.double()
    shares = torch.full_like(values[0], 1 / values.shape[1])
    for _ in range(_STEPS):
        after = (values + shares.clamp_min(1e-12).log()).softmax(1).mean(0)
        if float((after - shares).abs().max()) < 1e-9:
            return after
        shares = after
    return shares


def _check(probability: Tensor, label: Tensor) -> None:
    if probability.ndim != 2 or probability.shape[:1] != label.shape or not len(label):
        raise ValueError(
            f"probabilities have the shape {tuple(probability.shape)}, labels {tuple(label.shape)}; expected "
            "(N, K) and (N,)."
        )
    total = probability.double().sum(1)
    if not bool(((total - 1).abs() < 1e-3).all()) or float(probability.min()) < 0:
        raise ValueError(
            f"rows of probabilities add up to {float(total.min()):.3g} to {float(total.max()):.3g}; each "
            "must hold shares of 1."
        )
    if not 0 <= int(label.min()) <= int(label.max()) < probability.shape[1]:
        raise ValueError(
            f"labels from {int(label.min())} to {int(label.max())} for {probability.shape[1]} classes; "
            "number classes from 0 on."
        )


def _hits(probability: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of the most probable class, and whether it is the true one, ``(N,)`` each, float64."""
    _check(probability, label)
    confidence, chosen = probability.double().max(1)
    return confidence, (chosen == label).double()


def _log_score(probability: Tensor, label: Tensor) -> float:
    own = probability.double().gather(1, label.unsqueeze(1))
    return float(-own.clamp_min(1e-12).log().mean())


def _share(hit: Tensor) -> dict[str, float]:
    return rate_of(int(hit.sum()), len(hit))


def _auroc(score: Tensor, is_of: Tensor, seed: int) -> dict[str, float]:
    pair = score[is_of], score[~is_of]
    low, high = bootstrap_interval(auroc, *pair, n=_RESAMPLED, seed=seed)
    return {"value": auroc(*pair), "low": low, "high": high}
