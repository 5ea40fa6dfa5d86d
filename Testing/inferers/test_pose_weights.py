"""Poses by importance sampling: of two X-rays, and by the likelihood itself."""

from __future__ import annotations

import math

import pytest
import torch
from pose_problems import xray

from monai_inn.applications.registration.carm import gantry_motion
from monai_inn.applications.registration.poses.inference import infer_pose
from monai_inn.applications.registration.poses.weights import NotWeighedError, reconcile, reweight
from monai_inn.applications.registration.results.record import noise_ratio


@pytest.mark.slow  # the joint posterior on a grid is always tested
def test_a_second_view_tells_the_two_apart(symmetric):
    """Both X-rays alone leave two poses; together they leave the true one."""
    problem = symmetric.problem
    torch.manual_seed(1)
    truth = torch.tensor([35.0, 10.0])
    motion = gantry_motion((0.0, 0.0), (-60.0, 0.0), problem.detector)
    other = problem.parameters_of(problem.cameras(truth.double()) @ motion)
    images = torch.stack([xray(problem, *truth.tolist()), xray(problem, *other.tolist(), seed=1)])
    assert len(infer_pose(symmetric, images[1], samples=500).modes) == 2
    motions = torch.stack([torch.eye(4, dtype=torch.float64), motion])
    answer = reconcile(symmetric, images, motions, samples=1000)
    assert answer.modes[0].mass > 0.99
    assert answer.modes[0].parameters.tolist() == pytest.approx(truth.tolist(), abs=3)


def test_the_joint_posterior_is_that_of_the_grid(symmetric):
    """Mean and width of the reconciled poses against prior x likelihood x likelihood on the grid."""
    problem = symmetric.problem
    torch.manual_seed(2)
    truth = torch.tensor([-50.0, -5.0])
    motion = gantry_motion((0.0, 0.0), (25.0, 0.0), problem.detector)
    other = problem.parameters_of(problem.cameras(truth.double()) @ motion).float()
    images = torch.stack([xray(problem, *truth.tolist()), xray(problem, *other.tolist(), seed=3)])
    motions = torch.stack([torch.eye(4, dtype=torch.float64), motion])
    answer = reconcile(symmetric, images, motions, samples=4000)
    fine = torch.cartesian_prod(torch.arange(-60.0, -40, 0.5), torch.arange(-15.0, 5, 0.5))
    moved = problem.parameters_of(problem.cameras(fine.double()) @ motion).float()
    weight = (problem.log_likelihood(fine, images[0]) + problem.log_likelihood(moved, images[1])).softmax(0)
    mean = (weight[:, None] * fine.double()).sum(0)
    sd = (weight[:, None] * (fine.double() - mean).square()).sum(0).sqrt()
    own = answer.samples[answer.modes[0].members].double()
    # A hundred effective samples at the least: a standard error of a tenth of the width.
    assert ((own.mean(0) - mean) / sd).abs().max() < 0.4
    assert (own.std(0) / sd - 1).abs().max() < 0.3


def test_turning_out_of_the_prior_is_refused(symmetric):
    motion = gantry_motion((0.0, 0.0), (0.0, 55.0), symmetric.problem.detector)
    images = torch.stack([xray(symmetric.problem, 35.0, 0.0)] * 2)
    with pytest.raises(ValueError, match="outside the bundle's prior"):
        reconcile(symmetric, images, torch.stack([torch.eye(4, dtype=torch.float64), motion]), samples=300)


@pytest.mark.parametrize("angles", [(30.0, 5.0), (176.0, 20.0)])
def test_weights_make_the_posterior_exact(pose_fit, angles):
    """Evidence, divergence and samples against the grid; the last view lies across the end of the turn."""
    problem = pose_fit.problem
    y = xray(problem, *angles)
    exact = problem.reference_posterior(y)
    torch.manual_seed(0)
    draws = exact.sample((1500,))
    with torch.no_grad():
        ratio = (exact.log_prob(draws) - pose_fit.posterior(y).log_prob(draws)).double()
    found = reweight(pose_fit, y, samples=1000)
    assert found.effective >= 1000
    # The mean weight varies by (proposals / effective - 1)^1/2 of itself from draw to draw.
    error = math.sqrt((found.proposals / found.effective - 1) / found.proposals)
    assert found.log_evidence == pytest.approx(float(exact.log_evidence), abs=4 * error + 1e-3)
    error += float(ratio.std()) * math.sqrt(1 / found.effective + 1 / len(ratio))
    assert found.kl == pytest.approx(float(ratio.mean()), abs=4 * error + 1e-3)
    off = found.posterior.log_density - exact.log_prob(found.posterior.samples)
    assert off.abs().max() < 4 * error + 1e-3
    # Shares of the samples on either side of the exact median of each angle, counted from the first draw.
    for column, turn in enumerate(problem.space.period.tolist()):
        ours, theirs = (
            _from(values[:, column].double(), float(draws[0, column]), turn)
            for values in (found.posterior.samples, draws)
        )
        below = float((ours < theirs.median()).double().mean())
        assert abs(below - 0.5) < 4 * 0.5 * math.sqrt(1 / found.effective + 1 / 1000 + 1 / 1500)


def _from(values, start, turn):
    return values if math.isinf(turn) else torch.remainder(values - start, turn)


def test_draws_that_hardly_count_are_refused(pose_fit):
    """A brighter X-ray than any pose casts: the likelihood is so steep that hardly two draws compare."""
    y = 1000 * xray(pose_fit.problem, 35.0, 10.0)
    with pytest.raises(NotWeighedError, match=r"of 1,600 poses, 100 are needed"):
        reweight(pose_fit, y, samples=100)


def test_the_residual_of_any_brightness_is_a_number(pose_fit):
    """A damaged file may hold grey values whose squares no 32-bit number can hold."""
    y = xray(pose_fit.problem, 35.0, 10.0)
    assert math.isfinite(noise_ratio(pose_fit.problem, 1e30 * y, y))
