"""A part of a network may say how it is trained."""

from __future__ import annotations

from dataclasses import replace

import torch

from monai_inn.networks import VectorEncoder, register
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe, fit
from monai_inn.training.stages import posterior_stage


@register
class Shrinking(VectorEncoder):
    """Keeps its condition small: a loss of its own beside the likelihood."""

    kind = "test_shrinking"

    def training_stage(self, net, pool, held_out, recipe, seed):
        stage = posterior_stage(net, pool, held_out, recipe, seed)
        return replace(
            stage, loss=lambda batch: stage.loss(batch) + 100 * net.condition(batch[0]).square().mean()
        )


def test_an_encoder_brings_its_own_loss():
    problem = LinearGaussian()
    encoder = Shrinking(problem.features(torch.ones(1, len(problem.observation))).shape[-1], width=16)
    usual = VectorEncoder(encoder.config["num_features"], width=16)
    recipe = Recipe(
        num_simulations=1024, posterior_steps=60, density_steps=2, preview_steps=2, preview_observations=64,
        held_out=128, guard=128, measured=128, batch_size=128,
    )  # fmt: skip
    y = problem.simulate(200, seed=1)[1]
    sizes = []
    for each in (encoder, usual):
        fitted = fit(problem, recipe=recipe, encoder=each)
        with torch.no_grad():
            sizes.append(float(fitted.network.condition(problem.features(y)).square().mean()))
    assert sizes[0] < 0.2 * sizes[1]
