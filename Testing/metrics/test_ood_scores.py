"""WAIC, typicality, conformal thresholds: closed forms first."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from monai_inn.metrics import (
    ConformalThreshold,
    auroc,
    typicality,
    waic,
    waic_terms,
)

SEED = 0


def gaussian_ensemble(x, members, spread, repeats, generator, sd=1.0):
    """Log densities (M, repeats) of x (D,) under N(θ, sd² I), θ ~ N(0, spread² I)."""
    theta = spread * torch.randn(members, repeats, len(x), generator=generator, dtype=torch.float64)
    return torch.distributions.Normal(theta, sd).log_prob(x).sum(-1)


@pytest.mark.parametrize(
    ("dim", "spread", "sd", "members"), [(8, 0.1, 1.0, 5), (3, 0.3, 0.7, 10), (13, 0.2, 2.0, 3)]
)
def test_waic_of_a_gaussian_ensemble_is_the_closed_form(dim, spread, sd, members):
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(dim, generator=generator, dtype=torch.float64) + 0.5
    repeats = 20_000
    terms = waic_terms(gaussian_ensemble(x, members, spread, repeats, generator, sd))

    r2 = float(x.square().sum())
    mean = -(r2 + dim * spread**2) / (2 * sd**2) - dim / 2 * math.log(2 * math.pi * sd**2)
    var = spread**2 * r2 / sd**4 + dim * spread**4 / (2 * sd**4)
    for value, exact in [(terms.nll_mean, -mean), (terms.ll_var, var), (terms.waic, var - mean)]:
        standard_error = float(value.std()) / repeats**0.5
        assert abs(float(value.mean()) - exact) < 4 * standard_error


def test_waic_is_the_sum_of_its_terms_and_follows_dim():
    ll = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(SEED))
    terms = waic_terms(ll)
    torch.testing.assert_close(terms.waic, terms.ll_var + terms.nll_mean)
    torch.testing.assert_close(
        waic(ll, dim=0), torch.from_numpy(np.var(ll.numpy(), 0, ddof=1) - ll.numpy().mean(0))
    )
    torch.testing.assert_close(waic(ll.movedim(0, -1), dim=-1), waic(ll))


def test_waic_keeps_small_variances_at_large_densities():
    # In float32 the mean of 1e4 nats has steps of 1e-3, and the variance of 1e-4 would be lost in the sum.
    ll = torch.tensor([1e4, 1e4 + 2**-9], dtype=torch.float32)
    assert float(waic_terms(ll).ll_var) == pytest.approx(2**-19, rel=1e-6)


def test_waic_of_an_impossible_point_is_infinite():
    assert waic(torch.tensor([[-torch.inf, -1.0], [-2.0, -1.0]])).tolist() == [torch.inf, 1.0]


@pytest.mark.parametrize(
    ("log_prob", "error", "message"),
    [
        (torch.zeros(1, 5), ValueError, "at least 2 members"),
        (torch.tensor(0.0), ValueError, "at least 2 members"),
        (torch.tensor([[0.0, torch.nan], [0.0, 0.0]]), ValueError, "1 values that are NaN"),
        (torch.tensor([[0.0, torch.inf], [0.0, 0.0]]), ValueError, "NaN or \\+inf"),
        (torch.zeros(3, 2, dtype=torch.int64), TypeError, "int64"),
        ([[0.0], [1.0]], TypeError, "list"),
    ],
)
def test_waic_refuses(log_prob, error, message):
    with pytest.raises(error, match=message):
        waic(log_prob)


@pytest.mark.parametrize(
    ("shift", "scale", "by_waic", "by_nll", "by_typicality"),
    [(1.0, 1.0, 0.847, 0.845, 0.787), (0.0, 0.3, 0.002, 0.002, 0.92), (0.0, 1.5, 0.859, 0.859, 0.81)],
)
def test_high_density_is_not_typical(shift, scale, by_waic, by_nll, by_typicality):
    generator = torch.Generator().manual_seed(SEED)
    n, dim = 10_000, 8
    theta = 0.1 * torch.randn(10, 1, dim, generator=generator)
    inside = torch.randn(n, dim, generator=generator)
    outside = shift + scale * torch.randn(n, dim, generator=generator)

    def terms(x):
        return waic_terms(torch.distributions.Normal(theta, 1.0).log_prob(x).sum(-1))

    score_in, score_out = terms(inside), terms(outside)
    median = score_in.waic.median()
    measured = (
        auroc(score_out.waic, score_in.waic),
        auroc(score_out.nll_mean, score_in.nll_mean),
        auroc(typicality(score_out.waic, median), typicality(score_in.waic, median)),
    )
    # Four standard errors at most, the ensemble's own luck (mean member off by 0.1/√10 per axis: up to
    # 0.02 in AUROC for a shift along it) and the rounding of the published figures.
    luck = 0.02 if shift else 0.006
    for value, expected in zip(measured, (by_waic, by_nll, by_typicality), strict=True):
        assert abs(value - expected) < 4 * math.sqrt(expected * (1 - expected) / n) + luck


def test_conformal_p_value_is_its_definition():
    held_out = torch.tensor([3.0, 1.0, 2.0, 2.0])
    scores = torch.tensor([[0.5, 2.0], [2.5, 9.0]])
    expected = [[(1 + int((held_out >= s).sum())) / 5 for s in row] for row in scores]
    torch.testing.assert_close(ConformalThreshold(held_out).p_value(scores), torch.tensor(expected))


@settings(max_examples=60)
@given(
    st.lists(st.integers(-5, 5), min_size=19, max_size=120),
    st.lists(st.integers(-7, 7), min_size=1, max_size=30),
    st.sampled_from([0.05, 0.1, 0.29, 0.5]),
)
def test_threshold_and_p_value_give_one_verdict(held_out, scores, false_alarm):
    guard = ConformalThreshold(torch.tensor(held_out, dtype=torch.float32))
    points = torch.tensor(scores, dtype=torch.float32)
    by_p = guard.p_value(points).double() <= false_alarm + 1e-6
    assert torch.equal(guard.is_out(points, false_alarm), by_p)


@pytest.mark.parametrize(("n", "false_alarm"), [(199, 0.05), (1000, 0.05), (57, 0.2)])
def test_false_alarm_rate_holds_over_held_out_sets(n, false_alarm):
    generator = torch.Generator().manual_seed(SEED)
    repeats = 3000
    alarms, inside = 0, 0
    for _ in range(repeats):
        guard = ConformalThreshold(torch.randn(n, generator=generator))
        alarms += int(guard.is_out(torch.randn(1, generator=generator), false_alarm))
        low, high = guard.realised_interval(false_alarm, confidence=0.9)
        realised = 0.5 * math.erfc(guard.threshold(false_alarm) / math.sqrt(2))
        inside += low <= realised <= high
    exact = math.floor(false_alarm * (n + 1) + 1e-9) / (n + 1)
    assert exact <= false_alarm + 1e-12
    assert binom.ppf(0.0005, repeats, exact) <= alarms <= binom.ppf(0.9995, repeats, exact)
    assert binom.ppf(0.0005, repeats, 0.9) <= inside <= binom.ppf(0.9995, repeats, 0.9)


def test_interval_of_a_counted_rate_adds_the_noise_of_counting():
    generator = torch.Generator().manual_seed(SEED)
    repeats, inside = 1000, 0
    guard = ConformalThreshold(torch.arange(400.0))
    # The interval knows the number of held-out scores only, not their values.
    low, high = guard.realised_interval(0.1, confidence=0.9, num_fresh=300)
    for _ in range(repeats):
        guard = ConformalThreshold(torch.randn(400, generator=generator))
        rate = float(guard.is_out(torch.randn(300, generator=generator), 0.1).float().mean())
        inside += low - 1e-6 <= rate <= high + 1e-6
    # The ends are counts, so the interval holds a little more than its 90 %.
    assert binom.ppf(0.0005, repeats, 0.9) <= inside <= binom.ppf(0.9995, repeats, 0.93)
    assert guard.realised_interval(0.1, num_fresh=10**5) == pytest.approx(
        guard.realised_interval(0.1), abs=1e-3
    )


def test_p_values_of_in_distribution_data_are_uniform():
    generator = torch.Generator().manual_seed(SEED)
    p = torch.stack(
        [
            ConformalThreshold(torch.randn(499, generator=generator)).p_value(
                torch.randn(1, generator=generator)
            )
            for _ in range(2000)
        ]
    )
    # Discrete steps of 1/500 add at most 0.002 to the distance of a uniform law.
    assert kstest(p.flatten().numpy(), "uniform").statistic < 1.95 / 2000**0.5 + 0.002


def test_threshold_says_how_many_scores_a_rate_needs():
    with pytest.raises(
        ValueError, match=r"it needs at least 99; hold out more data or allow a rate of 0\.0204"
    ):
        ConformalThreshold(torch.arange(48.0)).threshold(0.01)
    assert ConformalThreshold(torch.arange(99.0)).threshold(0.01) == 98.0


@pytest.mark.parametrize("false_alarm", [0.0, 1.0, -0.1, math.nan])
def test_threshold_refuses_what_is_no_rate(false_alarm):
    with pytest.raises(ValueError, match="not a rate"):
        ConformalThreshold(torch.arange(99.0)).threshold(false_alarm)


@pytest.mark.parametrize("scores", [torch.tensor([]), torch.tensor([1.0, torch.nan])])
def test_threshold_refuses_held_out_scores(scores):
    with pytest.raises(ValueError, match="held-out scores are NaN"):
        ConformalThreshold(scores)


def test_an_undefined_score_is_never_trusted():
    guard = ConformalThreshold(torch.arange(99.0))
    scores = torch.tensor([torch.nan, torch.inf, 0.0])
    assert guard.is_out(scores).tolist() == [True, True, False]
    assert guard.p_value(scores).isnan().tolist() == [True, False, False]
