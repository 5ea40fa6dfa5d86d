"""Inverse ballistics: the flight against an integrator, the posterior against figures found in other ways."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import solve_ivp

from monai_inn.metrics import sbc_ranks, sbc_uniformity
from monai_inn.problems import InverseBallistics, create

NOISE_ENTROPY = 0.5 * math.log(2 * math.pi * math.e * 0.1**2)


@pytest.fixture(scope="module")
def problem() -> InverseBallistics:
    return InverseBallistics()


@pytest.fixture(scope="module")
def cases(problem):
    torch.manual_seed(1)
    theta, y = problem.simulate(100, seed=7)
    return theta, y, problem.reference_posterior(y)


def flown(position: float, height: float, angle: float, speed: float) -> float:
    """Place of impact by numerical integration of the equations of motion."""
    start = [position, max(height, 0.0), speed * math.cos(angle), speed * math.sin(angle)]

    def motion(_: float, state: np.ndarray) -> list[float]:
        return [state[2], state[3], -1.25 * state[2], -9.81 - 1.25 * state[3]]

    def ground(_: float, state: np.ndarray) -> float:
        return state[1]

    ground.terminal, ground.direction = True, -1.0
    solution = solve_ivp(motion, (0, 20), start, events=ground, rtol=1e-10, atol=1e-12)
    return float(solution.y_events[0][0][0])


def test_impact_against_an_integrator(problem):
    theta = problem.simulate(40, seed=3)[0].double()
    expected = [flown(*row) for row in theta.tolist()]
    assert problem.forward(theta)[:, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_extreme_throws(problem):
    """No speed drops straight down; a negative height counts as the ground; nothing is ever NaN."""
    angle = math.radians(45)
    throws = torch.tensor(
        [[0.3, 1.0, angle, 0.0], [0.3, 0.0, angle, 0.0], [0.0, -0.2, angle, 9.0], [0.0, 0.0, angle, 9.0]]
    ).double()
    impact = problem.forward(throws)[:, 0]
    assert impact[:2].tolist() == pytest.approx([0.3, 0.3], abs=1e-6)
    assert impact[2] == impact[3]
    wild = torch.stack(
        [torch.zeros(5), torch.linspace(-3, 30, 5), torch.full((5,), 1.2), torch.logspace(-6, 3, 5)], 1
    )
    assert torch.isfinite(problem.forward(wild)).all()


def test_prior_is_the_published_one(problem):
    """Spreads, the angle's uniform law and the speed's Poisson law, 20,000 draws, p > .001 each."""
    theta = problem.simulate(20_000, seed=0)[0].double().numpy()
    assert stats.kstest(theta[:, 0], "norm", (0, 0.5)).pvalue > 1e-3
    assert stats.kstest(theta[:, 1], "norm", (1.5, 0.5)).pvalue > 1e-3
    low, high = math.radians(9), math.radians(81)
    assert stats.kstest(theta[:, 2], "uniform", (low, high - low)).pvalue > 1e-3
    count = np.clip(np.floor(theta[:, 3] + 0.5), 5, 27)
    edges = np.arange(5, 28)
    law = stats.poisson(15).pmf(edges)
    law[0], law[-1] = stats.poisson(15).cdf(5), stats.poisson(15).sf(26)
    observed = np.array([(count == edge).sum() for edge in edges])
    assert stats.chisquare(observed, 20_000 * law).pvalue > 1e-3
    again = problem.prior.sample((20_000,)).double().numpy()
    assert stats.ks_2samp(theta[:, 3], again[:, 3]).pvalue > 1e-3
    assert (problem.space.to_latent(torch.from_numpy(theta)).std(0) - 1).abs().max() < 4 / math.sqrt(
        2 * 20_000
    )


def test_prior_density_of_the_speed_integrates_to_one(problem):
    speed = torch.linspace(-2, 60, 6201, dtype=torch.float64)
    theta = torch.tensor([0.1, 1.4, 0.8, 0.0], dtype=torch.float64).repeat(len(speed), 1)
    theta[:, 3] = speed
    others = stats.norm(0, 0.5).pdf(0.1) * stats.norm(1.5, 0.5).pdf(1.4) / math.radians(72)
    density = problem.prior.log_prob(theta).exp()
    assert float(density.mean()) * 62 == pytest.approx(others, rel=2e-3)
    assert problem.prior.log_prob(theta)[0] == -math.inf


def test_impacts_have_the_published_quantiles(problem):
    """1.2, 6.6 and 14.7 m at 1, 50 and 99 %, printed to one decimal; 20,000 throws."""
    y = problem.simulate(20_000, seed=2)[1][:, 0].double().sort().values
    for level, expected in ((0.01, 1.2), (0.5, 6.6), (0.99, 14.7)):
        spread = 4 * math.sqrt(level * (1 - level) / 20_000)
        low, high = (float(y[int(20_000 * min(max(level + s, 0), 0.9999))]) for s in (-spread, spread))
        assert low - 0.05 < expected < high + 0.05


def test_posterior_at_five_metres_is_the_published_one(problem):
    """Evidence 0.1108, mean angle 50.5° and mean speed 13.2 m/s, from importance sampling with integers.

    The speeds that are added between the integers move the evidence by less than 1 %.
    """
    torch.manual_seed(0)
    y = torch.tensor([[5.0]], dtype=torch.float64)
    posterior = problem.reference_posterior(y)
    samples = posterior.sample((10_000,))[:, 0]
    assert float(posterior.log_evidence.exp()) == pytest.approx(0.1108, rel=0.01)
    angle = samples[:, 2].rad2deg()
    assert float(angle.mean()) == pytest.approx(50.5, abs=0.05 + 4 * float(angle.std()) / 100)
    assert float(samples[:, 3].mean()) == pytest.approx(13.2, abs=0.05 + 4 * float(samples[:, 3].std()) / 100)


def test_there_are_flat_and_lobbed_throws(problem):
    """At 13 to 15 m/s a throw at 27° goes beyond 7 m: 6 m need less or more of an angle, both happen."""
    middle = torch.tensor([[0.0, 1.0, math.radians(27), 13.0]])
    assert problem.forward(middle) > 7
    torch.manual_seed(2)
    samples = problem.reference_posterior(torch.tensor([[6.0]])).sample((20_000,))[:, 0]
    chosen = samples[(samples[:, 3] > 13) & (samples[:, 3] < 15)]
    shares = torch.histc(chosen[:, 2].rad2deg(), 6, 9, 81) / len(chosen)
    assert shares[0] > 0.04
    assert shares[1] < 0.2 * shares[0]
    assert shares[3] > 0.5


def test_information_is_the_published_one(problem):
    """I(x; y) = 3.42 ± 0.02 nats at 10 cm of noise: the entropy of y by a sum over its whole range."""
    y = torch.linspace(-3, 34, 101, dtype=torch.float64)
    log_density = problem.reference_posterior(y[:, None]).log_evidence
    step = float(y[1] - y[0])
    assert float(log_density.exp().sum()) * step == pytest.approx(1, abs=1e-4)
    entropy = -float((log_density.exp() * log_density).sum()) * step
    assert entropy - NOISE_ENTROPY == pytest.approx(3.42, abs=0.02)


def test_evidence_against_brute_force(problem):
    """Mean likelihood of 1,000,000 prior draws with its own standard error, at four observations."""
    torch.manual_seed(3)
    impact = problem.forward(problem.prior.sample((1_000_000,)).double())[:, 0]
    for y in (1.0, 5.0, 9.0, 16.0):
        density = torch.exp(-0.5 * ((y - impact) / 0.1).square()) / math.sqrt(2 * math.pi * 0.1**2)
        error = density.std() / math.sqrt(len(density))
        assert abs(math.exp(problem.log_evidence(torch.tensor([y]))) - density.mean()) < 4 * error


def test_ranks_are_uniform_and_samples_are_as_likely_as_the_truth(problem, cases):
    theta, y, posterior = cases
    samples = posterior.sample((99,))
    assert sbc_uniformity(sbc_ranks(samples, theta), 99).p_value.min() > 1e-3
    gap = posterior.log_prob(theta) - posterior.log_prob(samples[:10]).mean(0)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(len(y))
    miss = ((problem.forward(samples[0]) - y) / problem.noise_sd_m).square()
    assert abs(float(miss.mean()) - 1) < 4 * math.sqrt(2 / len(y))


def test_bad_arguments_are_named(problem):
    with pytest.raises(ValueError, match="noise_sd_m = -1"):
        InverseBallistics(-1)
    with pytest.raises(ValueError, match=r"expected \(…, 4\): position, height, angle, speed"):
        problem.forward(torch.zeros(3))
    assert create("inverse_ballistics", **problem.to_config()).noise_sd_m == problem.noise_sd_m
