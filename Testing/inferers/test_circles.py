"""Where a circle is cut decides nothing: medians, intervals and maps of angles turn with the angles."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_inn.fitted import FittedPosterior
from monai_inn.inferers import MapNetwork, PosteriorInferer
from monai_inn.inferers.circles import Circles
from monai_inn.inferers.summaries import shared_latents, summarise
from monai_inn.networks.posterior import assemble
from monai_inn.problems import InverseProblem, Observation, Parameter, ParameterSpace
from monai_inn.problems.registry import PROBLEMS

SPACE = ParameterSpace(
    [Parameter("angle", "deg", -180.0, 180.0, is_periodic=True), Parameter("size", "mm", 0.0, 2.0)]
)


def summary(degrees: torch.Tensor) -> dict[str, torch.Tensor]:
    """Summaries of samples of the angle ``(S, n)``, beside a second parameter that stays."""
    theta = torch.stack([degrees, torch.linspace(0.5, 1.5, len(degrees))[:, None].expand_as(degrees)], -1)
    return summarise(SPACE.to_latent(theta), SPACE, 0.9, {"size": 1.0})


def test_samples_beside_the_cut_are_near_one_another():
    spread = torch.linspace(-2, 2, 401)[:, None]
    found = summary((spread + 179 + 180) % 360 - 180)
    assert torch.allclose(found["median"][0, 0], torch.tensor(179.0), atol=0.1)
    assert torch.allclose(found["mean"][0, 0], torch.tensor(179.0), atol=0.1)
    assert torch.allclose(found["interval_width"][0, 0], torch.tensor(3.6), atol=0.1)
    assert torch.allclose(found["interval_high"][0, 0], torch.tensor(180.8), atol=0.1)
    assert found["mode_count"][0, 0] == 1


@settings(max_examples=50)
@given(turn=st.floats(-720, 720), sd=st.floats(1, 40), seed=st.integers(0, 99))
def test_summaries_turn_with_the_samples(turn, sd, seed):
    around = sd * torch.randn(300, 4, generator=torch.Generator().manual_seed(seed))
    here, there = (
        summary(around.clamp(-179, 179)),
        summary((around.clamp(-179, 179) + turn + 180) % 360 - 180),
    )
    moved = (there["median"][:, 0] - here["median"][:, 0] - turn) * math.pi / 180
    assert torch.allclose(moved.cos(), torch.ones(4), atol=1e-4)
    assert torch.allclose(there["interval_width"], here["interval_width"], atol=0.2)
    for name in ("median", "interval_width", "probability_below"):
        column = -1 if name == "probability_below" else 1
        assert torch.equal(there[name][:, column], here[name][:, column])
    for key in ("median", "mean"):
        assert ((there[key][:, 0] >= -180) & (there[key][:, 0] <= 180)).all()
    assert (there["interval_low"] <= there["median"]).all()
    assert (there["median"] <= there["interval_high"]).all()


def test_without_angles_nothing_is_touched():
    space = SPACE.subset(["size"])
    samples = torch.randn(20, 3, 1)
    circles = Circles(samples, space)
    assert circles.cut(samples) is samples
    assert torch.equal(circles.physical(samples, samples[0]), space.inverse(samples))


class Compass(InverseProblem):
    """Direction and strength of a field from its two components, beside an offset that nobody asks for."""

    name = "compass"
    parameters = (
        Parameter("direction", "deg", -180.0, 180.0, "direction of the field", is_periodic=True),
        Parameter("strength", "mT", 0.5, 1.5, "strength of the field"),
        Parameter("offset", "mT", -0.2, 0.2, "offset of the sensor"),
    )
    observation = Observation.pixel("x", "y")
    targets = ("direction", "strength")

    def forward(self, theta):
        angle = torch.deg2rad(theta[..., 0])
        return theta[..., 1:2] * torch.stack([angle.cos(), angle.sin()], -1) + theta[..., 2:]

    def noise(self, y, generator=None):
        return y + 0.05 * torch.randn(y.shape, generator=generator)

    def to_config(self):
        return {}


def trained(steps: int) -> FittedPosterior:
    """A posterior of an angle, a number and a nuisance."""
    from monai_inn.training import Recipe, fit

    recipe = Recipe(
        num_simulations=8192, posterior_steps=steps, density_steps=20, preview_steps=1, held_out=512,
        guard=200, measured=64, batch_size=256,
    )  # fmt: skip
    return fit(
        Compass(), recipe=recipe, members=2, network={"flow": {"num_blocks": 2, "hidden_channels": (32, 32)}}
    )


@pytest.fixture(scope="module")
def compass() -> FittedPosterior:
    """After a few steps, which is enough for what must hold of any network."""
    return trained(20)


@pytest.mark.slow  # a training of half a minute; an angle of strangers is always tested
def test_an_angle_of_a_pixel_gets_a_flow_on_the_circle():
    compass = trained(450)
    assert compass.network.flow.config["periodic"] == [0]
    assert compass.network.preview is None
    truth = torch.tensor([[-179.5, 1.0, 0.0], [179.5, 1.0, 0.0], [90.0, 1.0, 0.0]])
    y = compass.problem.forward(truth)
    q = compass.posterior(y)
    for side in (-180.0, 180.0):  # the density has no seam
        theta = torch.tensor([[side * (1 - 1e-5), 1.0, 0.0]])
        assert torch.allclose(
            q.log_prob(theta)[0], q.log_prob(theta * torch.tensor([-1.0, 1, 1]))[0], atol=0.05
        )
    maps = compass.maps(y.T.reshape(2, 1, 3), samples=512)
    error = (maps["median"][0, 0] - truth[:, 0] + 180) % 360 - 180
    assert error.abs().max() < 20
    assert maps["interval_width"][0].max() < 120


def test_marginal_of_the_targets_is_that_of_all_parameters(compass):
    _, y = compass.problem.simulate(3, seed=4)
    joint, targets = compass.network.posterior(y), compass.network.posterior(y).leading(2)
    latents = shared_latents(64, 3, 0)
    with torch.no_grad():
        assert torch.allclose(joint.push(latents)[..., :2], targets.push(latents[..., :2]), atol=1e-5)
        # Integrated over the third parameter, the joint density is that of the targets.
        axis = torch.linspace(-8, 8, 1601)
        point = targets.push(latents[:4, :, :2])
        grid = torch.cat([point.unsqueeze(0).expand(len(axis), *point.shape),
                          axis.view(-1, 1, 1, 1).expand(len(axis), *point.shape[:2], 1)], -1)  # fmt: skip
        mass = torch.logsumexp(joint.log_prob(grid), 0) + math.log(0.01)
        assert torch.allclose(mass, targets.log_prob(point), atol=5e-3)


def test_maps_of_the_module_and_of_the_inferer_agree(compass):
    network = MapNetwork(compass.problem, compass.network.config, samples=64)
    network.network.load_state_dict(compass.network.state_dict())
    _, y = compass.problem.simulate(12, seed=3)
    image = y.T.reshape(1, 2, 3, 4)
    with torch.no_grad():
        plain, whole = network._plain(image), network(image)
    assert torch.allclose(plain, whole, atol=1e-3)
    maps = PosteriorInferer(compass.problem, samples=64)(image, compass.network)
    assert torch.allclose(whole[:, :2], maps["median"], atol=1e-3)


def test_a_bundle_of_angles_gives_the_same_densities(compass, tmp_path, monkeypatch):
    import monai_inn

    monkeypatch.setitem(PROBLEMS.known, Compass.name, Compass)
    compass.save(tmp_path / "bundle")
    again = monai_inn.load(tmp_path / "bundle")
    theta, y = compass.problem.simulate(20, seed=9)
    with torch.no_grad():
        assert torch.equal(again.posterior(y).log_prob(theta), compass.posterior(y).log_prob(theta))


def test_angles_behind_the_first_group_are_refused():
    with pytest.raises(ValueError, match="channels of the first group"):
        assemble(2, 2, (1, 2), periodic=(1,))
