"""Gaussian posteriors whose mean each observation holds: where an image flow starts if it is computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from monai_inn.networks.images.factors import factorised, factorised_densely
from monai_inn.networks.images.levels import DenseLevel, Level

__all__ = ["DenseStart", "GivenStart"]


class _GivenMean(nn.Module):
    """The first ``C`` channels of an observation are the posterior mean, the last ones images to be seen.

    Args:
        in_channels: channels ``C`` of the unknown images.
        condition_channels: channels of an observation.
        between: channels of an observation between mean and images.
        size: spatial size of both.
        levels: Haar levels.

    Raises:
        ValueError: if an observation has too few channels.
    """

    mean: Tensor

    def __init__(
        self, in_channels: int, condition_channels: int, between: int, size: Sequence[int], levels: int
    ) -> None:
        super().__init__()
        self.size, self.levels, self.channels = tuple(size), levels, in_channels
        self.first_seen = in_channels + between
        self.seen_channels = condition_channels - self.first_seen
        if self.seen_channels < 0:
            raise ValueError(
                f"observations of {condition_channels} channels cannot hold mean and covariance of "
                f"{in_channels}; give at least {self.first_seen}."
            )
        self.register_buffer("mean", torch.zeros(1, in_channels, *size), persistent=False)

    def seen(self, observation: Tensor) -> Tensor:
        """Return the images that follow mean and covariance."""
        return observation[:, self.first_seen :]

    def of(self, observation: Tensor) -> Tensor:
        """Return the posterior mean ``(N, C, *size)`` of observations ``(N, F, *size)``."""
        return observation[:, : self.channels]

    def fit(self, pairs: Iterable[tuple[Tensor, Tensor, Tensor | None]]) -> None:
        """Leave all as it is: mean and covariance are known."""


class GivenStart(_GivenMean):
    """Gaussian posterior that each observation brings along, as one whose acquisition varies does.

    The first ``C`` channels of an observation are the posterior mean. The next ``C²`` are the covariance at
    each frequency of a discrete Fourier transform of norm ``"ortho"``: its diagonal, then real and imaginary
    part of each entry above it, row by row. What follows are images that couplings may see.

    Args:
        in_channels: channels ``C`` of the unknown images.
        condition_channels: channels of an observation, at least ``C + C²``.
        size: spatial size of both.
        levels: Haar levels.

    Raises:
        ValueError: if an observation has too few channels.
    """

    def __init__(self, in_channels: int, condition_channels: int, size: Sequence[int], levels: int) -> None:
        super().__init__(in_channels, condition_channels, in_channels**2, size, levels)

    def resized(self, size: Sequence[int]) -> GivenStart:
        """Return the start for observations of another size."""
        channels = self.first_seen + self.seen_channels
        return GivenStart(self.channels, channels, size, self.levels).to(self.mean)

    def levels_of(self, observation: Tensor) -> list[Level]:
        """Return the Haar levels of each observation's covariance, finest first."""
        return factorised(hermitian(observation[:, self.channels : self.first_seen]), self.levels)


class DenseStart(_GivenMean):
    """Gaussian posterior of one covariance, whose entry for any two pixels may be any, as after projections.

    The first ``C`` channels of an observation are the posterior mean, what follows are images that couplings
    may see. The covariance is standard normal until ``set`` is called. For ``D`` values of an image its
    matrices hold about ``D²`` numbers, and a sample takes as many multiplications.

    Args:
        in_channels: channels ``C`` of the unknown images.
        condition_channels: channels of an observation, at least ``C``.
        size: spatial size of both.
        levels: Haar levels.

    Raises:
        ValueError: if an observation has too few channels.
    """

    def __init__(self, in_channels: int, condition_channels: int, size: Sequence[int], levels: int) -> None:
        super().__init__(in_channels, condition_channels, 0, size, levels)
        values, bands = in_channels * math.prod(size), 2 ** len(size)
        for number in range(levels):
            coarse = values // bands
            if number < levels - 1:
                values -= coarse
                self.register_buffer(f"regression_{number}", torch.zeros(values, coarse))
            self.register_buffer(f"root_{number}", torch.eye(values))
            self.register_buffer(f"coarse_sd_{number}", torch.ones(1, in_channels))
            values = coarse

    @torch.no_grad()
    def set(self, covariance: Tensor) -> None:
        """Take the posterior covariance of flattened images ``(C, *size)``.

        Raises:
            ValueError: if it is not the covariance of so many values.
        """
        self.check(covariance)
        try:
            made = factorised_densely(covariance, self.channels, self.size, self.levels)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise ValueError(
                "the covariance of the images is not positive definite; add the variance of a noise."
            ) from error
        for level, own in zip(made, self.levels_of(), strict=True):
            if own.regression is not None and level.regression is not None:
                own.regression.copy_(level.regression)
            own.root.copy_(level.root)
            own.coarse_sd.copy_(level.coarse_sd)

    def resized(self, size: Sequence[int]) -> DenseStart:
        """Refuse another size.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"a dense covariance is of one size; make a flow of size {tuple(size)} and set its own."
        )

    def check(self, covariance: Tensor) -> None:
        """Raise a ``ValueError`` if a covariance has another shape than that of the images."""
        number = self.mean.numel()
        if covariance.shape != (number, number):
            raise ValueError(
                f"a covariance of shape {tuple(covariance.shape)}; images of {self.channels} channels and "
                f"size {self.size} need {(number, number)}."
            )

    def levels_of(self, observation: Tensor | None = None) -> list[Level]:
        """Return the Haar levels of the covariance, finest first; they are those of any observation."""
        kept, made = dict(self.named_buffers()), list[Level]()
        for number in range(self.levels):
            root = kept[f"root_{number}"]
            log_det = root.diagonal().log().sum().unsqueeze(0)
            made.append(
                DenseLevel(kept.get(f"regression_{number}"), root, log_det, kept[f"coarse_sd_{number}"])
            )
        return made


def hermitian(channels: Tensor) -> Tensor:
    """Return the matrices ``(N, C, C, *size)`` whose ``C²`` numbers channels ``(N, C², *size)`` are."""
    c = math.isqrt(channels.shape[1])
    rows, columns = torch.triu_indices(c, c, 1)
    matrix = channels.new_zeros(len(channels), c, c, *channels.shape[2:], dtype=channels.dtype.to_complex())
    each = torch.arange(c)
    matrix[:, each, each] = channels[:, :c].to(matrix.dtype)
    entries = torch.complex(channels[:, c::2], channels[:, c + 1 :: 2])
    matrix[:, rows, columns], matrix[:, columns, rows] = entries, entries.conj()
    return matrix
