"""A run goes on, and a store is used, only with the problem that it was made for."""

from __future__ import annotations

import pytest
import torch

from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe, fit, open_simulations, simulate_to_zarr

SMALL = Recipe(
    num_simulations=2048, posterior_steps=4, density_steps=3, preview_steps=2,
    preview_observations=64,
    held_out=256, guard=200, measured=64, batch_size=128,
)  # fmt: skip
NETWORK = {part: {"num_blocks": 2, "hidden_channels": (16,)} for part in ("flow", "density")}


class Weighted(LinearGaussian):
    """A problem with an array as an argument."""

    def __init__(self, noise_sd: float = 0.3, weights: torch.Tensor | None = None) -> None:
        super().__init__(noise_sd=noise_sd)
        self.weights = torch.ones(3) if weights is None else weights

    @property
    def tensors(self):
        return {"weights": self.weights}

    def forward(self, theta):
        return super().forward(theta) * self.weights

    def to_config(self):
        return {"noise_sd": self.noise_sd}


# All look alike: four parameters, three observations.
OTHERS = {
    "arguments": Weighted(noise_sd=0.2),
    "tensors": Weighted(weights=torch.tensor([1.0, 1.0, 2.0])),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_run_does_not_resume_with_another_problem(what, tmp_path):
    options = {"recipe": SMALL, "members": 2, "network": NETWORK, "checkpoint": tmp_path}
    fit(Weighted(), **options)
    assert repr(OTHERS[what]) == repr(Weighted())
    with pytest.raises(ValueError, match="of another run: problem differ"):
        fit(OTHERS[what], resume=True, **options)


@pytest.mark.parametrize(("what", "said"), [("arguments", "other arguments"), ("tensors", "other data")])
def test_a_store_of_another_problem_is_refused(what, said, tmp_path):
    simulate_to_zarr(OTHERS[what], 2048, tmp_path / "store")
    assert open_simulations(tmp_path / "store").problem == OTHERS[what].identity
    with pytest.raises(ValueError, match=said):
        fit(Weighted(), recipe=SMALL, members=2, simulations=tmp_path / "store")
    with pytest.raises(ValueError, match="another problem"):
        simulate_to_zarr(Weighted(), 2048, tmp_path / "store")


def test_a_store_of_another_name_is_refused(tmp_path):
    simulate_to_zarr(LinearGaussian(), 1024, tmp_path / "store")
    from monai_inn.problems import GaussianUniform

    with pytest.raises(
        ValueError, match="holds simulations of the problem 'linear_gaussian', expected those of Gauss"
    ):
        fit(GaussianUniform(), recipe=SMALL, members=2, simulations=tmp_path / "store")
