"""The information bottleneck: a density of observations that is also asked for their class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from monai_inn.networks import PosteriorNetwork
from monai_inn.networks.classes.density import ClassDensity
from monai_inn.training.engine import Stage
from monai_inn.training.pool import FIRST_BATCH, SimulationPool, prefetched
from monai_inn.training.recipe import Recipe

__all__ = ["bottleneck_loss", "information_bottleneck"]

_HELD_OUT_ROWS = 4096

Build = Callable[[PosteriorNetwork, SimulationPool, SimulationPool, Recipe, int], Stage]


def information_bottleneck(beta: float) -> Build:
    """Return the stage that trains a generative classifier.

    The loss is ``2 / (1 + β) · L_X − 2 β / (1 + β) · L_Y``. ``L_X`` is ``−log p(y)`` in nats for each channel
    that the couplings see, and ``L_Y`` the mean of ``log p(k | y) − log w_k`` of the true class, in nats.
    With β = 0 it is the likelihood of observations alone; the larger β, the more the class counts.

    Args:
        beta: weight of the class, at least 0.

    Raises:
        ValueError: if it is negative or not finite.
    """
    if not 0 <= beta < float("inf"):
        raise ValueError(f"beta = {beta}; give a finite number, at least 0.")
    return partial(_stage, beta)


def bottleneck_loss(density: ClassDensity, features: Tensor, label: Tensor, beta: float) -> Tensor:
    """Return the loss of ``information_bottleneck`` for observations ``(N, F)`` of classes ``(N,)``."""
    joint = density.log_likelihood(features) + density.log_shares
    own = joint.gather(1, label.unsqueeze(1)).squeeze(1)
    evidence = joint.logsumexp(1)
    of_class = own - evidence - density.log_shares[label]
    loss = -evidence / density.channels - beta * of_class
    return 2 / (1 + beta) * loss.mean()


def _stage(
    beta: float,
    net: PosteriorNetwork,
    pool: SimulationPool,
    held_out: SimulationPool,
    recipe: Recipe,
    seed: int,
) -> Stage:
    flow = net.classifier
    if flow is None:
        raise ValueError("an information bottleneck needs a flow of the kind 'classes'.")

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        features, latent = batch
        return bottleneck_loss(flow.density, net.condition(features), flow.label_of(latent), beta)

    def make(step: int) -> tuple[Tensor, Tensor]:
        batch = pool.batch(recipe.batch_size, seed, "posterior", step)
        return batch.features, batch.latent

    def draw(number: int) -> tuple[Tensor, Tensor]:
        features, latent = make(FIRST_BATCH - number)
        return latent, net.condition(features)

    whole = held_out.batch(_HELD_OUT_ROWS, seed, "held out", 0)
    fixed = whole.features, whole.latent
    with torch.no_grad():
        flow.initialise(draw, pool.draws)
    steps = recipe.posterior_steps
    return Stage(
        "posterior", flow, prefetched(make), loss, lambda: loss(fixed), steps, recipe.peak_rate(steps)
    )
