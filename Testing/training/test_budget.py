"""A time budget holds for every problem, however slow: a clock that simulations and steps move tells."""

from __future__ import annotations

import re
import threading
import time

import pytest
import torch

import monai_inn as mi
from monai_inn.problems import LinearGaussian, Observation, Parameter
from monai_inn.problems.base import InverseProblem
from monai_inn.testproblems.fields import LesionField
from monai_inn.training import Recipe, budget, fit
from monai_inn.training.budget import Budget, share_done
from monai_inn.training.engine import Progress
from monai_inn.training.optimiser import Optimiser
from monai_inn.training.pool import SimulationPool
from monai_inn.training.stages import plans_of

SMALL = {
    "flow": {"hidden_channels": (8,), "num_blocks": 1},
    "encoder": {"width": 16},
    "density": {"hidden_channels": (8,), "num_blocks": 1, "members": 2},
}


SHORT = Recipe(preview_observations=128, batch_size=64, held_out=1024)


class Clock:
    """Stands still but for simulations and, a little, for every look at it; counts simulated rows.

    Looks of other threads, such as the event loops that other tests have left, do not move it.
    """

    def __init__(self, monkeypatch, row: float, look: float) -> None:
        self.now, self.row, self.look, self.rows = 1000.0, row, look, 0
        self._thread = threading.get_ident()
        monkeypatch.setattr(time, "monotonic", self.read)

    def read(self) -> float:
        if threading.get_ident() == self._thread:
            self.now += self.look
        return self.now

    def simulated(self, rows: int) -> None:
        self.now += self.row * rows
        self.rows += rows


class Slow(LinearGaussian):
    clock: Clock

    def forward(self, theta):
        self.clock.simulated(theta.shape[:-1].numel())
        return super().forward(theta)


class SlowImage(InverseProblem):
    """Position of a blob in an image of 16 × 16 pixels."""

    name = "slow_image"
    targets = ("x", "y")
    clock: Clock

    def __init__(self) -> None:
        self.parameters = tuple(Parameter(n, "1", -1.0, 1.0, n) for n in self.targets)
        self.observation = Observation.image((16, 16))

    def forward(self, theta):
        self.clock.simulated(theta.shape[:-1].numel())
        axis = torch.linspace(-1, 1, 16)
        rows, columns = (torch.exp(-8 * (axis - theta[..., d, None]).square()) for d in (0, 1))
        return (rows.unsqueeze(-1) * columns.unsqueeze(-2)).flatten(-2)

    def noise(self, y, generator=None):
        return y + 0.05 * torch.randn(y.shape, generator=generator)

    def to_config(self):
        return {}


@pytest.mark.parametrize(
    ("make", "most_rows"), [(Slow, 6_000), pytest.param(SlowImage, 7_000, marks=pytest.mark.slow)]
)
def test_a_slow_simulator_keeps_the_budget_and_is_trained(make, most_rows, monkeypatch):
    """10 ms a simulation and two minutes: 12,000 simulations would take all of it, 29,000 were made."""
    problem = make()
    make.clock = Clock(monkeypatch, row=0.01, look=0.2)
    network = SMALL if make is Slow else {part: SMALL[part] for part in ("flow", "density")}
    fitted = fit(problem, minutes=2, network=network, recipe=SHORT)
    assert problem.clock.now - 1000 < 1.25 * 120
    assert 2_000 < problem.clock.rows < most_rows
    recipe = fitted.card["training"]["recipe"]
    assert recipe["posterior_steps"] >= 50
    assert fitted.card["measured_on"]["simulations"] == recipe["measured"]
    assert len(fitted.network.ood_scores) == recipe["guard"]


class SlowLesion(LesionField):
    """Whose start takes all the rows that it may."""

    clock: Clock

    def forward(self, theta):
        self.clock.simulated(theta.shape[:-1].numel())
        return super().forward(theta)


LESION = {"flow": {"num_blocks": 0}, "density": SMALL["density"]}  # of which some weights have no gradient


def test_a_start_takes_what_a_tenth_of_the_budget_simulates_and_from_a_slow_simulator_nothing(monkeypatch):
    problem = SlowLesion(side=16)
    SlowLesion.clock = Clock(monkeypatch, row=1e-4, look=0.0)
    limit = Budget(10, problem, time.monotonic())
    limit.simulations(Recipe(), 0, fixed=(), has_pool=False, is_warm=False)
    pool = SimulationPool.simulate(problem, 2048, 0, torch.device("cpu"))
    assert limit._start_rows(Recipe(), pool, 0) == pytest.approx(0.1 * 600 / 1e-4, rel=0.02)
    SlowLesion.clock.row = 0.1
    limit.simulations(Recipe(), 0, fixed=(), has_pool=False, is_warm=False)
    assert limit._start_rows(Recipe(), pool, 0) == pool.draws


@pytest.mark.parametrize(("start_rows", "beyond"), [(0, 0), (12_000, 10)])
def test_a_recipe_says_how_many_rows_a_start_may_take_beyond_the_pool(start_rows, beyond, monkeypatch):
    blocks, simulate = [], LesionField.simulate_clean

    def counted(self, n, seed=0, first_block=0):
        blocks.extend([first_block] if seed == 7 and first_block >= 2 else [])
        return simulate(self, n, seed, first_block)

    monkeypatch.setattr(LesionField, "simulate_clean", counted)
    sizes = {"num_simulations": 2048, "posterior_steps": 1, "density_steps": 1, "start_rows": start_rows}
    recipe = Recipe(**sizes, batch_size=1024, measured=64, held_out=64, guard=64)
    fit(LesionField(side=16), recipe=recipe, network=LESION, seed=7)
    assert blocks == list(range(2, 2 + beyond))  # each once, and none that the pool holds


