"""Samples of a pose: of normals about its best fits, or of few weighed draws about them, smoothed.

Source: Liu and West, Combined parameter and state estimation in simulation-based filtering, 2001 (smoothing
that widens nothing); Silverman, Density estimation, 1986 (by how much).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.poses.fit import Fit, Unknowns

__all__ = ["Mixture", "log_det", "smoothed", "systematic"]


class Mixture(NamedTuple):
    """Normals about some fits.

    Attributes:
        fit: the modes, heaviest first.
        masses: of the modes, shape ``(K,)``.
        stretched: Cholesky factors of the covariances of the free pose parameters, shape ``(K, F, F)``.
    """

    fit: Fit
    masses: Tensor
    stretched: Tensor

    @property
    def covariance(self) -> Tensor:
        """Covariances ``(K, F, F)``."""
        return self.stretched @ self.stretched.transpose(1, 2)

    def draw(
        self, unknowns: Unknowns, samples: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return poses ``(S, 6)``, their log densities and modes ``(S,)``; masses are rounded to counts."""
        size = (samples, self.stretched.shape[-1])
        latent = torch.randn(size, generator=generator, dtype=torch.float64)
        return self.placed(unknowns, systematic(self.masses, samples), latent)

    def placed(self, unknowns: Unknowns, label: Tensor, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what ``draw`` does, of given modes ``(S,)`` and standardised poses ``(S, F)``."""
        x, lower = self.fit.x[label], self.stretched[label]
        free = latent.shape[1]
        x[:, unknowns.free.nonzero().flatten()[:free]] += (lower @ latent.unsqueeze(2)).squeeze(2)
        normal = -0.5 * latent.square().sum(1) - 0.5 * free * math.log(2 * math.pi)
        log_density = self.masses[label].log() + normal - log_det(lower)
        return unknowns.inside(x)[:, :6], log_density, label


def smoothed(z: Tensor, label: Tensor, share: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Return standardised poses ``(S, F)``: those chosen of few weighed ones, each moved at random.

    In each mode they are drawn in by as much as moving them widens them, so that their second moment about
    the fit is one in every direction, as that of the normal is.

    Args:
        z: weighed poses, shape ``(N, F)``.
        label: mode of each, shape ``(N,)``.
        share: weight of each, shape ``(N,)``.
        chosen: indices of them, shape ``(S,)``.
        generator: of the moves.
    """
    free = z.shape[1]
    moved = torch.randn(len(chosen), free, generator=generator, dtype=torch.float64)
    for k in label.unique():
        own = share * (label == k)
        own = own / own.sum()
        second = (own[:, None] * z).T @ z
        width = float(4 * own.square().sum() / (free + 2)) ** (2 / (free + 4))
        drawn_in = max(0.0, 1 - width) / max(1.0, float(torch.linalg.eigvalsh(second)[-1]))
        lower = torch.linalg.cholesky(torch.eye(free, dtype=torch.float64) - drawn_in * second)
        rows = label[chosen] == k
        moved[rows] = math.sqrt(drawn_in) * z[chosen[rows]] + moved[rows] @ lower.T
    return moved


def systematic(share: Tensor, n: int) -> Tensor:
    """Return indices ``(n,)`` of which each occurs as often as its share says, rounded."""
    at = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.searchsorted(share.cumsum(0), at).clamp_max(len(share) - 1)


def log_det(lower: Tensor) -> Tensor:
    """Return the log determinants ``(K,)`` of triangular matrices."""
    return lower.diagonal(dim1=1, dim2=2).log().sum(1)
