"""Moments of pairs of images, added up: means of classes, and the spectrum within them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.networks.images.factors import LEAST_SHARE

__all__ = ["SPECTRUM_ROWS", "ClassMeans", "Moments"]

SPECTRUM_ROWS = 20_000
"""Pairs of images behind a spectrum, at most: the KL of 2,000 is .0004 nats a pixel, of 20,000 a tenth."""

_REACH = 2  # frequencies or pixels on each side whose power is averaged


class ClassMeans(NamedTuple):
    """Linear discriminant of the classes' observations: ``log p(k | y) = ⟨template_k, y⟩ + bias_k + const``.

    Attributes:
        template: shape ``(K, F, *size)``.
        bias: shape ``(K,)``.
    """

    template: Tensor
    bias: Tensor

    def distance(self, other: ClassMeans, observation: Tensor) -> float:
        """Root mean square difference of log odds given observations ``(N, F, *size)``, worst class."""
        template, bias = self.template - other.template, self.bias - other.bias
        change = observation.flatten(1).to(template) @ template.flatten(1).T + bias
        return float((change - change[:, :1]).square().mean(0).amax().sqrt())


class Moments:
    """Means of classes and the spectrum within them, added up batch by batch in double precision.

    Means of classes, which must be told apart, take more images than the spectrum, and cost less each.
    """

    def __init__(self, classes: int, channels: int, size: Sequence[int], device: torch.device) -> None:
        self.axes = tuple(range(-len(size), 0))
        self.count = torch.zeros(classes, dtype=torch.float64, device=device)
        self.total = torch.zeros(classes, channels, *size, dtype=torch.float64, device=device)
        self.products = torch.zeros(channels, channels, *size, dtype=torch.complex128, device=device)
        self.early: tuple[Tensor, Tensor] | None = None

    @property
    def rows(self) -> int:
        """How many pairs there were."""
        return int(self.count.sum())

    def add(self, images: Tensor, label: Tensor | None) -> None:
        """Add images ``(N, channels, *size)`` and their classes."""
        if label is None:
            label = torch.zeros(len(images), dtype=torch.long, device=images.device)
        if self.early is None:
            values = torch.fft.fftn(images.double(), dim=self.axes, norm="ortho")
            for i in range(values.shape[1]):
                self.products[i] += (values[:, i : i + 1] * values.conj()).sum(0)
        self.total.index_add_(0, label, images.double())
        self.count.index_add_(0, label, torch.ones_like(label, dtype=torch.float64))
        if self.early is None and self.count.sum() >= SPECTRUM_ROWS:
            self.early = self.count.clone(), self.total.clone()

    def log_shares(self) -> Tensor:
        """Logarithm of each class's share."""
        return (self.count / self.count.sum()).log()

    def estimates(self) -> tuple[Tensor, Tensor]:
        """Means ``(classes, channels, *size)`` and the spectrum ``(channels, channels, *size)``.

        A mean is shrunk by Wiener's filter to what stands out of its sampling noise among its neighbours: the
        mean of ``n`` images would otherwise cost half a nat for each ``n`` pixels.
        """
        count, total = self.early or (self.count, self.total)
        count = count.clamp_min(1)  # of a class that was never drawn
        early = torch.fft.fftn(total, dim=self.axes, norm="ortho")
        scaled = early / count.sqrt().view([-1] + [1] * (early.ndim - 1))
        lost = torch.einsum("ki...,kj...->ij...", scaled, scaled.conj())
        within = (self.products - lost) / (count.sum() - len(count))
        power = within.diagonal(dim1=0, dim2=1).real.movedim(-1, 0).clamp_min(0)
        values = torch.fft.fftn(self.total, dim=self.axes, norm="ortho")
        number = self.count.clamp_min(1).view([-1] + [1] * (values.ndim - 1))
        pooled = values.sum(0, keepdim=True) / number.sum()
        kept = self._shrunk(pooled, power / number.sum())
        if len(number) > 1:
            kept = kept + self._apart(values / number - pooled, within, 1 / number - 1 / number.sum())
        return torch.fft.ifftn(kept, s=values.shape[2:], dim=self.axes, norm="ortho").real, within

    def _apart(self, values: Tensor, within: Tensor, noise: Tensor) -> Tensor:
        """Transforms ``(K, channels, *size)`` of what tells classes apart, shrunk by frequency and by place.

        Whitened, their noise is the same at every frequency and pixel. What tells classes apart is in few of
        either: a lesion is smooth, and somewhere.
        """
        matrix = within.movedim((0, 1), (-2, -1))
        power = matrix.diagonal(dim1=-2, dim2=-1).real.flatten(0, -2).mean(0)
        root = torch.linalg.cholesky(matrix + torch.diag(LEAST_SHARE * power + 1e-100))
        columns = values.movedim(1, -1).unsqueeze(-1)
        white = torch.linalg.solve_triangular(root, columns, upper=False).squeeze(-1).movedim(-1, 1)
        kept = self._shrunk(white, noise)
        there = torch.fft.ifftn(kept, dim=self.axes, norm="ortho").real
        kept = torch.fft.fftn(self._shrunk(there, noise), dim=self.axes, norm="ortho")
        return (root @ kept.movedim(1, -1).unsqueeze(-1)).squeeze(-1).movedim(-1, 1)

    def _shrunk(self, values: Tensor, noise: Tensor) -> Tensor:
        """Values ``(…, *size)`` times the share of their neighbours' power that the noise's leaves."""
        share = values.abs().square() / noise.clamp_min(1e-30)
        reach = range(-_REACH, _REACH + 1)
        for axis in self.axes:
            share = torch.stack([share.roll(step, axis) for step in reach]).mean(0)
        return values * (1 - 1 / share.clamp_min(1.0))
