"""MMD against its formula and scikit-learn, false alarms of both tests, and what they can see."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import binom, norm

from monai_inn.metrics.two_sample import c2st, mmd

SEED = 0
WITHOUT_PEERS = "scikit-learn is missing: install the extra `peers`"


def draws(*shape, seed=SEED):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spoilt(name, n, seed):
    """Two sets of points in two dimensions, the second one wrong."""
    x, y = draws(n, 2, seed=2 * seed), draws(n, 2, seed=2 * seed + 1)
    if name == "shifted":
        y[:, 0] += 0.5
    elif name == "narrow":
        y *= 0.7
    elif name == "correlated":
        y[:, 1] = 0.6 * y[:, 0] + 0.8 * y[:, 1]
    elif name == "lost mode":
        x[:, 0] = 0.3 * x[:, 0] + torch.where(x[:, 0] > 0, 1.0, -1.0)
        y[:, 0] = 0.3 * y[:, 0] + 1
    return x, y


def unbiased(kxx, kyy, kxy):
    n, m = len(kxx), len(kyy)
    return (
        (kxx.sum() - np.trace(kxx)) / (n * (n - 1))
        + (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
        - 2 * kxy.mean()
    )


@pytest.mark.parametrize("bandwidth", ["median", 0.7])
def test_mmd_is_its_formula_with_the_kernel_of_scikit_learn(bandwidth):
    x, y = draws(30, 3), draws(41, 3, seed=1) + 0.3
    distances = np.sort(pdist(torch.cat([x, y]).numpy()))
    width = distances[(len(distances) - 1) // 2] if bandwidth == "median" else bandwidth
    gamma = 1 / (2 * width**2)
    pairwise = pytest.importorskip("sklearn.metrics.pairwise", reason=WITHOUT_PEERS)
    expected = unbiased(*(pairwise.rbf_kernel(a, b, gamma) for a, b in ((x, x), (y, y), (x, y))))
    assert mmd(x, y, bandwidth).squared == pytest.approx(expected, abs=1e-12)
    unit = torch.tensor([1.0, 10.0, 1e-3])
    assert mmd(x * unit, y * unit, bandwidth, scale=unit).squared == pytest.approx(expected, abs=1e-7)
    assert mmd(x, y, bandwidth).p_value is None


def test_mmd_of_gaussians_is_its_closed_form():
    shift, width, n = 1.0, 1.0, 1500
    v = width**2 + 2
    exact = 2 * width / math.sqrt(v) * (1 - math.exp(-(shift**2) / (2 * v)))
    values = [
        mmd(draws(n, 1, seed=2 * i), draws(n, 1, seed=2 * i + 1) + shift, width).squared for i in range(4)
    ]
    # The first-order sd of one estimate is below 2 √(2 · 0.1 / n).
    assert np.mean(values) == pytest.approx(exact, abs=4 * 2 * math.sqrt(0.2 / n) / 2)


def test_both_tests_raise_false_alarms_at_the_nominal_rate():
    repeats, n = 200, 60
    p = []
    for i, (x, y) in enumerate(draws(repeats, 2, n, 2)):
        p.append((c2st(x, y, seed=i, permutations=39).p_value, mmd(x, y, permutations=39, seed=i).p_value))
    for rate in (0.05, 0.5):  # both are multiples of 1 / 40, so that the test is exact there
        for alarms in (np.array(p) <= rate + 1e-9).sum(0):
            assert alarms <= binom.ppf(0.9998, repeats, rate)
    # Ties of an accuracy make its test a little conservative; MMD has none.
    assert (np.array(p) <= 0.5 + 1e-9).sum(0)[1] >= binom.ppf(0.0002, repeats, 0.5)
    assert (np.array(p) <= 0.5 + 1e-9).sum(0)[0] >= binom.ppf(0.0002, repeats, 0.4)


@pytest.mark.parametrize("name", ["shifted", "narrow", "correlated", "lost mode"])
def test_both_tests_see_what_is_wrong(name):
    for seed in range(3):
        # The accuracy of the hardest one, 0.58, is five of its standard errors above one half.
        x, y = spoilt(name, 800, 50 + seed)
        result = c2st(x, y, seed=seed, permutations=99)
        assert result.p_value <= 0.02
        assert result.accuracy > 0.5 + 2 * result.standard_error
        assert mmd(x, y, permutations=99, seed=seed).p_value <= 0.02


def test_accuracy_comes_near_the_best_possible_one():
    bayes = {
        # P(N(0.25, 1) > 0) for a shift, and three quarters where one of two modes is missing.
        "shifted": norm.cdf(0.25),
        "lost mode": 0.75,
        "nothing": 0.5,
    }
    for name, best in bayes.items():
        results = [c2st(*spoilt(name, 1000, 80 + i), seed=i, permutations=19) for i in range(5)]
        accuracy = np.mean([r.accuracy for r in results])
        noise = 4 * np.sqrt(np.mean([r.standard_error**2 for r in results]) / 5)
        # Two hundred features learnt from 1600 points cost up to three per cent.
        assert best - 0.03 - noise < accuracy < best + noise


def test_standard_error_is_the_spread_over_repetitions():
    repeats = 300
    results = [c2st(x, y, permutations=39) for x, y in draws(repeats, 2, 60, 2)]
    spread = np.std([r.accuracy for r in results])
    claimed = np.sqrt(np.mean([r.standard_error**2 for r in results]))
    assert claimed == pytest.approx(spread, rel=4 / math.sqrt(2 * repeats))
    assert spread > 1.2 * 0.5 / math.sqrt(120)  # more than binomial, since folds share points


def test_unequal_sizes_do_not_move_the_accuracy():
    results = [
        c2st(draws(60, 2, seed=2 * i), draws(240, 2, seed=2 * i + 1), permutations=19) for i in range(60)
    ]
    accuracy = np.array([r.accuracy for r in results])
    assert accuracy.mean() == pytest.approx(0.5, abs=4 * accuracy.std() / math.sqrt(60) + 0.005)


def test_angles_on_either_side_of_the_cut_are_one_mode():
    period = torch.tensor([360.0])
    x, y = 10 * draws(300, 1), 10 * draws(300, 1, seed=1)
    x, y = torch.remainder(x, 360), torch.remainder(y + 180, 360) - 180  # 0…360 against −180…180
    uncut = torch.remainder(x + 180, 360) - 180
    assert mmd(x, y, period=period).squared == pytest.approx(mmd(uncut, y, period=period).squared, abs=1e-12)
    # Sines of other turns differ in their last digit, which may move one point over the line.
    accuracy = c2st(uncut, y, period=period, permutations=19).accuracy
    assert c2st(x, y, period=period, permutations=19).accuracy == pytest.approx(accuracy, abs=2 / 600)
    assert c2st(x, y, permutations=99).p_value == pytest.approx(0.01)
    assert mmd(x, y + 10, permutations=99, period=period).p_value == pytest.approx(0.01)
    shifted = y + 10
    assert c2st(x, shifted, period=period, permutations=99).p_value == pytest.approx(0.01)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([torch.float32, torch.float64]))
def test_units_and_order_of_the_sets_do_not_matter(seed, dtype):
    x, y = draws(40, 2, seed=seed).to(dtype), (draws(40, 2, seed=seed + 1) + 0.3).to(dtype)
    assert mmd(8 * x, 8 * y).squared == pytest.approx(mmd(x, y).squared, abs=1e-12)
    assert mmd(y, x).squared == pytest.approx(mmd(x, y).squared, abs=1e-12)
    assert c2st(8 * x + 4, 8 * y + 4, permutations=19) == pytest.approx(c2st(x, y, permutations=19), abs=0.03)
    assert c2st(x, y, seed=seed, permutations=19) == c2st(x, y, seed=seed, permutations=19)


def test_repeated_points_are_fine():
    x = draws(20, 2).repeat(5, 1)
    result = c2st(x, x.clone(), permutations=19)
    assert 0.2 < result.accuracy < 0.8
    assert math.isfinite(mmd(x, x.clone(), permutations=19).squared)
    binary = (draws(200, 2) > 0).double()
    assert math.isfinite(c2st(binary, binary.flip(0), permutations=19).accuracy)


def test_bad_input_is_refused():
    x, y = draws(50, 2), draws(50, 2, seed=1)
    with pytest.raises(ValueError, match=r"x has shape \(50, 2\) and y \(50, 3\)"):
        c2st(x, draws(50, 3))
    with pytest.raises(ValueError, match="1 and 50 points; give at least 2"):
        mmd(x[:1], y)
    with pytest.raises(ValueError, match="50 and 19 points; give at least 20"):
        c2st(x, y[:19])
    with pytest.raises(ValueError, match="1 of 100 cases hold NaN"):
        c2st(x, y.index_fill(0, torch.tensor([3]), torch.nan))
    with pytest.raises(ValueError, match="1 of 100 cases hold NaN"):
        mmd(x.index_fill(0, torch.tensor([3]), torch.inf), y)
    with pytest.raises(ValueError, match="parameter 1 is 4 in all points"):
        c2st(x.index_fill(1, torch.tensor([1]), 4.0), y.index_fill(1, torch.tensor([1]), 4.0))
    with pytest.raises(ValueError, match=r"bandwidth = 0\.0, expected a positive length; more than half"):
        mmd(torch.ones(50, 2), torch.ones(50, 2))
    with pytest.raises(ValueError, match=r"bandwidth = -1\.0"):
        mmd(x, y, -1.0)
    with pytest.raises(ValueError, match=r"scale of parameter 0 is 0\.0"):
        mmd(x, y, scale=torch.zeros(2))
    with pytest.raises(ValueError, match="12001 points in all"):
        mmd(torch.zeros(6000, 1), torch.zeros(6001, 1))
    with pytest.raises(ValueError, match="folds = 1"):
        c2st(x, y, folds=1)
