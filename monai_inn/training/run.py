"""One training from simulations to thresholds of trust, able to continue after an interruption."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from monai_inn.fitted import FittedPosterior
from monai_inn.networks import Encoder, PosteriorNetwork
from monai_inn.networks.classes.flow import ClassFlow
from monai_inn.networks.parts import describe
from monai_inn.networks.posterior import assemble
from monai_inn.problems import InverseProblem
from monai_inn.training.budget import Budget
from monai_inn.training.checkpoint import Checkpoint, HeldSignals
from monai_inn.training.engine import Progress, Stage, run_stage
from monai_inn.training.pool import SimulationPool
from monai_inn.training.ranks import Ranks
from monai_inn.training.recipe import Recipe
from monai_inn.training.simulation import open_simulations
from monai_inn.training.simulation_store import what_differs
from monai_inn.training.stages import Plan, known_observations, plans_of, usual_parts
from monai_inn.training.thresholds import explanation_sizes, set_thresholds
from monai_inn.training.warm import warm_start

__all__ = ["GUARD", "MEASURE", "Run", "merged"]

# Held-out data come from seeds far from any that a user would count up to.
_WHITENING_ROWS = 20_000
_WHITENING_IMAGES = 512  # whose features may be expensive, and are left as they are
_HELD_OUT, GUARD, MEASURE = 0x5EED_0001, 0x5EED_0002, 0x5EED_0003


def merged(sizes: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of parts with those of others in their place; a part of another kind keeps none of them."""
    merged = dict(sizes)
    for name, value in others.items():
        before = merged.get(name, {})
        if isinstance(value, Mapping) and value.get("kind", before.get("kind")) == before.get("kind"):
            value = {**before, **value}
        merged[name] = value
    return merged


