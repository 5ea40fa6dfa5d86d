"""SLCP: the law of its points, and the exact posterior against importance sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_inn.metrics import sbc_ranks, sbc_uniformity
from monai_inn.problems import SimpleLikelihood

CASES = 200


def test_noise_free_points_have_the_mean_and_covariance():
    problem = SimpleLikelihood()
    theta = problem.simulate(200, seed=0)[0].double()
    points = problem.forward(theta).reshape(200, 4, 2)
    assert torch.allclose(points.mean(1), theta[:, :2], atol=1e-12)
    centred = points - points.mean(1, keepdim=True)
    s1, s2, rho = theta[:, 2].square(), theta[:, 3].square(), theta[:, 4].tanh()
    expected = torch.stack([s1.square() + 1e-6, rho * s1 * s2, rho * s1 * s2, s2.square() + 1e-6], 1)
    covariance = centred.transpose(1, 2) @ centred / 4
    assert torch.allclose(covariance.flatten(1), expected, atol=1e-12)


def test_noisy_points_are_independent_draws_of_the_gaussian():
    problem = SimpleLikelihood()
    theta = torch.tensor([0.7, -2.9, -1.0, -0.9, 0.6])
    clean = problem.forward(theta).expand(20_000, -1)
    points = problem.noise(clean, torch.Generator().manual_seed(0)).double()
    s1, s2 = 1.0, 0.81
    off = math.tanh(0.6) * s1 * s2
    block = np.array([[s1**2, off], [off, s2**2]])
    expected = np.kron(np.eye(4), block)
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 20_000)
    assert (np.abs(np.cov(points.numpy().T) - expected) / error).max() < 4.5
    spread = np.tile([s1, s2], 4) / math.sqrt(20_000)
    assert (np.abs(points.mean(0).numpy() - np.tile([0.7, -2.9], 4)) / spread).max() < 4


@pytest.mark.slow  # three million draws
def test_slcp_posterior_against_importance_sampling():
    """Means of functions of the parameters, 3,000,000 prior draws; 4.5 standard errors of both."""
    problem = SimpleLikelihood()
    y = problem.forward(torch.tensor([[1.0, -2.0, 2.2, 1.8, 0.5]])).double()
    torch.manual_seed(0)
    theta = problem.prior.sample((3_000_000,)).double()
    s1, s2 = theta[:, 2] ** 4 + 1e-6, theta[:, 3] ** 4 + 1e-6
    off = theta[:, 4].tanh() * theta[:, 2].square() * theta[:, 3].square()
    determinant = s1 * s2 - off.square()
    log_weight = -2 * determinant.log()
    for u, v in y.reshape(4, 2):
        a, b = u - theta[:, 0], v - theta[:, 1]
        log_weight -= 0.5 * (a.square() * s2 - 2 * a * b * off + b.square() * s1) / determinant
    weight = log_weight.softmax(0)
    samples = problem.reference_posterior(y).sample((20_000,))[:, 0]

    def features(x: torch.Tensor) -> torch.Tensor:
        size = x[:, 2:4].abs()
        return torch.cat([x, size, size**2, x[:, :2] ** 2, x[:, 4:] ** 2, (x[:, 4] * size[:, 0])[:, None]], 1)

    brute, ours = features(theta), features(samples)
    mean = weight @ brute
    variance = weight.square() @ (brute - mean).square() + ours.var(0) / 20_000
    assert ((ours.mean(0) - mean).abs() / variance.sqrt()).max() < 4.5


def test_ranks_are_uniform():
    problem = SimpleLikelihood()
    torch.manual_seed(1)
    theta, y = problem.simulate(CASES, seed=7)
    samples = problem.reference_posterior(y).sample((99,))
    assert bool(problem.space.contains(samples).all())
    assert sbc_uniformity(sbc_ranks(samples, theta), 99).p_value.min() > 1e-3
    # The signs of two parameters leave no trace: ranks of their sizes are the sharper test.
    sizes = sbc_ranks(samples[..., 2:4].abs(), theta[:, 2:4].abs())
    assert sbc_uniformity(sizes, 99).p_value.min() > 1e-3
