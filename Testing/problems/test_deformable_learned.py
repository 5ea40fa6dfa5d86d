"""Posteriors of deformable registration that a network has learned, and the calibration of the reference."""

from __future__ import annotations

import pytest
import torch

import monai_inn as mi
from monai_inn.metrics import sbc_ranks, sbc_uniformity
from monai_inn.problems import DeformableRegistration
from monai_inn.training import Recipe


def small_problem():
    """Two soft stripes along axis 1, two control points an axis: eight parameters."""
    mm = torch.arange(12) * 2.0
    profile = torch.exp(-0.5 * ((mm - 8) / 2.5) ** 2) + torch.exp(-0.5 * ((mm - 22) / 2.5) ** 2)
    return DeformableRegistration(profile[:, None].expand(12, 12), (2.0, 2.0), 2, 2.0)


def learned(steps, batch):
    network = {
        "flow": {"hidden_channels": (48, 48), "num_blocks": 3},
        "encoder": {"width": 64},
        "density": {"hidden_channels": (8,), "num_blocks": 2, "members": 2},
    }
    recipe = Recipe(40_000, steps, 20, 20, 32, batch, measured=100, held_out=1000, guard=500)
    return mi.fit(small_problem(), recipe=recipe, network=network, seed=0)


def check_learned(fitted, tolerance):
    """Tangential sd over prior sd and coverage of 400 simulated cases."""
    problem = fitted.problem
    theta, y = problem.simulate(400, seed=9)
    torch.manual_seed(0)
    still = problem.noise(problem.forward(torch.zeros(100, 8)))
    with torch.no_grad():
        blind = fitted.posterior(still).sample((500,)).std(0).mean(0) / problem.prior_sd_mm
        rank = (fitted.posterior(y).sample((500,)) < theta).double().mean(0)
    assert (blind[4:] - 1).abs().max() < tolerance
    assert blind[:4].max() < 0.2
    covered = ((rank > 0.05) & (rank < 0.95)).double()
    # The cases are independent, the parameters of a case are not.
    assert float(covered.mean()) == pytest.approx(0.9, abs=0.01 + 5 * float(covered.mean(1).std()) / 20)


@pytest.mark.slow
def test_network_learns_that_the_stripe_is_blind():
    check_learned(learned(300, 256), 0.06)


@pytest.mark.slow
def test_learned_posterior_is_the_reference():
    """Of deformed stripes too: every sd within 15 %, means within 0.3 sd of eight references."""
    fitted = learned(2000, 512)
    check_learned(fitted, 0.04)
    y = fitted.problem.simulate(8, seed=10)[1]
    torch.manual_seed(0)
    reference = fitted.problem.reference_posterior(y).sample((2000,))
    with torch.no_grad():
        samples = fitted.posterior(y).sample((2000,))
    ratio = (samples.std(0) / reference.std(0)).log()
    assert ratio.mean(0).abs().max() < 0.15
    shift = (samples.mean(0) - reference.mean(0)) / reference.std(0)
    assert shift.square().mean().sqrt() < 0.3


@pytest.mark.slow
def test_ranks_in_the_reference_are_uniform():
    """Simulation-based calibration of the whole chain: 100 cases, 99 samples each."""
    problem = small_problem()
    theta, y = problem.simulate(100, seed=5)
    torch.manual_seed(0)
    samples = problem.reference_posterior(y).sample((99,))
    assert sbc_uniformity(sbc_ranks(samples, theta), 99).p_value.min() > 1e-3
