"""What a network was built with comes back from its bundle, on our path and on MONAI's."""

from __future__ import annotations

import pytest
import torch

import monai_inn
from monai_inn.bundles import map_network
from monai_inn.problems import LinearGaussian, register
from monai_inn.training import Recipe, fit

SMALL = Recipe(
    num_simulations=2048, posterior_steps=4, density_steps=3, preview_steps=2,
    preview_observations=64,
    held_out=256, guard=200, measured=64, batch_size=128,
)  # fmt: skip
FLOW = {"num_blocks": 2, "hidden_channels": (16,)}


@register
class Weighted(LinearGaussian):
    """A problem of pixels with an array as an argument."""

    name = "weighted"

    def __init__(self, weights: torch.Tensor | None = None) -> None:
        super().__init__()
        self.weights = torch.tensor([1.0, 1.0, 0.5]) if weights is None else weights

    @property
    def tensors(self):
        return {"weights": self.weights}

    def features(self, y):
        return y * self.weights.to(y.device)

    def to_config(self):
        return {}


@pytest.fixture(scope="module")
def fitted():
    problem = Weighted(torch.tensor([2.0, 0.3, 1.0]))
    network = {"encoder": {"num_blocks": 3}, "flow": FLOW, "density": FLOW}
    return fit(problem, recipe=SMALL, members=2, network=network)


def test_all_that_a_network_was_built_with_comes_back(fitted, tmp_path):
    fitted.save(tmp_path / "bundle")
    again = monai_inn.load(tmp_path / "bundle")
    assert again.network.config == fitted.network.config
    assert again.network.config["encoder"]["num_blocks"] == 3
    theta, y = fitted.problem.simulate(10, seed=1)
    with torch.no_grad():
        assert torch.equal(again.posterior(y).log_prob(theta), fitted.posterior(y).log_prob(theta))


def test_the_path_of_monai_knows_the_tensors_of_the_problem(fitted, tmp_path):
    fitted.save(tmp_path / "bundle")
    image = fitted.problem.simulate(6, seed=2)[1].T.reshape(1, 3, 2, 3)
    maps = map_network(tmp_path / "bundle", samples=32)(image)
    assert torch.equal(maps[:, :4], fitted.maps(image, samples=32)["median"].as_tensor())


def test_a_card_has_what_was_measured(fit_without_training):
    from monai_inn.fitted import FittedPosterior
    from monai_inn.fitted.card import model_card
    from monai_inn.fitted.metadata import metadata
    from monai_inn.training.measure import measure

    vague = fit_without_training(LinearGaussian(3, 2, noise_sd=1.0))
    card = measure(vague, 8000, seed=3)
    both = [
        FittedPosterior(vague.problem, vague.network, content)
        for content in (card, {k: v for k, v in card.items() if k not in ("information", "kl_from_exact")})
    ]
    now, before = (model_card(fitted, metadata(fitted, "b", "0" * 64, 1)) for fitted in both)
    assert "## Measured information" in now
    assert f"| x1 | {card['information']['parameters']['x1']['bits']:.4g} |" in now
    assert "| mapped parameters together |" in now
    kl = card["kl_from_exact"]
    assert 1 <= kl["known"] <= kl["cases"] == 16
    assert 0 < kl["median"] <= kl["largest"]
    assert f"off by {kl['median']:.4g} nats in the median" in now
    assert "Distance from the exact" not in before
    assert "information" not in before.lower().replace("information on", "")
