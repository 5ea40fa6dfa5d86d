"""Coverage with exact bounds: whole hits, the right level for any number of samples."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from monai_inn.metrics.calibration.coverage import coverage, coverage_interval, coverage_of_counts
from monai_inn.metrics.calibration.error import calibration_curve, calibration_error, curve_of_counts
from monai_inn.metrics.calibration.sbc import rank_counts, sbc_ranks
from monai_inn.testproblems.gaussian import LinearGaussian

SEED = 0
TURN = 2 * math.pi
LEVELS = torch.tensor([0.5, 0.68, 0.9, 0.95], dtype=torch.float64)


def uniform_counts(repeats, num_cases, num_samples, seed=SEED):
    """Rank histograms of exact posteriors, one repetition per row."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        rng.multinomial(num_cases, np.full(num_samples + 1, 1 / (num_samples + 1)), repeats)
    )


def test_between_order_statistics_it_is_plain_counting():
    generator = torch.Generator().manual_seed(SEED)
    samples, truth = torch.randn(199, 300, 2, generator=generator), torch.randn(300, 2, generator=generator)
    ordered = samples.sort(0).values
    for k in (1, 10, 60, 99):
        inside = ((truth > ordered[k - 1]) & (truth < ordered[199 - k])).double().mean(0)
        assert torch.equal(coverage(samples, truth, [1 - 2 * k / 200]).coverage[0], inside)
    assert torch.equal(
        coverage(samples, truth, [1e-9, 1 - 1e-9]).coverage, torch.tensor([[0.0] * 2, [1.0] * 2]).double()
    )


@pytest.mark.parametrize("num_samples", [1, 2, 3, 20, 99, 1000])
def test_hits_of_an_exact_posterior_are_binomial_at_the_level(num_samples):
    # Mean and variance of the hits over 4000 repetitions; interpolated coverage would fall short in variance.
    repeats, n = 4000, 50
    result = coverage_of_counts(uniform_counts(repeats, n, num_samples), LEVELS, seed=SEED)
    hits = result.coverage * n
    torch.testing.assert_close(hits, hits.round(), rtol=0, atol=1e-9)
    variance = n * LEVELS * (1 - LEVELS)
    assert bool(((hits.mean(1) - n * LEVELS).abs() < 4.5 * (variance / repeats).sqrt()).all())
    # The variance of a sample variance is near 2σ⁴/R plus the kurtosis of a binomial.
    kurtosis = 2 + (1 / variance - 6 / n)
    assert bool(((hits.var(1) / variance - 1).abs() < 4.5 * (kurtosis / repeats).sqrt()).all())


@pytest.mark.parametrize(("num_samples", "num_cases"), [(4, 30), (60, 200), (999, 1000)])
def test_bounds_hold_the_level_at_least_as_often_as_stated(num_samples, num_cases):
    repeats = 4000
    result = coverage_of_counts(uniform_counts(repeats, num_cases, num_samples), LEVELS)
    level = LEVELS[:, None]
    held = ((result.low <= level) & (level <= result.high)).sum(1)
    assert bool((held >= binom.ppf(5e-4 / 4, repeats, 0.95)).all())
    # Exact, not just safe: each tail misses as often as its binomial law says.
    hits = np.arange(num_cases + 1)
    bounds = [coverage_interval(int(h), num_cases) for h in hits]
    for q, seen in zip(LEVELS.tolist(), held.tolist(), strict=True):
        rate = sum(
            binom.pmf(h, num_cases, q)
            for h, (low, high) in zip(hits, bounds, strict=True)
            if low <= q <= high
        )
        assert rate >= 0.95 - 1e-9
        assert abs(seen - repeats * rate) < 4.5 * math.sqrt(repeats * rate * (1 - rate)) + 1


