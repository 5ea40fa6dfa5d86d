"""Samples that are predicted: exact where posteriors are normal, close where accepted, drawn elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from exact_networks import Exact, Linear

from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.predicted import MANY, drawn_or_predicted
from monai_inn.inferers.summaries import quantiles, shared_latents, sorted_last

LEVELS = (0.025, 0.25, 0.5, 0.75, 0.975)
NORMAL = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64)).float()


class Counted:
    """Samples ``shape(a · z)`` of pixels, ``a`` unit vectors, and how many were asked for."""

    def __init__(self, pixels, channels, shape, seed=0):
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(pixels, channels, channels, generator=generator)
        self.direction = direction / direction.norm(dim=-1, keepdim=True)
        self.shape, self.drawn = shape, torch.zeros(pixels, dtype=torch.int64)

    def __call__(self, pixels, latents):
        self.drawn[pixels] += len(latents)
        along = torch.einsum("ndk,sk->snd", self.direction[pixels], latents.squeeze(1))
        return self.shape(along, pixels)

    def quick(self):
        """The exact quantiles, for shapes that rise."""
        pixels = torch.arange(len(self.drawn))
        along = NORMAL.view(-1, 1, 1).expand(-1, *self.direction.shape[:2])
        return self.shape(along.clone(), pixels).movedim(0, -1)


def skewed(skewness):
    """Log-normal values, whose logarithm has a standard deviation of its own in each pixel."""

    def shape(along, pixels):
        s = skewness[pixels].view(1, -1, 1)
        return torch.expm1(s * along) / s

    return shape


def samples_of(draw, latents, quick):
    """Samples ``(S, D)`` of each pixel, which must come once."""
    found = {}
    for pixels, samples in drawn_or_predicted(draw, latents, quick, LEVELS):
        for i, pixel in enumerate(pixels.tolist()):
            assert pixel not in found
            found[pixel] = samples[:, i]
    return [found[pixel] for pixel in range(len(quick))]


def test_normal_posteriors_need_a_fourth_of_the_samples():
    latents = shared_latents(MANY * 64, 4, 0)
    draw = Counted(50, 4, lambda along, pixels: pixels.view(1, -1, 1) * (3 + along) / 10 + along)
    samples = torch.stack(samples_of(draw, latents, draw.quick()), 1)
    assert (draw.drawn == 16).all()
    torch.testing.assert_close(samples, draw(torch.arange(50), latents), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", [0.0, 1.5, -1.75])
def test_a_jump_to_another_mode_is_never_predicted(place):
    """In the middle the samples tell; in the tail, where few of them come, the preview head does."""
    latents = shared_latents(MANY * 64, 3, 1)
    draw = Counted(200, 3, lambda along, _: along + 12.0 * (along > place).float())
    samples = torch.stack(samples_of(draw, latents, draw.quick()), 1)
    assert (draw.drawn == 64).all()
    assert torch.equal(samples, draw(torch.arange(200), latents[:64]))


def test_a_preview_that_disagrees_has_all_samples_drawn():
    draw = Counted(5, 2, lambda along, _: along)
    quick = draw.quick()
    quick[3, 1, -1] += 0.8
    samples = samples_of(draw, shared_latents(MANY * 64, 2, 0), quick)
    assert draw.drawn.tolist() == [16, 16, 16, 64, 16]
    assert [len(values) for values in samples] == [256, 256, 256, 64, 256]


def test_few_samples_are_all_drawn():
    draw = Counted(5, 2, lambda along, _: along)
    latents = shared_latents(MANY * 24, 2, 0)
    samples = torch.stack(samples_of(draw, latents, draw.quick()), 1)
    assert torch.equal(samples, draw(torch.arange(5), latents[:24]))


def test_errors_are_not_larger_than_those_of_200_random_samples():
    """Of log-normal posteriors, from nearly normal to skewed; errors of random samples have closed forms.

    At the steep end of a skewed posterior random samples are better, at the other one worse, so that both
    ends count together.
    """
    pixels, seeds, skewness = 200, 5, torch.linspace(0.02, 0.9, 200)
    draw = Counted(pixels, 4, skewed(skewness))
    exact, s = draw.quick().double(), skewness.double()
    sd = torch.sqrt(torch.expm1(s**2) * torch.exp(s**2)) / s
    quantile = torch.zeros(len(LEVELS), dtype=torch.float64)
    deviation, share = torch.zeros(2, dtype=torch.float64)
    for seed in range(seeds):
        for i, values in enumerate(samples_of(draw, shared_latents(MANY * 64, 4, seed), exact.float())):
            found = quantiles(sorted_last(values.unsqueeze(1)), LEVELS)[:, 0]
            quantile += ((found.T - exact[i]) / sd[i]).square().mean(0) / pixels / seeds
            deviation += (values.double().std(0) / sd[i]).log().square().mean() / pixels / seeds
            share += ((values < exact[i, :, 1]).double().mean(0) - 0.25).square().mean() / pixels / seeds
    z, levels = NORMAL.double(), torch.tensor(LEVELS, dtype=torch.float64)
    density = (
        torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / (torch.exp(s.unsqueeze(1) * z) / sd.unsqueeze(1))
    )
    random = (levels * (1 - levels) / 200 / density**2).mean(0)
    assert (quantile[1:-1] < random[1:-1]).all()
    assert quantile[0] + quantile[-1] < random[0] + random[-1]
    kurtosis = torch.exp(4 * s**2) + 2 * torch.exp(3 * s**2) + 3 * torch.exp(2 * s**2) - 3
    assert deviation < ((kurtosis - 1) / 800).mean()
    assert share < 0.25 * 0.75 / 200
    assert draw.drawn[0] == 16 * seeds
    assert draw.drawn[-10:].sum() > 32 * 10 * seeds
    assert draw.drawn.sum() < 40 * pixels * seeds


def test_pixels_do_not_depend_on_their_neighbours():
    latents, skewness = shared_latents(MANY * 64, 3, 2), torch.linspace(0.02, 1.2, 90)
    draw = Counted(90, 3, skewed(skewness))
    quick = draw.quick()
    expected = samples_of(draw, latents, quick)
    for part in torch.arange(90).split(7):
        found = samples_of(lambda pixels, some, p=part: draw(p[pixels], some), latents, quick[part])
        for values, pixel in zip(found, part, strict=True):
            torch.testing.assert_close(values, expected[pixel], rtol=1e-5, atol=1e-5)


class Previewed(Exact):
    """An exact posterior with exact quick quantiles."""

    class preview:  # noqa: N801 (an attribute of a network)
        levels = torch.tensor(LEVELS)

    def quick_given(self, features):
        q = self.posterior(features)
        return (q.mean.unsqueeze(-1) + q.sd.unsqueeze(-1) * NORMAL).float()


def test_maps_agree_with_the_exact_posterior():
    problem = Linear()
    fitted = FittedPosterior(problem, Previewed(problem), {})
    _, y = problem.simulate(30, seed=3)
    maps = fitted.maps(y.T.reshape(3, 5, 6), samples=64, adaptive=True, quantiles=5)
    exact = fitted.network.posterior(y)
    mean, sd = 0.5 + 0.8 * exact.mean, 0.8 * exact.sd
    for name, level, error in (
        ("median", 0.5, 1.2533),
        ("interval_low", 0.025, 2.67),
        ("interval_high", 0.975, 2.67),
    ):
        off = (maps[name].as_tensor().flatten(1).T - mean) / sd - torch.special.ndtri(torch.tensor(level))
        assert off.square().mean().sqrt() < error / 200**0.5, name  # that of 200 random samples
    assert (maps["mode_count"].as_tensor() == 1).all()


def test_without_a_preview_head_all_samples_are_drawn():
    problem = Linear()
    fitted = FittedPosterior(problem, Exact(problem), {})
    _, y = problem.simulate(6, seed=3)
    image = y.T.reshape(3, 2, 3)
    drawn = fitted.maps(image, samples=16)
    for name, value in fitted.maps(image, samples=16, adaptive=True).items():
        assert torch.equal(value.as_tensor(), drawn[name].as_tensor()), name
