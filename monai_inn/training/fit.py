"""From an inverse problem to a trained, measured posterior in one call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from monai_inn.inferers import FittedPosterior
from monai_inn.metrics.ood import waic
from monai_inn.networks import PosteriorNetwork
from monai_inn.problems import InverseProblem
from monai_inn.training.budget import deadlines, scaled, training_threads
from monai_inn.training.engine import Checkpoint, Progress, Stage, run_stage
from monai_inn.training.measure import measure, valid_simulations
from monai_inn.training.pool import SimulationPool
from monai_inn.training.simulation import open_simulations
from monai_inn.training.stages import Recipe, image_options, stages_of, template_images
from monai_inn.training.warm import warm_start

__all__ = ["fit"]

# Held-out data come from seeds far from any that a user would count up to.
_WHITENING_ROWS = 20_000
_HELD_OUT, _GUARD, _MEASURE = 0x5EED_0001, 0x5EED_0002, 0x5EED_0003


def fit(
    problem: InverseProblem,
    *,
    minutes: float | None = None,
    seed: int = 0,
    members: int = 5,
    coupling: str = "spline",
    recipe: Recipe | None = None,
    network: dict[str, Any] | None = None,
    simulations: str | PathLike[str] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    resume: bool = False,
    warm: FittedPosterior | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[Progress], None] | None = None,
) -> FittedPosterior:
    """Train the posterior, the density of the observations and the preview of a problem, and measure them.

    Args:
        problem: the inverse problem.
        minutes: time budget for everything; the recipe's sizes are scaled to it.
        seed: seed of simulations, noise and weights; the same seed and recipe give the same network.
        members: flows in the density ensemble that WAIC is made from.
        coupling: ``"spline"`` or ``"affine"`` couplings in the posterior flow.
        recipe: sizes; ``Recipe()`` if neither it nor ``minutes`` is given.
        network: further arguments of ``PosteriorNetwork``.
        simulations: Zarr store of ``simulate_to_zarr``; simulated now if not given.
        checkpoint: folder for the training state; needed for ``resume``.
        resume: continue from the state in ``checkpoint``, to the same weights as without the interruption.
        warm: trained posterior of the same parameters to start from, for problems of images: that of another
            patient.
        device: where to train.
        progress: called with a ``Progress`` at every evaluation.

    Returns:
        The fitted posterior; its ``card`` holds the calibration and out-of-distribution figures measured on
        fresh simulations.

    Raises:
        ValueError: if the budget is not positive, or ``resume`` finds no checkpoint or another run's.
        RuntimeError: if ``device`` is a CUDA device and there is none.
    """
    if minutes is not None and minutes <= 0:
        raise ValueError(f"minutes = {minutes}; give a positive time budget, or none for the default recipe.")
    target = torch.device(device)
    if target.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f'device "{device}" was asked for, but torch finds no CUDA GPU; use device="cpu".')
    options = {"members": members, "coupling": coupling, "seed": seed, **(network or {})}
    run = _Run(problem, seed, options, checkpoint, progress or (lambda _: None), target, warm)
    state = run.resumable() if resume else None
    if state is not None:
        recipe = Recipe(**state["recipe"])
    elif minutes is not None:
        has_simulations = simulations is not None
        recipe = scaled(
            recipe or Recipe(), minutes, problem, run.network, seed, target, has_simulations=has_simulations
        )
    limits = {} if minutes is None else deadlines(run.started, minutes, problem)
    fitted, about = run.train(recipe or Recipe(), simulations, state, limits)
    card = measure(fitted, about["recipe"]["measured"], seed + _MEASURE)
    fitted.card = card | {"training": about | {"minutes": round(run.minutes(), 2)}}
    return fitted


class _Run:
    """One call of ``fit``: what all its stages share."""

    def __init__(
        self,
        problem: InverseProblem,
        seed: int,
        options: dict[str, Any],
        checkpoint: str | PathLike[str] | None,
        tell: Callable[[Progress], None],
        device: torch.device,
        warm: FittedPosterior | None,
    ) -> None:
        self.problem, self.seed, self.options, self.warm = problem, seed, options, warm
        self.tell, self.device = tell, device
        self.started, self.minutes_before = time.monotonic(), 0.0
        self.store = Checkpoint(None if checkpoint is None else Path(checkpoint))
        self.identity = {
            "checkpoint format": 2,
            "problem": repr(problem),
            "seed": seed,
            "options": repr(sorted(options.items())),
        }

    def minutes(self) -> float:
        """Minutes spent so far, those before an interruption included."""
        return self.minutes_before + (time.monotonic() - self.started) / 60

    def resumable(self) -> dict[str, Any]:
        """The stored state, if it belongs to this run."""
        state = self.store.read()
        if state is None:
            where = self.store.file.parent if self.store.file else "no folder (checkpoint=None)"
            raise ValueError(f"resume was asked for, but {where} holds no checkpoint; start without resume.")
        differing = [key for key, value in self.identity.items() if state["identity"].get(key) != value]
        if differing:
            raise ValueError(
                f"the checkpoint in {self.store.file} is of another run: {', '.join(differing)} differ; "
                "resume with the same arguments, or choose another folder."
            )
        self.minutes_before = state["minutes"]
        return state

    def train(
        self,
        recipe: Recipe,
        simulations: str | PathLike[str] | None,
        state: dict[str, Any] | None,
        limits: dict[str, float],
    ) -> tuple[FittedPosterior, dict[str, Any]]:
        """Simulate, train all stages, set the guard's scores."""
        pool = self._pool(recipe, simulations)
        held_out = SimulationPool.simulate(self.problem, 8 * 1024, self.seed + _HELD_OUT, self.device)
        net = self.network(pool)
        losses: dict[str, float] = {} if state is None else dict(state["losses"])
        for index, build in enumerate(stages_of(net)):
            if state is not None and state["stage"] > index:
                continue
            engine = None
            if state is not None:
                net.load_state_dict(state["network"])
            stage = build(net, pool, held_out, recipe, self.seed)
            if self.warm is not None and index == 0:
                warm_start(net, self.warm, pool)
            if state is not None and state["engine"] is not None:
                # Building the stage has initialised what was already trained.
                net.load_state_dict(state["network"])
                engine = state["engine"]
            state = None
            self._stage(index, stage, net, recipe, losses, engine, limits.get(stage.name, math.inf))
        if state is not None:
            net.load_state_dict(state["network"])
        self._guard(net)
        about = {
            "seed": self.seed,
            "simulations": len(pool),
            "warm": self.warm is not None,
            "held_out_loss": losses,
            "recipe": asdict(recipe),
        }
        return FittedPosterior(self.problem, net, {}), about

    def _stage(
        self,
        index: int,
        stage: Stage,
        net: PosteriorNetwork,
        recipe: Recipe,
        losses: dict[str, float],
        engine: dict[str, Any] | None,
        deadline: float,
    ) -> None:
        """Train one stage, saving as it goes; ``losses`` gets its best held-out loss."""

        def save(engine: dict[str, Any] | None, next_stage: int = index) -> None:
            state = {
                "identity": self.identity,
                "recipe": asdict(recipe),
                "stage": next_stage,
                "losses": losses,
                "minutes": self.minutes(),
            }
            self.store.write(state | {"engine": engine, "network": net.state_dict()})

        with training_threads(stage.name, self.problem, self.device):
            losses[stage.name] = run_stage(
                stage, resumed=engine, save=save, tell=self.tell, deadline=deadline
            )
        save(None, index + 1)

    def network(self, pool: SimulationPool) -> PosteriorNetwork:
        """A new network with the sizes of the problem, whitened."""
        batch = pool.batch(_WHITENING_ROWS, self.seed, "whitening", 0)
        targets, total = len(self.problem.targets), len(self.problem.parameters)
        groups = (targets, total - targets) if total > targets else (total,)
        sizes = (batch.features.shape[-1], batch.density_features.shape[-1])
        options = (image_options(self.problem) if self.problem.image_size else {}) | self.options
        net = PosteriorNetwork(*sizes, groups, **options).to(self.device)
        clean = self.problem.features(pool.clean[:_WHITENING_ROWS].float()).to(self.device)
        known = template_images(self.problem, net, self.device)
        net.fit_whitening(batch.features, batch.density_features, clean, known)
        return net

    def _guard(self, net: PosteriorNetwork) -> None:
        """Score held-out in-distribution observations for the conformal thresholds."""
        size = len(net.ood_scores)
        y = valid_simulations(self.problem, size, self.seed + _GUARD)[1]
        with torch.no_grad():
            scores = waic(net.observation_log_prob(self.problem.density_features(y).to(self.device)))
        net.ood_scores.copy_(scores.sort().values)

    def _pool(self, recipe: Recipe, simulations: str | PathLike[str] | None) -> SimulationPool:
        """The training pool, from a store or simulated now."""
        if simulations is not None:
            opened = open_simulations(simulations)
            theta, clean = torch.from_numpy(opened.theta[:]), torch.from_numpy(opened.y[:])
            return SimulationPool(self.problem, theta, clean, self.device)
        began = time.monotonic()

        def report(share: float) -> None:
            left = (time.monotonic() - began) * (1 / share - 1)
            self.tell(Progress("simulate", share, float("nan"), left))

        return SimulationPool.simulate(self.problem, recipe.num_simulations, self.seed, self.device, report)
