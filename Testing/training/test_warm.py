"""Starting from another patient's network: it answers as the donor would, from the first step on."""

from __future__ import annotations

import pytest
import torch
from pose_problems import SMALL, SMALL_NETWORK, TEMPLATES

from monai_inn.applications.registration.projection import spine_phantom
from monai_inn.fitted import FittedPosterior
from monai_inn.networks.posterior import assemble
from monai_inn.problems import LinearGaussian, PoseRegistration
from monai_inn.training.pool import SimulationPool
from monai_inn.training.run import merged
from monai_inn.training.stages import known_observations, usual_parts
from monai_inn.training.warm import warm_start


def untrained(problem, seed, rows=4096, **network):
    """A new network in front of which everything is fitted, and its pool."""
    pool = SimulationPool.simulate(problem, rows, seed, torch.device("cpu"))
    batch = pool.batch(rows, seed, "whitening", 0)
    circular = [i for i, p in enumerate(problem.parameters) if p.is_periodic]
    parts = merged(merged(usual_parts(problem, TEMPLATES), SMALL_NETWORK), network)
    sizes = (batch.features.shape[1], batch.density_features.shape[1], (2,))
    net = assemble(*sizes, circular, has_preview=False, **parts)
    clean = problem.features(pool.clean.float())
    known = known_observations(problem, net.encoder.num_known, pool.device)
    net.fit_fixed(batch.features, batch.density_features, clean, known)
    return net, pool


def nll(net, problem):
    theta, y = problem.simulate(500, seed=77)
    with torch.no_grad():
        return float(-FittedPosterior(problem, net, {}).posterior(y).log_prob(theta).mean())


@pytest.mark.slow  # two trainings; another patient is always tested
def test_the_same_patient_with_other_components_answers_as_the_donor(pose_fit):
    problem = pose_fit.problem
    net, pool = untrained(problem, seed=4)
    assert not torch.allclose(
        net.encoder.components.axes, pose_fit.network.encoder.components.axes, atol=1e-2
    )
    before = nll(net, problem)
    warm_start(net, pose_fit, pool)
    donor = nll(pose_fit.network, problem)
    assert before - donor > 1  # the donor has learned something
    assert nll(net, problem) - donor < 0.1


def test_another_patient_starts_nearer_to_the_truth(pose_fit):
    volume = spine_phantom(asymmetry=0.5)
    stretched = volume.affine.clone()
    stretched[2, 2] *= 1.08
    problem = PoseRegistration(volume.values, stretched.tolist(), detector=SMALL, noise={"sd": 0.1})
    net, pool = untrained(problem, seed=5)
    before = nll(net, problem)
    warm_start(net, pose_fit, pool)
    assert nll(net, problem) < before - 0.5


def test_what_does_not_fit_is_refused(pose_fit, gaussian_fit):
    rows, few = 1024, {"templates": 64}  # nothing of them is looked at
    narrow = PoseRegistration(detector=SMALL, free={"lao": (-90, 90), "cra": (-30, 30)})
    with pytest.raises(ValueError, match="same parameters and ranges"):
        warm_start(*_swapped(untrained(narrow, 0, rows, encoder=few), pose_fit))
    with pytest.raises(ValueError, match="width differ"):
        warm_start(*_swapped(untrained(pose_fit.problem, 0, rows, encoder={"width": 32}), pose_fit))
    with pytest.raises(ValueError, match="same parameters"):
        warm_start(*_swapped(untrained(pose_fit.problem, 0, rows, encoder=few), gaussian_fit))
    assert isinstance(gaussian_fit.problem, LinearGaussian)


def _swapped(made, donor):
    return made[0], donor, made[1]
