"""Layers of torch are an encoder as they are, in memory and in a bundle."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Uniform

import monai_inn
from monai_inn.networks import VectorEncoder, check_encoder
from monai_inn.networks.encoders.layers import as_encoder
from monai_inn.training import Recipe, fit

CASES = {
    "one layer": lambda: nn.Linear(12, 4),
    "sized by what it sees": lambda: nn.Sequential(nn.LazyLinear(7), nn.Tanh(), nn.LazyLinear(3)),
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 12)),
        nn.Sequential(nn.Conv1d(1, 5, 3, padding=1, bias=False), nn.GroupNorm(1, 5), nn.LeakyReLU(0.2)),
        nn.AdaptiveAvgPool1d(4),
        nn.Flatten(),
        nn.Linear(20, 3),
    ),
    "images": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 4, 3, padding="same"), nn.Flatten(), nn.LayerNorm(48)
    ),
}


def rows(n: int = 50) -> torch.Tensor:
    return 3 + 2 * torch.randn(n, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("case", CASES)
def test_contract(case):
    module = CASES[case]().eval()
    encoder = as_encoder(module, 12).eval()
    torch.testing.assert_close(encoder(rows()), module(rows()), rtol=0, atol=0)
    encoder.fit(rows(), rows(), None)
    check_encoder(encoder, rows())


def test_missing_features_are_at_their_mean():
    encoder = as_encoder(nn.Linear(12, 4), 12)
    encoder.fit(rows(), rows(), None)
    seen = rows(2)
    seen[0, 3] = torch.nan
    mean = seen.clone()
    mean[0, 3] = rows()[:, 3].mean()
    torch.testing.assert_close(encoder(seen), encoder(mean))


def test_an_encoder_stays_as_it_is():
    encoder = VectorEncoder(12)
    assert as_encoder(encoder, 12) is encoder


class Own(nn.Module):
    def forward(self, x):
        return x


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


TWICE = nn.Linear(12, 12)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            nn.Sequential(nn.Linear(12, 4), Own()),
            "it has a Own, expected ELU, .*; derive any other module from",
        ),
        (Residual(nn.Linear(12, 12)), "it has a Residual, expected"),
        (nn.Sequential(nn.Linear(12, 4), nn.Dropout(0.1)), "it has a Dropout, expected"),
        (nn.Sequential(TWICE, nn.ReLU(), TWICE), "a layer stands in it twice"),
        (nn.Linear(5, 4), r"do not take two observations of 12 features, \(2, 12\): mat1 and mat2"),
        (nn.Unflatten(1, (3, 4)), r"made \(2, 3, 4\) of two observations, expected \(2, channels\)"),
        (nn.Sequential(nn.Unflatten(1, (3, 4)), nn.GRU(4, 5)), "made tuple of two observations"),
    ],
)
def test_modules_that_are_no_encoder_are_refused(module, message):
    with pytest.raises(ValueError, match=message):
        as_encoder(module, 12)


def test_a_bundle_keeps_layers(tmp_path):
    recipe = Recipe(
        num_simulations=512, posterior_steps=4, density_steps=2, preview_steps=2, preview_observations=64,
        held_out=128, guard=128, measured=128, batch_size=64,
    )  # fmt: skip
    module = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
    fitted = fit(
        prior={"a": Uniform(0.5, 2.0), "b": Uniform(-1.0, 1.0)},
        simulator=lambda theta: (
            theta[..., :1] + theta[..., 1:] * torch.arange(4) + torch.randn(len(theta), 4)
        ),
        is_vectorised=True,
        encoder=module,
        recipe=recipe,
    )
    fitted.save(tmp_path / "bundle")
    again = monai_inn.load(tmp_path / "bundle")
    theta, y = fitted.problem.simulate(20, seed=3)
    torch.testing.assert_close(
        again.posterior(y).log_prob(theta), fitted.posterior(y).log_prob(theta), rtol=0, atol=0
    )
