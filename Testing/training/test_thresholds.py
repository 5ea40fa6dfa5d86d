"""Scores that set thresholds: a measured object is scored by a test that never saw it."""

from __future__ import annotations

import copy

import pytest
import torch

from monai_inn.inferers.trust.verdicts import misfit_scores
from monai_inn.networks.posterior import assemble
from monai_inn.problems import LinearGaussian
from monai_inn.training.thresholds import set_thresholds

EACH = 30  # scores that are kept of an object


@pytest.fixture(scope="module")
def problem() -> LinearGaussian:
    return LinearGaussian()


@pytest.fixture(scope="module")
def objects(problem) -> dict[str, torch.Tensor]:
    y = problem.simulate(180, seed=1)[1]
    return {"near": y[:60], "aside": y[60:120] + 0.5, "far": 3 * y[120:] + 2}


@pytest.fixture(scope="module")
def network(problem):
    y = problem.simulate(500, seed=2)[1]
    flows = {"num_blocks": 1, "hidden_channels": (8,)}
    explanation = {"num_explained": 3, "families": (), "num_ordinary": 3 * EACH, "objects": 3}
    net = assemble(
        3,
        3,
        (len(problem.parameters),),
        flow=flows,
        density=flows,
        explanation=explanation,
        num_ood_scores=200,
    )
    net.fit_fixed(y, y, y)
    return net


def judged(network, problem, objects):
    """The network with thresholds of some objects."""
    net = copy.deepcopy(network)
    part = net.explanation
    part.measured = part.measured.new_zeros(len(objects), EACH, part.ordinary.shape[2])
    set_thresholds(net, problem, 3, objects)
    return net


@torch.no_grad()
def test_the_scores_of_an_object_come_from_the_others_alone(network, problem, objects):
    whole = judged(network, problem, objects).explanation.measured
    kept = torch.linspace(0, 59, EACH).round().long()
    for index, (name, rows) in enumerate(objects.items()):
        others = {other: values for other, values in objects.items() if other != name}
        scores, _ = misfit_scores(problem, judged(network, problem, others), rows)
        torch.testing.assert_close(whole[index], scores[kept])
        with_it, _ = misfit_scores(problem, judged(network, problem, objects), rows)
        assert not torch.allclose(whole[index], with_it[kept], rtol=1e-3)


@torch.no_grad()
def test_without_measurements_simulations_alone_count(network, problem):
    net = judged(network, problem, {})
    assert len(net.explanation.populations()) == 1
    assert net.explanation.ordinary.isfinite().all()
    assert torch.equal(net.ood_scores, net.ood_scores.sort().values)
