"""Figures of classifiers against counts by hand, exact probabilities, and scikit-learn's."""

from __future__ import annotations

import pytest
import torch

from monai_inn.metrics import (
    ClassSets,
    brier_score,
    class_shares,
    classification_figures,
    expected_calibration_error,
    reliability,
)
from monai_inn.metrics.calibration.coverage import coverage_interval

K = 3


def exact(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities, and labels drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    probability = (2 * torch.randn(n, K, generator=generator)).softmax(1)
    return probability, torch.multinomial(probability, 1, generator=generator).squeeze(1)


def test_bins_by_hand():
    probability = torch.tensor([[0.9, 0.1], [0.92, 0.08], [0.4, 0.6], [0.38, 0.62]])
    label = torch.tensor([0, 1, 1, 1])
    two = reliability(probability, label, bins=4)
    assert two.cases.tolist() == [2, 2]
    assert two.confidence.tolist() == pytest.approx([0.61, 0.91])
    assert two.accuracy.tolist() == pytest.approx([1.0, 0.5])
    assert expected_calibration_error(probability, label, bins=4) == pytest.approx(0.5 * (0.39 + 0.41))
    assert brier_score(probability, label) == pytest.approx(
        2 * (0.1**2 + 0.92**2 + 0.4**2 + 0.38**2) / 4, abs=1e-6
    )


@pytest.mark.parametrize("seed", range(2))
def test_exact_probabilities_pass_and_sharpened_ones_do_not(seed):
    probability, label = exact(2000, seed)
    names = ("a", "b", "c")
    found = classification_figures(probability, label, names)
    assert found["calibration_error"]["value"] < 1.3 * found["calibration_error_if_exact"]
    entropy = float(-(probability * probability.log()).sum(1).mean())
    assert found["log_score_nats"]["value"] == pytest.approx(entropy, abs=4 * 1.2 / 2000**0.5)
    assert found["accuracy"]["value"] == pytest.approx(float(probability.amax(1).mean()), abs=0.03)
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]
    sharp = (3 * probability.log()).softmax(1)
    worse = classification_figures(sharp, label, names)
    assert worse["calibration_error"]["low"] > 2 * worse["calibration_error_if_exact"]
    assert worse["accuracy"] == found["accuracy"]
    assert sum(row["cases"] for row in found["reliability"]) == 2000


@pytest.mark.peers
def test_areas_and_scores_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    probability, label = exact(500)
    found = classification_figures(probability.double(), label, ("a", "b", "c"))
    for k, name in enumerate("abc"):
        expected = metrics.roc_auc_score((label == k).numpy(), probability[:, k].numpy())
        assert found["auroc"][name]["value"] == pytest.approx(expected)
    normal = (probability.double() / probability.double().sum(1, keepdim=True)).numpy()
    assert found["log_score_nats"]["value"] == pytest.approx(
        metrics.log_loss(label.numpy(), normal), abs=1e-5
    )


@pytest.mark.parametrize("coverage", [0.8, 0.95])
@pytest.mark.parametrize("power", [1.0, 4.0])
def test_sets_cover_each_class_whatever_the_probabilities_and_shares(coverage, power):
    probability, label = exact(6000, seed=1)
    probability = (power * probability.log()).softmax(1)  # over-confident ones cover as well
    half = slice(None, 3000), slice(3000, None)
    sets = ClassSets(probability[half[0]], label[half[0]])(probability[half[1]], coverage)
    fresh = label[half[1]]
    for k in range(K):
        inside = sets[fresh == k, k]
        # Sampling error of the thresholds and of the count, 4 sd.
        error = 4 * (coverage * (1 - coverage) * (2 / len(inside) + 2 / 1000)) ** 0.5
        assert float(inside.double().mean()) == pytest.approx(coverage, abs=error)


def test_few_held_out_cases_leave_every_class_in_the_set():
    probability = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    assert ClassSets(probability, torch.tensor([0, 1]))(probability, 0.9).all()


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.02, 0.98)])
def test_shares_are_found_without_labels(shares):
    generator = torch.Generator().manual_seed(0)
    label = torch.multinomial(torch.tensor(shares), 4000, replacement=True, generator=generator)
    y = torch.randn(4000, generator=generator) + 3.0 * label
    likelihood = torch.stack([-0.5 * y.square(), -0.5 * (y - 3).square()], 1)
    assert class_shares(likelihood).tolist() == pytest.approx(list(shares), abs=0.03)


def test_refusals():
    probability, label = exact(10)
    with pytest.raises(ValueError, match=r"expected \(N, K\) and \(N,\)"):
        brier_score(probability, label[:5])
    with pytest.raises(ValueError, match="add up to"):
        brier_score(2 * probability, label)
    with pytest.raises(ValueError, match="number classes from 0 on"):
        brier_score(probability, label + 3)
    with pytest.raises(ValueError, match=r"coverage = 1.5"):
        ClassSets(probability, label)(probability, 1.5)
    assert coverage_interval(5, 10)[0] < 0.5
