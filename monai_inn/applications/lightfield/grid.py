"""The exact posterior of two layers: a grid over both disparities, the share of light and the contrast.

Given these an EPI is Gaussian. Its log likelihood is computed on a grid of disparities and interpolated by
splines of fifth order, because it is smooth where the posterior is narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor

from monai_inn.applications.lightfield.textures import covariance
from monai_inn.networks.kernels.chunks import is_traced

__all__ = ["Forms", "Grid", "Setting", "TwoLayers", "forms_of", "refinement"]

_REACH_SD = 2.8  # of the log contrast, at the outer edges of its cells
_PIECE = 1 << 20  # cells that are summed at a time
_DEEPEST = -80.0  # nats below the largest mass, as far as single precision is quick


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
    """How fine the grid is.

    Attributes:
        nodes: nodes of a disparity, at which two layers are computed. A spline through too few of them swings
            by tens of nats where the contrast is high.
        cells: cells of a disparity.
        shares: cells of the share of light, even.
        contrasts: cells of the contrast.
        negligible: variance over that of the noise up to which a direction is taken for noise.
    """

    nodes: int = 81
    cells: int = 256
    shares: int = 8
    contrasts: int = 7
    negligible: float = 1e-6


class Forms(NamedTuple):
    """Log densities of EPIs under ``K`` covariances as sums of weighed squares, relative to noise alone.

    Attributes:
        axes: directions of the signal, ``(C, K · r)``.
        weight: of the squares along them, ``(contrasts, K, r)``.
        offset: what is added, ``(contrasts, K)``.
    """

    axes: Tensor
    weight: Tensor
    offset: Tensor

    def __call__(self, y: Tensor) -> Tensor:
        """Log densities of EPIs ``(N, C)``, shape ``(N, contrasts, K)``."""
        squares = (y @ self.axes).square_().unflatten(-1, self.weight.shape[1:])
        sums = torch.stack([torch.linalg.vecdot(squares, weight) for weight in self.weight], 1)
        return sums + self.offset


class TwoLayers(NamedTuple):
    """Log of prior mass times likelihood of EPIs relative to noise alone, constant on cells.

    Attributes:
        two: of two layers at the nodes, ``(N, shares / 2, contrasts, nodes, nodes)``: the first disparity is
            that of the layer whose share is below one half.
        one: of one layer in the cells, ``(N, contrasts, cells)``.
        noise: log density of noise alone, ``(N,)``.
        setting: what is known.
        grid: its size.
    """

    two: Tensor
    one: Tensor
    noise: Tensor
    setting: Setting
    grid: Grid

    @classmethod
    def of(cls, y: Tensor, setting: Setting, grid: Grid, forms: Iterable[Forms]) -> TwoLayers:
        """Return the posterior of EPIs ``(N, C)``, in their precision, from what ``forms_of`` gives."""
        rest = iter(forms)
        one = next(rest)(y)
        two = torch.stack([form(y) for form in rest], 2)
        two = two.unflatten(2, (grid.shares // 2, grid.nodes)).transpose(1, 2)
        variance = setting.noise_sd**2
        noise = -0.5 * (y.square().sum(-1) / variance + y.shape[-1] * math.log(2 * math.pi * variance))
        return cls(two, one, noise, setting, grid)

    def log_cells(self, row: int) -> Tensor:
        """Log mass of the cells of one EPI, ``(shares + 1, contrasts, cells, cells)``.

        Axes are the share of the layer, the last one opaque, contrast, its disparity and that of the other.
        """
        small = self._between_nodes(self.two[row])
        opaque = self.one[row][None, :, :, None].expand(1, *small.shape[1:])
        level = torch.cat([small, small.flip(0).mT, opaque])
        shares = self._shares().to(level)
        weight = torch.cat([shares, shares.new_tensor([self.setting.opaque])])
        prior = weight.log()[:, None] + _contrasts(self.grid)[1].diff().log() - 2 * math.log(self.grid.cells)
        return level + prior[:, :, None, None] + self.noise[row]

    def masses(self) -> Tensor:
        """Mass of the cells of the disparity, of two layers and of one, normalised, ``(N, 2, cells)``."""
        if is_traced():
            return self._masses(self.two, self.one)
        rows = max(1, _PIECE // (self.grid.contrasts * self.grid.cells**2))
        parts = [self._masses(*part) for part in zip(self.two.split(rows), self.one.split(rows), strict=True)]
        return torch.cat(parts)

    def _masses(self, two: Tensor, one: Tensor) -> Tensor:
        prior = _contrasts(self.grid)[1].diff().log().to(one)[:, None]
        levels = [self._between_nodes(part) for part in two.unbind(1)]
        most = torch.stack([level.amax((1, 2, 3)) for level in levels] + [one.amax((1, 2))]).amax(0)
        alone = (one + prior - most[:, None, None]).exp().sum(1) * self.setting.opaque
        mixed, shares = torch.zeros_like(alone), self._shares().tolist()
        for i, level in enumerate(levels):
            mass = level.add_(prior[..., None] - most[:, None, None, None]).clamp_min_(_DEEPEST).exp_().sum(1)
            mixed = mixed + shares[i] * mass.mean(2) + shares[-1 - i] * mass.mean(1)
        both = torch.stack([mixed, alone], 1)
        return both / both.sum((1, 2), keepdim=True)

    def _between_nodes(self, levels: Tensor) -> Tensor:
        """Log likelihoods at the centres of cells of those at nodes, ``(…, nodes, nodes)``."""
        spline = _interpolation(self.grid.nodes, self.grid.cells).to(levels)
        return spline @ (levels @ spline.T)

    def _shares(self) -> Tensor:
        """Prior mass of the cells of the share of the layer that a photon comes from, ``(shares,)``."""
        odd = torch.arange(1, 2 * self.grid.shares, 2, dtype=torch.float64)
        return odd * (1 - self.setting.opaque) / self.grid.shares**2

    def log_disparity(self) -> Tensor:
        """Log mass of the cells of the disparity of each EPI, normalised, ``(N, cells)``."""
        return self.masses().sum(1).log()

    def log_single(self) -> Tensor:
        """The same where only one layer is thought possible: what a single-layer likelihood says."""
        prior = _contrasts(self.grid)[1].diff().log()
        return (self.one + prior[:, None]).logsumexp(1).log_softmax(-1)

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


def forms_of(setting: Setting, grid: Grid, dtype: torch.dtype) -> Iterator[Forms]:
    """Yield the log densities of one layer, then those of two for each share and node of the first one."""
    centres = setting.most_px * (2 * torch.from_numpy(_centres(grid.cells)) - 1)
    yield _forms(_waves(centres, setting, grid), setting, grid, dtype)
    nodes = torch.linspace(-setting.most_px, setting.most_px, grid.nodes, dtype=torch.float64)
    waves = _waves(nodes, setting, grid)
    for i in range(grid.shares // 2):
        share = (i + 0.5) / grid.shares
        for first in waves:
            both = torch.cat([(share * first).expand_as(waves), (1 - share) * waves], -1)
            yield _forms(both, setting, grid, dtype)


def _waves(disparity: Tensor, setting: Setting, grid: Grid) -> Tensor:
    """Roots ``(K, C, R)`` of the covariances of one layer."""
    each = covariance(disparity, setting.views, setting.columns, setting.texture_px)
    variance, axes = torch.linalg.eigh(each)
    count = int((variance > grid.negligible * setting.noise_sd**2).sum(-1).max())
    return axes[..., -count:] * variance[:, None, -count:].clamp_min(0).sqrt()


def _forms(roots: Tensor, setting: Setting, grid: Grid, dtype: torch.dtype) -> Forms:
    """Log densities of normal EPIs from roots ``(K, C, R)`` of their covariances without noise."""
    noise = setting.noise_sd**2
    variance, axes = torch.linalg.eigh(roots.mT @ roots)
    count = int((variance > grid.negligible * noise).sum(-1).max())
    variance, axes = variance[:, -count:].clamp_min(1e-3 * grid.negligible * noise), axes[..., -count:]
    directions = roots @ axes / variance.sqrt().unsqueeze(1)
    square = (2 * setting.contrast_sd * _contrasts(grid)[0]).exp()
    ratio = square[:, None, None] * variance / noise
    weight, offset = ratio / (1 + ratio) / (2 * noise), -0.5 * ratio.log1p().sum(-1)
    return Forms(directions.movedim(1, 0).flatten(1).to(dtype), weight.to(dtype), offset.to(dtype))


def _contrasts(grid: Grid) -> tuple[Tensor, Tensor]:
    """Standardised log contrasts at the centres of equal cells, and the ranks of the cells' edges."""
    edges = torch.linspace(-_REACH_SD, _REACH_SD, grid.contrasts + 1, dtype=torch.float64)
    ranks = torch.special.ndtr(edges)
    ranks[0], ranks[-1] = 0, 1
    return (edges[1:] + edges[:-1]) / 2, ranks


@lru_cache(maxsize=4)
def _interpolation(nodes: int, cells: int) -> Tensor:
    """Weights of the nodes at the centres of the cells, ``(cells, nodes)``."""
    return torch.from_numpy(make_interp_spline(np.linspace(0, 1, nodes), np.eye(nodes), k=5)(_centres(cells)))


@lru_cache(maxsize=4)
def refinement(few: int, many: int) -> Tensor:
    """Weights of log masses of few cells in those of many, a cubic spline, ``(many, few)``."""
    return torch.from_numpy(make_interp_spline(_centres(few), np.eye(few), k=3)(_centres(many)))


def _centres(cells: int) -> np.ndarray:
    """Centres of equal cells between 0 and 1."""
    return (np.arange(cells) + 0.5) / cells
