"""What is trained: the posterior, the density of the observations, their explanation, the preview."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from monai_inn.inferers.summaries import quantiles, shared_latents, sorted_last
from monai_inn.networks import PosteriorNetwork, QuantileHead
from monai_inn.networks.encoders.gates import GatedEncoder
from monai_inn.networks.flows.couplings import Context
from monai_inn.networks.kernels.chunks import on_all_threads, single_thread
from monai_inn.problems import InverseProblem
from monai_inn.problems.priors import own_draws
from monai_inn.training.engine import Stage
from monai_inn.training.objectives.bottleneck import Build, information_bottleneck
from monai_inn.training.objectives.invariance import invariance_stage
from monai_inn.training.pool import FIRST_BATCH, SimulationPool, prefetched
from monai_inn.training.recipe import Recipe

__all__ = ["SMALL_DENSITY", "Plan", "known_observations", "plans_of", "posterior_stage", "usual_parts"]

_HELD_OUT_ROWS = 4096
# Components and templates. The more unknowns, the more directions and the more of a prior: with three angles
# 256 components lose 0.08 nats of the posterior, 384 lose 0.005. With more of both the loss after 1,500 steps
# was 0.14 nats lower, for three unknowns as for six, at a third more time a step.
_UP_TO_TWO, _BEYOND = (256, 2048), (384, 4096)
_PREVIEW_SAMPLES = 512


def posterior_stage(
    net: PosteriorNetwork, pool: SimulationPool, held_out: SimulationPool, recipe: Recipe, seed: int
) -> Stage:
    """Maximum likelihood of the parameters given the features, in nats (flow's space)."""
    size = min(recipe.batch_size, net.flow.step_rows)
    rows = min(_HELD_OUT_ROWS, 16 * size, len(held_out))
    whole = held_out.batch(rows, seed, "held out", 0)
    fixed = whole.features, whole.latent

    def nll(batch: tuple[Tensor, Tensor]) -> Tensor:
        features, latent = batch
        with torch.autocast(features.device.type, torch.bfloat16, enabled=features.is_cuda):
            return -net.posterior(features).log_prob(latent).mean()

    def make(step: int) -> tuple[Tensor, Tensor]:
        batch = pool.batch(size, seed, "posterior", step)
        return batch.features, batch.latent

    most = recipe.start_rows or pool.draws
    if pool.problem.available(seed) is not None:  # the pool holds all of them
        most = min(most, pool.draws)

    def draw(number: int) -> tuple[Tensor, Tensor]:
        beyond = number - len(pool) // recipe.batch_size
        if most > pool.draws and beyond >= 0:
            batch = pool.beyond(beyond, seed)
        else:
            batch = pool.batch(recipe.batch_size, seed, "posterior", FIRST_BATCH - number)
        return batch.latent, net.condition(batch.features)

    with torch.no_grad():
        if pool.problem.has_fields:
            net.flow.set_covariance(pool.problem.posterior_covariance)  # type: ignore[operator]
        net.flow.initialise(draw, most)
    module = nn.ModuleList([net.encoder, net.flow])
    steps = recipe.posterior_steps
    rate = recipe.peak_rate(steps)
    return Stage("posterior", module, prefetched(make), nll, lambda: nll(fixed), steps, rate)


def density_stage(
    net: PosteriorNetwork, pool: SimulationPool, held_out: SimulationPool, recipe: Recipe, seed: int
) -> Stage:
    """Maximum likelihood of the smoothed features under every member, each on its own share of the pool.

    Members that saw the same data would agree everywhere, and WAIC would be no more than a likelihood.
    Smoothing keeps the density from hugging a manifold that real tissue misses by more than its noise.
    """
    ensemble = net.density.ensemble
    members, size = ensemble.members, max(64, recipe.batch_size // 2)
    share = len(pool) // members
    rows = min(_HELD_OUT_ROWS, len(held_out))
    reference = held_out.batch(rows, seed, "held out density", 0).density_features

    def make(step: int) -> Tensor:
        parts = [
            pool.batch(size, seed, f"density {m}", step, range(m * share, (m + 1) * share)).density_features
            for m in range(members)
        ]
        return smoothed(torch.stack(parts), step)

    def smoothed(features: Tensor, step: int) -> Tensor:
        """Whitened features with the smoothing noise of one step, members and channels first."""
        whitened = net.density.channels(net.encoder.summary(features)).transpose(-1, -2)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        noise = torch.randn(whitened.shape, generator=generator).to(whitened)
        return whitened + recipe.density_smoothing * noise

    def nll(columns: Tensor) -> Tensor:
        """Mean negative log density in nats of whitened features ``(M, K, N)``."""
        return -(ensemble.stack.log_prob(columns, Context(None)).mean() + net.density.whitening.log_det)

    fixed = smoothed(reference, FIRST_BATCH)
    with torch.no_grad():
        ensemble.stack.initialise(make(FIRST_BATCH), Context(None))
    return Stage(
        "density",
        net.density,
        prefetched(make),
        nll,
        lambda: nll(fixed.expand(members, -1, -1)),
        recipe.density_steps,
        recipe.peak_rate(recipe.density_steps) / 2,
        axis=-1,
    )


def explanation_stage(
    net: PosteriorNetwork, pool: SimulationPool, held_out: SimulationPool, recipe: Recipe, seed: int
) -> Stage:
    """Regression of the forward model, and of the parameters that explain an observation best."""
    part = net.explanation
    assert part is not None
    whole = held_out.batch(min(_HELD_OUT_ROWS, len(held_out)), seed, "held out explanation", 0)
    fixed = *whole.explained, whole.latent
    seen, clean = pool.batch(recipe.preview_observations, seed, "explained", 0).explained
    part.fit_scale(clean, seen - clean)

    def make(step: int) -> tuple[Tensor, Tensor, Tensor]:
        batch = pool.batch(recipe.batch_size, seed, "explanation", step)
        return *batch.explained, batch.latent

    def loss(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return part.loss(*batch)

    steps = recipe.explanation_steps
    rate = recipe.peak_rate(steps)
    return Stage("explanation", part, prefetched(make), loss, lambda: loss(fixed), steps, rate)


def preview_stage(
    net: PosteriorNetwork, pool: SimulationPool, held_out: SimulationPool, recipe: Recipe, seed: int
) -> Stage:
    """Regression of the preview's quantiles on those of the trained flow, in posterior standard deviations.

    The flow's quantiles are a function of the condition alone and carry none of the sampling noise that a
    pinball loss on single simulations has.
    """
    head = _preview(net)
    train = _flow_quantiles(net, pool.batch(recipe.preview_observations, seed, "preview", 0).features)
    rows = min(_HELD_OUT_ROWS, len(held_out), recipe.preview_observations)
    fixed = _flow_quantiles(net, held_out.batch(rows, seed, "held out preview", 0).features)

    def error(data: tuple[Tensor, Tensor]) -> Tensor:
        condition, target = data
        spread = (target[..., -2] - target[..., 1]).unsqueeze(-1) / 2  # half of the central 68 %
        difference = (head(condition) - target) / spread.clamp_min(1e-2)
        return nn.functional.smooth_l1_loss(difference, torch.zeros_like(difference), beta=0.2)

    def batches(first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            index = torch.randint(len(train[0]), (recipe.batch_size,), generator=generator)
            yield train[0][index], train[1][index]

    steps = recipe.preview_steps
    rate = recipe.peak_rate(steps)
    return Stage("preview", head, batches, error, lambda: error(fixed), steps, rate)


def _preview(net: PosteriorNetwork) -> QuantileHead:
    assert net.preview is not None
    return net.preview


def _flow_quantiles(net: PosteriorNetwork, features: Tensor) -> tuple[Tensor, Tensor]:
    """Conditions and the flow's marginal quantiles ``(N, D, levels)`` of the first group."""
    head = _preview(net)
    channels = head.num_parameters
    latents = shared_latents(_PREVIEW_SAMPLES, channels, seed=0).to(features.device)
    levels = head.levels.tolist()
    with torch.no_grad():
        condition = net.condition(features)

    def task(part: Tensor) -> Tensor:
        with torch.no_grad():
            samples = net.flow(part).leading(channels).push(latents)
            return quantiles(sorted_last(samples), levels).movedim(0, -1)

    return condition, torch.cat(list(on_all_threads(task, condition.split(1024), features.device)))


@dataclass(frozen=True)
class Plan:
    """One stage of a training before there is a network.

    Args:
        name: name of the stage.
        build: makes it.
        share: of the time budget; what the stages leave is for simulating and measuring.
        is_parallel: whether its steps are large enough for all threads.
    """

    name: str
    build: Build
    share: float
    is_parallel: bool = False

    def threads(self, device: torch.device) -> AbstractContextManager[None]:
        """Return what sets the threads of its steps."""
        return nullcontext() if self.is_parallel else single_thread(device)


_OF_PIXELS = (
    Plan("posterior", posterior_stage, 0.40),
    Plan("density", density_stage, 0.12),
    Plan("explanation", explanation_stage, 0.08),
    Plan("preview", preview_stage, 0.06),
)
# Of smoothed features small flows tell as much: two blocks of (64, 64) with 8 bins gain 0.1 nats of 45 and no
# AUROC on measured spectra, at five times the time that a pixel takes.
SMALL_DENSITY = {"num_blocks": 1, "hidden_channels": (32,), "num_bins": 4}
_OPTIONAL = ("explanation", "preview")
# A posterior step of 32 × 32 pixels takes 55 ms on two cores, on one 90; small ones take longer on two.
_OF_IMAGES = (
    Plan("posterior", posterior_stage, 0.62, is_parallel=True),
    Plan("density", density_stage, 0.08),
)


def plans_of(problem: InverseProblem, net: PosteriorNetwork | None = None) -> tuple[Plan, ...]:
    """Return what is trained for a problem, in order; only what the network has, where there is one.

    An encoder or a flow with a method ``training_stage`` says how the first stage is trained; it takes what
    ``posterior_stage`` takes, and returns a ``Stage``.
    """
    plans = _OF_PIXELS if problem.observation.is_local else _OF_IMAGES
    absent = [] if net is None else [name for name in _OPTIONAL if getattr(net, name) is None]
    chosen = tuple(plan for plan in plans if plan.name not in absent)
    own = None if net is None else _own_stage(net)
    return chosen if own is None else (replace(chosen[0], build=own), *chosen[1:])


def _own_stage(net: PosteriorNetwork) -> Build | None:
    """What trains a network first, if that is not maximum likelihood of the parameters."""
    if net.classifier is not None:
        return information_bottleneck(net.classifier.beta)
    if isinstance(net.encoder, GatedEncoder):
        return invariance_stage
    brought = (getattr(part, "training_stage", None) for part in (net.encoder, net.flow))
    return next((stage for stage in brought if stage is not None), None)


def usual_parts(problem: InverseProblem, most_templates: int) -> dict[str, dict[str, Any]]:
    """Return descriptions of the usual encoder and flow for observations like those of a problem."""
    observation = problem.observation
    missing = {"may_miss": True} if observation.may_miss else {}
    series = {"kind": "series", "channels": len(observation.names), "context": len(observation.context)}
    if problem.flow and "kind" in problem.flow:
        return {"encoder": {"kind": "field"}, "flow": dict(problem.flow), "density": SMALL_DENSITY}
    if problem.has_fields:
        flow = {"kind": "image_flow", "size": list(observation.size), **(problem.flow or {})}
        return {"encoder": {"kind": "field"}, "flow": flow}
    own = dict(problem.encoder or (series if observation.kind == "series" else {}))
    if own.get("kind") == "series":
        return {"encoder": {**series, **own}, "density": SMALL_DENSITY}
    if observation.is_local and own.get("kind", "vector") == "vector":
        density = {**SMALL_DENSITY, **missing}
        return {
            "encoder": {"kind": "vector", **missing, **own},
            "flow": dict(problem.flow or {}),
            "density": density,
        }
    if own:
        return {"encoder": own, "density": missing}
    angles = [i for i, p in enumerate(problem.parameters) if p.is_periodic]
    components, templates = _UP_TO_TWO if len(problem.parameters) <= 2 else _BEYOND
    return {
        "encoder": {
            "kind": "image",
            "num_parameters": len(problem.parameters),
            "components": min(components, len(observation) // 2),
            "templates": min(templates, most_templates),
            "periodic": angles,
        },
        "flow": {
            "num_blocks": 2 if len(problem.parameters) - len(angles) < 2 else 4,
            "hidden_channels": (128, 128),
        },
    }


@torch.no_grad()
def known_observations(
    problem: InverseProblem, count: int, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """Return features of noise-free observations all over the prior, and their latent parameters."""
    if not count:
        return None
    draws = own_draws(problem, count)
    if draws is None:
        latent = shared_latents(count, len(problem.parameters), seed=0).squeeze(1)
    else:
        latent = problem.space.to_latent(draws)
    images = problem.features(problem.forward(problem.space.inverse(latent)))
    return images.to(device), latent.to(device)
