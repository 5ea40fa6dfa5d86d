"""The exact posterior of two layers: a grid over both disparities, the share of light and the contrast.

Given these an EPI is Gaussian. Its log likelihood is computed on a grid of disparities and interpolated by
splines of fifth order, because it is smooth where the posterior is narrow.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor

from monai_inn.applications.lightfield.textures import covariance

__all__ = ["Grid", "Setting", "TwoLayers"]

_REACH_SD = 2.8  # of the log contrast, at the outer edges of its cells


class Setting(NamedTuple):
    """What is known of an EPI: its size, its texture and noise, and the prior."""

    views: int
    columns: int
    texture_px: float
    noise_sd: float
    most_px: float
    opaque: float
    contrast_sd: float


class Grid(NamedTuple):
    """How fine the grid is: nodes and cells of a disparity, cells of share (even) and contrast."""

    nodes: int = 41
    cells: int = 256
    shares: int = 8
    contrasts: int = 7


class TwoLayers(NamedTuple):
    """Log of prior mass times likelihood of EPIs, constant on cells.

    Attributes:
        two: of two layers at the nodes, ``(N, shares / 2, contrasts, nodes, nodes)``: the first disparity is
            that of the layer whose share is below one half.
        one: of one layer, ``(N, contrasts, nodes)``.
        setting: what is known.
        grid: its size.
    """

    two: Tensor
    one: Tensor
    setting: Setting
    grid: Grid

    @classmethod
    def of(cls, y: Tensor, setting: Setting, grid: Grid = Grid()) -> TwoLayers:  # noqa: B008
        """Return the posterior of EPIs ``(N, C)``."""
        y = y.double()
        axis = torch.linspace(-setting.most_px, setting.most_px, grid.nodes, dtype=torch.float64)
        each = covariance(axis, setting.views, setting.columns, setting.texture_px)
        square = (2 * setting.contrast_sd * _contrasts(grid)[0]).exp()
        one = _log_likelihood(y, each, square, setting.noise_sd)
        two = torch.empty(len(y), grid.shares // 2, grid.contrasts, grid.nodes, grid.nodes, dtype=one.dtype)
        for i in range(grid.shares // 2):
            share = (i + 0.5) / grid.shares
            for j in range(grid.nodes):
                both = share**2 * each[j] + (1 - share) ** 2 * each
                two[:, i, :, j] = _log_likelihood(y, both, square, setting.noise_sd)
        return cls(two, one, setting, grid)

    def log_cells(self, row: int) -> Tensor:
        """Log mass of the cells of one EPI, ``(shares + 1, contrasts, cells, cells)``.

        Axes are the share of the layer, the last one opaque, contrast, its disparity and that of the other.
        """
        spline = _interpolation(self.grid.nodes, self.grid.cells).to(self.two)
        small = spline @ self.two[row] @ spline.T
        opaque = (self.one[row] @ spline.T)[None, :, :, None].expand(1, *small.shape[1:])
        level = torch.cat([small, small.flip(0).mT, opaque])
        weight = torch.arange(1, 2 * self.grid.shares + 2, 2, dtype=level.dtype)
        weight *= (1 - self.setting.opaque) / self.grid.shares**2
        weight[-1] = self.setting.opaque
        prior = weight.log()[:, None] + _contrasts(self.grid)[1].diff().log() - 2 * math.log(self.grid.cells)
        return level + prior[:, :, None, None]

    def log_disparity(self) -> Tensor:
        """Log mass of the cells of the disparity of each EPI, normalised, ``(N, cells)``."""
        found = [self.log_cells(row).logsumexp((0, 1, 3)) for row in range(len(self.one))]
        return torch.stack(found).log_softmax(-1)

    def log_single(self) -> Tensor:
        """The same where only one layer is thought possible: what a single-layer likelihood says."""
        spline = _interpolation(self.grid.nodes, self.grid.cells)
        prior = _contrasts(self.grid)[1].diff().log()
        return (self.one @ spline.T + prior[:, None]).logsumexp(1).log_softmax(-1)

    def sample(self, row: int, n: int) -> Tensor:
        """Draw disparities, weight and contrast given one EPI, ``(n, 4)``; follows torch's seed."""
        log_mass = self.log_cells(row).double()
        below = log_mass.flatten().softmax(0).cumsum(0)
        cell = torch.searchsorted(below, torch.rand(n, dtype=torch.float64) * below[-1])
        place = torch.unravel_index(cell.clamp_max(len(below) - 1), log_mass.shape)
        inside = torch.stack(place) + torch.rand(4, n, dtype=torch.float64)
        edges = torch.linspace(0, 1, self.grid.shares + 1, dtype=torch.float64).square()
        edges = torch.cat([edges, torch.tensor([1 / (1 - self.setting.opaque)], dtype=torch.float64)])
        weight = torch.lerp(edges[place[0]], edges[place[0] + 1], inside[0] - place[0])
        ranks = _contrasts(self.grid)[1]
        rank = torch.lerp(ranks[place[1]], ranks[place[1] + 1], inside[1] - place[1])
        contrast = self.setting.contrast_sd * torch.special.ndtri(rank)
        disparities = self.setting.most_px * (2 * inside[2:] / self.grid.cells - 1)
        return torch.stack([*disparities, weight, contrast.exp()], 1)


def _contrasts(grid: Grid) -> tuple[Tensor, Tensor]:
    """Standardised log contrasts at the centres of equal cells, and the ranks of the cells' edges."""
    edges = torch.linspace(-_REACH_SD, _REACH_SD, grid.contrasts + 1, dtype=torch.float64)
    ranks = torch.special.ndtr(edges)
    ranks[0], ranks[-1] = 0, 1
    return (edges[1:] + edges[:-1]) / 2, ranks


def _log_likelihood(y: Tensor, covariances: Tensor, square: Tensor, noise_sd: float) -> Tensor:
    """Log density of EPIs ``(N, C)`` for ``K`` covariances and squared contrasts, ``(N, contrasts, K)``."""
    variance, axes = torch.linalg.eigh(covariances)
    total = square[:, None, None] * variance.clamp_min(0) + noise_sd**2
    along = (y @ axes).square().movedim(0, 1)  # (N, K, C)
    misfit = torch.einsum("nkc,jkc->njk", along, 1 / total)
    return -0.5 * (misfit + total.log().sum(-1) + y.shape[-1] * math.log(2 * math.pi))


@lru_cache(maxsize=2)
def _interpolation(nodes: int, cells: int) -> Tensor:
    """Weights of the nodes at the centres of the cells, ``(cells, nodes)``."""
    axis = np.linspace(0, 1, nodes)
    centres = (np.arange(cells) + 0.5) / cells
    return torch.from_numpy(make_interp_spline(axis, np.eye(nodes), k=5)(centres))
