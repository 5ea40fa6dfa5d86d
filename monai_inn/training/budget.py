"""How much training fits into a time budget on this machine."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch

from monai_inn.networks import PosteriorNetwork
from monai_inn.problems import InverseProblem
from monai_inn.training.engine import Stage, single_thread
from monai_inn.training.optimiser import Optimiser
from monai_inn.training.pool import SimulationPool
from monai_inn.training.stages import Recipe, stages_of

__all__ = ["deadlines", "scaled", "training_threads"]

# Of the budget; the rest is for measuring.
_SHARES = {"simulate": 0.25, "posterior": 0.45, "density": 0.15, "preview": 0.06}
_SHARES_OF_IMAGES = {"simulate": 0.2, "posterior": 0.62, "density": 0.08}
_TRIAL = 4096
_POOL_BYTES = 3 << 29


def training_threads(
    stage: str, problem: InverseProblem, device: torch.device
) -> AbstractContextManager[None]:
    """Return what sets the threads of a stage: one, or all for the large steps of an image's posterior.

    On two cores such a step of 32 × 32 pixels takes 55 ms, on one 90; small ones take longer on two.
    """
    is_large = stage == "posterior" and problem.image_size is not None
    return nullcontext() if is_large else single_thread(device)


def _shares(problem: InverseProblem) -> dict[str, float]:
    return _SHARES if problem.image_size is None else _SHARES_OF_IMAGES


def deadlines(started: float, minutes: float, problem: InverseProblem) -> dict[str, float]:
    """When each stage must end, as ``time.monotonic()``: a slow one must not starve those after it."""
    shares = _shares(problem)
    ends = itertools.accumulate(shares.values())
    return {name: started + 60 * minutes * end for name, end in zip(shares, ends, strict=True)}


def scaled(
    recipe: Recipe,
    minutes: float,
    problem: InverseProblem,
    network: Callable[[SimulationPool], PosteriorNetwork],
    seed: int,
    device: torch.device,
    *,
    has_simulations: bool,
) -> Recipe:
    """Return the recipe that fits into a time budget on this machine, from a short trial of every stage.

    Args:
        recipe: what is kept where the budget allows it.
        minutes: the budget.
        problem: the inverse problem.
        network: makes the network that is to be trained, from simulations.
        seed: seed of the trial.
        device: where to train.
        has_simulations: whether the simulations exist already.
    """
    problem.simulate_clean(1, seed)  # the first call may load or compile what later ones have
    began = time.monotonic()
    trial = SimulationPool.simulate(problem, _TRIAL, seed, device)
    per_simulation = (time.monotonic() - began) / _TRIAL
    net, per_step = network(trial), {}
    small = replace(recipe, preview_observations=2048)
    for build in stages_of(net):
        stage = build(net, trial, trial, small, seed)
        with training_threads(stage.name, problem, device):
            per_step[stage.name] = _step_seconds(stage)
    seconds = 60 * minutes - (time.monotonic() - began)
    shares = _shares(problem)
    steps = {f"{name}_steps": max(50, int(shares[name] * seconds / s)) for name, s in per_step.items()}
    num = recipe.num_simulations if has_simulations else int(shares["simulate"] * seconds / per_simulation)
    fit_into_memory = _POOL_BYTES // (trial.clean.shape[1] * trial.clean.element_size())
    num = min(max(num // _TRIAL, 2) * _TRIAL, 2_000_000, max(_TRIAL, fit_into_memory // _TRIAL * _TRIAL))
    observations = int(min(recipe.preview_observations, 2048 + 80 * seconds))
    measured = int(min(recipe.measured, 500 + 10 * seconds))
    return replace(recipe, num_simulations=num, preview_observations=observations, measured=measured, **steps)


def _step_seconds(stage: Stage, steps: int = 9) -> float:
    """Time of one step; a learning rate of zero leaves the weights as they are."""
    optimiser = Optimiser((p for p in stage.module.parameters() if p.requires_grad), 0.0)
    seconds = []
    for batch in list(stage.batches(0, steps)):
        began = time.monotonic()
        optimiser.zero_grad()
        stage.loss(batch).backward()
        optimiser.step()
        seconds.append(time.monotonic() - began)
    return 1.1 * statistics.median(seconds)  # the first steps of an optimiser have work of their own
