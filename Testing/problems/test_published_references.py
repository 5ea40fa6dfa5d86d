"""Our reference posteriors against the samples that sbibm publishes for ten observations of each task."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_inn.problems import create

pytest.importorskip("sklearn", reason="scikit-learn is missing: install the extra `peers`")

from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

FOLDER = Path(__file__).parent / "references"
TASKS = ("two_moons", "slcp", "gaussian_uniform", "epidemic")
# Held-out samples; 40 comparisons of a fair coin stay below 3.5 standard deviations but once in a hundred.
HELD_OUT = 1000
HIGHEST = 0.5 + 3.5 * 0.5 / math.sqrt(HELD_OUT)

pytestmark = pytest.mark.peers


@cache
def published(task: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{task}.npz") as file:
        return {name: file[name] for name in file.files}


@cache
def ours(task: str, seed: int = 0) -> np.ndarray:
    """1,000 samples for each of the ten observations, shape ``(10, 1000, D)``."""
    torch.manual_seed(seed)
    y = torch.from_numpy(published(task)["observation"])
    return create(task).reference_posterior(y).sample((1000,)).movedim(0, 1).numpy()


def c2st(first: np.ndarray, second: np.ndarray, classifier) -> float:
    """Share of held-out samples whose set a classifier tells, trained on the other half."""
    x = np.concatenate([first, second])
    x = (x - x.mean(0)) / x.std(0)
    label = np.repeat([0, 1], [len(first), len(second)])
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[HELD_OUT:], order[:HELD_OUT]
    return classifier.fit(x[train], label[train]).score(x[test], label[test])


def network():
    return MLPClassifier((24, 24), max_iter=25, batch_size=100, learning_rate_init=5e-3, random_state=0)


def neighbours():
    return KNeighborsClassifier(25)


@pytest.mark.parametrize("task", TASKS)
def test_the_files_fit_the_problems(task):
    problem, data = create(task), published(task)
    assert data["observation"].shape == (10, len(problem.observation))
    assert data["samples"].shape == (10, 1000, len(problem.parameters))
    assert problem.space.contains(
        torch.from_numpy(data["samples"]).reshape(-1, data["samples"].shape[-1])
    ).all()
    assert problem.space.contains(torch.from_numpy(data["true_parameters"])).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("task", TASKS)
def test_no_classifier_tells_our_samples_from_the_published(task):
    for make in (network, neighbours):
        found = [c2st(a, b, make()) for a, b in zip(ours(task), published(task)["samples"], strict=True)]
        assert max(found) < HIGHEST, found
        assert abs(np.mean(found) - 0.5) < 3.5 * 0.5 / math.sqrt(10 * HELD_OUT), found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("task", TASKS)
def test_the_classifiers_would_tell_samples_that_are_off(task):
    """Narrower by a quarter around the mean, as a wrong noise level would make them."""
    samples = ours(task)
    mean = samples.mean(1, keepdims=True)
    narrow = mean + 0.75 * (samples - mean)
    pairs = list(zip(narrow, published(task)["samples"], strict=True))[:3]
    found = [max(c2st(a, b, make()) for make in (network, neighbours)) for a, b in pairs]
    assert np.mean(found) > HIGHEST, found


@pytest.mark.parametrize("task", TASKS)
def test_means_and_spreads_agree(task):
    """Within 4.5 standard errors, over up to 100 marginals; the sd's from the samples' fourth moment."""
    a, b = (v.astype(np.float64) for v in (ours(task), published(task)["samples"]))
    error = np.sqrt((a.var(1) + b.var(1)) / 1000)
    assert (np.abs(a.mean(1) - b.mean(1)) / error).max() < 4.5
    squares = [(v - b.mean(1, keepdims=True)) ** 2 for v in (a, b)]
    error = np.sqrt(sum(v.var(1) for v in squares) / 1000)
    assert (np.abs(squares[0].mean(1) - squares[1].mean(1)) / error).max() < 4.5
