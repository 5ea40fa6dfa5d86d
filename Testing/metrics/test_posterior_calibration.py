"""Ranks, their uniformity and interval coverage on exact and on spoilt posteriors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest, norm
from scipy.stats import binomtest as scipy_binomtest

from monai_inn.metrics import (
    calibration_curve,
    calibration_error,
    calibration_noise_floor,
    coverage_interval,
    curve_of_counts,
    rank_counts,
    sbc_ranks,
    sbc_uniformity,
)
from monai_inn.testproblems.gaussian import LinearGaussian

SEED = 0


@pytest.fixture(scope="module")
def exact():
    """Truth and samples of the exact posterior of 4000 linear-Gaussian observations."""
    torch.manual_seed(SEED)
    problem = LinearGaussian()
    truth, y = problem.simulate(4000, seed=SEED)
    return problem.reference_posterior(y).sample((199,)), truth


def spoilt(samples, scale=1.0, shift=0.0):
    """Samples narrowed about their mean, and moved by a share of their spread."""
    mean, sd = samples.mean(0), samples.std(0)
    return mean + scale * (samples - mean) + shift * sd


def test_ranks_are_their_definition():
    samples = torch.randn(17, 6, 2, generator=torch.Generator().manual_seed(SEED))
    truth = torch.randn(6, 2, generator=torch.Generator().manual_seed(SEED + 1))
    assert torch.equal(sbc_ranks(samples, truth), (samples < truth).sum(0))
    mask = torch.tensor([True, False, True, True, False, True])
    truth[~mask] = torch.nan
    assert torch.equal(sbc_ranks(samples, truth, mask), (samples < truth).sum(0)[mask])


def test_ties_are_broken_evenly():
    # Truth and samples all on one bound: the rank says nothing, so it has to be uniform on 0…4.
    ranks = sbc_ranks(torch.zeros(4, 20_000, 1), torch.zeros(20_000, 1), seed=SEED)
    counts = rank_counts(ranks, 4)[0]
    assert counts.sum() == 20_000
    assert bool(((counts - 4000).abs() < 4 * math.sqrt(20_000 * 0.2 * 0.8)).all())


def test_exact_posterior_raises_false_alarms_at_the_nominal_rate():
    torch.manual_seed(SEED)
    problem, repeats, n = LinearGaussian(), 200, 400
    truth, y = problem.simulate(repeats * n, seed=SEED)
    samples = problem.reference_posterior(y).sample((60,))
    results = [
        sbc_uniformity(sbc_ranks(s, t), 60)
        for s, t in zip(samples.split(n, dim=1), truth.split(n), strict=True)
    ]
    assert results[0].num_bins == 20  # 61 ranks: the bins hold three or four ranks each
    p = torch.stack([result.p_value for result in results]).numpy()
    alarms = int((p[:, 0] < 0.05).sum())
    assert binom.ppf(0.0005, repeats, 0.05) <= alarms <= binom.ppf(0.9995, repeats, 0.05)
    assert kstest(p[:, 0], "uniform").pvalue > 0.001
    family = sum(bool((result.p_value_bonferroni < 0.05).any()) for result in results)
    assert family <= binom.ppf(0.9995, repeats, 0.05)


def test_exact_posterior_covers_and_spoilt_ones_do_not(exact):
    samples, truth = exact
    n = truth.shape[0]
    floor = calibration_noise_floor(n)
    # 0.60/√n is the 95 % quantile of one parameter; 1.0/√n is passed once in about a thousand.
    assert float(calibration_error(samples, truth).max()) < 1.0 / math.sqrt(n)
    assert float(sbc_uniformity(sbc_ranks(samples, truth), 199).p_value_bonferroni.min()) > 0.001

    narrow = spoilt(samples, scale=0.9)
    curve = calibration_curve(narrow, truth)
    expected = 2 * norm.cdf(0.9 * norm.ppf(0.5 + curve.level.numpy() / 2)) - 1
    # The sample mean and the finite number of samples move the closed form by O(1/S).
    np.testing.assert_allclose(
        curve.coverage, expected[:, None].repeat(4, 1), atol=2 / math.sqrt(n) + 1 / 199
    )
    assert bool((curve.coverage < curve.level[:, None]).float().mean(0).min() > 0.9)
    assert float(calibration_error(narrow, truth).min()) > 1.5 * floor.upper
    assert float(sbc_uniformity(sbc_ranks(narrow, truth), 199).p_value_bonferroni.max()) < 1e-4
    moved = spoilt(samples, shift=0.2)
    assert float(sbc_uniformity(sbc_ranks(moved, truth), 199).p_value_bonferroni.max()) < 1e-6


def test_coverage_has_no_bias_with_few_samples():
    # Interpolated quantiles of 20 samples would cover about 0.9 - 0.09 at the 90 % level.
    generator = torch.Generator().manual_seed(SEED)
    n = 40_000
    samples, truth = torch.randn(20, n, 1, generator=generator), torch.randn(n, 1, generator=generator)
    curve = calibration_curve(samples, truth)
    error = (curve.coverage[:, 0] - curve.level).abs()
    assert bool((error < 4.5 * (curve.level * (1 - curve.level) / n).sqrt() + 1e-9).all())


def test_coverage_at_order_statistics_is_plain_counting(exact):
    samples, truth = exact
    ordered = samples.sort(0).values
    for k in (1, 10, 60):
        inside = ((truth > ordered[k - 1]) & (truth < ordered[199 - k])).double().mean(0)
        curve = calibration_curve(samples, truth, level=torch.tensor([1 - 2 * k / 200]))
        torch.testing.assert_close(curve.coverage[0], inside)


@pytest.mark.parametrize("n", [100, 1000])
def test_noise_floor_is_what_uniform_ranks_show(n):
    generator = torch.Generator().manual_seed(SEED)
    repeats = 3000
    ranks = torch.randint(0, 1000, (n, repeats), generator=generator)
    error = curve_of_counts(rank_counts(ranks, 999)).error
    floor = calibration_noise_floor(n)
    assert float(error.mean()) == pytest.approx(floor.mean, rel=0.06)
    assert float(error.quantile(0.95)) == pytest.approx(floor.upper, rel=0.06)


@settings(max_examples=60)
@given(st.integers(1, 200), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_coverage_interval_is_clopper_pearson(n, data, confidence):
    hits = data.draw(st.integers(0, n))
    expected = scipy_binomtest(hits, n).proportion_ci(confidence, method="exact")
    assert coverage_interval(hits, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_order_of_samples_cases_and_units_do_not_matter(seed, num_parameters):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(31, 50, num_parameters, generator=generator)
    truth = torch.randn(50, num_parameters, generator=generator)
    ranks = sbc_ranks(samples, truth)
    assert torch.equal(sbc_ranks(samples[torch.randperm(31, generator=generator)], truth), ranks)
    assert torch.equal(sbc_ranks(samples * 8, truth * 8), ranks)
    order = torch.randperm(50, generator=generator)
    torch.testing.assert_close(
        calibration_error(samples[:, order], truth[order]), calibration_error(samples, truth)
    )


def test_shape_errors_name_both_shapes():
    with pytest.raises(ValueError, match=r"\(9, 5, 2\) and truth \(5, 3\)"):
        sbc_ranks(torch.zeros(9, 5, 2), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"mask has shape \(4,\), expected one entry per case, \(5,\)"):
        sbc_ranks(torch.zeros(9, 5, 2), torch.zeros(5, 2), torch.ones(4, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"torch\.float32, expected a boolean"):
        sbc_ranks(torch.zeros(9, 5, 2), torch.zeros(5, 2), torch.ones(5))
    with pytest.raises(ValueError, match="1 of 5 cases hold NaN"):
        sbc_ranks(torch.zeros(9, 5, 2), torch.zeros(5, 2).index_fill(0, torch.tensor([2]), torch.nan))


def test_too_little_data_is_refused():
    with pytest.raises(ValueError, match="39 cases are too few"):
        sbc_uniformity(torch.zeros(39, 1, dtype=torch.int64), 10)
    with pytest.raises(ValueError, match="no case to measure calibration on"):
        calibration_error(torch.zeros(3, 2, 1), torch.zeros(2, 1), torch.zeros(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="span 0 to 12, but among 10 samples"):
        rank_counts(torch.tensor([[0], [12]]), 10)
    with pytest.raises(ValueError, match="7 hits in 5 cases"):
        coverage_interval(7, 5)
