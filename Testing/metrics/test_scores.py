"""CRPS, energy score and log score against closed forms and all pairs, and whether they reward the truth."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from monai_inn.metrics.cases import case_slices
from monai_inn.metrics.scores import crps, energy_score, log_score
from monai_inn.testproblems.gaussian import LinearGaussian

SEED = 0


@pytest.fixture(scope="module")
def exact():
    """Posterior, samples and truth of 2000 linear-Gaussian observations."""
    torch.manual_seed(SEED)
    problem = LinearGaussian()
    truth, y = problem.simulate(2000, seed=SEED)
    posterior = problem.reference_posterior(y)
    return posterior, posterior.sample((200,)), truth


def draws(*shape, seed=SEED):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arc(a, b, turn):
    gap = (a - b).abs() % turn
    return torch.minimum(gap, turn - gap)


def all_pairs_crps(samples, truth, distance):
    """The definition, with every pair of different samples."""
    size = len(samples)
    spread = distance(samples[:, None], samples[None]).sum((0, 1)) / (size * (size - 1))
    return distance(samples, truth).mean(0) - 0.5 * spread


def better(good, bad):
    """Standard errors by which one score is lower in the mean over the same cases."""
    gain = bad - good
    return float(gain.mean() / gain.std() * math.sqrt(gain.numel()))


def test_crps_is_its_definition():
    samples, truth = draws(23, 6, 3) * torch.tensor([1.0, 1e-3, 50.0]) + 7, draws(6, 3, seed=1)
    expected = all_pairs_crps(samples, truth, lambda a, b: (a - b).abs())
    torch.testing.assert_close(crps(samples, truth), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 40])
def test_circular_crps_is_its_definition(size):
    turn = 360.0
    period = torch.tensor([turn, torch.inf, 2.0])
    samples = draws(size, 8, 3).clamp(-3, 3) * torch.tensor([150.0, 1.0, 0.7])
    truth = draws(8, 3, seed=1).clamp(-3, 3) * torch.tensor([150.0, 1.0, 0.7])
    truth[0], samples[0, 1] = samples[0, 0], samples[1, 1]  # ties
    samples[0, 2], samples[1, 2, 0] = 0.0, turn / 2  # opposite points
    scores = crps(samples, truth, period=period)
    for d, one in ((0, turn), (2, 2.0)):
        expected = all_pairs_crps(samples[..., d], truth[:, d], lambda a, b, turn=one: arc(a, b, turn))
        torch.testing.assert_close(scores[:, d], expected, rtol=0, atol=1e-11 * one)
    torch.testing.assert_close(scores[:, 1], crps(samples[..., 1:2], truth[:, 1:2])[:, 0])


def test_crps_of_a_gaussian_is_its_closed_form():
    size, cases, sd = 100, 3000, 1.7
    truth = torch.linspace(-4, 4, cases, dtype=torch.float64)[:, None]
    score = crps(sd * draws(size, cases, 1), truth)[:, 0]
    z = truth[:, 0].numpy() / sd
    exact = sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    deviation = score.numpy() - exact
    # The fair estimate has no bias, however few the samples.
    assert abs(deviation.mean()) < 4 * deviation.std() / math.sqrt(cases)
    few = crps(sd * draws(2, cases, 1), truth)[:, 0].numpy() - exact
    assert abs(few.mean()) < 4 * few.std() / math.sqrt(cases)
    # A single case errs by at most sd / √size per term.
    assert np.abs(deviation).max() < 5 * sd / math.sqrt(size)


def test_mean_crps_under_the_truth_is_sd_over_root_pi(exact):
    posterior, samples, truth = exact
    score = crps(samples, truth)
    expected = posterior.variance[0].double().sqrt() / math.sqrt(math.pi)
    error = score.std(0) / math.sqrt(len(truth))
    assert bool(((score.mean(0) - expected).abs() < 4 * error).all())
    assert float(expected[0] / posterior.variance[0, 0].sqrt()) == pytest.approx(0.56419, abs=1e-5)


def test_energy_score_of_one_parameter_is_the_crps():
    samples, truth = draws(31, 9, 1), draws(9, 1, seed=1)
    for size in (2, 30, 31):
        score = energy_score(samples[:size], truth, torch.tensor([1.0]))
        torch.testing.assert_close(score, crps(samples[:size], truth)[:, 0], rtol=1e-12, atol=1e-12)


def test_energy_score_is_its_definition_with_angles():
    scale, period = torch.tensor([2.0, 0.5]), torch.tensor([torch.inf, 2 * math.pi])
    samples, truth = draws(20, 7, 2), draws(7, 2, seed=1)

    def points(v):
        r = 1 / scale[1]
        return torch.stack([v[..., 0] / scale[0], r * v[..., 1].cos(), r * v[..., 1].sin()], -1)

    x, t = points(samples), points(truth)
    expected = (x - t).norm(dim=-1).mean(0) - 0.5 * (x[:, None] - x[None]).norm(dim=-1).sum((0, 1)) / 380
    torch.testing.assert_close(energy_score(samples, truth, scale, period=period), expected)
    turned = samples + torch.tensor([0.0, 2 * math.pi])
    torch.testing.assert_close(energy_score(turned, truth, scale, period=period), expected)


def test_random_partners_have_no_bias_even_for_ordered_samples():
    samples, truth = draws(400, 300, 2).sort(0).values, draws(300, 2, seed=1)
    score = energy_score(samples, truth, torch.ones(2))
    pairs = torch.stack([torch.cdist(x, x).sum() / (400 * 399) for x in samples.unbind(1)])
    expected = (samples - truth).norm(dim=-1).mean(0) - 0.5 * pairs
    deviation = score - expected
    # 12,800 of the pairs, whose distances have a spread of about one.
    assert float(deviation.abs().max()) < 5 * 0.5 * 1.0 / math.sqrt(400 * 32)
    means = torch.stack([energy_score(samples, truth, torch.ones(2), seed=s) - expected for s in range(20)])
    shared = means.mean(1)  # one order for all cases, so that only seeds are independent
    assert abs(float(shared.mean())) < 4 * float(shared.std()) / math.sqrt(20)


def test_true_posterior_scores_best(exact):
    posterior, samples, truth = exact
    mean, sd = posterior.mean, posterior.variance.sqrt()
    spoilt = {
        "narrow": (
            mean + 0.8 * (samples - mean),
            posterior.log_prob((truth - mean) / 0.8 + mean) + 4 * -math.log(0.8),
        ),
        "shifted": (samples + 0.3 * sd, posterior.log_prob(truth - 0.3 * sd)),
    }
    scale, own = torch.ones(4), posterior.log_prob(truth)
    for other, density in spoilt.values():
        assert better(crps(samples, truth).mean(1), crps(other, truth).mean(1)) > 3
        assert better(energy_score(samples, truth, scale), energy_score(other, truth, scale)) > 3
        assert better(log_score(own).value, log_score(density).value) > 3
    # 10 % too narrow costs 0.25 % of the CRPS, which 2000 cases cannot show, but 0.5 · 2 · 0.1² · 4 nats.
    narrow = posterior.log_prob((truth - mean) / 0.9 + mean) - 4 * math.log(0.9)
    assert better(log_score(own).value, log_score(narrow).value) > 3


def test_crps_sees_ten_per_cent_with_enough_cases():
    # One case gains 0.0028 σ with a spread of 0.08 σ: 40,000 cases show it with 7 standard errors.
    samples, truth = draws(50, 40_000, 1), draws(40_000, 1, seed=1)
    assert better(crps(samples, truth), crps(0.9 * samples, truth)) > 3


def test_energy_score_sees_correlation_that_the_crps_does_not():
    x, y = draws(100, 4000, 2), draws(100, 4000, 2, seed=1)
    truth = draws(4000, 2, seed=2)
    truth[:, 1] = 0.8 * truth[:, 0] + 0.6 * truth[:, 1]
    right = torch.stack([x[..., 0], 0.8 * x[..., 0] + 0.6 * x[..., 1]], -1)
    wrong = torch.stack([x[..., 0], y[..., 1]], -1)
    assert better(energy_score(right, truth, torch.ones(2)), energy_score(wrong, truth, torch.ones(2))) > 4
    assert abs(better(crps(right, truth).mean(1), crps(wrong, truth).mean(1))) < 4


def test_arcs_are_blind_to_quarter_turns_of_two_modes_and_chords_are_not():
    period = torch.tensor([360.0])
    truth = torch.where(draws(500, 1) > 0, 0.0, 180.0)
    right = torch.where(draws(60, 500, 1, seed=1) > 0, 0.0, 180.0)
    wrong = right + 90
    # E|X − x| is a quarter turn for both, and so is E|X − X'|.
    arcs = crps(wrong, truth, period=period).mean() - crps(right, truth, period=period).mean()
    assert abs(float(arcs)) < 90 * 5 / math.sqrt(500)
    unit = torch.tensor([100.0])
    assert (
        better(
            energy_score(right, truth, unit, period=period), energy_score(wrong, truth, unit, period=period)
        )
        > 5
    )


def test_log_score_is_the_negative_mean():
    log_prob = draws(50)
    result = log_score(log_prob)
    torch.testing.assert_close(result.value, -log_prob)
    assert result.mean == pytest.approx(-float(log_prob.mean()))
    assert result.standard_error == pytest.approx(float(log_prob.std()) / math.sqrt(50))
    log_prob[3] = -torch.inf
    assert log_score(log_prob).mean == math.inf
    assert log_score(log_prob, torch.arange(50) > 3).mean == pytest.approx(-float(log_prob[4:].mean()))


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(2, 30), st.sampled_from([torch.inf, 2.0]))
def test_order_shift_and_units_do_not_matter(seed, size, turn):
    samples, truth = draws(size, 5, 2, seed=seed % 1000), draws(5, 2, seed=seed % 997)
    samples, truth = samples.clamp(-2.5, 2.5), truth.clamp(-2.5, 2.5)
    period = torch.tensor([turn, torch.inf])
    score = crps(samples, truth, period=period)
    shuffled = samples[torch.randperm(size, generator=torch.Generator().manual_seed(seed))]
    torch.testing.assert_close(crps(shuffled, truth, period=period), score)
    torch.testing.assert_close(crps(samples + 0.3, truth + 0.3, period=period), score)
    torch.testing.assert_close(crps(8 * samples, 8 * truth, period=8 * period), 8 * score)
    mask = torch.tensor([True, False, True, True, False])
    broken = truth.masked_fill(~mask[:, None], torch.nan)
    torch.testing.assert_close(crps(samples, broken, mask, period), score[mask])
    single = energy_score(samples.float(), truth.float(), torch.tensor([1.0, 2.0]), period=period)
    both = energy_score(8 * samples, 8 * truth, torch.tensor([8.0, 16.0]), period=8 * period)
    torch.testing.assert_close(single, both, rtol=1e-4, atol=1e-4)


def test_cases_in_many_slices_are_the_cases_at_once(monkeypatch):
    samples, truth = draws(40, 31, 2), draws(31, 2, seed=1)
    whole = crps(samples, truth), energy_score(samples, truth, torch.ones(2))
    monkeypatch.setattr("monai_inn.metrics.scores.case_slices", lambda s: case_slices(s, 300))
    torch.testing.assert_close(crps(samples, truth), whole[0])
    torch.testing.assert_close(energy_score(samples, truth, torch.ones(2)), whole[1])


def test_bad_input_is_refused():
    samples, truth = draws(9, 5, 2), draws(5, 2, seed=1)
    with pytest.raises(ValueError, match=r"1 posterior sample\(s\) per case; draw at least 2"):
        crps(samples[:1], truth)
    with pytest.raises(ValueError, match="1 of 5 cases hold NaN"):
        energy_score(samples, truth.index_fill(0, torch.tensor([2]), torch.nan), torch.ones(2))
    with pytest.raises(ValueError, match=r"\(9, 5, 2\) and truth \(5, 3\)"):
        crps(samples, torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"scale of parameter 1 is 0\.0, expected a positive number"):
        energy_score(samples, truth, torch.tensor([1.0, 0.0]))
    with pytest.raises(
        ValueError, match=r"scale has shape \(3,\), expected one number per parameter, \(2,\)"
    ):
        energy_score(samples, truth, torch.ones(3))
    with pytest.raises(ValueError, match=r"spans 720, but a turn is 6\.283"):
        crps(
            samples,
            torch.tensor([[0.0, 0.0], [720.0, 0.0]]).repeat(3, 1)[:5],
            period=torch.tensor([2 * math.pi, torch.inf]),
        )
    with pytest.raises(ValueError, match="1 of 3 log densities are NaN"):
        log_score(torch.tensor([0.0, torch.nan, 1.0]))
    with pytest.raises(ValueError, match=r"1 case\(s\) to score"):
        log_score(torch.zeros(1))
    with pytest.raises(ValueError, match=r"log_prob has shape \(2, 2\)"):
        log_score(torch.zeros(2, 2))
    with pytest.raises(TypeError, match=r"torch\.int64, expected a boolean"):
        log_score(torch.zeros(2), torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"mask has shape \(3,\)"):
        log_score(torch.zeros(2), torch.ones(3) > 0)
