"""How much simulation and training fit into a time budget on this machine."""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from monai_inn.networks import PosteriorNetwork
from monai_inn.networks.kernels.chunks import single_thread
from monai_inn.problems import InverseProblem
from monai_inn.problems.drawing import BLOCK
from monai_inn.problems.valid import rows_of_valid
from monai_inn.training.engine import Progress, Stage
from monai_inn.training.optimiser import Optimiser
from monai_inn.training.pool import SimulationPool
from monai_inn.training.ranks import Ranks
from monai_inn.training.recipe import Recipe
from monai_inn.training.stages import Plan, plans_of
from monai_inn.training.warm import WARM_ROWS

__all__ = ["Budget", "deadlines", "share_done"]

_MEASURING = 0.09  # of the budget, about; what this and the stages leave is for the simulations
_BESIDE_POOL = 0.25  # of the budget, at most, for simulations that nothing is trained on
_LEAST = {"num_simulations": 2048, "held_out": 512, "guard": 400, "measured": 400, "templates": 256}
_LEAST_STEPS = 50
_STARTING, _LEAST_START = 0.1, 20_000  # of the budget, at most, for a start in closed form; rows, at least
# A training that could only be longer than its budget by more than this is refused.
_OVERRUN, _OVERRUN_SECONDS = 1.25, 5.0
# A training that took so much longer is spoken of; one with less of a core was held up by others.
_LATE, _BUSY = 1.1, 0.7
_MOST_SIMULATIONS, _POOL_BYTES = 2_000_000, 3 << 29
_TIMED_ROWS, _TIMED_STEPS = 4096, 9
_TIMED_SHARE, _TIMED_SECONDS = 0.03, 0.5


def _shares(problem: InverseProblem) -> dict[str, float]:
    """Shares of the budget, in order: for the simulations of the pool, which get what is left, and stages."""
    stages = {plan.name: plan.share for plan in plans_of(problem)}
    return {"simulate": 1 - _MEASURING - sum(stages.values())} | stages


def share_done(problem: InverseProblem, report: Progress) -> float:
    """Return the share of a whole training that is done, as far as its stages take their shares of time."""
    done = 0.0
    for stage, share in _shares(problem).items():
        if stage == report.stage:
            return done + share * report.share
        done += share
    return report.share


def deadlines(started: float, minutes: float, problem: InverseProblem) -> dict[str, float]:
    """When each stage must end, as ``time.monotonic()``: a slow one must not starve those after it."""
    shares = _shares(problem)
    ends = itertools.accumulate(shares.values())
    return {name: started + 60 * minutes * end for name, end in zip(shares, ends, strict=True)}


