"""Inverse kinematics: the arm's geometry, and the exact posterior against figures found in other ways."""

from __future__ import annotations

import math

import pytest
import torch

from monai_inn.metrics import sbc_ranks, sbc_uniformity
from monai_inn.problems import InverseKinematics, create

TARGET = torch.tensor([1.5, 0.0], dtype=torch.float64)
CASES = 100


@pytest.fixture(scope="module")
def problem() -> InverseKinematics:
    return InverseKinematics()


@pytest.fixture(scope="module")
def cases(problem):
    torch.manual_seed(1)
    theta, y = problem.simulate(CASES, seed=7)
    return theta, y, problem.reference_posterior(y)


def test_hand_of_known_poses(problem):
    turn = math.pi / 2
    poses = torch.tensor([[0.1, 0, 0, 0], [0, turn, 0, 0], [0.2, 0, turn, -turn], [0, turn, -turn, -turn]])
    expected = torch.tensor([[2, 0.1], [0, 2], [1.5, 0.7], [0.5, -0.5]])
    assert torch.allclose(problem.forward(poses), expected, atol=1e-6)
    assert problem.forward(poses.double().reshape(2, 2, 4)).dtype == torch.float64
    assert problem.observation.columns[0] == "hand_x"  # other packages put the rail's coordinate first


def test_prior_has_the_published_spreads(problem):
    theta = problem.simulate(20_000, seed=0)[0]
    expected = torch.tensor([0.25, 0.5, 0.5, 0.5])
    assert (theta.std(0) / expected - 1).abs().max() < 4 / math.sqrt(2 * 20_000)
    assert (theta.mean(0) / expected).abs().max() < 4 / math.sqrt(20_000)
    # One standard normal a parameter in the flow's space.
    assert (problem.space.to_latent(theta).std(0) - 1).abs().max() < 4 / math.sqrt(2 * 20_000)


def test_posterior_without_noise_has_the_published_spreads():
    """Sheet: sd 0.352, 0.793, 0.617, 1.187 and mean 0 at (1.5, 0) for no noise; here 1 cm of it.

    The published figures have three digits and come from another sampler; its noise moves them by < 0.5 %.
    """
    torch.manual_seed(0)
    samples = InverseKinematics(0.01).reference_posterior(TARGET[None]).sample((4000,))[:, 0]
    expected = torch.tensor([0.352, 0.793, 0.617, 1.187], dtype=torch.float64)
    # Standard errors of an sd and of a mean; the posterior's kurtosis is at most the normal one.
    assert (samples.std(0) / expected - 1).abs().max() < 4 / math.sqrt(2 * 4000)
    assert (samples.mean(0) / expected).abs().max() < 4 / math.sqrt(4000)


def test_evidence_without_noise_is_the_published_one():
    """Evidence 0.01314 of the noise-free sheet: it is linear in the noise's variance nearby."""
    evidence = [math.exp(InverseKinematics(sd).log_evidence(TARGET)) for sd in (0.03, 0.05)]
    extrapolated = evidence[0] - (evidence[1] - evidence[0]) * 0.03**2 / (0.05**2 - 0.03**2)
    assert extrapolated == pytest.approx(0.01314, rel=0.01)


def test_evidence_against_brute_force(problem):
    """Mean likelihood of 2,000,000 prior draws with its own standard error, at four observations."""
    torch.manual_seed(3)
    theta = problem.prior.sample((2_000_000,)).double()
    hand = problem.forward(theta)
    for y in torch.tensor([[1.5, 0.0], [1.8, 0.2], [0.9, -0.8], [1.2, 1.0]], dtype=torch.float64):
        density = torch.exp(-0.5 * ((y - hand) / 0.05).square().sum(-1)) / (2 * math.pi * 0.05**2)
        error = density.std() / math.sqrt(len(density))
        assert abs(math.exp(problem.log_evidence(y)) - density.mean()) < 4 * error


def test_optimal_loss_and_information_are_the_published_ones(problem, cases):
    """−2.107 ± 0.03 and 4.32 nats: entropies of prior and noise in closed form, that of y from the cases."""
    posterior = cases[2]
    entropy = -posterior.log_evidence
    noise = math.log(2 * math.pi * math.e * 0.05**2)
    prior = 2 * math.log(2 * math.pi * math.e) + math.log(0.25 * 0.5**3)
    assert prior == pytest.approx(2.2100, abs=1e-4)
    assert noise == pytest.approx(-3.1536, abs=1e-4)
    slack = 0.03 + 4 * float(entropy.std()) / math.sqrt(CASES)
    assert prior + noise - float(entropy.mean()) == pytest.approx(-2.107, abs=slack)
    assert float(entropy.mean()) - noise == pytest.approx(4.32, abs=slack)


def test_ranks_are_uniform_and_samples_are_as_likely_as_the_truth(cases):
    theta, _, posterior = cases
    samples = posterior.sample((99,))
    assert samples.shape == (99, CASES, 4)
    assert sbc_uniformity(sbc_ranks(samples, theta), 99).p_value.min() > 1e-3
    gap = posterior.log_prob(theta) - posterior.log_prob(samples[:10]).mean(0)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(CASES)


def test_resimulated_samples_miss_by_the_noise(problem, cases):
    """One posterior sample simulated again misses its observation by χ² with two degrees: mean 2."""
    _, y, posterior = cases
    miss = ((problem.forward(posterior.sample()) - y) / problem.noise_sd_m).square().sum(-1)
    assert abs(float(miss.mean()) - 2) < 4 * 2 / math.sqrt(CASES)


def test_both_elbows_are_found(problem):
    """At (1.5, 0) the posterior is symmetric under a mirror: each sign of every angle has half the mass."""
    torch.manual_seed(4)
    samples = problem.reference_posterior(TARGET[None]).sample((2000,))[:, 0]
    share = (samples > 0).double().mean(0)
    assert (share - 0.5).abs().max() < 4 * 0.5 / math.sqrt(2000)
    straight = (samples[:, 1].abs() < 0.05).double().mean()
    assert straight < 0.1  # the arm is bent one way or the other


def test_observations_out_of_reach_are_refused(problem, monkeypatch):
    monkeypatch.setattr("monai_inn.problems.exact.references._MOST_PER_SAMPLE", 100_000)
    with pytest.raises(ValueError, match="the prior hardly ever makes such a one"):
        problem.reference_posterior(torch.tensor([[5.0, 0.0]])).sample((2,))


def test_bad_arguments_are_named(problem):
    with pytest.raises(ValueError, match="noise_sd_m = 0"):
        InverseKinematics(0.0)
    with pytest.raises(ValueError, match=r"theta has shape \(3, 5\), expected \(…, 4\): rail, angle_1"):
        problem.forward(torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"noise_sd_m of at least 0\.03 m"):
        InverseKinematics(0.01).log_evidence(TARGET)
    assert create("inverse_kinematics", **problem.to_config()).noise_sd_m == problem.noise_sd_m
