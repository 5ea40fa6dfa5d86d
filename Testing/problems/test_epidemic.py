"""The epidemic: its solver, its splines and its grid posterior."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import solve_ivp

from monai_inn.metrics import sbc_ranks, sbc_uniformity
from monai_inn.problems import Epidemic

CASES = 150


def test_epidemic_against_an_integrator():
    problem = Epidemic()
    theta = torch.tensor(
        [[0.4, 0.125], [1.2, 0.1], [0.12, 0.2], [0.25, 0.15], [2.0, 0.2]], dtype=torch.float64
    )
    for rates, found in zip(theta.tolist(), problem.forward(theta), strict=True):

        def slope(
            _: float, state: np.ndarray, beta: float = rates[0], gamma: float = rates[1]
        ) -> list[float]:
            flow = beta * state[0] * state[1]
            return [-flow, flow - gamma * state[1]]

        days = np.arange(0, 160, 17)
        solved = solve_ivp(
            slope, (0, 153), [1 - 1e-6, 1e-6], t_eval=days, method="DOP853", rtol=1e-11, atol=1e-16
        )
        assert found.numpy() == pytest.approx(1000 * solved.y[1], rel=1e-3, abs=1e-3)


def test_epidemic_grid_is_fine_enough_and_its_splines_are_the_model():
    problem = Epidemic()
    theta, y = problem.simulate(5, seed=3)
    for row, truth in zip(y.double(), theta.double(), strict=True):
        coarse, fine = (problem._grid(row, cells) for cells in (128, 512))
        assert coarse.log_evidence == pytest.approx(fine.log_evidence, abs=0.01)
        torch.manual_seed(0)
        a, b = coarse.sample(4000), fine.sample(4000)
        assert ((a.mean(0) - b.mean(0)).abs() / b.std(0)).max() < 0.05 + 4 * math.sqrt(2 / 4000)
        assert (a.std(0) / b.std(0) - 1).abs().max() < 0.05 + 4 / math.sqrt(4000)
        share = (problem.forward(truth) / 1000).clamp_min(1e-300).numpy()
        exact = stats.binom(1000, share).logpmf(row.numpy()).sum()
        prior = float(problem.prior.log_prob(truth))
        assert float(problem.log_joint(truth[None], row)) == pytest.approx(exact + prior, abs=1e-3)


def test_epidemic_counts_are_binomial():
    problem = Epidemic()
    expected = problem.forward(torch.tensor([0.4, 0.125])).expand(20_000, -1)
    count = problem.noise(expected, torch.Generator().manual_seed(1)).double()
    assert bool((count == count.round()).all())
    share = expected[0].double() / 1000
    variance = 1000 * share * (1 - share)
    assert ((count.mean(0) - 1000 * share).abs() / (variance / 20_000).sqrt().clamp_min(1e-4)).max() < 4
    frequent = variance > 5
    assert (count.var(0)[frequent] / variance[frequent] - 1).abs().max() < 4 * math.sqrt(2.2 / 20_000)


@pytest.mark.slow  # days of any number are always tested, in test_populations
def test_ranks_are_uniform_and_samples_are_as_likely_as_the_truth():
    problem = Epidemic()
    torch.manual_seed(1)
    theta, y = problem.simulate(CASES, seed=7)
    samples = problem.reference_posterior(y).sample((99,))
    assert bool(problem.space.contains(samples).all())
    assert sbc_uniformity(sbc_ranks(samples, theta), 99).p_value.min() > 1e-3
    posterior = problem.reference_posterior(y[:100])
    gap = posterior.log_prob(theta[:100]) - posterior.log_prob(samples[:, :100]).mean(0)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(100)


def test_features_have_noise_of_one_size():
    """The root of a count has a spread near ½ wherever counts are neither few nor nearly all."""
    count = torch.tensor([20.0, 60.0, 200.0]).expand(20_000, -1)
    drawn = Epidemic().noise(count, torch.Generator().manual_seed(0))
    assert (Epidemic().features(drawn).std(0) / 0.5 - 1).abs().max() < 0.12
