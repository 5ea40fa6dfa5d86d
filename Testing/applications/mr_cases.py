"""Small cases of accelerated MR: a problem of discs, a brief fit of it, and measured k-space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

import monai_inn
from monai_inn.applications.accelerated_mr import acquisition as acquiring
from monai_inn.applications.accelerated_mr.problem import AcceleratedMR
from monai_inn.training import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from monai_inn.fitted import FittedPosterior


def discs() -> AcceleratedMR:
    """Discs of several sizes, 16 × 16, four coils."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    radius = torch.linspace(0.4, 0.8, 6).view(-1, 1, 1)
    return AcceleratedMR(torch.sigmoid(20 * (radius - (x.square() + y.square()).sqrt())), factors=(2.0, 3.0))


def fitted_briefly(problem: AcceleratedMR) -> FittedPosterior:
    """Two steps of training: hardly more than the start."""
    recipe = Recipe(64, 2, 2, batch_size=64, held_out=64, guard=64, measured=40)
    flow = {"levels": 2, "num_blocks": 1, "hidden_channels": 4, "features": (2,) * 5}
    return monai_inn.fit(problem, recipe=recipe, members=2, coupling="affine", network={"flow": flow})


def measured(
    problem: AcceleratedMR, size: tuple[int, int] = (24, 20), coils: int = 6
) -> tuple[Tensor, Tensor]:
    """K-space of a smooth disc, zero frequency in the middle, complete in its middle 8 × 8."""
    generator = torch.Generator().manual_seed(8)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    image = torch.sigmoid(8 * (0.6 - (x.square() + y.square()).sqrt()))
    coil_images = acquiring.simulated_sensitivities(1, coils, size, generator)[0] * image
    kspace = torch.fft.fftshift(
        torch.fft.fft2(torch.fft.ifftshift(coil_images, (1, 2)), norm="ortho"), (1, 2)
    )
    mask = torch.rand(size, generator=generator) < 0.4
    mask[size[0] // 2 - 4 : size[0] // 2 + 4, size[1] // 2 - 4 : size[1] // 2 + 4] = True
    noisy = kspace + 0.002 * torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
    return 40.0 * noisy, mask
