"""Random-point tests of joint posteriors: definition, uniformity, and what they do and do not find."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from monai_inn.metrics.calibration.sbc import sbc_ranks, sbc_uniformity
from monai_inn.metrics.calibration.tarp import (
    other_truths,
    prior_scale,
    tarp,
    tarp_fractions,
    tarp_of_fractions,
)
from monai_inn.metrics.cases import embed
from monai_inn.testproblems.gaussian import LinearGaussian

SEED = 0
TURN = 2 * math.pi


def exact_posterior(n, num_samples, scale=1.0, shift=0.0):
    """Samples, truth and mean of the exact posterior of linear-Gaussian observations, or of a spoilt one."""
    torch.manual_seed(SEED)
    problem = LinearGaussian()
    truth, y = problem.simulate(n, seed=SEED)
    posterior = problem.reference_posterior(y)
    samples = posterior.sample((num_samples,))
    spoilt = posterior.mean + scale * (samples - posterior.mean) + shift * posterior.variance.sqrt()
    return spoilt, truth, posterior.mean


def random_case(num_samples, n, d, seed=SEED):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((num_samples, n, d), (n, d), (n, d))
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


@pytest.mark.parametrize("d", [1, 3, 11])
def test_fractions_are_their_definition(d):
    samples, truth, references = random_case(50, 700, d)
    sd = truth.numpy().std(0)
    drawn = np.linalg.norm((samples.numpy() - references.numpy()) / sd, axis=-1)
    true = np.linalg.norm((truth.numpy() - references.numpy()) / sd, axis=-1)
    fractions = tarp_fractions(samples, truth, references)
    assert fractions.dtype == torch.float64
    np.testing.assert_array_equal((fractions * 51).floor(), (drawn < true).sum(0))
    scale = torch.rand(d) + 0.1
    by_hand = tarp_fractions(samples / scale, truth / scale, references / scale, scale=torch.ones(d))
    torch.testing.assert_close(tarp_fractions(samples, truth, references, scale=scale), by_hand)


def test_angles_are_compared_on_their_circle():
    spread = torch.tensor([0.7, 3.0, 60.0], dtype=torch.float64)
    samples, truth, references = (spread * values for values in random_case(40, 300, 3))
    period = torch.tensor([TURN, math.inf, 360.0])
    scale = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64)
    weight = scale[[1, 0, 2, 0, 2]]  # linear, cosines, sines
    points = [embed(values, period) / weight for values in (samples, truth, references)]
    closer = ((points[0] - points[2]).norm(dim=-1) < (points[1] - points[2]).norm(dim=-1)).sum(0)
    fractions = tarp_fractions(samples, truth, references, period=period, scale=scale)
    torch.testing.assert_close((fractions * 41).floor(), closer.double())
    # A turn more or less, and a common rotation, change nothing.
    turn = torch.tensor([TURN, 0.0, 360.0], dtype=torch.float64)
    turned = tarp_fractions(samples + turn, truth - turn, references + 0 * turn, period=period, scale=scale)
    torch.testing.assert_close(turned, fractions)
    common = torch.tensor([0.8, 0.0, 100.0], dtype=torch.float64)
    rotated = (
        torch.where(turn > 0, (v + common).remainder(turn + (turn == 0)), v)
        for v in (samples, truth, references)
    )
    torch.testing.assert_close(tarp_fractions(*rotated, period=period, scale=scale), fractions)


def test_scale_of_an_angle_is_that_of_its_points_on_the_circle():
    rng = np.random.default_rng(SEED)
    flat, narrow = rng.uniform(0, 360, 100_000), 350 + rng.normal(0, 5, 100_000)
    values = torch.from_numpy(
        np.stack([flat, narrow % 360, np.ones(100_000), 4 * rng.normal(size=100_000)], 1)
    )
    scale = prior_scale(values, torch.tensor([360.0, 360.0, math.inf, math.inf]))
    torch.testing.assert_close(scale, torch.tensor([360 / TURN, 5.0, 1.0, 4.0]).double(), rtol=0.01, atol=0)


@settings(max_examples=40)
@given(st.integers(3, 60), st.integers(0, 2**31))
def test_default_references_form_one_ring_of_other_cases(n, seed):
    owner = other_truths(torch.arange(n)[:, None], seed)[:, 0]
    case, visited = 0, []
    for _ in range(n):
        visited.append(case)
        case = int(owner[case])
    assert case == 0
    assert sorted(visited) == list(range(n))


@settings(max_examples=25)
@given(st.integers(0, 2**31))
def test_units_order_of_samples_and_offsets_do_not_matter(seed):
    samples, truth, references = random_case(31, 50, 3, seed)
    fractions = tarp_fractions(samples, truth, references)
    unit = torch.tensor([8.0, 0.25, 1024.0], dtype=torch.float64)
    torch.testing.assert_close(tarp_fractions(samples * unit, truth * unit, references * unit), fractions)
    torch.testing.assert_close(tarp_fractions(samples.flip(0), truth, references), fractions)
    mask = torch.rand(50, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[:3] = True
    kept = tarp_fractions(samples[:, mask], truth[mask], references[mask])
    samples[:, ~mask], truth[~mask], references[~mask] = torch.nan, torch.inf, torch.nan
    assert torch.equal(tarp_fractions(samples, truth, references, mask), kept)


@pytest.mark.parametrize("num_samples", [1, 20, 199])
def test_fractions_of_an_exact_posterior_are_uniform_for_any_references(num_samples):
    samples, truth, mean = exact_posterior(3000, num_samples)
    # Another seed than the samples': it would give the noise of the first of them again.
    generator = torch.Generator().manual_seed(SEED + 1)
    around = mean + torch.randn(mean.shape, generator=generator)
    for references in (None, around, mean, torch.zeros_like(mean), torch.full_like(mean, 9.0)):
        assert kstest(tarp_fractions(samples, truth, references), "uniform").pvalue > 0.001 / 5


def test_exact_posteriors_raise_false_alarms_at_the_nominal_rate():
    repeats, n = 200, 300
    samples, truth, _ = exact_posterior(repeats * n, 60)
    p = [tarp(s, t).p_value for s, t in zip(samples.split(n, dim=1), truth.split(n), strict=True)]
    assert binom.ppf(5e-4, repeats, 0.05) <= sum(np.array(p) < 0.05) <= binom.ppf(1 - 5e-4, repeats, 0.05)
    assert kstest(p, "uniform").pvalue > 0.001


def test_a_posterior_a_tenth_too_narrow_or_too_wide_is_found():
    # Some 0.9 of the tests on 1000 cases find it, and all of those on 2000; 4000 make it sure.
    for scale in (0.9, 1 / 0.9):
        samples, truth, _ = exact_posterior(4000, 99, scale)
        result = tarp(samples, truth)
        assert result.p_value < 1e-4
        assert float((result.coverage - result.level)[79:].mean()) * (scale - 1) > 0


def test_a_shift_is_found_from_one_side_only():
    samples, truth, _ = exact_posterior(4000, 99, shift=0.1)
    side = torch.full_like(truth, 10.0)
    assert tarp(samples, truth, side).p_value < 1e-6
    # From all around it cancels out to first order: as many cases do not show it.
    assert tarp(samples, truth).p_value > 1e-3


def test_a_wrong_correlation_is_found_where_marginals_are_right():
    generator = torch.Generator().manual_seed(SEED)
    n, s, rho = 2000, 99, 0.8
    root = torch.tensor([[1.0, 0.0], [rho, math.sqrt(1 - rho**2)]])
    truth = torch.randn(n, 2, generator=generator) @ root.T
    correlated = torch.randn(s, n, 2, generator=generator) @ root.T
    independent = torch.randn(s, n, 2, generator=generator)
    assert float(sbc_uniformity(sbc_ranks(independent, truth), s).p_value_bonferroni.min()) > 0.001
    assert tarp(independent, truth).p_value < 1e-6
    assert tarp(correlated, truth).p_value > 0.001


def test_a_dropped_mode_is_found():
    generator = torch.Generator().manual_seed(SEED)

    def two_modes(*shape):
        sign = torch.randint(2, shape, generator=generator) * 2 - 1
        return (sign + 0.1 * torch.randn(shape, generator=generator))[..., None].repeat_interleave(2, -1)

    truth, samples = two_modes(200), two_modes(99, 200)
    assert tarp(samples, truth).p_value > 0.001
    assert tarp(samples.abs(), truth).p_value < 1e-6


def test_the_prior_passes_unless_references_know_the_observation():
    _, truth, mean = exact_posterior(2000, 1)
    prior = torch.randn(99, *truth.shape, generator=torch.Generator().manual_seed(SEED))
    assert tarp(prior, truth).p_value > 0.001
    assert tarp(prior, truth, mean).p_value < 1e-6


def test_result_is_the_empirical_curve_with_bootstrap_bounds():
    fractions = torch.rand(400, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64) ** 1.2
    result = tarp_of_fractions(fractions)
    torch.testing.assert_close(result.coverage, (fractions[:, None] <= result.level).double().mean(0))
    expected = kstest(fractions.numpy(), "uniform")
    assert (result.statistic, result.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    # Percentiles of 1000 resamplings against the binomial law that they sample, in standard errors.
    for bound, q in ((result.low, 0.025), (result.high, 0.975)):
        exact = binom.ppf(q, 400, result.coverage.numpy()) / 400
        sd = np.sqrt(result.coverage * (1 - result.coverage) / 400).numpy()
        # Density of a normal at its 2.5 % quantile is 0.0584.
        error = 4.5 * sd * math.sqrt(0.025 * 0.975 / 1000) / 0.0584 + 1 / 400
        assert bool((np.abs(bound.numpy() - exact) <= error).all())


def test_bootstrap_bounds_hold_an_exact_level():
    repeats, n = 400, 500
    level = torch.tensor([0.1, 0.5, 0.9])
    rng = np.random.default_rng(SEED)
    results = [tarp_of_fractions(torch.from_numpy(rng.random(n)), level, seed=k) for k in range(repeats)]
    held = sum(((r.low <= level) & (level <= r.high)).long() for r in results)
    # The percentile interval is asymptotic: at n = 500 it holds 93 to 97 %.
    assert bool((held >= binom.ppf(1e-4, repeats, 0.93)).all())
    assert bool((held <= binom.ppf(1 - 1e-4, repeats, 0.97)).all())


@pytest.mark.parametrize("d", [1, 2, 7, 13, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_that_equal_the_truth_are_ties(d, dtype):
    generator = torch.Generator().manual_seed(SEED)
    truth = torch.randn(3000, d, generator=generator, dtype=dtype)
    period = torch.full((d,), math.inf)
    period[d // 2 + 1 :] = TURN
    fractions = tarp_fractions(truth.expand(9, -1, -1), truth, period=period)
    assert kstest(fractions, "uniform").pvalue > 0.0005


def test_no_array_has_more_than_one_value_per_sample_and_case():
    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for item in tree_flatten(result)[0]:
                if isinstance(item, torch.Tensor) and not item._is_view():
                    self.size = max(self.size, item.numel())
            return result

    samples, truth, references = random_case(200, 2000, 10)
    with Largest() as largest:
        tarp_fractions(samples, truth, references, period=torch.tensor([20.0] * 2 + [math.inf] * 8))
    assert 0 < largest.size <= 200 * 2000


def test_bad_input_is_named():
    samples, truth, references = random_case(9, 5, 2)
    with pytest.raises(ValueError, match=r"references have shape \(4, 2\), expected that of truth, \(5, 2\)"):
        tarp(samples, truth, references[:4])
    with pytest.raises(ValueError, match="references hold NaN"):
        tarp(samples, truth, references * torch.nan)
    with pytest.raises(ValueError, match="5 of 5 cases hold NaN"):
        tarp(samples * torch.nan, truth, references)
    with pytest.raises(TypeError, match=r"torch\.float32, expected a boolean"):
        tarp(samples, truth, references, torch.ones(5))
    with pytest.raises(ValueError, match=r"scale of parameter 1 is 0\.0, expected a positive number"):
        tarp(samples, truth, scale=torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"2 case\(s\); give at least 3 .*\(a thousand to see"):
        tarp(samples[:, :2], truth[:2])
    with pytest.raises(ValueError, match="degrees where radians"):
        tarp(samples * 100, truth * 100, period=torch.tensor([TURN, math.inf]))
    with pytest.raises(ValueError, match="no case to measure the spread"):
        tarp(samples, truth, references, torch.zeros(5, dtype=torch.bool))
    with pytest.raises(ValueError, match="at least one case"):
        tarp_of_fractions(torch.zeros(0))
    with pytest.raises(ValueError, match="confidence = 95"):
        tarp(samples, truth, confidence=95)
    with pytest.raises(ValueError, match="expected rising numbers inside"):
        tarp(samples, truth, level=torch.tensor([0.5, 0.1]))
