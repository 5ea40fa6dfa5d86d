from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

from monai_inn.applications.perfusion.fitting.likelihood import (
    log_likelihood_of_any_level,
    log_likelihood_of_magnitudes,
)
from monai_inn.applications.perfusion.models.acquisition import log_uniform
from monai_inn.applications.perfusion.models.magnitudes import SPOILED, SUSCEPTIBILITY
from monai_inn.applications.perfusion.problem import Perfusion
from monai_inn.problems.exact.references import Grid, refined_grid
from monai_inn.problems.exact.tempering import tempered_samples

LEVELS = (0.001, 0.1)


@pytest.mark.parametrize("sd", [0.0, 1e-4, 0.001, 0.01, 0.1, 0.2])
def test_equals_a_numerical_integral(sd):
    """Also where the noise is less than the least level, or somewhat more than the largest."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.linspace(0, 1, 60).double()
    measured = clean + sd * torch.randn(60, generator=generator, dtype=torch.float64)
    measured[5] = torch.nan
    left = (measured - clean)[measured.isfinite()].numpy() / 2
    found = float(log_likelihood_of_any_level(clean[None], measured, LEVELS, torch.tensor([2.0])))
    middle = found + len(left) * math.log(2)

    def density(log_level: float) -> float:
        return math.exp(norm(scale=math.exp(log_level)).logpdf(left).sum() - middle)

    low, high = (math.log(level) for level in LEVELS)
    likeliest = float(np.clip(np.log(max(left.std(), 1e-9)), low, high))
    mass = quad(density, low, high, points=[likeliest], limit=500)[0] / (high - low)
    assert mass == pytest.approx(1, abs=1e-4)


def test_far_away_rows_have_a_likelihood():
    found = log_likelihood_of_any_level(torch.full((2, 60), 100.0), torch.zeros(60), LEVELS)
    assert bool(found.isfinite().all())
    assert float(found[0]) == pytest.approx(-60 * 0.5 * (100 / 0.1) ** 2, rel=0.01)


@pytest.mark.parametrize("magnitudes", [SPOILED, SUSCEPTIBILITY])
@pytest.mark.parametrize("baselines", [0, 4])
def test_concentrations_of_magnitudes_have_the_density_that_they_are_drawn_with(magnitudes, baselines):
    """One frame behind a baseline whose mean alone is known. Ten settings stand for all."""
    number, levels = 400_000, (0.002, 0.02)
    clean = torch.tensor([0.0] * baselines + [0.5])
    is_baseline = clean == 0
    generator = torch.Generator().manual_seed(0)
    level = log_uniform(levels, (number, 1), generator)
    drawn = magnitudes.draw(clean.expand(number, -1), is_baseline, level, generator)[:, -1]
    edges = torch.linspace(0.44, 0.56, 13)
    share = torch.histogram(drawn, edges).hist / number
    width = 0.001
    places = torch.arange(0.44 + width / 2, 0.56, width)
    measured = torch.full((len(places), len(clean)), torch.nan)
    measured[:, -1] = places
    shape = (1, len(places), -1)
    found = log_likelihood_of_magnitudes(
        clean.expand(shape), is_baseline.expand(shape), measured, levels, magnitudes.conversions()
    )[0]
    expected = (found.exp() * width).view(12, -1).sum(1)
    assert float(share.sum()) > 0.8
    torch.testing.assert_close(expected, share.double(), rtol=0.15, atol=0.003)


@pytest.mark.parametrize("magnitudes", [SPOILED, SUSCEPTIBILITY])
def test_heights_of_curves_from_magnitudes_lie_in_their_intervals(magnitudes):
    """Exact posteriors hold the truth as often as they say; those of white noise do not."""
    number, frames, levels = 400, 20, (0.01, 0.1)
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(frames) - 6.0
    curve = (time.clamp_min(0) / 3 * (1 - time.clamp_min(0) / 3).exp()).clamp_min(0)
    heights = torch.linspace(0.2, 1.0, 200)
    true = 0.2 + 0.8 * torch.rand(number, 1, generator=generator)
    level = log_uniform(levels, (number, 1), generator)
    is_baseline = curve == 0
    measured = magnitudes.draw(true * curve, is_baseline, level, generator)
    clean = (heights[:, None] * curve).unsqueeze(1).expand(-1, number, -1)
    conversions = magnitudes.conversions()
    own = log_likelihood_of_magnitudes(clean, is_baseline.expand_as(clean), measured, levels, conversions)
    white = log_likelihood_of_any_level(clean, measured, levels)
    held = []
    for log_density in (own, white):
        below = torch.where(heights[:, None] < true.T, log_density, -torch.inf).logsumexp(0)
        rank = (below - log_density.logsumexp(0)).exp()
        held.append([float(((rank - 0.5).abs() < level / 2).float().mean()) for level in (0.5, 0.9, 0.95)])
    for share, level in zip(held[0], (0.5, 0.9, 0.95), strict=True):
        assert abs(share - level) < 4 * math.sqrt(level * (1 - level) / number), held
    assert held[1][2] < 0.92, held


def test_a_mixture_weighs_both_kinds_of_noise():
    rows, y = Perfusion().simulate(3, seed=2)
    white, both, own = (
        Perfusion(magnitude_share=share).log_likelihoods(rows.unsqueeze(0), y) for share in (0, 0.25, 1)
    )
    torch.testing.assert_close(both.exp() / white.exp(), 0.75 + 0.25 * (own - white).exp())


def known(problem: Perfusion) -> tuple[Tensor, Tensor]:
    """A tissue behind a usual artery, and its curves in 12 frames."""
    theta = problem.space.inverse(torch.zeros(1, len(problem.parameters), dtype=torch.float64))
    for name, value in {
        "ktrans": 0.2,
        "ve": 0.3,
        "vp": 0.05,
        "delay": 0.0,
        "arrival": 20.0,
        "peak": 5.0,
    }.items():
        theta[0, problem.space.index(name)] = value
    times = torch.full((1, 60), torch.nan)
    times[0, :12] = 12.0 * torch.arange(12)
    clean = torch.cat([problem.forward_with_context(theta.float(), times), times], -1)
    return theta, problem.noise(clean, torch.Generator().manual_seed(2))[0]


def test_tempered_samples_are_those_of_a_grid():
    """Transfer constant and extravascular volume of a tissue behind a known artery."""
    problem = Perfusion(magnitude_share=0)
    theta, y = known(problem)
    columns = [problem.space.index(name) for name in ("ktrans", "ve")]
    space = problem.space.subset(("ktrans", "ve"))

    def log_likelihood(latent: Tensor) -> Tensor:
        rows = theta.expand(len(latent), -1).clone()
        rows[:, columns] = space.inverse(latent)
        return problem.log_likelihood(rows.float(), y)

    def log_joint(first: Tensor, second: Tensor) -> Tensor:
        latent = torch.cartesian_prod(first, second)
        density = log_likelihood(latent) - 0.5 * latent.square().sum(-1) - math.log(2 * math.pi)
        return density.reshape(len(first), len(second))

    step = torch.full((2,), 0.25, dtype=torch.float64)
    centres = step[0] * (torch.arange(40, dtype=torch.float64) - 19.5)
    grid = refined_grid(log_joint, Grid(log_joint(centres, centres), -20 * step, step), cells=64)
    n = 2000
    found = tempered_samples(log_likelihood, 2, n, seed=0)
    weight = grid.log_density.flatten().softmax(0)
    axes = (
        low + step * (torch.arange(64).double() + 0.5) for low, step in zip(grid.low, grid.step, strict=True)
    )
    points = torch.cartesian_prod(*axes)
    mean = weight @ points
    sd = (weight @ (points - mean).square()).sqrt()
    assert float(((found.samples.mean(0) - mean) / sd).abs().max()) < 0.1
    assert float((found.samples.std(0) / sd - 1).abs().max()) < 0.15  # a long tail
    assert found.log_evidence == pytest.approx(grid.log_evidence, abs=0.2)


def test_the_truth_is_likelier_than_others():
    problem = Perfusion(magnitude_share=0)
    theta, y = known(problem)
    others = problem.simulate_clean(200, seed=5)[0]
    found = problem.log_likelihood(torch.cat([theta.float(), others]), y)
    assert int(found.argmax()) == 0
