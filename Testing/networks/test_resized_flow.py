"""Flows of images at sizes that they were not fitted at: densities, samples without seams, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from monai_inn.networks import ImageFlow

NOISE = 0.5
SMALL = {"levels": 2, "num_blocks": 1, "hidden_channels": 4, "features": (2,) * 5}


def field(count: int, size: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Images whose neighbours along each axis are correlated, and noisy ones of them, one channel each."""
    generator = torch.Generator().manual_seed(seed)
    white, noise = torch.randn(2, count, 1, *size, dtype=torch.float64, generator=generator)
    for axis in range(2, 2 + len(size)):
        white = white + 0.5 * white.roll(1, axis)
    return white, white + NOISE * noise


def exact_log_prob(unknown: Tensor, observed: Tensor) -> Tensor:
    """Log density of the posterior of ``field``, which is the same at every place."""
    size = unknown.shape[2:]
    power = torch.ones((), dtype=torch.float64)
    for n in size:
        along = 1 + 0.5 * torch.exp(-2j * math.pi * torch.arange(n, dtype=torch.float64) / n)
        power = power.unsqueeze(-1) * along.abs().square()
    variance = power * NOISE**2 / (power + NOISE**2)
    axes = tuple(range(-len(size), 0))
    seen, image = (torch.fft.fftn(part, dim=axes, norm="ortho") for part in (observed, unknown))
    white = (image - variance / NOISE**2 * seen).abs().square() / variance
    return -0.5 * (white + variance.log() + math.log(2 * math.pi)).flatten(1).sum(1)


def fitted(size: tuple[int, ...], count: int) -> ImageFlow:
    """The Gaussian posterior of a field, without couplings."""
    flow = ImageFlow(len(size), 1, 1, size, levels=2, num_blocks=0).double()
    flow.initialise([(*field(count, size, 0), None)])
    return flow


@pytest.fixture(scope="module")
def plane() -> ImageFlow:
    return fitted((16, 16), 4000)


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (48, 16), (24, 40)])
def test_densities_at_other_sizes_are_exact(plane: ImageFlow, size: tuple[int, int]) -> None:
    unknown, observed = field(200, size, 1)
    gap = (exact_log_prob(unknown, observed) - plane.resized(size)(observed).log_prob(unknown)).mean()
    # Half a nat for each estimate from 4,000 images at the size of the fit, and .001 of interpolation.
    assert abs(float(gap)) / math.prod(size) < 3 / 4000 + 1e-3


@torch.no_grad()
def test_volumes_are_resized_alike() -> None:
    size = (32, 16, 24)
    unknown, observed = field(8, size, 1)
    flow = fitted((16, 16, 16), 200).resized(size)
    gap = (exact_log_prob(unknown, observed) - flow(observed).log_prob(unknown)).mean()
    assert abs(float(gap)) / math.prod(size) < 3 / 200 + 2e-3
    assert flow(observed[:1]).sample((2,)).shape == (2, 1, 1, *size)
    couplings = ImageFlow(3, 1, 1, (16, 16, 16), **SMALL).double().resized(size)
    latent = couplings(observed[:1]).latent(unknown[:1])
    torch.testing.assert_close(couplings(observed[:1]).push(latent[None])[0], unknown[:1])


@torch.no_grad()
def test_samples_have_no_seams(plane: ImageFlow) -> None:
    """Steps across what would be a border of tiles are as those inside, at each frequency."""
    size, number = (64, 64), 400
    torch.manual_seed(2)
    q = plane.resized(size)(field(1, size, 3)[1])
    samples = q.sample((number,))[:, 0, 0]
    deviation = samples - samples.mean(0)
    steps = torch.fft.rfft(deviation - deviation.roll(1, -1), dim=-2, norm="ortho").abs().square().mean(0)
    border, inside = steps[:, 16::16].mean(1), steps[:, 8::16].mean(1)
    # 3 and 4 columns, 400 draws, one or two degrees of freedom.
    assert float((border / inside).log().abs().max()) < 5 * math.sqrt(2 / (3 * number) + 2 / (4 * number))
    # That can fail: independent tiles next to each other.
    tiles = torch.cat(list(plane(field(4, (16, 16), 4)[1]).sample((number,)).unbind(1)), -1)[:, 0]
    gaps = tiles - tiles.mean(0)
    steps = torch.fft.rfft(gaps - gaps.roll(1, -1), dim=-2, norm="ortho").abs().square().mean(0)
    assert float((steps[:, 16::16].mean(1) / steps[:, 8::16].mean(1)).max()) > 1.2


@torch.no_grad()
def test_the_same_size_is_the_same_flow() -> None:
    flow = ImageFlow(2, 1, 1, (16, 16), **SMALL).double()
    unknown, observed = field(400, (16, 16), 5)
    flow.initialise([(unknown - unknown.mean(0), observed - observed.mean(0), None)])
    for parameter in flow.couplings.parameters():
        parameter.add_(0.05)
    torch.testing.assert_close(
        flow.resized((16, 16))(observed[:3]).log_prob(unknown[:3]), flow(observed[:3]).log_prob(unknown[:3])
    )
    assert flow.resized((32, 16)).config == {**flow.config, "size": [32, 16]}


@torch.no_grad()
def test_a_given_start_needs_observations_of_the_other_size() -> None:
    flow = ImageFlow(2, 1, 2, (16, 16), start="given", **SMALL).double()
    spectrum = torch.full((1, 1, 32, 32), 4.0, dtype=torch.float64)
    q = flow.resized((32, 32))(torch.cat([torch.zeros_like(spectrum), spectrum], 1))
    exact = torch.distributions.Normal(0.0, 2.0).log_prob(spectrum).sum((1, 2, 3))
    torch.testing.assert_close(q.log_prob(spectrum), exact)


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        ({}, (8, 8), "at least 16"),
        ({}, (33, 32), "cannot be halved 2 times; pad them to multiples of 4"),
        ({}, (16, 16, 16), "as many sizes"),
        ({"classes": 2}, (32, 32), "mean images of classes are of one size"),
        ({"start": "dense"}, (32, 32), "a dense covariance is of one size"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    options: dict[str, object], size: tuple[int, ...], message: str
) -> None:
    flow = ImageFlow(2, 1, 1, (16, 16), **SMALL, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        flow.resized(size)
