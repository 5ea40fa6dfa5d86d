"""The posterior of a whole image as an ordinary module, for MONAI's bundle tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from monai_inn.problems.parameters import one_of_each_field
from monai_inn.seeding import seeded

if TYPE_CHECKING:
    from monai_inn.inferers.rows import RowPosterior

__all__ = ["SampleNetwork"]


class SampleNetwork(nn.Module):
    """Images ``(B, C, *spatial)`` in, posterior samples ``(B, D, S)`` out, in the units of the parameters.

    Of an unknown image they are ``(B, 1, pixels, S)``. The latents are fixed by the seed, so that the module
    is deterministic.

    Args:
        fitted: posterior of a problem that observes whole images.
        samples: posterior samples S of an image.
        seed: seed of the latents.
    """

    latents: Tensor

    def __init__(self, fitted: RowPosterior, samples: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.fitted, self.network = fitted, fitted.network
        with seeded(seed):
            latents = torch.randn(samples, 1, len(fitted.problem.parameters))
        self.register_buffer("latents", latents, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the samples; one latent of each serves all images.

        Raises:
            ValueError: if the images are not of the size that the network was trained for.
        """
        problem = self.fitted.problem
        expected = (len(problem.observation.names), *problem.observation.size)
        if tuple(image.shape[1:]) != expected:
            raise ValueError(
                f"images of shape {tuple(image.shape[1:])}, expected {expected} (channels, *spatial); match "
                "them to the bundle first."
            )
        rows = image.movedim(1, -1).flatten(1)
        with torch.no_grad():
            q = self.fitted.posterior(rows)
            samples = problem.space.inverse(q.base.push(self.latents)).permute(1, 2, 0).contiguous()
        if not problem.has_fields:
            return samples
        return samples.unflatten(1, (len(one_of_each_field(problem.parameters)), -1))
