"""Information of a choice of channels in closed form, for a problem that is made linear at many phantoms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_inn.problems.bands import SomeBands
from monai_inn.seeding import stream

__all__ = ["Linearised"]

_STEP = 0.05  # of the central differences, in the flow's space, where the prior is a standard normal
_SUBSETS = 64  # at a time
_LEAST_DRAWS, _DRAWS_A_CHANNEL = 1024, 4


class Linearised:
    """A problem with Gaussian noise that is linear around each of some phantoms, prior standard normal.

    There the mutual information of the targets θ and the channels S, all other parameters unknown, is
    ``½ log₂ det(Σ + J Jᵀ)_SS − ½ log₂ det(Σ + K Kᵀ)_SS``: Σ is the covariance of the noise, J the slope of
    the channels' features along all parameters and K along the other parameters. This is D-optimality with a
    prior, and D_s-optimality where there are other parameters. It is averaged over the phantoms.

    Args:
        problem: problem whose channels are to be chosen; its targets are θ.
        bands: how many of them share the light.
        phantoms: how many.
        seed: seed of phantoms and noise.
    """

    def __init__(self, problem: SomeBands, bands: int, phantoms: int = 64, seed: int = 0) -> None:
        self.problem = problem
        theta, _ = problem.simulate_all(phantoms, bands, seed)
        latent = problem.space.to_latent(theta.double())
        slope = _slopes(problem, latent)
        draws = max(_LEAST_DRAWS, _DRAWS_A_CHANNEL * slope.shape[1])
        noise = _covariance(problem, bands, theta, draws, seed)
        others = slope[..., len(problem.targets) :]
        self._total = noise + slope @ slope.mT
        self._rest = noise + others @ others.mT

    def bits(self, chosen: Tensor) -> Tensor:
        """Return the information about the targets for choices of channels ``(B, k)``, bits, ``(B,)``."""
        return torch.cat([self._some(part) for part in chosen.split(_SUBSETS)])

    def _some(self, chosen: Tensor) -> Tensor:
        total, rest = (_log_det(self._of(full, chosen)).mean(0) for full in (self._total, self._rest))
        return 0.5 * (total - rest) / math.log(2)

    def _of(self, full: Tensor, chosen: Tensor) -> Tensor:
        """Blocks ``(P, B, k, k)`` of matrices ``(P, C, C)``, or of differences to the first channel."""
        block = full[:, chosen[:, :, None], chosen[:, None, :]]
        if not self.problem.is_relative:
            return block
        block = block[..., 1:, :] - block[..., :1, :]
        return block[..., 1:] - block[..., :1]


def _log_det(matrix: Tensor) -> Tensor:
    return torch.linalg.cholesky(matrix).diagonal(dim1=-2, dim2=-1).log().sum(-1) * 2


def _slopes(problem: SomeBands, latent: Tensor) -> Tensor:
    """Slopes of the channels' features along the flow's space, ``(P, C, D)``."""
    step = _STEP * torch.eye(latent.shape[1], dtype=latent.dtype)
    ends = [
        problem.problem.channel_features(problem.forward(problem.space.inverse(latent[:, None] + s)).double())
        for s in (step, -step)
    ]
    return ((ends[0] - ends[1]) / (2 * _STEP)).mT


def _covariance(problem: SomeBands, bands: int, theta: Tensor, draws: int, seed: int) -> Tensor:
    """Covariance of the noise of the channels' features at each phantom, ``(P, C, C)``."""
    clean, generator = problem.forward(theta), stream(seed, "noise of bands")
    parts = []
    for row in clean:
        noisy = problem.light_noise(row.expand(draws, -1), bands, generator)
        parts.append(torch.cov(problem.problem.channel_features(noisy).double().T).reshape(2 * [len(row)]))
    return torch.stack(parts)
