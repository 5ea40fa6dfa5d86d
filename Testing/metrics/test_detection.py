"""Area under the ROC, precision and bootstrap against brute force and scikit-learn."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_inn.metrics import auroc, average_precision, bootstrap_interval, fpr_at_tpr

SEED = 0
# Few distinct values, so that ties within and between the classes are the rule.
SCORES = st.lists(st.integers(-4, 4), min_size=1, max_size=40)


@settings(max_examples=100)
@given(SCORES, SCORES)
def test_auroc_is_the_share_of_ordered_pairs(positives, negatives):
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in itertools.product(positives, negatives)]
    assert auroc(positives, negatives) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert auroc(negatives, positives) == pytest.approx(1 - np.mean(pairs), abs=1e-12)


@settings(max_examples=100)
@given(SCORES, SCORES, st.sampled_from([0.3, 0.5, 0.95, 1.0]))
def test_fpr_at_tpr_is_the_best_threshold(positives, negatives, tpr):
    positives, negatives = np.array(positives), np.array(negatives)
    reached = [
        (negatives >= t).mean() for t in np.unique(positives) if (positives >= t).mean() >= tpr - 1e-12
    ]
    assert fpr_at_tpr(positives, negatives, tpr) == pytest.approx(min(reached))


@settings(max_examples=100)
@given(SCORES, SCORES)
def test_average_precision_is_its_definition(positives, negatives):
    positives, negatives = np.array(positives), np.array(negatives)
    total, recall = 0.0, 0.0
    for t in np.unique(np.concatenate([positives, negatives]))[::-1]:
        hits, alarms = (positives >= t).sum(), (negatives >= t).sum()
        total += (hits / positives.size - recall) * hits / (hits + alarms)
        recall = hits / positives.size
    assert average_precision(positives, negatives) == pytest.approx(total)


@settings(max_examples=50)
@given(SCORES, SCORES)
def test_only_the_order_of_scores_counts(positives, negatives):
    for statistic in (auroc, average_precision, fpr_at_tpr):
        plain = statistic(positives, negatives)
        warped = statistic(np.exp(np.array(positives) / 2), np.exp(np.array(negatives) / 2))
        assert plain == pytest.approx(warped)
        assert plain == statistic(positives[::-1], sorted(negatives))


def test_auroc_of_two_gaussians_is_the_closed_form():
    generator = torch.Generator().manual_seed(SEED)
    n, shift = 20_000, 1.2
    exact = 0.5 * math.erfc(-shift / 2)
    measured = auroc(shift + torch.randn(n, generator=generator), torch.randn(n, generator=generator))
    assert abs(measured - exact) < 4 * math.sqrt(exact * (1 - exact) / n)


def test_infinite_scores_are_ordered():
    assert auroc([np.inf, 2.0], [1.0, -np.inf]) == 1.0
    assert fpr_at_tpr([np.inf], [1.0, np.inf]) == 0.5


def test_bootstrap_interval_covers_and_repeats():
    rng = np.random.default_rng(SEED)
    exact = 0.5 * math.erfc(-0.5)
    covered, repeats = 0, 100
    for i in range(repeats):
        low, high = bootstrap_interval(auroc, rng.normal(1, 1, 80), rng.normal(0, 1, 80), n=100, seed=i)
        covered += low <= exact <= high
    # The percentile bootstrap of 80 against 80 covers a little less than its 95 %.
    assert 0.95 - 0.03 - 4 * math.sqrt(0.95 * 0.05 / repeats) < covered / repeats
    assert covered < repeats
    again = [bootstrap_interval(auroc, [1.0, 2.0, 3.0], [0.0, 2.5], n=50, seed=3) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("statistic", [auroc, average_precision, fpr_at_tpr])
def test_one_class_alone_is_refused(statistic):
    with pytest.raises(ValueError, match="negatives is empty: two classes are needed"):
        statistic([1.0], [])
    with pytest.raises(ValueError, match="positives is empty"):
        statistic(torch.tensor([]), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="positives: 1 of 2 scores are NaN"):
        statistic([1.0, np.nan], [0.0])


def test_bad_rates_are_refused():
    with pytest.raises(ValueError, match="tpr = 95"):
        fpr_at_tpr([1.0], [0.0], tpr=95)
    with pytest.raises(ValueError, match="confidence = 95"):
        bootstrap_interval(auroc, [1.0], [0.0], confidence=95)


@pytest.mark.peers
def test_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(SEED)
    for decimals in (8, 0):
        positives, negatives = rng.normal(1, 2, 500).round(decimals), rng.normal(0, 1, 700).round(decimals)
        label, score = np.r_[np.ones(500), np.zeros(700)], np.r_[positives, negatives]
        assert auroc(positives, negatives) == pytest.approx(metrics.roc_auc_score(label, score), abs=1e-12)
        expected = metrics.average_precision_score(label, score)
        assert average_precision(positives, negatives) == pytest.approx(expected, abs=1e-12)
        fpr, tpr, _ = metrics.roc_curve(label, score, drop_intermediate=False)
        assert fpr_at_tpr(positives, negatives) == pytest.approx(fpr[np.argmax(tpr >= 0.95)])
