"""What oximetry adds to its observations, and what its density of observations sees of them."""

from __future__ import annotations

import math

import pytest
import torch

from monai_inn.applications.oximetry.bands import smooth_deviations
from monai_inn.problems import Oximetry


@pytest.fixture(scope="module", params=["tivita", "imec_ssm4x4_470_620", "rgb_nikon_d5100"])
def problem(request):
    return Oximetry(request.param)


def test_model_error_has_its_size_and_length():
    """Standard deviation 3 %, correlation exp(−½) at 40 nm; tolerances of 4 standard errors."""
    centre = torch.arange(500.0, 1000.0, 10.0, dtype=torch.float64)
    basis = smooth_deviations(centre, 0.03, 40.0)
    white = torch.randn(40_000, len(basis), generator=torch.Generator().manual_seed(0))
    draws = white.double() @ basis
    assert draws.std(0).sub(0.03).abs().max() < 4 * 0.03 / math.sqrt(2 * 40_000)
    correlation = torch.corrcoef(draws.T)
    apart = correlation.diagonal(4)  # 40 nm
    assert (apart - math.exp(-0.5)).abs().max() < 4 * (1 - math.exp(-1)) / math.sqrt(40_000)


def test_noise_repeats_under_a_generator_and_differs_between_rows(problem):
    y = torch.full((50, len(problem.observation)), 0.3)
    first, again = (problem.noise(y, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.std(0).min() > 0.005


def test_density_features_ignore_the_exposure_and_are_not_singular(problem):
    _, y = problem.simulate(2000, seed=2)
    features = problem.density_features(y)
    assert features.shape[1] == min(20, y.shape[1]) - 1
    assert torch.allclose(problem.density_features(3 * y), features, atol=1e-5)
    variance = torch.linalg.eigvalsh(torch.cov(features.double().T).reshape(features.shape[1], -1))
    assert variance[0] > 1e-7 * variance[-1]


def test_square_roots_make_shot_noise_equal_everywhere():
    """Twice the light has √2 times the shot noise; after the root its spread is the same at any level."""
    problem = Oximetry("imec_ssm4x4_470_620")
    levels = torch.linspace(0.5, 1.5, 16).expand(40_000, -1)
    shot = levels + 0.01 * levels.sqrt() * torch.randn(
        levels.shape, generator=torch.Generator().manual_seed(3)
    )
    spread = problem.density_features(shot).std(0)
    assert spread.max() / spread.min() < 1.05
