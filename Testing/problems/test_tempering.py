"""Tempered samples against closed forms, and against the exact sampler of another problem."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from monai_inn.problems import InverseKinematics
from monai_inn.problems.exact.tempering import tempered_samples

D = 18
N = 4000


def linear_gaussian():
    """12 observations of 18 latents: a likelihood, and the evidence, mean and precision of the posterior."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    matrix, sd = normal(12, D) / math.sqrt(D), 0.1
    y = matrix @ normal(D) + sd * normal(12)

    def level(z):
        return -0.5 * ((z @ matrix.T - y) / sd).square().sum(-1) - 12 * math.log(sd * math.sqrt(2 * math.pi))

    precision = torch.eye(D).double() + matrix.T @ matrix / sd**2
    mean = torch.linalg.solve(precision, matrix.T @ y / sd**2)
    covariance = (matrix @ matrix.T + sd**2 * torch.eye(12)).numpy()
    return level, stats.multivariate_normal(cov=covariance).logpdf(y.numpy()), mean, precision


def two_modes(z):
    """The likelihood whose posterior is .3 N(1, .2²) + .7 N(−1, .2²) in six latents; its evidence is one."""

    def normal(centre, sd):
        white = (z[:, :6] - centre) / sd
        return -0.5 * white.square().sum(1) - 6 * math.log(sd * math.sqrt(2 * math.pi))

    return torch.logaddexp(math.log(0.3) + normal(1, 0.2), math.log(0.7) + normal(-1, 0.2)) - normal(0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_posterior_and_evidence_of_a_linear_gaussian_problem(seed):
    """In 30 runs whitened means had the error of independent samples; the evidence's had sd 0.06 nats."""
    level, log_evidence, mean, precision = linear_gaussian()
    found = tempered_samples(level, D, N, seed)
    assert found.samples.shape == (N, D)
    white = (found.samples - mean) @ torch.linalg.cholesky(precision)
    assert white.mean(0).abs().max() < 5 / math.sqrt(N)
    assert (white.T.cov() - torch.eye(D)).abs().max() < 5 * math.sqrt(2 / N)
    assert found.log_evidence == pytest.approx(log_evidence, abs=5 * 0.06)


class Nearby:
    """A normal around a mean, 1.5 times as wide as the covariance of a factor."""

    def __init__(self, mean, factor):
        self.mean, self.factor = mean, 1.5 * factor

    def push_with_log_prob(self, latent):
        value = self.mean + latent.double() @ self.factor.T
        log_density = -0.5 * (latent.square() + math.log(2 * math.pi)).sum(-1)
        return value, log_density - self.factor.diagonal().log().sum()


@pytest.mark.parametrize("seed", range(3))
def test_the_posterior_does_not_depend_on_the_start(seed):
    """From a shifted and wider normal; in 20 runs the evidence had sd 0.03 nats."""
    level, log_evidence, mean, precision = linear_gaussian()
    factor = torch.linalg.cholesky(precision.inverse())
    start = Nearby(mean + factor.sum(1), factor)
    found = tempered_samples(level, D, N, seed, start)
    white = (found.samples - mean) @ torch.linalg.cholesky(precision)
    assert white.mean(0).abs().max() < 5 / math.sqrt(N)
    assert (white.T.cov() - torch.eye(D)).abs().max() < 5 * math.sqrt(2 / N)
    assert found.log_evidence == pytest.approx(log_evidence, abs=5 * 0.03)


@pytest.mark.parametrize("seed", range(3))
def test_masses_of_two_modes_and_their_evidence(seed):
    """In 30 runs the mass had sd 0.018, 2.4 times that of independent samples, and log evidence 0.04 nats."""
    found = tempered_samples(two_modes, D, N, seed)
    side = found.samples[:, 0] > 0
    assert (found.samples[:, :6] > 0).eq(side[:, None]).all()
    assert float(side.double().mean()) == pytest.approx(0.3, abs=5 * 0.018)
    assert found.log_evidence == pytest.approx(0, abs=5 * 0.04)
    spread = (found.samples[:, :6].abs() - 1).std(0) / 0.2
    assert (spread - 1).abs().max() < 5 * 1.5 / math.sqrt(2 * N)
    assert (found.samples[:, 6:].std(0) - 1).abs().max() < 5 * 1.5 / math.sqrt(2 * N)


def test_ridge_of_the_robot_arm_against_its_exact_sampler():
    """Two elbows on a curved ridge: means, squares, mass of a branch and evidence."""
    problem = InverseKinematics()
    y = torch.tensor([1.5, 0.0], dtype=torch.float64)
    log_noise = math.log(2 * math.pi * problem.noise_sd_m**2)

    def level(latent):
        white = (problem.forward(problem.space.inverse(latent)) - y) / problem.noise_sd_m
        return -0.5 * white.square().sum(-1) - log_noise

    torch.manual_seed(0)
    found = tempered_samples(level, 4, N, seed=0)
    exact = problem.space.to_latent(problem.reference_posterior(y).sample((N,)))
    assert found.log_evidence == pytest.approx(problem.log_evidence(y), abs=0.15)
    # Of the mean of four latents, in standard errors; moves leave some correlation.
    for power in (1, 2):
        first, second = found.samples**power, exact**power
        error = ((first.var(0) + second.var(0)) / N).sqrt()
        assert ((first.mean(0) - second.mean(0)) / error).abs().max() < 5
    assert float((found.samples[:, 1] > 0).double().mean()) == pytest.approx(0.5, abs=0.06)


def test_impossible_parameters_are_left_out():
    """A likelihood of one where every latent of three is positive: half-normals, evidence 1/8."""
    found = tempered_samples(lambda z: torch.where((z > 0).all(1), 0.0, -torch.inf), 3, N, seed=0)
    assert found.log_evidence == pytest.approx(-math.log(8), abs=5 * math.sqrt(7 / N))
    for column in found.samples.T:
        assert stats.kstest(column.numpy(), stats.halfnorm.cdf).pvalue > 1e-4


def test_a_likelihood_that_says_nothing_leaves_the_prior():
    found = tempered_samples(lambda z: torch.full((len(z),), 2.5), 2, N, seed=1)
    assert found.log_evidence == pytest.approx(2.5)
    for column in found.samples.T:
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-4


def test_seeds_and_sizes():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = (tempered_samples(two_modes, D, 10, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.samples.shape == (10, D)
    assert torch.equal(first.samples, again.samples)
    assert first.log_evidence == again.log_evidence
    assert not torch.equal(first.samples, other.samples)


def test_hopeless_likelihoods_are_refused():
    with pytest.raises(ValueError, match="only 0 of 1,000 first particles can explain"):
        tempered_samples(lambda z: torch.full((len(z),), -torch.inf), 2, 5, 0)
    with pytest.raises(ValueError, match="is NaN"):
        tempered_samples(lambda z: z[:, 0].sqrt(), 2, 5, 0)
