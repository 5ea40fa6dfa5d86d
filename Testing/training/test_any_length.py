"""One network for series of every length, against posteriors that are known."""

import pytest
import torch

import monai_inn as mi
from monai_inn.testproblems.series import GaussianMean, LinearTrend
from monai_inn.training import Recipe

SIZES = {
    "num_simulations": 2**15, "density_steps": 10, "preview_steps": 5, "preview_observations": 64,
    "held_out": 1024, "guard": 200, "measured": 64, "batch_size": 256,
}  # fmt: skip
FLOW = {"num_blocks": 1, "hidden_channels": (48, 48)}
PROBLEMS = {"set": GaussianMean(most=40), "series": LinearTrend(most=40)}
ROWS = 256


@pytest.fixture(scope="module", params=["set", pytest.param("series", marks=pytest.mark.slow)])
def fitted(request):
    """A network after some seconds; how near it comes in minutes: docs/own_problem.md."""
    # Affine couplings and few steps are enough for a mean alone.
    steps, coupling = (120, {"coupling": "affine"}) if request.param == "set" else (250, {})
    recipe, network = Recipe(posterior_steps=steps, **SIZES), {"flow": FLOW | coupling}
    return mi.fit(PROBLEMS[request.param], recipe=recipe, members=2, network=network, seed=1)


def with_entries(problem, number):
    """Observations of so many entries."""
    y = problem.simulate(16384, seed=5)[1]
    enough = y[problem.observation.parts(y).measured.any(-1).sum(-1) >= number][:ROWS].clone()
    for first in range(0, len(problem.observation), problem.most):
        enough[:, first + number : first + problem.most] = torch.nan
    assert len(enough) > 50
    return enough


@pytest.mark.parametrize("number", [1, 2, 5, 15, 40])
def test_the_posterior_is_near_the_exact_one_at_every_length(fitted, number):
    y = with_entries(fitted.problem, number)
    exact = fitted.problem.reference_posterior(y)
    theta = exact.sample((64,))
    with torch.no_grad():
        excess = exact.log_prob(theta) - fitted.posterior(y).log_prob(theta.float())
    assert float(excess.mean()) < 0.1


def test_more_entries_tell_more(fitted):
    widths = [float(fitted.posterior_width(with_entries(fitted.problem, n)).mean()) for n in (1, 8, 40)]
    assert widths == sorted(widths, reverse=True)


def test_trust_has_a_score_at_every_length(fitted):
    scores = fitted.waic(torch.cat([with_entries(fitted.problem, n)[:20] for n in (1, 3, 40)]))
    assert scores.isfinite().all()
