"""Training for what means the same at every site: independent causal mechanisms."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from monai_inn.metrics.independence import hsic
from monai_inn.networks import PosteriorNetwork
from monai_inn.networks.encoders.gates import GatedEncoder
from monai_inn.networks.flows.couplings import Context
from monai_inn.networks.flows.leading import log_normal
from monai_inn.problems import InverseProblem
from monai_inn.seeding import stream
from monai_inn.training.engine import Stage
from monai_inn.training.objectives.mechanisms import DOUBT, invariant_features
from monai_inn.training.pool import FIRST_BATCH, Batch, SimulationPool, prefetched
from monai_inn.training.recipe import Recipe

__all__ = ["gated_encoder", "invariance_stage", "site_of"]

USUAL = 2000.0
_LEAST_ROWS, _LEAST_HELD_OUT = 100, 10  # of a site
_BATCH = 512  # the kernels' matrices have its square
_HELD_OUT_ROWS = 1024
_COMPARED_ROWS = 8192  # by which gates are chosen
_ALONE = 1 / 3  # of the steps, before which the weight is 0; it grows to the full one in as many

Rows = tuple[Tensor, Tensor, Tensor, Tensor]
"""Features, parameters, sites, and for each row the weight so far."""


def gated_encoder(
    problem: InverseProblem, over: str | None, weight: float | None, own: bool
) -> dict[str, Any]:
    """Return the description of an encoder that is to be invariant over the classes of a parameter.

    Raises:
        ValueError: if the weight is negative, the parameter is none of several sites, or there is an encoder
            of another kind.
    """
    weight = USUAL if weight is None else weight
    if over is None or not 0 <= weight < math.inf:
        raise ValueError(
            f"invariance = {weight} over {over!r}; give a finite weight, at least 0 (usual: {USUAL:g}), and "
            "the parameter of the sites as invariant_over."
        )
    sites = problem.space.parameters[problem.space.index(over)].categories
    if len(sites) < 2 or over in problem.targets:
        what = "a target" if over in problem.targets else f"a parameter of {len(sites)} classes"
        raise ValueError(
            f"invariant_over = {over!r} is {what}; give one behind the targets whose categories are two or "
            "more sites."
        )
    if own or problem.encoder or problem.has_fields or problem.observation.kind in ("series", "image"):
        raise ValueError(
            f"invariant_over = {over!r} needs an encoder with gates, which is for observations that are a "
            f"few numbers; {problem.name!r} has another one: give features instead of images or series."
        )
    missing = {"may_miss": True} if problem.observation.may_miss else {}
    return {"kind": GatedEncoder.kind, "over": over, "weight": float(weight), **missing}


def site_of(problem: InverseProblem, theta: Tensor, over: str) -> Tensor:
    """Return the sites ``(N,)``, numbers of classes, of parameters ``(N, D)`` in physical units."""
    column = problem.space.index(over)
    return theta[:, column].long().clamp_max(len(problem.parameters[column].categories) - 1)


def invariance_stage(
    net: PosteriorNetwork, pool: SimulationPool, held_out: SimulationPool, recipe: Recipe, seed: int
) -> Stage:
    """Maximum likelihood at every site equally, of a condition whose relation to the targets knows no site.

    The latent ``R`` of the targets is all that the condition ``h`` does not say of them. If the targets
    follow from ``h`` by one mechanism everywhere, ``R`` is independent of ``h`` and the site together. The
    loss is the mean over the sites of ``−log q(targets | h)`` in nats, plus the weight times the
    Hilbert–Schmidt criterion of ``R`` and the pair ``(h, site)``, as far as it is beyond chance. Features
    that are not the same everywhere are left out before, see ``invariant_features``: the gradient of the
    criterion alone would rather give up all of them. Nuisances, the site among them, learn from ``h`` and do
    not shape it.

    Raises:
        ValueError: if the parameter is none whose classes are sites, or a site has too few simulations.

    Source: Müller et al., Learning robust models using the principle of independent causal mechanisms, 2021.
    """
    encoder, problem = net.encoder, pool.problem
    assert isinstance(encoder, GatedEncoder)
    targets = len(problem.targets)
    size = min(recipe.batch_size, _BATCH)
    own = _of_sites(pool, encoder.over, _LEAST_ROWS)
    most = max(map(len, own))
    rows = torch.cat([of_site.repeat(-(-most // len(of_site)))[:most] for of_site in own])

    def with_sites(batch: Batch, share: float) -> Rows:
        site = site_of(problem, problem.space.inverse(batch.latent), encoder.over)
        weight = torch.full_like(batch.latent[:, 0], share * encoder.weight)
        return batch.features, batch.latent, site, weight

    def make(step: int) -> Rows:
        share = _share(step / recipe.posterior_steps)
        return with_sites(pool.batch(size, seed, "posterior", step, rows), share)

    def loss_of_targets(batch: Rows) -> Tensor:
        features, parameters, site, weight = batch
        condition = encoder(features)
        values = parameters.T.unsqueeze(0)[:, :targets]
        latent, log_det = net.flow.stack(values, Context(condition.T.unsqueeze(0)))
        dependence = weight.mean() * hsic(latent[0].T, condition, site, doubt=DOUBT)
        return dependence - (log_det + log_normal(latent).sum(1)).mean()

    def loss(batch: Rows) -> Tensor:
        # The flow, but not the encoder, has the gradient of the targets twice.
        seen = encoder(batch[0]).detach().T.unsqueeze(0)
        every = net.flow.stack.log_prob(batch[1].T.unsqueeze(0), Context(seen)).mean()
        return loss_of_targets(batch) - every

    steps = recipe.posterior_steps
    with torch.no_grad():
        features, parameters, _, _ = make(FIRST_BATCH)
        if encoder.weight:
            encoder.open_only(_invariant(encoder, pool, seed))
        net.flow.initialise(lambda _: (parameters, net.condition(features)), pool.draws)
    judged = _of_sites(held_out, encoder.over, _LEAST_HELD_OUT)
    fewest = min(*map(len, judged), _HELD_OUT_ROWS // len(judged))
    # No row twice: equal rows look dependent.
    once = torch.cat([of_site[:fewest] for of_site in judged])
    fixed = with_sites(held_out.noisy(once, stream(seed, FIRST_BATCH, "held out")), 1.0)
    module = torch.nn.ModuleList([encoder, net.flow])
    rate = recipe.peak_rate(steps)
    return Stage("posterior", module, prefetched(make), loss, lambda: loss_of_targets(fixed), steps, rate)


def _share(progress: float) -> float:
    """Share of the weight; what a flow leaves open that is not yet fitted would be laid on the condition."""
    return min(1.0, max(0.0, progress / _ALONE - 1))


def _invariant(encoder: GatedEncoder, pool: SimulationPool, seed: int) -> list[bool]:
    """The features that mean the same at all sites, by simulations of the pool."""
    batch = pool.noisy(torch.arange(len(pool))[:_COMPARED_ROWS], stream(seed, FIRST_BATCH, "gates"))
    problem = pool.problem
    theta = problem.space.inverse(batch.latent)
    columns = []
    for name, latent in zip(problem.targets, batch.latent.T, strict=False):
        categories = problem.space.parameters[problem.space.index(name)].categories
        # Of a class the latent is a random rank inside it, which hides what the class would tell.
        classes = [site_of(problem, theta, name) == k for k in range(1, len(categories))]
        columns += [column.to(latent) for column in classes] or [latent]
    outcome = torch.stack(columns, 1)
    outcome = (outcome - outcome.mean(0)) / outcome.std(0).clamp_min(1e-6)
    features = encoder.whitening(batch.features).nan_to_num()
    return invariant_features(features, outcome, site_of(problem, theta, encoder.over), encoder.weight)


def _of_sites(pool: SimulationPool, over: str, least: int) -> list[Tensor]:
    """The rows of each site."""
    names = pool.problem.space.parameters[pool.problem.space.index(over)].categories
    site = site_of(pool.problem, pool.problem.space.inverse(pool.latent), over)
    counts = site.bincount(minlength=len(names)).tolist()
    few = min(range(len(names)), key=counts.__getitem__)
    if counts[few] < least:
        raise ValueError(
            f"{over} {names[few]!r} has {counts[few]} of {len(site):,} simulations; give at "
            f"least {least}, or leave it out."
        )
    return [(site == k).nonzero().squeeze(1) for k in range(len(names))]