@dataclass(eq=False)
class Run:
    """One call of ``fit``: what all its stages share."""

    problem: InverseProblem
    seed: int
    options: dict[str, Any]
    encoder: Encoder | None
    checkpoint: str | PathLike[str] | None
    tell: Callable[[Progress], None]
    device: torch.device
    warm: FittedPosterior | None
    budget: Budget
    minutes_before: float = 0.0

    def __post_init__(self) -> None:
        self.ranks = Ranks()
        starts = {"num_simulations": 0, "held_out": _HELD_OUT, "guard": GUARD, "measured": MEASURE}
        self.seeds = {name: self.seed + start for name, start in starts.items()}
        self.problem.split(*self.seeds.values())
        self.store = Checkpoint(None if self.checkpoint is None else Path(self.checkpoint))
        self.identity = {
            "checkpoint format": 5,
            "problem": self.problem.identity,
            "seed": self.seed,
            "options": json.loads(json.dumps(self.options)),
            "encoder": None if self.encoder is None else describe(self.encoder),
        }

    def minutes(self) -> float:
        """Minutes spent so far, those before an interruption included."""
        return self.minutes_before + (time.monotonic() - self.budget.started) / 60

    def resumable(self) -> dict[str, Any] | None:
        """The stored state, if it belongs to this run; ``None`` if there is none."""
        state = self.store.read()
        if state is None:
            return None
        differing = [key for key, value in self.identity.items() if state["identity"].get(key) != value]
        if differing:
            detail = ""
            if "problem" in differing:
                with self.store.reading():
                    detail = f" ({what_differs(state['identity']['problem'], self.identity['problem'])})"
            raise ValueError(
                f"the checkpoint in {self.store.file} is of another run: {', '.join(differing)} differ"
                f"{detail}; resume with the same arguments, or choose another folder."
            )
        with self.store.reading():
            state["recipe"] = Recipe.from_config(state["recipe"])
        self.minutes_before = state["minutes"]
        return state

    def train(
        self,
        recipe: Recipe,
        simulations: str | PathLike[str] | None,
        state: dict[str, Any] | None,
    ) -> tuple[FittedPosterior, dict[str, Any]]:
        """Simulate, train all stages, set the guard's scores."""
        recipe = self._sized(recipe, simulations is not None) if state is None else state["recipe"]
        recipe = self.ranks.agreed(recipe)  # a budget is measured by each process for itself
        pool = self._pool(recipe, simulations)
        self.budget.ended("simulate")
        held_out = SimulationPool.simulate(self.problem, recipe.held_out, self.seed + _HELD_OUT, self.device)
        net = self.network(pool, recipe)
        if state is None:
            recipe = self.ranks.agreed(self.budget.steps(recipe, net, pool, held_out, self.seed))
        losses: dict[str, float] = {} if state is None else dict(state["losses"])
        resumed = state is not None
        for index, plan in enumerate(plans_of(self.problem, net)):
            if state is not None and state["stage"] > index:
                continue
            engine = None
            if state is not None:
                self._restore(net, state)
            stage = plan.build(net, pool, held_out, recipe, self.seed)
            if self.warm is not None and index == 0:
                warm_start(net, self.warm, pool)
            if state is not None and state["engine"] is not None:
                # Building the stage has initialised what was already trained.
                self._restore(net, state)
                engine = state["engine"]
            state = None
            self._stage(index, plan, stage, net, recipe, losses, engine)
            self.budget.ended(plan.name)
        if state is not None:
            self._restore(net, state)
        set_thresholds(net, self.problem, self.seed + GUARD)
        about = {
            "resumed": resumed,
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
        plan: Plan,
        stage: Stage,
        net: PosteriorNetwork,
        recipe: Recipe,
        losses: dict[str, float],
        engine: dict[str, Any] | None,
    ) -> None:
        """Train one stage, saving as it goes; ``losses`` gets its best held-out loss."""

        def save(engine: dict[str, Any] | None, next_stage: int = index) -> None:
            if not self.ranks.is_first:
                return
            state = {
                "identity": self.identity,
                "recipe": asdict(recipe),
                "stage": next_stage,
                "losses": losses,
                "minutes": self.minutes(),
            }
            self.store.write(state | {"engine": engine, "network": net.state_dict()})

        with self.budget.threads(plan, self.device), HeldSignals() as held:
            losses[stage.name] = run_stage(
                stage,
                resumed=engine,
                save=save,
                tell=self.tell,
                deadline=self.budget.deadline(stage.name),
                ranks=self.ranks,
                held=held,
                reading=self.store.reading,
            )
            save(None, index + 1)

    def _restore(self, net: PosteriorNetwork, state: dict[str, Any]) -> None:
        with self.store.reading():
            net.load_state_dict(state["network"])

    def _sized(self, recipe: Recipe, has_pool: bool) -> Recipe:
        """The recipe with the sizes that options and donor demand, and the budget allows."""
        donor = 0 if self.warm is None else self.warm.network.encoder.num_known
        given = {
            "guard": self.options.get("num_ood_scores"),
            "templates": self.options.get("encoder", {}).get("templates", donor or None),
        }
        fixed = {name: size for name, size in given.items() if size is not None}
        available = {name: self.problem.available(seed) for name, seed in self.seeds.items()}
        finished = {name: size for name, size in available.items() if size is not None}
        sized = self.budget.simulations(
            replace(recipe, **fixed), self.seed, fixed=fixed, has_pool=has_pool or bool(finished),
            is_warm=self.warm is not None,
        )  # fmt: skip
        if finished and not has_pool:
            sized = replace(sized, num_simulations=finished["num_simulations"])
        return replace(sized, **{n: min(size, getattr(sized, n)) for n, size in finished.items()})

    def network(self, pool: SimulationPool, recipe: Recipe) -> PosteriorNetwork:
        """A new network with the sizes of the problem, whitened."""
        rows = _WHITENING_IMAGES if self.problem.has_fields else _WHITENING_ROWS
        batch = pool.batch(rows, self.seed, "whitening", 0)
        targets, total = len(self.problem.targets), len(self.problem.parameters)
        groups = (targets, total - targets) if total > targets else (total,)
        shown = list(enumerate(self.problem.parameters[:targets]))
        circular = [i for i, p in shown if p.is_periodic]
        classes = [(i, len(p.categories)) for i, p in shown if p.categories]
        usual: dict[str, Any] = {
            "num_ood_scores": recipe.guard,
            **usual_parts(self.problem, recipe.templates),
        }
        is_classifier = usual.get("flow", {}).get("kind") == ClassFlow.kind
        # An observation with gaps has no features for a residual, and a density of classes is a test itself.
        observation = self.problem.observation
        if is_classifier:
            usual["flow"]["num_held_out"] = recipe.guard
        elif observation.is_local and not observation.may_miss:
            explained = self.problem.explained_features(batch.noisy).shape[-1]
            usual["explanation"] = explanation_sizes(self.problem, explained, recipe.guard)
        chosen = merged(usual, self.options)
        if self.encoder is not None:
            chosen["encoder"] = copy.deepcopy(self.encoder)
        net = assemble(
            batch.features.shape[-1],
            batch.density_features.shape[-1],
            groups,
            circular,
            classes,
            has_preview=self.problem.observation.is_local,
            **chosen,
        ).to(self.device)
        clean = self.problem.features(pool.clean[:rows].float()).to(self.device)
        known = known_observations(self.problem, net.encoder.num_known, self.device)
        net.fit_fixed(batch.features, batch.density_features, clean, known)
        return net

    def _pool(self, recipe: Recipe, simulations: str | PathLike[str] | None) -> SimulationPool:
        """The training pool, from a store or simulated now."""
        if simulations is not None:
            stored = open_simulations(simulations)
            stored.require_problem(self.problem)
            return SimulationPool(self.problem, *stored.load(), self.device)
        began = time.monotonic()

        def report(share: float) -> None:
            left = (time.monotonic() - began) * (1 / share - 1)
            self.tell(Progress("simulate", share, float("nan"), left))

        return SimulationPool.simulate(self.problem, recipe.num_simulations, self.seed, self.device, report)
