"""What is not informative, and the scales of figures, where a problem has a prior of its own."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Beta, Normal, Uniform, VonMises

from monai_inn.inferers.trust.verdicts import PriorMass
from monai_inn.problems import LinearGaussian, Simulated
from monai_inn.problems.priors import own_draws
from monai_inn.reports.scales import prior_scales
from monai_inn.training.stages import known_observations

PEAKED = {"a": Beta(20.0, 20.0), "b": Uniform(0.0, 2.0), "angle": VonMises(3.0, 20.0)}
HALF = 0.448  # of the central 95 % of the angle


@pytest.fixture(scope="module")
def problem() -> Simulated:
    return Simulated.of_function(PEAKED, lambda theta: theta)


def central(problem: Simulated) -> tuple[torch.Tensor, torch.Tensor]:
    """The 95 % intervals of the prior itself, that of the angle across the seam."""
    edges = torch.tensor([[0.347, 0.05, 3.0 - HALF], [0.653, 1.95, 3.0 + HALF]])
    return edges[:1], edges[1:]


def test_the_interval_of_the_prior_holds_its_mass(problem):
    mass = PriorMass(problem)
    low, high = central(problem)
    torch.testing.assert_close(mass(low, high), torch.full((1, 3), 0.95), atol=0.012, rtol=0)
    turned = mass(low - 2 * math.pi * torch.tensor([0, 0, 1]), high - 2 * math.pi * torch.tensor([0, 0, 1]))
    torch.testing.assert_close(turned, mass(low, high), atol=1e-3, rtol=0)


def test_finished_simulations_know_their_prior(problem):
    theta, y = problem.simulate(4096)
    finished = Simulated(problem._config, ("x1", "x2", "x3"), theta, y)
    mass = PriorMass(finished)(*central(problem))
    torch.testing.assert_close(mass, torch.full((1, 3), 0.95), atol=0.015, rtol=0)


def test_a_flat_prior_needs_no_draws():
    flat = LinearGaussian()
    assert own_draws(flat, 100) is None
    assert own_draws(Simulated(PRIORLESS, ("x1",)), 100) is None  # nothing is there to draw from
    mass = PriorMass(flat)(torch.full((1, 4), -1.959964), torch.full((1, 4), 1.959964))
    torch.testing.assert_close(mass, torch.full((1, 4), 0.95))


PRIORLESS = [{"name": "a", "unit": "1", "low": 0.0, "high": 1.0}]


def test_widths_are_shown_up_to_that_of_the_prior(problem):
    scales = prior_scales(problem)
    assert (scales["a"].low, scales["a"].high) == (0.0, 1.0)
    assert scales["a"].width == pytest.approx(0.306, abs=0.01)
    assert scales["b"].width == pytest.approx(1.9, abs=0.02)
    assert prior_scales(LinearGaussian())["x1"].width == pytest.approx(3.92, abs=0.01)


def test_templates_lie_where_an_own_prior_has_them():
    problem = Simulated.of_function({"a": Beta(20.0, 20.0), "b": Normal(0.0, 1.0)}, lambda theta: theta)
    images, latent = known_observations(problem, 500, torch.device("cpu"))
    assert images.shape == latent.shape == (500, 2)
    assert float(images[:, 0].min()) > 0.25
    assert float(images[:, 0].max()) < 0.75
