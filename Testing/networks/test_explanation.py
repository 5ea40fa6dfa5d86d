"""The test of explanation against closed forms: residuals that are Gaussian by construction."""

import math

import pytest
import torch

from monai_inn.networks.explanation import Explanation
from monai_inn.seeding import seeded

K, N = 6, 60_000


@pytest.fixture(scope="module")
def quiet():
    factor = torch.randn(K, K, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return factor @ factor.T / K + 0.1 * torch.eye(K)


def residuals(quiet, noise, seed):
    """Covariance ``quiet + noise · diag(1, 2, …)``."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(2, len(noise), K, generator=generator, dtype=torch.float64)
    extra = draws[1] * (noise[:, None] * torch.arange(1, K + 1)).sqrt()
    return (draws[0] @ torch.linalg.cholesky(quiet).T + extra).float()


@pytest.fixture(scope="module")
def part(quiet):
    noise = torch.rand(N, generator=torch.Generator().manual_seed(2)).double() * 3
    explanation = Explanation(2, K, families=(2, 1))
    shapes = torch.eye(K)[:3]
    explanation.fit_residuals(of_both(residuals(quiet, noise, 3)), noise, [], shapes)
    return explanation


def of_both(residual):
    """The same residuals for both finders."""
    return residual.expand(2, *residual.shape)


@pytest.mark.parametrize("level", [0.0, 0.5, 2.5])
def test_scores_are_those_of_a_whitened_gaussian_whatever_the_noise(part, quiet, level):
    noise = torch.full((20_000,), level, dtype=torch.float64)
    found = part.misfit(of_both(residuals(quiet, noise, 5)), noise.float())
    energy, first, second, *others = found.scores.T
    torch.testing.assert_close(torch.stack(others), torch.stack([energy, first, second]))
    # χ² with K degrees of freedom: mean K, standard error √(2K / n); the fit adds a few per cent.
    assert float(energy.mean()) == pytest.approx(K, rel=0.05)
    assert float(energy.std()) == pytest.approx(math.sqrt(2 * K), rel=0.08)
    assert float(second.mean()) == pytest.approx(0, abs=0.05)
    assert float(second.std()) == pytest.approx(1, rel=0.05)
    assert float(first.mean()) > float(second.mean())  # the larger of two


def test_a_deviation_scores_its_size_in_units_of_the_residuals(part, quiet):
    shape = torch.eye(K)[2]
    deviation = 4 / float((shape.double() @ torch.linalg.solve(quiet, shape.double())).sqrt())
    found = part.misfit(part.mean + deviation * shape, torch.zeros(()))
    assert found.scores[[2, 5]].tolist() == pytest.approx([4, 4], rel=0.05)
    for index in (0, 1):
        strongest = part.misfit(part.mean + 9 * torch.eye(K)[index], torch.zeros(())).strongest
        assert strongest.tolist() == [0, index, 0, 0, index, 0]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_new_object_may_differ_as_measured_objects_do(quiet, number):
    noise = torch.ones(400)
    simulated, *rows = (residuals(quiet, noise.double(), seed) for seed in range(1 + number))
    objects = [of_both((1 + i) * values + i) for i, values in enumerate(rows)]
    explanation = Explanation(2, K)
    explanation.fit_residuals(of_both(simulated), noise, objects, torch.zeros(0, K))
    means = torch.stack([values[0].double().mean(0) for values in objects])
    within = torch.stack([torch.cov(values[0].double().T) for values in objects]).mean(0)
    covariance = (torch.cov(simulated.double().T) + within) / 2
    if number > 1:
        covariance = covariance + torch.cov(means.T)
    for mean, whitening in zip(explanation.mean, explanation.whitening.double(), strict=True):
        torch.testing.assert_close(mean.double(), means.mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            whitening @ covariance @ whitening.T, torch.eye(K).double(), atol=1e-3, rtol=0
        )


def test_more_noise_forgives_more_but_not_without_end(part):
    row = part.mean + torch.ones(K)
    scores = [float(part.misfit(row, torch.tensor(v)).scores[0]) for v in (0.0, 1.0, 3.0, 1e3, 1e6)]
    assert scores[0] > scores[1] > scores[2] > 0
    assert scores[3] == scores[4]


def test_without_deviations_only_what_is_left_as_a_whole_is_scored():
    explanation = Explanation(2, K)
    found = explanation(torch.zeros(5, K), torch.ones(5))
    assert found.scores.shape == (5, 2)
    assert found.strongest.tolist() == [[0, 0]] * 5


def test_training_finds_the_parameters_of_a_linear_model():
    matrix = torch.randn(2, K, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with seeded(0):
        explanation = Explanation(2, K, width=32)
    latent = torch.randn(1024, 2, generator=generator)
    clean = latent @ matrix
    explanation.fit_scale(clean, 0.1 * torch.randn(clean.shape, generator=generator))
    optimiser = torch.optim.Adam(explanation.parameters(), 5e-3)
    for _ in range(400):
        optimiser.zero_grad()
        noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator)
        explanation.loss(noisy, clean, latent).backward()
        optimiser.step()
    with torch.no_grad():
        left = explanation.residual(clean).square().mean((1, 2)).sqrt()
        assert (left < 0.2 * clean.std()).all()
        # What no parameters make is left: a deviation at right angles to all that they can make.
        outside = torch.linalg.svd(matrix).Vh[-1]
        seen = explanation.residual(clean + outside) @ outside
    assert (seen.mean(1) > 0.7).all()