def test_a_budget_that_cannot_be_kept_is_refused_at_once_and_the_one_named_is_enough(monkeypatch):
    problem = Slow(2, 1)
    clock = Slow.clock = Clock(monkeypatch, row=0.05, look=0.3)
    with pytest.raises(
        ValueError, match=r"minutes = 0.5 is too short: a simulation takes [5-9]\d"
    ) as refusal:
        fit(problem, minutes=0.5, network=SMALL)
    assert clock.rows < 100
    enough = float(re.search(r"give minutes = ([\d.]+) or more", str(refusal.value))[1])
    began, clock.rows = clock.now, 0
    fit(problem, minutes=enough, network=SMALL, recipe=SHORT)
    assert clock.now - began < 1.5 * 60 * enough


def test_a_machine_too_busy_for_the_budget_gives_the_smallest_training(monkeypatch):
    """A step takes longer than the budget: what was left was negative, and so were sizes made of it."""
    clock = Slow.clock = Clock(monkeypatch, row=1e-6, look=0.0)
    step = Optimiser.step

    def slow_step(self, *arguments):
        clock.now += 10
        step(self, *arguments)

    monkeypatch.setattr(Optimiser, "step", slow_step)
    fitted = fit(Slow(2, 1), minutes=0.3, network=SMALL, recipe=SHORT)
    assert fitted.card["training"]["recipe"]["posterior_steps"] == 50


def test_a_tiny_budget_gives_the_smallest_training(monkeypatch):
    clock = Slow.clock = Clock(monkeypatch, row=1e-6, look=1e-3)
    fitted = fit(Slow(2, 1), minutes=0.001, network=SMALL, recipe=SHORT)
    assert fitted.card["training"]["recipe"]["posterior_steps"] == 50
    assert clock.now - 1000 < 5


def test_a_fast_problem_is_measured_as_thoroughly_as_without_a_budget(monkeypatch):
    Slow.clock = Clock(monkeypatch, row=1e-5, look=0.0)
    budget = Budget(3, Slow(), time.monotonic())
    sizes = budget.simulations(Recipe(), 0, fixed=(), has_pool=False, is_warm=False)
    assert (sizes.held_out, sizes.guard, sizes.measured) == (8192, 4000, 2300)
    assert sizes.num_simulations == 2_000_000 // 1024 * 1024


def test_one_stall_of_the_machine_is_no_slow_simulator(monkeypatch):
    clock = Slow.clock = Clock(monkeypatch, row=1e-4, look=0.0)
    stalls, simulated = iter([0.0, 30.0]), clock.simulated
    monkeypatch.setattr(
        clock, "simulated", lambda rows: simulated(rows + round(next(stalls, 0.0) / clock.row))
    )
    sizes = Budget(3, Slow(), time.monotonic()).simulations(
        Recipe(), 0, fixed=(), has_pool=False, is_warm=False
    )
    assert sizes.held_out == 8192


def test_sizes_that_the_network_fixes_stay(monkeypatch):
    Slow.clock = Clock(monkeypatch, row=0.01, look=0.0)
    recipe, budget = Recipe(guard=4000), Budget(2, Slow(), time.monotonic())
    sizes = budget.simulations(recipe, 0, fixed={"guard"}, has_pool=False, is_warm=False)
    assert sizes.guard == 4000
    assert sizes.measured < 1000


def test_a_training_that_takes_longer_says_how_long_and_why(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: 0.25 * now[0])
    made = Budget(1.0, LinearGaussian(), time.monotonic())
    for part, seconds in (("simulate", 15), ("posterior", 24), ("measure", 26)):
        now[0] += seconds
        made.ended(part)
    assert made.overrun() is None  # 65 seconds
    now[0] += 10
    made.ended("measure")
    assert made.overrun() == (
        "The training took 1.2 minutes, 1 were given: the part 'measure' took 0.6 instead of 0.1. Other "
        "programs left it 25% of a processor core."
    )
    assert Budget(None, LinearGaussian(), 0.0).overrun() is None


def test_one_member_is_refused_before_anything_is_simulated(monkeypatch):
    clock = Slow.clock = Clock(monkeypatch, row=0.0, look=0.0)
    with pytest.raises(ValueError, match="give at least 2"):
        mi.fit(Slow(), members=1)
    assert clock.rows == 0


@pytest.mark.parametrize(("seconds", "expected"), [({2: 2.0, 1: 0.1}, 1), ({2: 0.1, 1: 0.2}, 2)])
def test_steps_are_taken_by_as_many_threads_as_are_faster(seconds, expected, monkeypatch):
    problem, before = SlowImage(), torch.get_num_threads()
    timed = {}

    def step_seconds(stage, most):
        return timed.setdefault(torch.get_num_threads(), seconds[torch.get_num_threads()])

    monkeypatch.setattr(budget, "_step_seconds", step_seconds)
    posterior = next(plan for plan in plans_of(problem) if plan.is_parallel)
    limit = Budget(1.0, problem, time.monotonic())
    torch.set_num_threads(2)
    try:
        assert limit._step_seconds(posterior, None, torch.device("cpu")) == min(seconds.values())
        with limit.threads(posterior, torch.device("cpu")):
            assert torch.get_num_threads() == expected
        assert timed == seconds
    finally:
        torch.set_num_threads(before)


def test_the_share_of_a_training_that_is_done_never_falls():
    problem = LinearGaussian(2, 1)
    stages = ["simulate", *(plan.name for plan in plans_of(problem))]
    reports = [Progress(stage, share, 0.0, 0.0) for stage in stages for share in (0.1, 1.0)]
    done = [share_done(problem, report) for report in reports]
    assert done == sorted(done)
    assert done[0] == pytest.approx(0.1 * done[1])
    assert 0.85 < done[-1] < 1.0  # measuring is left
