"""Haar levels of a Gaussian density of images: by frequencies, or densely."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_inn.networks.images.haar import join, split
from monai_inn.networks.kernels.chunks import full_precision

__all__ = ["DenseLevel", "Level", "SpectralLevel", "whiten"]


@dataclass(frozen=True)
class Level(abc.ABC):
    """Gaussian density of one level's details given the coarse image.

    The first axis of what follows has one entry for each of ``N`` images, or a single one for all.

    Attributes:
        regression: matrix of the details' regression on the coarse image; ``None`` for the coarsest level,
            whose coarse image is among the ``K`` channels of its details.
        root: lower-triangular root of the covariance that is left.
        log_det: logarithm of the determinant of ``root``, ``(N,)``.
        coarse_sd: standard deviation of the coarse image's channels, ``(N, C)``.
    """

    regression: Tensor | None
    root: Tensor
    log_det: Tensor
    coarse_sd: Tensor

    def whiten(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Return the white details ``(S · N, K, …)`` and the coarse image of residuals ``(S · N, C, …)``."""
        c = residual.shape[1]
        bands = split(residual, residual.ndim - 2)
        coarse, details = bands[:, :c], bands if self.regression is None else bands[:, c:]
        values = self._enter(details)
        if self.regression is not None:
            values = values - self._product(self.regression, self._enter(coarse))
        return self._leave(self._solve(values), details.shape), coarse

    def colour(self, white: Tensor, coarse: Tensor | None) -> Tensor:
        """Return the residual of white details and its coarse image, which the coarsest level does not use.

        Undoes ``whiten``.
        """
        dims = white.ndim - 2
        values = self._product(self.root, self._enter(white))
        if coarse is None or self.regression is None:
            return join(self._leave(values, white.shape), dims)
        values = values + self._product(self.regression, self._enter(coarse))
        return join(torch.cat([coarse, self._leave(values, white.shape)], 1), dims)

    def of_unit_variance(self, coarse: Tensor) -> Tensor:
        """Return a coarse image ``(S · N, C, …)`` with unit variance."""
        sd = self.coarse_sd.view(*self.coarse_sd.shape, *[1] * (coarse.ndim - 2))
        return (_by_image(coarse, len(sd)) / sd).flatten(0, 1)

    @abc.abstractmethod
    def _enter(self, image: Tensor) -> Tensor:
        """Images in the form that the matrices act on."""

    @abc.abstractmethod
    def _leave(self, values: Tensor, shape: torch.Size) -> Tensor:
        """Undo ``_enter``."""

    @abc.abstractmethod
    def _product(self, matrix: Tensor, values: Tensor) -> Tensor:
        """A matrix times values."""

    @abc.abstractmethod
    def _solve(self, values: Tensor) -> Tensor:
        """The inverse of ``root`` times values."""


class SpectralLevel(Level):
    """A level of stationary images. Matrices act on the channels of each frequency.

    They come for the half of the frequencies that ``torch.fft.rfftn`` returns, ``(N, K, K or C, *half)``.
    """

    def _enter(self, image: Tensor) -> Tensor:
        return torch.fft.rfftn(image, dim=tuple(range(2, image.ndim)), norm="ortho")

    def _leave(self, values: Tensor, shape: torch.Size) -> Tensor:
        axes = tuple(range(2, len(shape)))
        return torch.fft.irfftn(values, s=shape[2:], dim=axes, norm="ortho")

    def _product(self, matrix: Tensor, values: Tensor) -> Tensor:
        rows = _by_image(values, len(matrix))
        return torch.einsum("nkj...,snj...->snk...", matrix.to(rows.dtype), rows).flatten(0, 1)

    def _solve(self, values: Tensor) -> Tensor:
        root, rows = self.root, list[Tensor]()
        by_image = _by_image(values, len(root))
        for k in range(root.shape[1]):
            value = by_image[:, :, k]
            for j, before in enumerate(rows):
                value = value - root[:, k, j] * before
            rows.append(value / root[:, k, k])
        return torch.stack(rows, 2).flatten(0, 1)


class DenseLevel(Level):
    """A level of images of any covariance, the same for all. Matrices act on flattened images.

    For ``P`` places of the coarse image they are ``(K · P, K · P)`` and ``(K · P, C · P)``.
    """

    def _enter(self, image: Tensor) -> Tensor:
        return image.flatten(1)

    def _leave(self, values: Tensor, shape: torch.Size) -> Tensor:
        return values.view(shape)

    def _product(self, matrix: Tensor, values: Tensor) -> Tensor:
        with full_precision(values.device):
            return values @ matrix.T

    def _solve(self, values: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.root.T, values, upper=True, left=False)


def whiten(levels: Sequence[Level], residual: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return white details of residuals, coarsest first.

    Args:
        levels: levels of ``N`` images, or of all, finest first.
        residual: images minus their mean, ``(S · N, C, *size)``; coarse images if ``levels`` are the coarser
            ones.

    Returns:
        White channels of each level, ``(S · N, K, *size / 2^level)``; the coarse image of each level but the
        coarsest, of unit variance, ``(S · N, C, …)``; the log-determinant, ``(N,)`` or ``(1,)``.
    """
    white, seen = [], []
    log_det = torch.zeros_like(levels[0].log_det)
    for level in levels:
        details, residual = level.whiten(residual)
        white.append(details)
        if level.regression is not None:
            seen.append(level.of_unit_variance(residual))
        log_det = log_det - level.log_det
    return white[::-1], seen[::-1], log_det


def _by_image(rows: Tensor, images: int) -> Tensor:
    """Rows ``(S · N, …)`` as ``(S, N, …)``, images fastest."""
    return rows.unflatten(0, (-1, images))