class Budget:
    """The time that one call of ``fit`` may take, and the recipe that fits into it.

    Args:
        minutes: the budget; ``None`` for none.
        problem: the inverse problem.
        started: when the call began, as ``time.monotonic()``.

    Raises:
        ValueError: if the budget is not a positive number.
    """

    def __init__(self, minutes: float | None, problem: InverseProblem, started: float) -> None:
        if minutes is not None and not 0 < minutes < math.inf:
            raise ValueError(
                f"minutes = {minutes}; give a positive time budget, or none for the default recipe."
            )
        self.minutes, self.problem, self.started = minutes, problem, started
        self.seconds = math.inf if minutes is None else 60 * minutes
        self._limits = {} if minutes is None else deadlines(started, minutes, problem)
        self._ends: dict[str, float] = {}
        self._processor_before = time.process_time()
        self._least_seconds: dict[str, float] = {}
        self._row = math.inf  # seconds of a simulation
        self._alone: set[str] = set()  # stages whose steps are faster on one thread

    def deadline(self, stage: str) -> float:
        """When a stage that begins now must end; late stages get time for a few steps all the same."""
        least = time.monotonic() + self._least_seconds.get(stage, 0.0)
        return max(self._limits.get(stage, math.inf), least)

    def ended(self, part: str) -> None:
        """Remember that a part has ended: ``simulate``, a stage or ``measure``."""
        self._ends[part] = time.monotonic()

    def overrun(self) -> str | None:
        """Return how much longer than asked for all parts took, and why; ``None`` within a tenth."""
        spent = time.monotonic() - self.started
        if spent <= _LATE * self.seconds:
            return None
        planned = _shares(self.problem) | {"measure": _MEASURING}
        begins = (self.started, *self._ends.values())
        taken = {part: end - begin for (part, end), begin in zip(self._ends.items(), begins, strict=False)}
        late = max(taken, key=lambda part: taken[part] - planned.get(part, 0.0) * self.seconds)
        text = (
            f"The training took {spent / 60:.1f} minutes, {self.minutes:g} were given: the part {late!r} "
            f"took {taken[late] / 60:.1f} instead of {planned.get(late, 0.0) * self.seconds / 60:.1f}."
        )
        share = (time.process_time() - self._processor_before) / spent
        return text + (f" Other programs left it {share:.0%} of a processor core." if share < _BUSY else "")

    def simulations(
        self, recipe: Recipe, seed: int, *, fixed: Collection[str], has_pool: bool, is_warm: bool
    ) -> Recipe:
        """Return the recipe with as many simulations of each kind as the budget allows.

        What the budget allows is told by a few timed simulations.

        Args:
            recipe: what is kept where the budget allows it.
            seed: seed of the timed simulations.
            fixed: sizes of the recipe that must stay.
            has_pool: whether the training pool exists already.
            is_warm: whether a trained network is the start, which is shown simulations too.

        Raises:
            ValueError: if even the smallest training takes much longer than the budget.
        """
        if self.minutes is None:
            return recipe
        self._row = row = self._seconds_per_row(seed)
        whole = replace(
            recipe,
            measured=int(min(recipe.measured, 500 + 10 * self.seconds)),
            preview_observations=int(min(recipe.preview_observations, 2048 + 80 * self.seconds)),
        )
        free = {name: size for name, size in _LEAST.items() if name not in fixed}
        if has_pool:
            del free["num_simulations"]

        def seconds(sizes: Recipe, pool: bool) -> float:
            return row * self._rows(sizes, pool=pool and not has_pool, is_warm=is_warm)

        least = replace(whole, **{name: min(size, getattr(whole, name)) for name, size in free.items()})
        self._check(row, seconds(least, True))
        share = min(1.0, _BESIDE_POOL * self.seconds / max(seconds(whole, False), 1e-9))
        sizes = {n: max(getattr(least, n), int(share * getattr(whole, n))) for n in free}
        if not has_pool:
            sizes["num_simulations"] = max(least.num_simulations, self._pool_rows(row))
        return replace(whole, **sizes)

    def steps(
        self, recipe: Recipe, net: PosteriorNetwork, pool: SimulationPool, held_out: SimulationPool, seed: int
    ) -> Recipe:
        """Return the recipe with as many steps and starting rows as the budget allows, from a few timed ones.

        Each stage gets a few steps in any case: how long they take changes with what else the machine does.
        """
        if self.minutes is None:
            return replace(recipe, start_rows=recipe.start_rows or pool.draws)
        trial = copy.deepcopy(net)
        small = replace(
            recipe,
            preview_observations=min(2048, recipe.preview_observations),
            start_rows=min(_LEAST_START, pool.draws),
        )
        steps = {}
        for plan in plans_of(self.problem, trial):
            stage = plan.build(trial, pool, held_out, small, seed)
            seconds = self._step_seconds(plan, stage, pool.device)
            self._least_seconds[plan.name] = _LEAST_STEPS * seconds
            steps[f"{plan.name}_steps"] = max(_LEAST_STEPS, int(plan.share * self.seconds / seconds))
        return replace(recipe, start_rows=recipe.start_rows or self._start_rows(recipe, pool, seed), **steps)

    def _start_rows(self, recipe: Recipe, pool: SimulationPool, seed: int) -> int:
        """Rows for a start in closed form: the pool's, or more where simulations are quick."""
        began = time.monotonic()
        pool.batch(recipe.batch_size, seed, "start", 0).features  # noqa: B018
        drawn = max(time.monotonic() - began, 1e-6) / recipe.batch_size
        seconds = _STARTING * self.seconds
        simulated = int(seconds / (drawn + self._row))
        if simulated > pool.draws:
            return simulated
        return min(pool.draws, max(_LEAST_START, int(seconds / drawn)))

    def threads(self, plan: Plan, device: torch.device) -> AbstractContextManager[None]:
        """Return what sets the threads of a stage's steps: the plan's, or one if that was faster."""
        return single_thread(device) if plan.name in self._alone else plan.threads(device)

    def _step_seconds(self, plan: Plan, stage: Stage, device: torch.device) -> float:
        """Time of one step, on one thread if that is faster: beside other work threads wait for others."""
        most = _TIMED_SHARE * self.seconds
        with plan.threads(device):
            seconds = _step_seconds(stage, most)
        if not plan.is_parallel:
            return seconds
        with single_thread(device):
            alone = _step_seconds(stage, most)
        if alone < seconds:
            self._alone.add(plan.name)
        return min(alone, seconds)

    def _check(self, row: float, seconds: float) -> None:
        """Refuse a budget that the least simulations exceed by much."""
        needed = time.monotonic() - self.started + seconds
        if needed > max(_OVERRUN * self.seconds, self.seconds + _OVERRUN_SECONDS):
            enough = math.ceil(10 * needed / 60) / 10
            raise ValueError(
                f"minutes = {self.minutes:g} is too short: a simulation takes {1000 * row:.3g} ms here, the "
                f"smallest training about {enough:g} minutes; give minutes = {enough:g} or more, and several "
                "times that for narrow posteriors."
            )

    def _rows(self, recipe: Recipe, *, pool: bool, is_warm: bool) -> int:
        """Simulations of a whole training, those of the pool included or not."""
        templates = 0 if self.problem.observation.is_local else recipe.templates
        warm = min(WARM_ROWS, recipe.num_simulations) if is_warm else 0
        checked = rows_of_valid(recipe.guard) + rows_of_valid(recipe.measured)
        return recipe.held_out + checked + templates + warm + (recipe.num_simulations if pool else 0)

    def _pool_rows(self, row: float) -> int:
        """Simulations of the pool that fit into its share of the budget, and into memory."""
        problem = self.problem
        bytes_of_row = len(problem.observation) * problem.storage_dtype.itemsize
        most = min(_MOST_SIMULATIONS, max(4 * BLOCK, _POOL_BYTES // bytes_of_row))
        rows = min(most, int(_shares(problem)["simulate"] * self.seconds / row))
        return rows // BLOCK * BLOCK if rows > 8 * BLOCK else rows

    def _seconds_per_row(self, seed: int) -> float:
        """Time of one simulation among many; the more are timed the longer the budget is."""
        self.problem.simulate_clean(1, seed)  # the first call may load or compile what later ones have
        most = max(_TIMED_SECONDS, _TIMED_SHARE * self.seconds)
        rows, spent, before, best = 1, 0.0, math.inf, math.inf
        while True:
            began = time.monotonic()
            self.problem.simulate_clean(rows, seed)
            seconds = max(time.monotonic() - began, 1e-6)
            spent, best = spent + seconds, min(best, seconds / rows)  # a busy machine only adds
            # Where four times the rows take hardly longer, a call has costs of its own: more rows tell.
            grows = seconds > 2 * before
            if rows >= _TIMED_ROWS or (rows > 1 and spent > most) or (grows and spent > most / 4):
                return best
            rows, before = 4 * rows, seconds


def _step_seconds(stage: Stage, most: float) -> float:
    """Time of one step; a learning rate of zero leaves the weights as they are."""
    optimiser = Optimiser((p for p in stage.module.parameters() if p.requires_grad), 0.0)
    seconds: list[float] = []
    for batch in list(stage.batches(0, _TIMED_STEPS)):
        began = time.monotonic()
        optimiser.zero_grad()
        stage.loss(Ranks().share(batch, stage.axis)[0]).backward()
        optimiser.step()
        seconds.append(time.monotonic() - began)
        if len(seconds) > 2 and sum(seconds) > most:
            break
    # The first steps of an optimiser have work of their own.
    return max(1.1 * statistics.median(seconds), 1e-6)
