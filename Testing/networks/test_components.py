"""Principal components of images whose few directions are known."""

from __future__ import annotations

import pytest
import torch

from monai_inn.networks.encoders.encoders import Components

PIXELS, PLANTED = 60, torch.tensor([8.0, 5.0, 3.0, 2.0])
ROWS = 4000


def planted_axes() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(PIXELS, len(PLANTED), generator=generator))[0]


def images(seed: int, n: int = ROWS, noise_sd: float = 1.0) -> torch.Tensor:
    """Images of four directions and white noise, about a mean image that is far from zero."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(n, len(PLANTED), generator=generator) * PLANTED @ planted_axes().T
    return clean + 20 + noise_sd * torch.randn(n, PIXELS, generator=generator)


def clean_images(seed: int) -> torch.Tensor:
    return images(seed, noise_sd=0.0)


@pytest.fixture(scope="module")
def components() -> Components:
    made = Components(PIXELS, 6, 3)
    made.fit(images(1), clean_images(1))
    return made


def test_planted_directions_are_found(components):
    """Also the weakest one: axes come from images without noise. To half precision, in which they are."""
    found = (planted_axes().T @ components.axes[:, :4]).square().sum()
    assert float(found) == pytest.approx(4, abs=4 * 2**-10)
    assert torch.allclose(components.axes.T @ components.axes, torch.eye(6), atol=2**-10)
    assert torch.equal(components.axes.half().float(), components.axes)


def test_a_direction_far_below_the_noise_is_found():
    """An sd of 0.05 in noise of 1 is invisible in noisy images and exact in clean ones."""
    weak, generator = planted_axes()[:, 0], torch.Generator().manual_seed(3)
    clean = 0.05 * torch.randn(ROWS, 1, generator=generator) * weak
    made = Components(PIXELS, 2, 1)
    made.fit(clean + torch.randn(ROWS, PIXELS, generator=generator), clean)
    assert float((made.axes[:, 0] @ weak).abs()) == pytest.approx(1, abs=1e-3)


def test_components_have_unit_variance_and_come_in_order(components):
    fresh = components(images(2))
    assert fresh.shape == (ROWS, 6)
    # Those of noise alone were chosen for being large, by chance, in the images that were fitted.
    assert (fresh.std(0)[:4] - 1).abs().max() < 4 * (2 / (2 * ROWS)) ** 0.5
    assert fresh.mean(0).abs().max() < 4 * (2 / ROWS) ** 0.5  # the error of the mean of either sample
    assert torch.equal(components.scale[:4].sort(descending=True).values, components.scale[:4])
    expected = (PLANTED.square() + 1).sqrt()
    assert (components.scale[:4] / expected - 1).abs().max() < 4 / (2 * ROWS) ** 0.5


def test_summary_is_standardised_and_sees_what_no_component_holds(components):
    fresh = images(3)
    summary = components.summary(fresh)
    assert summary.shape == (ROWS, 4)
    assert torch.equal(summary[:, :3], components(fresh)[:, :3])
    assert summary.mean(0).abs().max() < 4 * (2 / ROWS) ** 0.5
    assert (summary.std(0) - 1).abs().max() < 6 * (2 / (2 * ROWS)) ** 0.5  # log χ² has heavier tails
    inside = components.summary(fresh + 10 * components.axes[:, 0])
    assert torch.allclose(inside[:, 1:], summary[:, 1:], atol=1e-2)
    strange = torch.randn(PIXELS, generator=torch.Generator().manual_seed(9))
    strange = strange - components.axes @ (components.axes.T @ strange)
    beyond = components.summary(fresh + 20 * strange / strange.norm())
    assert torch.allclose(beyond[:, :3], summary[:, :3], atol=1e-2)
    assert beyond[:, 3].min() > 5


def test_any_batch_shape(components):
    stack = images(4, 12).reshape(3, 4, PIXELS)
    assert components(stack).shape == (3, 4, 6)
    assert components.summary(stack).shape == (3, 4, 4)
    assert torch.allclose(components.summary(stack)[1, 2], components.summary(stack[1, 2]), atol=1e-4)


def test_fit_is_deterministic_and_part_of_the_state(components):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = Components(PIXELS, 6, 3)
    again.fit(images(1), clean_images(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again.summary(images(2)), components.summary(images(2)))
    loaded = Components(PIXELS, 6, 3)
    loaded.load_state_dict(components.state_dict())
    assert torch.equal(loaded.summary(images(2)), components.summary(images(2)))


@pytest.mark.parametrize("sizes", [(60, 6, 0), (60, 6, 7), (60, 60, 3), (60, 0, 0)])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match=f"{sizes[2]} leading of {sizes[1]} components of 60 pixels"):
        Components(*sizes)


def test_images_that_say_too_little_are_refused():
    with pytest.raises(ValueError, match="6 images are too few for 6 components"):
        Components(PIXELS, 6, 3).fit(images(1, 6), images(1, 6))
    with pytest.raises(ValueError, match="do not vary in more than 6 directions"):
        Components(PIXELS, 6, 3).fit(clean_images(1), clean_images(1))
    with pytest.raises(ValueError, match="do not vary in more than 6 directions"):
        Components(PIXELS, 6, 3).fit(torch.zeros(50, PIXELS), torch.zeros(50, PIXELS))
