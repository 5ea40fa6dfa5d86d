"""What templates say of an image, against importance sampling written out."""

from __future__ import annotations

import math

import pytest
import torch

from monai_inn.networks.encoders.encoders import Components, ImageEncoder
from monai_inn.networks.encoders.templates import Templates

PIXELS, COUNT, ROWS = 60, 500, 3000


def images(latent: torch.Tensor, contrast: float) -> torch.Tensor:
    """Images that bend with an angle (first parameter) and a length (second), without noise."""
    share = torch.special.ndtr(latent)
    angle, length = 2 * math.pi * share[:, :1], share[:, 1:]
    at = torch.linspace(0, 1, PIXELS)
    return contrast * (torch.cos(angle + 6 * at) + length * torch.sin(angle + 11 * at) + length * at)


def fitted(contrast: float) -> tuple[Components, Templates, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = images(torch.randn(ROWS, 2, generator=generator), contrast)
    noisy = clean + torch.randn(ROWS, PIXELS, generator=generator)
    components = Components(PIXELS, 12, 3)
    # A little of everything, so that there are as many directions as components.
    components.fit(noisy, clean + 0.01 * torch.randn(ROWS, PIXELS, generator=generator))
    templates = Templates(12, COUNT, 2, (0,))
    latent = torch.randn(COUNT, 2, generator=generator)
    templates.fit(components, noisy, images(latent, contrast), latent)
    return components, templates, latent


def test_where_templates_are_dense_the_means_are_those_of_the_posterior():
    """Weights are the likelihoods of all pixels: what lies outside the components is the same for all."""
    contrast = 0.3
    components, templates, latent = fitted(contrast)
    assert float(templates.powers[0]) == 1
    y = images(torch.tensor([[0.3, -0.5], [-1.2, 0.8]]), contrast)
    y = y + torch.randn(2, PIXELS, generator=torch.Generator().manual_seed(1))
    known = images(latent, contrast)
    weight = (-0.5 * (y[:, None] - known).square().sum(-1)).softmax(-1)
    turn, length = torch.special.ndtr(latent).unbind(1)
    means = templates(components(y))
    for column, harmonic in (
        (0, (2 * math.pi * turn).cos()),
        (2, (6 * math.pi * turn).cos()),
        (24, (2 * math.pi * turn).sin()),
        (48, (math.pi * length).cos()),
        (59, (12 * math.pi * length).cos()),
    ):
        expected = math.sqrt(2) * weight @ harmonic
        # Axes and templates are in half precision.
        assert torch.allclose(means[:, column], expected, atol=5e-3), column


@pytest.mark.parametrize("contrast", [3.0, 30.0])
def test_sharp_likelihoods_are_tempered_until_some_templates_have_weight(contrast):
    components, templates, _ = fitted(contrast)
    assert (templates.powers < 1).all()
    generator = torch.Generator().manual_seed(2)
    clean = images(torch.randn(ROWS, 2, generator=generator), contrast)
    seen = components(clean + torch.randn(ROWS, PIXELS, generator=generator))
    level = (seen * templates.scale) @ templates.points.T + templates.offset
    for power, wanted in zip(templates.powers, (3.0, 30.0), strict=True):
        number = (1 / torch.softmax(power * level, 1).square().sum(1)).median()
        assert float(number) == pytest.approx(wanted, rel=0.15)


def test_noise_that_is_very_small_gives_finite_means():
    components, templates, _ = fitted(2e4)
    assert templates.points.abs().max() > 65_504  # the largest number of half precision
    assert torch.isfinite(templates(components(images(torch.zeros(1, 2), 2e4)))).all()


def test_shapes_and_stored_precision():
    components, templates, _ = fitted(3.0)
    seen = components(torch.randn(4, 5, PIXELS))
    assert templates(seen).shape == (4, 5, templates.out_channels)
    assert templates.out_channels == 2 * (2 * 24 + 12)
    assert torch.allclose(templates(seen)[1, 2], templates(seen[1, 2]), atol=1e-5)
    assert torch.equal(templates.points.half().float(), templates.points)
    again = Templates(12, COUNT, 2, (0,))
    again.load_state_dict(templates.state_dict())
    assert "harmonics" not in templates.state_dict()
    assert torch.equal(again(seen), templates(seen))


@pytest.mark.parametrize(
    ("templates", "given", "said"),
    [(40, None, "40 templates was given none"), (0, 30, "0 templates was given 30")],
)
def test_templates_that_are_missing_or_superfluous_are_refused(templates, given, said):
    """They would stay zeros and spoil a training without a word."""
    generator = torch.Generator().manual_seed(0)
    net = ImageEncoder(PIXELS, 2, 12, templates)
    features = torch.randn(100, PIXELS, generator=generator)
    known = None if given is None else (features[:given], torch.randn(given, 2, generator=generator))
    with pytest.raises(ValueError, match=said):
        net.fit(features, features, known)