def test_bounds_are_those_of_scipy():
    result = coverage_of_counts(uniform_counts(7, 40, 19), LEVELS, confidence=0.9)
    for q in range(4):
        for d in range(7):
            expected = binomtest(round(40 * float(result.coverage[q, d])), 40).proportion_ci(0.9, "exact")
            assert float(result.low[q, d]) == pytest.approx(expected.low, abs=1e-9)
            assert float(result.high[q, d]) == pytest.approx(expected.high, abs=1e-9)


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 40))
def test_coverage_never_falls_where_the_level_rises(seed, num_samples, num_cases):
    counts = uniform_counts(3, num_cases, num_samples, seed)
    level = torch.linspace(0.005, 0.995, 100, dtype=torch.float64)
    result = coverage_of_counts(counts, level, seed=seed)
    assert bool((result.coverage.diff(dim=0) >= 0).all())
    # It is within the two intervals that the interpolated curve mixes.
    step = counts.double().amax(1) * 2 / num_cases
    assert bool(((result.coverage - curve_of_counts(counts, level).coverage).abs() <= step + 1e-12).all())


def test_a_narrow_posterior_is_missed_by_its_bounds_and_the_exact_one_is_not():
    torch.manual_seed(SEED)
    n = 1200  # show a coverage that is off by 0.06 with a power of 0.999
    problem = LinearGaussian()
    truth, y = problem.simulate(n, seed=SEED)
    posterior = problem.reference_posterior(y)
    samples = posterior.sample((199,))
    exact = coverage(samples, truth, confidence=0.9999)
    assert bool(((exact.low <= exact.level[:, None]) & (exact.level[:, None] <= exact.high)).all())
    # 0.8 of the width holds 0.81 instead of 0.90.
    narrow = coverage(posterior.mean + 0.8 * (samples - posterior.mean), truth, [0.9], confidence=0.999)
    assert bool((narrow.high < 0.9).all())


def test_angles_are_counted_on_their_circle():
    rng = np.random.default_rng(SEED)
    truth = rng.uniform(-math.pi, math.pi, 3000)
    observed = truth + rng.vonmises(0, 4.0, 3000)
    samples = observed + rng.vonmises(0, 4.0, (99, 3000))
    samples, truth = (torch.from_numpy(np.remainder(v, TURN))[..., None] for v in (samples, truth))
    period = torch.tensor([TURN])
    result = coverage(samples, truth, period=period, confidence=0.9999)
    assert bool(((result.low[:, 0] <= LEVELS) & (result.high[:, 0] >= LEVELS)).all())
    turned = coverage((samples + 2).remainder(TURN), (truth + 2).remainder(TURN), period=period)
    assert torch.equal(turned.coverage, result.coverage)
    ranks = rank_counts(sbc_ranks(samples, truth, period=period), 99)
    assert torch.equal(
        calibration_curve(samples, truth, period=period).coverage, curve_of_counts(ranks).coverage
    )
    assert float(calibration_error(samples, truth, period=period)) < 1 / math.sqrt(3000)


def test_an_interval_across_the_cut_is_one_interval():
    apart = torch.linspace(-0.5, 0.5, 99)[:, None, None]
    samples = torch.remainder(apart + TURN, TURN) - math.pi  # about ±π
    truth = torch.tensor([[math.pi - 1e-3]])
    assert float(coverage(samples, truth, [0.5], period=torch.tensor([TURN])).coverage) == 1
    assert float(coverage(samples, truth, [0.5]).coverage) == 0


def test_one_sample_and_one_case_are_enough_to_say_little():
    result = coverage(torch.zeros(1, 1, 1), torch.ones(1, 1), [0.5])
    assert float(result.coverage) in (0.0, 1.0)
    assert float(result.high - result.low) == pytest.approx(0.975)


def test_bad_input_is_named():
    samples, truth = torch.zeros(9, 5, 1), torch.zeros(5, 1)
    with pytest.raises(ValueError, match=r"levels are \[0.5, 95.0\], expected numbers inside \(0, 1\)"):
        coverage(samples, truth, [0.5, 95.0])
    with pytest.raises(ValueError, match="no case to measure coverage on"):
        coverage(samples, truth, mask=torch.zeros(5, dtype=torch.bool))
    with pytest.raises(ValueError, match="confidence = 95; give a number between 0 and 1"):
        coverage(samples, truth, confidence=95)
    with pytest.raises(ValueError, match="degrees where radians"):
        coverage(samples, torch.arange(5.0)[:, None] * 90, period=torch.tensor([TURN]))
    with pytest.raises(ValueError, match="5 of 5 cases hold NaN"):
        coverage(samples * torch.nan, truth)
