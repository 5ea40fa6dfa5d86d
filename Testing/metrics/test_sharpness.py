"""Widths, contraction and densest sets against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from monai_inn.metrics import calibration_curve
from monai_inn.metrics.calibration.sharpness import contraction, hds_length, interval_width, posterior_sd
from monai_inn.testproblems.gaussian import LinearGaussian

SEED = 0


def draws(*shape, seed=SEED):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape, seed=SEED):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_modes(*shape, apart, sd):
    side = torch.where(uniform(*shape, seed=SEED + 1) < 0.5, -1.0, 1.0)
    return sd * draws(*shape) + side * apart / 2


@pytest.mark.parametrize("k", [1, 10, 60])
def test_width_lies_between_the_order_statistics_that_calibration_counts(k):
    samples, truth = draws(199, 400, 2), draws(400, 2, seed=1)
    ordered = samples.sort(0).values
    low, high, level = ordered[k - 1], ordered[199 - k], 1 - 2 * k / 200
    torch.testing.assert_close(interval_width(samples, level), high - low)
    inside = ((truth > low) & (truth < high)).double().mean(0)
    torch.testing.assert_close(
        calibration_curve(samples, truth, level=torch.tensor([level])).coverage[0], inside
    )


def test_width_of_a_gaussian_and_between_order_statistics():
    samples = draws(999, 400, 1)
    for level in (0.3, 0.68, 0.9513):
        width = interval_width(samples, level)
        expected = 2 * norm.ppf(0.5 + level / 2)
        # The mean over 400 cases, and a bias of O(1 / S) in the tails.
        assert float(width.mean()) == pytest.approx(expected, abs=4 * float(width.std()) / 20 + 5 / 999)
    ordered = samples.sort(0).values
    halfway = 0.5 * (ordered[899] + ordered[900]) - 0.5 * (ordered[98] + ordered[99])
    torch.testing.assert_close(interval_width(samples, 0.801), halfway)


def test_angles_do_not_see_the_cut():
    narrow = 5 * draws(200, 30, 1)
    period = torch.tensor([360.0])
    for centre in (0.0, 90.0, 179.0):
        angle = torch.remainder(narrow + centre + 180, 360) - 180
        torch.testing.assert_close(interval_width(angle, period=period), interval_width(narrow))
        torch.testing.assert_close(posterior_sd(angle, period=period), posterior_sd(narrow))
        torch.testing.assert_close(
            hds_length(angle, 0.5, period=period), hds_length(narrow, 0.5), rtol=0.05, atol=0
        )
    assert float(interval_width(torch.remainder(narrow, 360)).mean()) > 100  # as if no angle


def test_intrinsic_sd_is_the_smallest_over_all_cuts():
    angle = uniform(15, 4, 1) * 7
    expected = []
    for case in torch.remainder(angle[..., 0], 7).T:
        expected.append(min(torch.where(case < cut, case + 7, case).std() for cut in case))
    torch.testing.assert_close(posterior_sd(angle, period=torch.tensor([7.0]))[:, 0], torch.stack(expected))
    flat = posterior_sd(uniform(1000, 200, 1), period=torch.tensor([1.0])).mean()
    assert float(flat) == pytest.approx(1 / math.sqrt(12), rel=0.04)
    opposite = torch.tensor([0.0, 0.5]).repeat(500)[:, None, None] + 0.001 * draws(1000, 1, 1)
    assert float(posterior_sd(opposite, period=torch.tensor([1.0]))) == pytest.approx(0.25, rel=0.01)


def test_contraction_of_the_linear_gaussian_is_its_closed_form():
    problem = LinearGaussian()
    _, y = problem.simulate(500, seed=SEED)
    torch.manual_seed(SEED)
    posterior = problem.reference_posterior(y)
    result = contraction(posterior.sample((200,)), torch.ones(4))
    exact = posterior.variance[0].double()
    # A variance of 200 samples has a relative error of √(2 / 199), 500 of them a 22nd part of it.
    error = 4 * exact * math.sqrt(2 / 199 / 500)
    assert bool(((result.contraction - (1 - exact)).abs() < error).all())
    assert bool(
        (
            (result.sd_ratio - exact.sqrt()).abs() < exact.sqrt() * (1 / 800 + 4 * math.sqrt(0.5 / 199 / 500))
        ).all()
    )


def test_prior_contracts_nothing_also_on_the_circle():
    flat = uniform(400, 300, 1) * 360
    result = contraction(flat, torch.tensor([360 / math.sqrt(12)]), period=torch.tensor([360.0]))
    assert 0 <= float(result.contraction) < 0.08  # the price of the minimum over cuts


@pytest.mark.parametrize("level", [0.5, 0.68, 0.9])
@pytest.mark.parametrize(("size", "bias"), [(200, 0.11), (1000, 0.045), (4000, 0.02)])
def test_densest_set_of_one_and_two_gaussians(size, bias, level):
    cases = 400_000 // size
    half = norm.ppf(0.5 + level / 2)
    for samples, expected in (
        (draws(size, cases, 1), 2 * half),
        (two_modes(size, cases, 1, apart=6.0, sd=0.1), 0.4 * half),
        (two_modes(size, cases, 1, apart=600.0, sd=0.1), 0.4 * half),
    ):
        length = hds_length(samples, level)
        error = 4 * float(length.std()) / math.sqrt(cases) / expected
        excess = float(length.mean()) / expected - 1
        assert -error < excess < bias + error
    assert float(interval_width(two_modes(size, 50, 1, apart=6.0, sd=0.1), level).mean()) > 5


@pytest.mark.parametrize("period", [None, torch.tensor([1.0])])
def test_densest_set_of_a_flat_density_has_next_to_no_bias(period):
    for level in (0.5, 0.68, 0.95):
        length = hds_length(uniform(1000, 300, 1), level, period=period)
        assert float(length.mean()) == pytest.approx(
            level, rel=0.015, abs=4 * float(length.std()) / math.sqrt(300)
        )


def test_densest_set_of_two_flat_pieces_leaves_the_space_between_out():
    pieces = uniform(500, 300, 1) + torch.where(uniform(500, 300, 1, seed=1) < 0.5, 0.0, 50.0)
    for level in (0.68, 0.95, 0.995):
        length = hds_length(pieces, level)
        assert float(length.mean()) == pytest.approx(2 * level, rel=0.02)
        assert float(length.max()) < 4


def test_densest_set_does_not_see_the_cut_of_the_circle():
    angle = 10 * draws(300, 20, 1) + torch.where(uniform(300, 20, 1, seed=1) < 0.5, 0.0, 180.0)
    period = torch.tensor([360.0])
    length = hds_length(angle, period=period)
    for turn in (45.0, 90.0, 181.0):
        turned = hds_length(torch.remainder(angle + turn, 360), period=period)
        # Two gaps may have the same neighbours; then rounding decides which one comes last.
        torch.testing.assert_close(turned, length, rtol=0.04, atol=0)
        assert float((turned - length).abs().mean()) < 0.002 * float(length.mean())


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(20, 60))
def test_order_shift_and_units_do_not_matter(seed, size):
    samples = (draws(size, 4, 2, seed=seed) * 2**20).round() / 2**20  # so that sums are exact
    shuffled = samples[torch.randperm(size, generator=torch.Generator().manual_seed(seed))]
    for width in (interval_width, hds_length, lambda x: posterior_sd(x)):
        value = width(samples)
        torch.testing.assert_close(width(shuffled), value)
        torch.testing.assert_close(width(8 * samples), 8 * value)
        torch.testing.assert_close(width(samples + 5), value)
        torch.testing.assert_close(width(samples.flip(2)), value.flip(1))
    mask = torch.tensor([True, False, True, False])
    broken = samples.clone()
    broken[:, ~mask] = torch.nan
    torch.testing.assert_close(hds_length(broken, mask=mask), hds_length(samples)[mask])


def test_constant_samples_have_no_width():
    samples = torch.full((50, 3, 2), 4.0)
    for width in (interval_width, hds_length, posterior_sd):
        assert torch.equal(width(samples), torch.zeros(3, 2, dtype=torch.float64))
    assert float(posterior_sd(samples, period=torch.tensor([7.0, torch.inf])).max()) < 1e-6


def test_bad_input_is_refused():
    samples = draws(30, 5, 2)
    with pytest.raises(ValueError, match=r"30 posterior sample\(s\) per case; draw at least 39"):
        interval_width(samples, 0.95)
    with pytest.raises(ValueError, match="draw at least 39"):
        hds_length(samples, 0.95)
    with pytest.raises(ValueError, match="draw at least 20"):
        hds_length(samples[:19])
    with pytest.raises(ValueError, match="draw at least 2"):
        posterior_sd(samples[:1])
    with pytest.raises(ValueError, match=r"level = 1\.0 is not a coverage"):
        interval_width(samples, 1.0)
    with pytest.raises(ValueError, match=r"prior_sd of parameter 0 is 0\.0, expected a positive number"):
        contraction(samples, torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="no case to measure contraction on"):
        contraction(samples, torch.ones(2), torch.zeros(5, dtype=torch.bool))
    with pytest.raises(
        ValueError, match=r"samples have shape \(5, 2\), expected \(samples, cases, parameters\)"
    ):
        hds_length(samples[0])
    samples[3, 1, 0] = torch.nan
    with pytest.raises(ValueError, match="1 of 5 cases hold NaN"):
        interval_width(samples)
