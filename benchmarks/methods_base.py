"""What every method of the comparison gets and gives: one pool of simulations, one space, one clock."""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from monai_inn.networks import Whitening
from monai_inn.problems import InverseProblem
from monai_inn.training import Recipe
from monai_inn.training.engine import Stage, denormals_flushed, run_stage
from monai_inn.training.optimiser import Optimiser
from monai_inn.training.pool import SimulationPool, prefetched

CPU = torch.device("cpu")
_HELD_OUT, _HELD_OUT_ROWS = 8192, 4096
_TRAINING_SEED, _HELD_OUT_SEED = 101, 202
_WARM_STEPS, _TIMED_STEPS = 6, 20


class Pool:
    """Simulations that all methods train on, and the spaces that all work in.

    Parameters are in the flow's space, where their prior is normal and their bounds are infinitely far away;
    features are whitened. Noise is drawn anew whenever a batch is asked for.
    """

    def __init__(self, problem: InverseProblem, simulations: int) -> None:
        self.problem, self.space = problem, problem.space
        self.simulations = SimulationPool.simulate(problem, simulations, _TRAINING_SEED, CPU)
        self.held_out = SimulationPool.simulate(problem, _HELD_OUT, _HELD_OUT_SEED, CPU)
        features = self.simulations.batch(20_000, 0, "whitening", 0).features
        self.num_parameters, self.num_features = len(problem.parameters), features.shape[1]
        self.whitening = Whitening(self.num_features)
        self.whitening.fit(features)

    def batch(self, rows: int, seed: int, step: int, held_out: bool = False) -> tuple[Tensor, Tensor]:
        """Parameters ``(N, D)`` in the flow's space and whitened features ``(N, F)`` of one step."""
        source = self.held_out if held_out else self.simulations
        batch = source.batch(rows, seed, "held out" if held_out else "training", step)
        return batch.latent, self.whitening(batch.features)

    def pairs(self, seed: int) -> tuple[Tensor, Tensor]:
        """All simulations once, each with noise of its own, for whoever wants a fixed set."""
        y = self.problem.noise(self.simulations.clean, torch.Generator().manual_seed(seed))
        valid = self.problem.is_valid(y)
        return self.simulations.latent[valid].float(), self.condition(y[valid])

    def condition(self, y: Tensor) -> Tensor:
        """Whitened features ``(…, F)`` of observations ``(…, C)``."""
        return self.whitening(self.problem.features(y).float())


class Method(abc.ABC):
    """A way to posteriors; subclasses work in the flow's space and never see physical units."""

    name: ClassVar[str]
    pool: Pool

    def train(self, pool: Pool, seconds: float, seed: int) -> int:
        """Train for some processor time of one thread; return the number of steps."""
        self.pool = pool
        with torch.enable_grad():  # importing BayesFlow switches gradients off for everybody
            return self._train(seconds, seed)

    def sample(self, y: Tensor, samples: int) -> Tensor:
        """Draw parameters ``(S, N, D)`` in physical units given observations ``(N, C)``."""
        with torch.no_grad():
            return self.pool.space.inverse(self._sample(self.pool.condition(y), samples))

    def log_prob(self, theta: Tensor, y: Tensor) -> Tensor | None:
        """Log density in nats of physical parameters ``(S, N, D)``, shape ``(S, N)``; ``None`` if none."""
        latent, log_det = self.pool.space.forward(theta)
        with torch.no_grad():
            found = self._log_prob(latent.float(), self.pool.condition(y))
        return None if found is None else found + log_det

    def num_weights(self) -> int | None:
        """Number of trained numbers."""
        module = getattr(self, "module", None)
        return None if module is None else sum(p.numel() for p in module.parameters() if p.requires_grad)

    @abc.abstractmethod
    def _train(self, seconds: float, seed: int) -> int: ...

    @abc.abstractmethod
    def _sample(self, condition: Tensor, samples: int) -> Tensor:
        """Samples ``(S, N, D)`` given whitened features ``(N, F)``."""

    def _log_prob(self, latent: Tensor, condition: Tensor) -> Tensor | None:
        """Log densities ``(S, N)`` of ``(S, N, D)`` given whitened features ``(N, F)``."""
        return None


def train_stage(build: Callable[[int], Stage], seconds: float) -> int:
    """Train a stage as ``fit`` does, with as many steps as the processor time allows; return their number.

    Args:
        build: makes the stage from a number of steps.
        seconds: processor time for everything, the trial that measures a step included.
    """
    began = time.process_time()
    with denormals_flushed():
        per_step = _seconds_of_step(build(_WARM_STEPS + _TIMED_STEPS))
    steps = max(50, int((seconds - (time.process_time() - began)) / per_step))
    done = [0.0]
    run_stage(
        build(steps),
        resumed=None,
        save=lambda state: None,
        tell=lambda progress: done.append(progress.share),
    )
    return round(done[-1] * steps)


def _seconds_of_step(stage: Stage) -> float:
    """Processor time of a step; a learning rate of zero leaves the weights as they are."""
    weights = [p for p in stage.module.parameters() if p.requires_grad]
    optimiser, began = Optimiser(weights, 0.0), 0.0
    for step, batch in enumerate(stage.batches(0, _WARM_STEPS + _TIMED_STEPS)):
        if step == _WARM_STEPS:
            began = time.process_time()
        optimiser.zero_grad()
        stage.loss(batch).backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        optimiser.step()
    return (time.process_time() - began) / _TIMED_STEPS


def simple_stage(
    module: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    pool: Pool,
    seed: int,
    rows: int | None = None,
) -> Callable[[int], Stage]:
    """Stage of a method without needs of its own, with the package's optimiser and schedule.

    Args:
        module: what is trained.
        loss: from parameters ``(N, D)`` and whitened features ``(N, F)`` to a scalar.
        pool: where batches come from.
        seed: seed of the batches.
        rows: rows of a batch; those of ``fit`` by default.
    """
    recipe = Recipe()
    size = rows or recipe.batch_size
    fixed = pool.batch(_HELD_OUT_ROWS if rows is None else 2 * rows, seed, 0, held_out=True)

    def held_out() -> Tensor:
        with torch.random.fork_rng(devices=[]):  # the same latents at every evaluation
            torch.manual_seed(0)
            return loss(*fixed)

    def build(steps: int) -> Stage:
        batches = prefetched(lambda step: pool.batch(size, seed, step))
        rate = recipe.peak_rate(steps)
        return Stage("method", module, batches, lambda batch: loss(*batch), held_out, steps, rate)

    return build


def train_adam(
    module: nn.Module,
    nll: Callable[[Tensor, Tensor], Tensor],
    pool: Pool,
    seconds: float,
    seed: int,
    rate: float,
) -> int:
    """Train as a peer's user would: Adam, warm-up, cosine decay over the time, clipped gradients."""
    weights = [p for p in module.parameters() if p.requires_grad]
    adam = torch.optim.Adam(weights, lr=rate, fused=True)
    began, step, share = time.process_time(), 0, 0.0
    with denormals_flushed():
        while share < 1:
            latent, condition = pool.batch(Recipe().batch_size, seed, step)
            warm_up, decay = min(1.0, 50 * share + 0.01), 0.5 * (1 + math.cos(math.pi * share))
            adam.param_groups[0]["lr"] = rate * warm_up * decay
            adam.zero_grad(set_to_none=True)
            nll(latent, condition).backward()
            nn.utils.clip_grad_norm_(weights, 5.0)
            adam.step()
            step, share = step + 1, (time.process_time() - began) / seconds
    return step
