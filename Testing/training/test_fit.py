"""Training: reaches the exact posterior, keeps its budget, measures itself; kills are in `test_resume`."""

from __future__ import annotations

import itertools
import math
import time

import pytest
import torch

import monai_inn as mi
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe
from monai_inn.training.budget import deadlines
from monai_inn.training.engine import Pace, Stage, run_stage
from monai_inn.training.pool import SimulationPool
from monai_inn.training.run import merged

SMALL = {
    "flow": {"hidden_channels": (24, 24), "num_blocks": 2},
    "encoder": {"width": 24},
    "density": {"hidden_channels": (8,), "num_blocks": 2, "members": 3},
}
TINY = Recipe(4096, 10, 6, 6, 64, 128, measured=64, held_out=256, guard=128)


def weights(fitted: mi.FittedPosterior) -> torch.Tensor:
    return torch.cat([v.flatten().double() for v in fitted.network.state_dict().values()])


@pytest.mark.slow
def test_posterior_of_the_linear_gaussian_problem_is_exact():
    """KL(flow ‖ exact) averaged over 1,000 observations stays below .01 nats."""
    problem = LinearGaussian()
    fitted = mi.fit(problem, recipe=Recipe(200_000, 4000, 500, 500, 4000, measured=4000), seed=0)
    y = problem.simulate(1000, seed=99)[1]
    exact = problem.reference_posterior(y)
    torch.manual_seed(0)
    q = fitted.posterior(y)
    with torch.no_grad():
        samples = q.sample((200,))
        divergence = (q.log_prob(samples) - exact.log_prob(samples)).mean()
    assert -0.002 < divergence < 0.01


def test_small_training_learns_and_measures_itself():
    problem = LinearGaussian(2, 2)
    recipe = Recipe(16_384, 150, 40, 30, 128, 256, measured=1000, held_out=1024)
    seen = []
    fitted = mi.fit(problem, recipe=recipe, network=SMALL, progress=seen.append)
    optimum = problem.reference_posterior(torch.zeros(1, 2)).entropy().item()
    assert fitted.card["nll"] < optimum + 0.1
    assert fitted.card["nll"] > optimum - 5 * (2 / 1000) ** 0.5
    assert {p.stage for p in seen} == {"simulate", "posterior", "density", "explanation", "preview"}
    assert all(math.isfinite(p.loss) for p in seen if p.stage != "simulate")
    card = fitted.card
    assert set(card["parameters"]) == {"x1", "x2"}
    assert card["measured_on"]["simulations"] == 1000
    assert abs(card["ood"]["false_alarm_measured"] - 0.05) < 0.03
    assert card["training"]["held_out_loss"].keys() == {"posterior", "density", "explanation", "preview"}


def test_same_seed_same_network_other_seed_other():
    problem = LinearGaussian(2, 1)
    first, again, other = (
        weights(mi.fit(problem, recipe=TINY, network=SMALL, seed=seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_resume_starts_anew_without_a_checkpoint_and_refuses_that_of_another_run(tmp_path):
    problem = LinearGaussian(2, 1)
    with pytest.raises(ValueError, match="resume was asked for without a folder"):
        mi.fit(problem, recipe=TINY, network=SMALL, resume=True)
    fitted = mi.fit(problem, recipe=TINY, network=SMALL, checkpoint=tmp_path, resume=True)
    assert fitted.card["training"]["resumed"] is False
    with pytest.raises(ValueError, match="seed, options differ"):
        mi.fit(problem, recipe=TINY, network=SMALL, checkpoint=tmp_path, resume=True, seed=5)


def test_every_stage_has_a_deadline_of_its_own_within_the_budget():
    ends = list(deadlines(100.0, 10, LinearGaussian()).items())
    assert [name for name, _ in ends] == ["simulate", "posterior", "density", "explanation", "preview"]
    times = [100.0, *(end for _, end in ends)]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    assert times[-1] < 100 + 600  # measuring takes the rest


def test_the_learning_rate_has_decayed_when_a_deadline_comes(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert Pace(0, 100, math.inf).share(10, 1e9) == 0.1
    assert Pace(0, 100, 60).share(10, 30) == pytest.approx(0.5)
    assert Pace(0, 100, 60).share(80, 30) == 0.8
    assert Pace(40, 100, 60).share(50, 30) == pytest.approx(0.7)
    assert Pace(0, 100, 29).share(10, 30) == 1.0


def test_time_budget_is_kept(monkeypatch):
    monkeypatch.setattr(time, "monotonic", time.process_time)  # others may keep the machine busy
    began = time.process_time()
    brief = Recipe(preview_observations=128, batch_size=64, held_out=1024, guard=400, measured=400)
    fitted = mi.fit(LinearGaussian(2, 1), minutes=0.05, network=SMALL, recipe=brief)
    assert time.process_time() - began < 2.5 * 3  # the least that is simulated and measured takes a while
    assert fitted.card["training"]["recipe"]["posterior_steps"] >= 50


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"minutes": 0}, ValueError, "minutes = 0"),
        ({"minutes": math.nan}, ValueError, "minutes = nan"),
        ({"minutes": math.inf}, ValueError, "minutes = inf"),
        ({"members": 1}, ValueError, "members = 1; trust compares the members"),
        ({"device": "cuda"}, RuntimeError, "finds no CUDA GPU"),
    ],
)
def test_bad_arguments(options, error, message):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU, so asking for it is not an error")
    with pytest.raises(error, match=message):
        mi.fit(LinearGaussian(2, 1), **options)


def test_batches_depend_on_step_and_purpose_only():
    pool = SimulationPool.simulate(LinearGaussian(2, 1), 4096, 0, torch.device("cpu"))
    first, again = pool.batch(64, 0, "a", 5), pool.batch(64, 0, "a", 5)
    assert torch.equal(first.features, again.features)
    for other in (pool.batch(64, 0, "b", 5), pool.batch(64, 0, "a", 6), pool.batch(64, 1, "a", 5)):
        assert not torch.equal(first.features, other.features)
    part = pool.batch(1000, 0, "a", 0, rows=range(10))
    assert {tuple(row.tolist()) for row in part.latent} <= {tuple(row.tolist()) for row in pool.latent[:10]}


def test_a_batch_without_finite_gradients_is_skipped():
    module = torch.nn.Linear(1, 1)

    def batches(first, last):
        for step in range(first, last):
            yield torch.full((8, 1), torch.nan if step == 3 else 1.0)

    def held_out():
        return (module(torch.ones(8, 1)) - 2).square().mean()

    stage = Stage("toy", module, batches, lambda x: (module(x) - 2).square().mean(), held_out, 300, 0.05)
    best = run_stage(stage, resumed=None, save=lambda _: None, tell=lambda _: None)
    assert best < 1e-3
    assert torch.isfinite(module.weight).all()


def test_sizes_are_merged_part_by_part_and_another_kind_keeps_none():
    usual = {"encoder": {"kind": "image", "components": 3}, "num_ood_scores": 5}
    assert merged(usual, {"encoder": {"width": 8}, "flow": {"num_blocks": 2}}) == {
        "encoder": {"kind": "image", "components": 3, "width": 8},
        "flow": {"num_blocks": 2},
        "num_ood_scores": 5,
    }
    assert merged(usual, {"encoder": {"kind": "vector"}})["encoder"] == {"kind": "vector"}
