"""Temperature, styles and ways between images, where the posterior is Gaussian and known, and beyond."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from monai_inn.networks import ImageFlow
from monai_inn.networks.images.distribution import ImageDistribution, along_great_circle
from monai_inn.testproblems.fields import GaussianField, StationaryNormal

SIDE, ROWS = 16, 3


def image(rows: Tensor) -> Tensor:
    return rows.unflatten(-1, (1, SIDE, SIDE))


@pytest.fixture(scope="module")
def field() -> tuple[StationaryNormal, Tensor]:
    """The exact posterior of three observations, and fields that fit them."""
    theta, y = GaussianField(SIDE).simulate(ROWS, 0)
    return GaussianField(SIDE).reference_posterior(y.double()), theta.double()


def flow_of(num_blocks: int) -> ImageFlow:
    """A flow that takes mean and spectrum of a Gaussian posterior; with couplings, of no known density."""
    sizes = {"levels": 3, "num_blocks": num_blocks, "hidden_channels": 4, "features": (2,) * 5}
    flow = ImageFlow(2, 1, 2, (SIDE, SIDE), start="given", **sizes).double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    for parameter in flow.couplings.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return flow.requires_grad_(False)


def posterior(exact: StationaryNormal, num_blocks: int = 0) -> ImageDistribution:
    mean = image(exact.mean_image)
    return flow_of(num_blocks)(torch.cat([mean, exact.spectrum.expand_as(mean)], 1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_temperature_scales_the_standard_deviation_of_every_frequency(field, temperature: float) -> None:
    exact, theta = field
    q = posterior(exact).tempered(temperature)
    scaled = StationaryNormal(exact.mean_image, temperature**2 * exact.spectrum)
    torch.testing.assert_close(q.log_prob(image(theta)), scaled.log_prob(theta), rtol=1e-6, atol=1e-4)
    torch.manual_seed(2)
    white = torch.fft.fft2(q.sample((500,)) - image(exact.mean_image), norm="ortho").abs().square()
    ratio = float((white / exact.spectrum).mean()) / temperature**2
    # A χ² of as many degrees of freedom as there are values.
    assert abs(ratio - 1) < 4 * math.sqrt(2 / white.numel())


def test_temperature_one_changes_no_bit(field) -> None:
    q = posterior(field[0], num_blocks=1)
    for of, warm in ((q, q.tempered(1)), (q.coarse(1), q.coarse(1).tempered(1))):
        latent = torch.randn(2, ROWS, *[of.event_shape.numel()], dtype=torch.float64)
        assert torch.equal(of.push(latent), warm.push(latent))
        made = of.push(latent)[0]
        assert torch.equal(of.log_prob(made), warm.log_prob(made))


@pytest.mark.parametrize("levels", [0, 1], ids=["image", "coarse image"])
def test_densities_at_a_temperature_are_those_of_the_map(field, levels: int) -> None:
    q = posterior(field[0], num_blocks=1).expand((2, ROWS)).coarse(levels)
    warm = q.tempered(0.6)
    latent = torch.randn(1, 2 * ROWS, q.event_shape.numel(), dtype=torch.float64)
    made = warm.push(latent).unflatten(1, (2, ROWS))[0]
    torch.testing.assert_close(made, q.push(0.6 * latent).unflatten(1, (2, ROWS))[0])
    torch.testing.assert_close(warm.latent(made).flatten(0, 1), latent[0], atol=1e-8, rtol=0)
    z, log_prob = q.latent_with_log_prob(made)
    gain = 0.5 * (1 - 0.6**-2) * z.square().sum(-1) - z.shape[-1] * math.log(0.6)
    torch.testing.assert_close(warm.log_prob(made), log_prob + gain)
    # Both keep their temperature.
    torch.testing.assert_close(warm.expand((2, ROWS)).log_prob(made), log_prob + gain)
    assert q.tempered(0.6).coarse(levels).temperature == 0.6


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_what_is_no_temperature_is_refused(field, temperature: float) -> None:
    with pytest.raises(ValueError, match="give a positive number"):
        posterior(field[0]).tempered(temperature)


def test_a_style_is_what_an_image_has_beyond_its_condition(field) -> None:
    """Of Gaussian posteriors that differ in their mean alone, the image moves with the mean."""
    exact, theta = field
    old, new = (posterior(StationaryNormal(mean, exact.spectrum)) for mean in exact.mean_image[:2, None])
    moved = new.push(old.latent(image(theta[:1])).unsqueeze(0))[0]
    expected = theta[:1] - exact.mean_image[:1] + exact.mean_image[1:2]
    torch.testing.assert_close(moved, image(expected), atol=1e-5, rtol=0)
    # The other way round: the condition stays, and another image's style comes.
    other = old.push(new.latent(image(theta[1:2])).unsqueeze(0))[0]
    expected = theta[1:2] - exact.mean_image[1:2] + exact.mean_image[:1]
    torch.testing.assert_close(other, image(expected), atol=1e-5, rtol=0)


def test_the_way_between_images_begins_and_ends_at_them(field) -> None:
    exact, theta = field
    q = posterior(exact, num_blocks=1)
    first, second = image(theta), q.push(torch.randn(1, ROWS, SIDE**2, dtype=torch.float64))[0]
    way = q.between(first, second, torch.linspace(0, 1, 5))
    assert way.shape == (5, ROWS, 1, SIDE, SIDE)
    torch.testing.assert_close(way[0], first, atol=1e-7, rtol=0)
    torch.testing.assert_close(way[-1], second, atol=1e-7, rtol=0)
    torch.testing.assert_close(q.between(first, first, torch.tensor([0.3]))[0], first, atol=1e-7, rtol=0)
    batches = q.expand((2, ROWS)).between(first.expand(2, *first.shape), second.expand(2, *second.shape),
                                          torch.tensor([0.25]))  # fmt: skip
    torch.testing.assert_close(batches[0, 1], way[1], atol=1e-7, rtol=0)


def test_the_way_is_a_great_circle_and_keeps_the_length() -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = torch.randn(2, 7, 50, generator=generator, dtype=torch.float64)
    second = 2 * second * (first.norm(dim=-1) / second.norm(dim=-1)).unsqueeze(-1)
    way = along_great_circle(first, second, torch.linspace(0, 1, 9).double().view(-1, 1, 1))
    length = way.norm(dim=-1) / first.norm(dim=-1)
    torch.testing.assert_close(length, torch.linspace(1, 2, 9).double().unsqueeze(1).expand(9, 7))
    unit = way / way.norm(dim=-1, keepdim=True)
    turn = (unit[1:] * unit[:-1]).sum(-1).acos()  # constant, and the whole angle in the end
    whole = torch.nn.functional.cosine_similarity(first, second, dim=-1).acos()
    torch.testing.assert_close(turn, (whole / 8).expand(8, 7))
    for end in (first, -first, torch.zeros_like(first)):
        ends = along_great_circle(first, end, torch.tensor([0.0, 1.0]).to(first).view(-1, 1, 1))
        torch.testing.assert_close(ends, torch.stack([first, end]))
