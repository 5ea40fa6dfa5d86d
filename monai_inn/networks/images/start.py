"""The linear-Gaussian posterior of stationary images in closed form: where an image flow starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from monai_inn.networks.images.haar import frequency_responses, join, split

__all__ = ["SPECTRUM_ROWS", "ClassMeans", "GaussianStart", "Level"]

SPECTRUM_ROWS = 20_000
"""Pairs of images behind a spectrum, at most: the KL of 2,000 is .0004 nats a pixel, of 20,000 a tenth."""

_REACH = 2  # frequencies on each side whose power is averaged
_LEAST_SHARE = 1e-9  # of the mean power: keeps a frequency invertible that images do not have


class Level(NamedTuple):
    """Gaussian density of one level's details given the coarse image, frequency by frequency.

    Matrices act on channels and come for the half of the frequencies that ``torch.fft.rfftn`` returns.

    Attributes:
        regression: of the details on the coarse image, ``(K, C, *half)``; ``None`` for the coarsest level,
            whose coarse image is among the ``K`` channels.
        root: lower-triangular root of the covariance that is left, ``(K, K, *half)``.
        log_det: logarithm of the determinant of ``root`` over all frequencies, a scalar.
        coarse_sd: standard deviation of the coarse image's channels, ``(C,)``.
    """

    regression: Tensor | None
    root: Tensor
    log_det: Tensor
    coarse_sd: Tensor


class GaussianStart(nn.Module):
    """Gaussian posterior of images given images, its mean and covariance the same at every place.

    The mean is a linear filter of the observation, the covariance one matrix of channels for each frequency;
    both are the least-squares estimates of pairs of images, as ``fit`` adds them up. Borders go on at the
    opposite side. Given a class, means are those of the class.

    The covariance is factorised from coarse to fine. Of each Haar level the details are Gaussian given the
    coarse image, so that the first levels alone give the exact density of the coarse image.

    Args:
        in_channels: channels ``C`` of the unknown images.
        condition_channels: channels ``F`` of the observed images.
        size: spatial size of both.
        levels: Haar levels.
        classes: number of classes; 0 for none.

    Source: Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series, 1949.
    """

    spectrum: Tensor
    filter: Tensor
    mean: Tensor

    def __init__(
        self, in_channels: int, condition_channels: int, size: Sequence[int], levels: int, classes: int = 0
    ) -> None:
        super().__init__()
        self.size, self.levels = tuple(size), levels
        self.channels, self.condition_channels = in_channels, condition_channels
        unit = torch.eye(in_channels).view(in_channels, in_channels, *[1] * len(size), 1)
        spectrum = unit * torch.tensor([1.0, 0.0]) * torch.ones(*size, 1)
        # Real and imaginary part on the last axis, as files of weights hold no complex numbers.
        self.register_buffer("spectrum", spectrum)
        self.register_buffer("filter", torch.zeros(in_channels, condition_channels, *_half(size), 2))
        self.register_buffer("mean", torch.zeros(max(classes, 1), in_channels, *size))
        self._kept: tuple[tuple[object, ...], list[Level]] | None = None

    @property
    def dims(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    def of(self, observation: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the posterior mean ``(N, C, *size)`` of observations ``(N, F, *size)``.

        Args:
            observation: observed images.
            label: class of each, ``(N,)``; left out, the part of the mean that is no class's is returned.
        """
        axes = self._axes
        seen = torch.fft.rfftn(observation, dim=axes, norm="ortho")
        filtered = torch.einsum("cf...,nf...->nc...", torch.view_as_complex(self.filter), seen)
        made = torch.fft.irfftn(filtered, s=self.size, dim=axes, norm="ortho")
        return made if label is None else made + self.mean[label]

    def whiten(self, residual: Tensor, first: int = 0) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return white details of residuals, coarsest first.

        Args:
            residual: images minus their mean, ``(N, C, *size)``; of ``first`` levels the coarse images.
            first: levels that are left out.

        Returns:
            White channels of each level, ``(N, K, *size / 2^level)``; the coarse image of each level but the
            coarsest, of unit variance, ``(N, C, …)``; the log-determinant, a scalar.
        """
        levels = self._levels()[first:]
        white, seen, log_det = [], [], residual.new_zeros(())
        for level in levels:
            bands = split(residual, self.dims)
            residual, details = self._parts(bands, level)
            transformed = self._transform(details)
            if level.regression is not None:
                transformed = transformed - _product(level.regression, self._transform(residual))
                seen.append(residual / _column(level.coarse_sd, self.dims))
            white.append(self._back(_solve(level.root, transformed), details.shape))
            log_det = log_det - level.log_det
        return white[::-1], seen[::-1], log_det

    def colour(self, level: int, white: Tensor, coarse: Tensor | None) -> Tensor:
        """Return the residual, one level finer, of a level's white channels and its coarse image.

        Args:
            level: number of the level, 0 the finest.
            white: shape ``(N, K, …)``.
            coarse: the residual's coarse image ``(N, C, …)``; ``None`` for the coarsest level.
        """
        part = self._levels()[level]
        transformed = _product(part.root, self._transform(white))
        if coarse is None or part.regression is None:
            return join(self._back(transformed, white.shape), self.dims)
        transformed = transformed + _product(part.regression, self._transform(coarse))
        return join(torch.cat([coarse, self._back(transformed, white.shape)], 1), self.dims)

    def seen(self, level: int, coarse: Tensor) -> Tensor:
        """Return a level's coarse image with unit variance."""
        return coarse / _column(self._levels()[level].coarse_sd, self.dims)

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Tensor, Tensor, Tensor | None]]) -> ClassMeans:
        """Set the posterior to the least-squares estimate of pairs of images.

        Args:
            pairs: batches of unknown images ``(N, C, *size)``, observed ones ``(N, F, *size)`` and their
                classes ``(N,)`` or ``None``.

        Returns:
            What tells the classes apart.
        """
        sums = _Sums(len(self.mean), self.channels + self.condition_channels, self.size, self.mean.device)
        for image, observation, label in pairs:
            sums.add(torch.cat([image, observation], 1), label)
        mean, within = sums.estimates()
        c = self.channels
        half = (..., slice(self.size[-1] // 2 + 1))
        # The last two axes are those of channels while matrices are solved.
        matrix = within.movedim((0, 1), (-2, -1))
        seen = matrix[..., c:, c:]
        ridge = _LEAST_SHARE * seen.diagonal(dim1=-2, dim2=-1).real.mean((*range(self.dims), -1))
        seen = seen + ridge * torch.eye(seen.shape[-1], device=seen.device)
        gain = torch.linalg.solve(seen, matrix[..., c:, :c]).mH
        left = matrix[..., :c, :c] - gain @ matrix[..., c:, :c]
        spectrum = ((left + left.mH) / 2).movedim((-2, -1), (0, 1))
        ordered = gain.movedim((-2, -1), (0, 1))[half].contiguous()
        self.spectrum.copy_(torch.view_as_real(spectrum.contiguous()))
        self.filter.copy_(torch.view_as_real(ordered))
        observed = mean[:, c:]
        axes = self._axes
        filtered = _product(ordered, torch.fft.rfftn(observed, dim=axes, norm="ortho"))
        self.mean.copy_(mean[:, :c] - torch.fft.irfftn(filtered, s=self.size, dim=axes, norm="ortho"))
        apart = torch.fft.fftn(observed - observed.mean(0), dim=axes, norm="ortho")
        weighted = torch.linalg.solve(seen, apart.movedim(1, -1).unsqueeze(-1)).squeeze(-1).movedim(-1, 1)
        template = torch.fft.ifftn(weighted, dim=axes, norm="ortho").real
        bias = sums.log_shares() - 0.5 * (template * (observed + observed.mean(0))).flatten(1).sum(1)
        return ClassMeans(template.float(), bias.float())

    def _levels(self) -> list[Level]:
        """Matrices of all levels, finest first; made anew when the spectrum has changed."""
        state = (self.spectrum._version, self.spectrum.dtype, self.spectrum.device, self.spectrum.data_ptr())
        if self._kept is None or self._kept[0] != state:
            with torch.no_grad():
                self._kept = state, self._factorised()
        return self._kept[1]

    def _factorised(self) -> list[Level]:
        spectrum = torch.view_as_complex(self.spectrum.double())
        levels, c = [], self.channels
        for number in range(self.levels):
            bands = _folded(spectrum, self.dims)  # (*coarse, K, K)
            power = bands.diagonal(dim1=-2, dim2=-1).real
            ridge = _LEAST_SHARE * power.mean() * torch.eye(bands.shape[-1], device=bands.device)
            bands = bands + ridge
            coarse_sd = power[..., :c].mean(tuple(range(self.dims))).sqrt()
            if number == self.levels - 1:
                regression, left = None, bands
            else:
                regression = torch.linalg.solve(bands[..., :c, :c], bands[..., :c, c:]).mH
                left = bands[..., c:, c:] - regression @ bands[..., :c, c:]
            root = torch.linalg.cholesky((left + left.mH) / 2)
            log_det = root.diagonal(dim1=-2, dim2=-1).real.log().sum()
            spectrum = bands[..., :c, :c].movedim((-2, -1), (0, 1))
            levels.append(
                Level(
                    None if regression is None else self._stored(regression),
                    self._stored(root),
                    log_det.to(self.spectrum.dtype),
                    coarse_sd.to(self.spectrum.dtype),
                )
            )
        return levels

    def _stored(self, matrix: Tensor) -> Tensor:
        """Matrices ``(*frequencies, K, J)`` of half of the frequencies, channels first."""
        half = matrix.movedim((-2, -1), (0, 1))[..., : matrix.shape[self.dims - 1] // 2 + 1]
        return half.to(self.spectrum.dtype.to_complex()).contiguous()

    def _parts(self, bands: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """Coarse image, and the channels that are whitened."""
        c = self.channels
        return bands[:, :c], bands if level.regression is None else bands[:, c:]

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-self.dims, 0))

    def _transform(self, image: Tensor) -> Tensor:
        return torch.fft.rfftn(image, dim=self._axes, norm="ortho")

    def _back(self, transformed: Tensor, shape: torch.Size) -> Tensor:
        return torch.fft.irfftn(transformed, s=shape[-self.dims :], dim=self._axes, norm="ortho")


class ClassMeans(NamedTuple):
    """Linear discriminant of the classes' observations: ``log p(k | y) = ⟨template_k, y⟩ + bias_k + const``.

    Attributes:
        template: shape ``(K, F, *size)``.
        bias: shape ``(K,)``.
    """

    template: Tensor
    bias: Tensor


class _Sums:
    """Means of classes and the spectrum within them, added up batch by batch in double precision.

    Means of classes, which must be told apart, take more images than the spectrum, and cost less each.
    """

    def __init__(self, classes: int, channels: int, size: Sequence[int], device: torch.device) -> None:
        self.axes = tuple(range(-len(size), 0))
        self.count = torch.zeros(classes, dtype=torch.float64, device=device)
        self.total = torch.zeros(classes, channels, *size, dtype=torch.float64, device=device)
        self.products = torch.zeros(channels, channels, *size, dtype=torch.complex128, device=device)
        self.early: tuple[Tensor, Tensor] | None = None

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

        A mean is shrunk by Wiener's filter to what stands out of its sampling noise among neighbouring
        frequencies: the mean of ``n`` images would otherwise cost half a nat for each ``n`` pixels.
        """
        count, total = self.early or (self.count, self.total)
        early = torch.fft.fftn(total, dim=self.axes, norm="ortho")
        scaled = early / count.sqrt().view([-1] + [1] * (early.ndim - 1))
        lost = torch.einsum("ki...,kj...->ij...", scaled, scaled.conj())
        within = (self.products - lost) / (count.sum() - len(count))
        power = within.diagonal(dim1=0, dim2=1).real.movedim(-1, 0).clamp_min(0)
        values = torch.fft.fftn(self.total, dim=self.axes, norm="ortho")
        number = self.count.view([-1] + [1] * (values.ndim - 1))
        pooled = values.sum(0, keepdim=True) / number.sum()
        kept = self._shrunk(pooled, power / number.sum())
        if len(number) > 1:
            apart = values / number - pooled
            kept = kept + self._shrunk(apart, power * (1 / number - 1 / number.sum()))
        return torch.fft.ifftn(kept, s=values.shape[2:], dim=self.axes, norm="ortho").real, within

    def _shrunk(self, values: Tensor, noise: Tensor) -> Tensor:
        """Transforms ``(…, *size)`` times the share of their power that their noise's leaves."""
        share = values.abs().square() / noise.clamp_min(1e-30)
        reach = range(-_REACH, _REACH + 1)
        for axis in self.axes:
            share = torch.stack([share.roll(step, axis) for step in reach]).mean(0)
        return values * (1 - 1 / share.clamp_min(1.0))


def _folded(spectrum: Tensor, dims: int) -> Tensor:
    """Covariance of the bands at each coarse frequency, ``(*coarse, K, K)``, of a spectrum."""
    responses = frequency_responses(spectrum.shape[-dims:], spectrum.dtype).to(spectrum.device)
    total = spectrum.new_zeros(())
    for choice in product((0, 1), repeat=dims):
        r, part = responses, spectrum
        for axis, which in zip(range(-dims, 0), choice, strict=True):
            r, part = (values.chunk(2, axis)[which] for values in (r, part))
        total = total + torch.einsum("a...,ij...,b...->aibj...", r, part, r.conj())
    return total.flatten(2, 3).flatten(0, 1).movedim((0, 1), (-2, -1))


def _product(matrix: Tensor, transformed: Tensor) -> Tensor:
    return torch.einsum("kj...,nj...->nk...", matrix.to(transformed.dtype), transformed)


def _solve(root: Tensor, transformed: Tensor) -> Tensor:
    """Solve the lower-triangular system of each frequency."""
    rows: list[Tensor] = []
    for k in range(root.shape[0]):
        value = transformed[:, k]
        for j, before in enumerate(rows):
            value = value - root[k, j] * before
        rows.append(value / root[k, k])
    return torch.stack(rows, 1)


def _column(values: Tensor, dims: int) -> Tensor:
    return values.view(-1, *[1] * dims)


def _half(size: Sequence[int]) -> tuple[int, ...]:
    return (*size[:-1], size[-1] // 2 + 1)
