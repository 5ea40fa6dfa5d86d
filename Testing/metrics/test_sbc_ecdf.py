"""Ranks, rank transforms and cumulative rank plots: exact laws, angles, false alarms and power."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest, multinomial

from monai_inn.metrics.calibration.ecdf import ecdf_difference, ecdf_envelope
from monai_inn.metrics.calibration.sbc import pit, rank_counts, sbc_ranks, sbc_uniformity
from monai_inn.metrics.cases import unwrap
from monai_inn.testproblems.gaussian import LinearGaussian

SEED = 0
TURN = 2 * math.pi
CIRCLE = torch.tensor([TURN])


def exact_posterior(n, num_samples, scale=1.0, shift=0.0):
    """Truth and samples of the exact posterior of n linear-Gaussian observations, or of a spoilt one."""
    torch.manual_seed(SEED)
    problem = LinearGaussian()
    truth, y = problem.simulate(n, seed=SEED)
    posterior = problem.reference_posterior(y)
    samples = posterior.sample((num_samples,))
    return posterior.mean + scale * (samples - posterior.mean) + shift * posterior.variance.sqrt(), truth


def angles(n, num_samples, kappa=2.0):
    """Truth, flat on the circle, and its exact posterior, von Mises about a von Mises observation of it."""
    rng = np.random.default_rng(SEED)
    truth = rng.uniform(-math.pi, math.pi, n)
    observed = truth + rng.vonmises(0, kappa, n)
    samples = observed + rng.vonmises(0, kappa, (num_samples, n))
    wrapped = (np.remainder(values + math.pi, TURN) - math.pi for values in (samples, truth))
    return tuple(torch.from_numpy(values)[..., None] for values in wrapped)


def test_ranks_do_not_depend_on_how_cases_are_cut_up():
    # 999 · 3 values a case: 87 cases at a time, so five pieces, the last one short.
    generator = torch.Generator().manual_seed(SEED)
    samples = torch.randn(999, 400, 3, generator=generator, dtype=torch.float64)
    truth = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    assert torch.equal(sbc_ranks(samples, truth), (samples < truth).sum(0))
    assert torch.equal(
        sbc_ranks(samples[:, :1].expand(-1, 3, -1), truth[:3]), (samples[:, :1] < truth[:3]).sum(0)
    )
    many = torch.randn(2**18 + 7, 2, 1, generator=generator)  # one case is more than a piece
    truth_of_many = torch.tensor([[0.1], [-1.0]])
    assert torch.equal(sbc_ranks(many, truth_of_many), (many < truth_of_many).sum(0))


def test_float32_samples_and_float64_truth_are_compared_exactly():
    third = torch.tensor([[1 / 3]], dtype=torch.float64)
    above = third.float()[None]  # rounds up to 0.33333334
    assert int(sbc_ranks(above, third)) == 0
    assert int(sbc_ranks(above, third + 1e-7)) == 1


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 30), st.booleans())
def test_pit_is_the_rank_spread_over_its_cell(seed, num_samples, has_ties):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(num_samples, 20, 2, generator=generator)
    truth = torch.randn(20, 2, generator=generator)
    if has_ties:
        samples, truth = samples.round(), truth.round()
    u = pit(samples, truth, seed=seed)
    assert u.dtype == torch.float64
    assert bool(((u > 0) & (u < 1)).all())
    assert torch.equal((u * (num_samples + 1)).floor().long(), sbc_ranks(samples, truth, seed=seed))


@pytest.mark.parametrize("num_samples", [1, 4, 99])
def test_pit_of_an_exact_posterior_is_uniform_whatever_the_number_of_samples(num_samples):
    samples, truth = exact_posterior(4000, num_samples)
    mask = torch.rand(4000, generator=torch.Generator().manual_seed(SEED)) < 0.5
    truth[~mask] = torch.nan
    u = pit(samples, truth, mask, seed=SEED)
    assert u.shape == (int(mask.sum()), 4)
    assert min(kstest(column, "uniform").pvalue for column in u.T) > 0.001 / 4
    # The spreading itself must be uniform and not repeat the rank.
    cell = (u[:, 0] * (num_samples + 1)).frac()
    assert kstest(cell, "uniform").pvalue > 0.001
    rank = (u[:, 0] * (num_samples + 1)).floor()
    assert abs(np.corrcoef(cell, rank)[0, 1]) < 4 / math.sqrt(len(u))


def test_constant_samples_that_equal_the_truth_say_nothing():
    u = pit(torch.ones(9, 5000, 1), torch.ones(5000, 1), seed=SEED)
    assert kstest(u[:, 0], "uniform").pvalue > 0.001
    apart = sbc_ranks(torch.ones(9, 3, 1), torch.tensor([[0.0], [2.0], [-5.0]]))
    assert apart.flatten().tolist() == [0, 9, 0]


def test_ranks_of_angles_do_not_change_when_all_turn():
    samples, truth = angles(500, 50)
    ranks = sbc_ranks(samples, truth, period=CIRCLE)
    for turn in (0.3, 2.0, -1.7, math.pi):
        turned = (torch.remainder(values + turn + math.pi, TURN) - math.pi for values in (samples, truth))
        assert torch.equal(sbc_ranks(*turned, period=CIRCLE), ranks)
    # Nor with the convention 0…2π, nor in degrees with their own period.
    assert torch.equal(sbc_ranks(samples.remainder(TURN), truth.remainder(TURN), period=CIRCLE), ranks)
    degrees = sbc_ranks(samples.rad2deg(), truth.rad2deg(), period=torch.tensor([360.0]))
    assert torch.equal(degrees, ranks)


def test_a_cluster_across_the_cut_is_counted_as_one():
    # Samples at 176°, 178°, −179°, −177° and the truth at 179°: two lie before it.
    samples = torch.tensor([176.0, 178.0, -179.0, -177.0])[:, None, None]
    truth = torch.tensor([[179.0]])
    assert int(sbc_ranks(samples, truth, period=torch.tensor([360.0]))) == 2
    assert int(sbc_ranks(samples, truth)) == 4


def test_exact_posterior_of_an_angle_has_uniform_ranks():
    samples, truth = angles(4000, 99)
    assert float(sbc_uniformity(sbc_ranks(samples, truth, period=CIRCLE), 99).p_value) > 0.001
    assert kstest(pit(samples, truth, period=CIRCLE)[:, 0], "uniform").pvalue > 0.001
    # About twice as concentrated, measured along the circle.
    mean = torch.atan2(samples.sin().mean(0), samples.cos().mean(0))
    narrow = mean + 0.7 * (torch.remainder(samples - mean + math.pi, TURN) - math.pi)
    assert float(sbc_uniformity(sbc_ranks(narrow, truth, period=CIRCLE), 99).p_value) < 1e-6


def test_linear_parameters_beside_an_angle_keep_their_ranks():
    samples, truth = angles(300, 40)
    generator = torch.Generator().manual_seed(SEED)
    beside = torch.randn(40, 300, 1, generator=generator), torch.randn(300, 1, generator=generator)
    period = torch.tensor([TURN, math.inf])
    both = sbc_ranks(torch.cat([samples, beside[0]], -1), torch.cat([truth, beside[1]], -1), period=period)
    assert torch.equal(both[:, 1:], sbc_ranks(*beside))
    assert torch.equal(both[:, :1], (lambda s, t: (s < t).sum(0))(*unwrap(samples, truth, CIRCLE)))


def probability_inside(num_cases, num_ranks, low, high):
    """Probability that no cumulative count of uniform ranks leaves its band, by enumeration."""
    total = 0.0
    for bars in itertools.combinations(range(num_cases + num_ranks - 1), num_ranks - 1):
        ends = np.array([-1, *bars, num_cases + num_ranks - 1])
        counts = np.diff(ends) - 1
        below = counts.cumsum()[:-1]
        if (below >= low).all() and (below <= high).all():
            total += multinomial.pmf(counts, num_cases, np.full(num_ranks, 1 / num_ranks))
    return total


@pytest.mark.parametrize(("num_cases", "num_samples"), [(1, 3), (6, 3), (12, 2), (9, 4), (30, 1)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_envelope_is_the_tightest_that_enumeration_allows(num_cases, num_samples, confidence):
    z, low, high = (values.numpy() for values in ecdf_envelope(num_cases, num_samples, confidence))
    np.testing.assert_allclose(z, np.arange(1, num_samples + 1) / (num_samples + 1))
    ours = probability_inside(num_cases, num_samples + 1, low * num_cases - 1e-9, high * num_cases + 1e-9)
    assert ours >= confidence - 1e-12
    # Every band of the family that is narrower somewhere fails.
    for pointwise in np.geomspace((1 - confidence) / num_samples, 1 - confidence, 60):
        band = binom.ppf(pointwise / 2, num_cases, z), binom.isf(pointwise / 2, num_cases, z)
        is_narrower = (band[1] - band[0]).sum() < ((high - low) * num_cases).sum() - 1e-9
        if is_narrower:
            assert probability_inside(num_cases, num_samples + 1, *band) < confidence


@pytest.mark.parametrize(
    ("num_cases", "num_samples"), [(50, 9), (200, 60), (1000, 99), (1000, 1000), (20_000, 300)]
)
def test_uniform_ranks_leave_the_envelope_at_the_stated_rate(num_cases, num_samples):
    repeats = 4000
    rng = np.random.default_rng(SEED)
    uniform = np.full(num_samples + 1, 1 / (num_samples + 1))
    counts = torch.from_numpy(rng.multinomial(num_cases, uniform, repeats))
    left = int((~ecdf_difference(counts).is_inside).sum())
    # Not above 5 %, and (50 cases are coarse) not below 3.5 %.
    assert binom.ppf(5e-4, repeats, 0.035 if num_cases < 100 else 0.048) <= left
    assert left <= binom.ppf(1 - 5e-4, repeats, 0.05)


def test_envelope_forgets_discreteness_for_very_many_cases():
    # √N times the band has a limit; the level is computed for at most a million cases.
    (z, low, high), (_, _, wide) = ecdf_envelope(10**8, 50), ecdf_envelope(10**6, 50)
    torch.testing.assert_close(10 * (high - z), wide - z, rtol=0.005, atol=1e-5)
    torch.testing.assert_close(high - z, z - low, rtol=0.002, atol=1e-7)


def test_points_are_few_and_symmetric():
    for num_samples in (1, 7, 100, 101, 333, 1000, 4096):
        z = ecdf_envelope(500, num_samples)[0]
        assert len(z) == min(num_samples, 100)
        assert bool((z.diff() > 0).all())
        torch.testing.assert_close(z + z.flip(0), torch.ones_like(z))


def test_difference_is_the_curve_minus_uniform():
    ranks = torch.tensor([[0, 3], [0, 3], [1, 3], [2, 3]])
    result = ecdf_difference(rank_counts(ranks, 3))
    expected = torch.tensor([[0.5 - 0.25, 0.75 - 0.5, 1 - 0.75], [-0.25, -0.5, -0.75]], dtype=torch.float64)
    torch.testing.assert_close(result.difference, expected)
    _, low, high = ecdf_envelope(4, 3)
    torch.testing.assert_close(result.low + result.z, low)
    torch.testing.assert_close(result.high + result.z, high)
    assert result.is_inside.tolist() == [True, False]


def test_exact_posteriors_raise_false_alarms_at_the_nominal_rate():
    repeats, n, num_samples = 200, 300, 99
    samples, truth = exact_posterior(repeats * n, num_samples)
    alarms = torch.zeros(4)
    for s, t in zip(samples.split(n, dim=1), truth.split(n), strict=True):
        alarms += ~ecdf_difference(rank_counts(sbc_ranks(s, t), num_samples)).is_inside
    # Four parameters: each within bounds that all four keep 999 times in 1000.
    assert binom.ppf(0.000125, repeats, 0.045) <= alarms.min()
    assert alarms.max() <= binom.ppf(1 - 0.000125, repeats, 0.05)


@pytest.mark.parametrize(
    ("spoil", "n"), [({"scale": 0.9}, 4000), ({"shift": 0.1}, 4000), ({"scale": 1 / 0.9}, 4000)]
)
def test_small_faults_leave_the_envelope(spoil, n):
    # A width off by 10 % is found by some 0.85 of the tests on 1000 cases, a shift by 0.1 sd by 0.75, both by
    # at least 0.97 of those on 2000; 4000 make it sure.
    samples, truth = exact_posterior(n, 99, **spoil)
    result = ecdf_difference(rank_counts(sbc_ranks(samples, truth), 99))
    assert not bool(result.is_inside.any())
    left, right = result.difference[:, :40].mean(1), result.difference[:, -40:].mean(1)
    if spoil.get("shift"):
        assert bool(((left > 0) & (right > 0)).all())
    else:
        sign = 1 if spoil["scale"] < 1 else -1
        assert bool(((sign * left > 0) & (sign * right < 0)).all())


def test_a_dropped_mode_is_found_with_few_cases():
    # Posterior ±1 with equal masses; a hundred cases of samples of one mode only.
    generator = torch.Generator().manual_seed(SEED)
    sign = torch.randint(2, (100, 1), generator=generator) * 2 - 1
    truth = sign + 0.1 * torch.randn(100, 1, generator=generator)
    signs = torch.randint(2, (99, 100, 1), generator=generator) * 2 - 1
    noise = 0.1 * torch.randn(99, 100, 1, generator=generator)
    assert bool(ecdf_difference(rank_counts(sbc_ranks(signs + noise, truth), 99), 0.999).is_inside.all())
    assert not bool(ecdf_difference(rank_counts(sbc_ranks(1 + noise, truth), 99), 0.999).is_inside.any())


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"spans 300, but a turn is 6\.283: degrees where radians"):
        pit(torch.zeros(3, 2, 1), torch.tensor([[0.0], [300.0]]), period=CIRCLE)
    with pytest.raises(ValueError, match="1 of 2 cases hold NaN"):
        pit(torch.tensor([[[0.0], [math.nan]]]), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="0 cases and 9 samples"):
        ecdf_envelope(0, 9)
    with pytest.raises(ValueError, match=r"confidence = 1\.0"):
        ecdf_envelope(10, 9, 1.0)
    with pytest.raises(ValueError, match="no case to compare ranks of"):
        ecdf_difference(torch.zeros(2, 10, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"12 cases are too few .* at least 40"):
        sbc_uniformity(torch.zeros(12, 1, dtype=torch.int64), 10)
