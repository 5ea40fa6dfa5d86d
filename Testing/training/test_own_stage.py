"""A part of a network may say how it is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import monai_inn as mi
from monai_inn.cli import main
from monai_inn.networks import Encoder, InvertibleAutoencoder, VectorEncoder, register
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe, fit
from monai_inn.training.stages import posterior_stage

SHORT = Recipe(
    num_simulations=1024, posterior_steps=60, density_steps=2, preview_steps=2, preview_observations=64,
    held_out=128, guard=128, measured=128, batch_size=128,
)  # fmt: skip

SMALL = {part: {"num_blocks": 1, "hidden_channels": (16,)} for part in ("flow", "density")}


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
    y = problem.simulate(200, seed=1)[1]
    sizes = []
    for each in (encoder, usual):
        fitted = fit(problem, recipe=SHORT, encoder=each, members=2, network=SMALL)
        with torch.no_grad():
            sizes.append(float(fitted.network.condition(problem.features(y)).square().mean()))
    assert sizes[0] < 0.2 * sizes[1]


@register
class Code(Encoder):
    """Code of an invertible autoencoder, which must also give the observation back: see docs/latent.md."""

    kind = "test_code"

    def __init__(self, num_features, kept=2):
        super().__init__()
        self.config = {"num_features": num_features, "kept": kept}
        self.out_channels = kept
        self.autoencoder = InvertibleAutoencoder((num_features,), kept, hidden_channels=(32,))

    def fit(self, features, clean, known):
        self.autoencoder.initialise(features)

    def forward(self, features):
        return self.autoencoder.encode(features)

    def training_stage(self, net, pool, held_out, recipe, seed):
        stage = posterior_stage(net, pool, held_out, recipe, seed)

        def loss(batch):
            decoded = self.autoencoder.decode(self(batch[0]))
            return stage.loss(batch) + (decoded - batch[0]).square().sum(-1).mean()

        return replace(stage, loss=loss)


@pytest.mark.slow  # an encoder with a loss of its own is always tested
def test_an_autoencoder_goes_through_the_whole_chain_as_an_encoder(tmp_path, capsys):
    problem, bundle = LinearGaussian(2, 6), tmp_path / "bundle"
    fitted = fit(problem, recipe=SHORT, encoder=Code(len(problem.observation)))
    fitted.save(bundle)
    loaded, y = mi.load(bundle), problem.simulate(500, seed=1)[1]
    net = loaded.network.encoder.autoencoder
    with torch.no_grad():
        code = net.encode(y)
        torch.testing.assert_close(code, fitted.network.encoder(y))
        error = (net.decode(code) - y).square().sum(-1).mean()
        start = InvertibleAutoencoder((y.shape[1],), 2)
        start.initialise(y)
        assert error < 1.1 * (start.decode(start.encode(y)) - y).square().sum(-1).mean()
        assert net.residual(10 * y).mean() > 5 * net.residual(y).mean()
        assert torch.isfinite(loaded.posterior(y).log_prob(problem.simulate(500, seed=1)[0])).all()
    assert main(["validate", str(bundle), "-n", "1000", "-o", str(tmp_path / "report")]) in (0, 1)
    capsys.readouterr()
    assert (tmp_path / "report" / "report.html").exists()
