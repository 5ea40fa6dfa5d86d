"""The layers of a coupling flow or of all members of an ensemble, in order."""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from monai_inn.networks.flows.bijections import AffineTransform, SplineTransform
from monai_inn.networks.flows.couplings import Centring, Context, CouplingBlock

__all__ = ["FlowStack", "Stack", "check_kinds"]


class Stack(nn.Module, abc.ABC):
    """Layers between data and latents of shape ``(M, channels, rows)``, as distributions take them.

    Attributes:
        members: flows that run together.
        groups: sizes of the groups of channels whose leading marginals are exact.
        dtype: number format of the weights.
    """

    members: int
    groups: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Data to latent. ``x`` may hold only the leading groups. Log-determinant of shape ``(M, rows)``."""

    @abc.abstractmethod
    def inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Latent to data."""

    @abc.abstractmethod
    def widest(self, channels: int) -> int:
        """Channels of the widest activation, which decides how many rows fit into the cache."""

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return next(self.parameters()).dtype


class FlowStack(Stack):
    """The layers of one flow or of all members of an ensemble; values have shape ``(M, channels, rows)``.

    ``groups`` makes the density triangular: the channels of a group are transformed given those of earlier
    groups, so that the marginal of the leading groups is exact and costs only their own blocks.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        condition_channels: int,
        num_blocks: int | Sequence[int],
        hidden_channels: Sequence[int] | Sequence[Sequence[int]],
        coupling: str,
        groups: Sequence[int],
        members: int,
        seed: int,
        num_bins: int,
        clamp: float,
        mixing: str,
    ) -> None:
        super().__init__()
        if sum(groups) != in_channels or min(groups) < 1:
            raise ValueError(
                f"groups = {tuple(groups)} must be positive and add up to in_channels = {in_channels}."
            )
        check_kinds(coupling, mixing)
        self.groups, self.members, self.condition_channels = tuple(groups), members, condition_channels
        transform = AffineTransform(clamp) if coupling == "affine" else SplineTransform(num_bins)
        generator = torch.Generator().manual_seed(seed)
        passive = itertools.accumulate(self.groups, initial=0)
        self.centring = Centring(in_channels, condition_channels, members) if condition_channels else None
        depths, widths = _per_group(num_blocks, hidden_channels, len(self.groups))
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                CouplingBlock(
                    size,
                    before,
                    condition_channels,
                    hidden,
                    transform,
                    members,
                    generator,
                    mixing=mixing,
                )
                for _ in range(depth)
            )
            for size, before, depth, hidden in zip(self.groups, passive, depths, widths, strict=False)
        )

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Context) -> None:
        """Set every ActNorm from a first batch ``(M, channels, rows)``, so that training starts whitened."""
        if self.centring is not None:
            x, _ = self.centring(x, context)
        for start, stop, blocks in self.spans(x.shape[1]):
            value, passive = x[:, start:stop], x[:, :start] if start else None
            for block in blocks:
                block.mixing.initialise(value)
                value, _ = block(value, passive, context)

    def forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Data to latent. ``x`` may hold only the leading groups. Log-determinant of shape ``(M, rows)``."""
        latents, log_det = [], x.new_zeros(len(x), 1)
        if self.centring is not None:
            x, log_det = self.centring(x, context)
        for start, stop, blocks in self.spans(x.shape[1]):
            value, passive = x[:, start:stop], x[:, :start] if start else None
            for block in blocks:
                value, change = block(value, passive, context)
                log_det = log_det + change
            latents.append(value)
        return torch.cat(latents, 1), log_det

    def inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Latent to data. ``z`` may hold only the leading groups."""
        done, log_det = z[:, :0], z.new_zeros(len(z), 1)
        for start, stop, blocks in self.spans(z.shape[1]):
            value = z[:, start:stop]
            for block in reversed(blocks):
                value, change = block.inverse(value, done if start else None, context)
                log_det = log_det + change
            done = torch.cat([done, value], 1)
        if self.centring is not None:
            done, change = self.centring.inverse(done, context)
            log_det = log_det + change
        return done, log_det

    def spans(self, channels: int) -> Iterator[tuple[int, int, list[CouplingBlock]]]:
        """First and last channel and the blocks of every group within the leading ``channels``."""
        stops = itertools.accumulate(self.groups)
        for size, stop, blocks in zip(self.groups, stops, self.blocks.children(), strict=True):
            if stop <= channels:
                yield stop - size, stop, cast("list[CouplingBlock]", list(blocks.children()))

    def log_prob(self, x: Tensor, context: Context) -> Tensor:
        """Log density in nats of ``x (M, channels, rows)``, shape ``(M, rows)``."""
        z, log_det = self(x, context)
        return log_det - 0.5 * z.square().sum(1) - 0.5 * math.log(2 * math.pi) * z.shape[1]

    def widest(self, channels: int) -> int:
        """Channels of the widest activation in the groups within the leading ``channels``.

        That decides how many rows fit into the cache.
        """
        groups = itertools.chain.from_iterable(blocks for *_, blocks in self.spans(channels))
        names = (named for block in groups for named in block.named_parameters())
        return max((weight.shape[1] for name, weight in names if ".weights." in name), default=1)


def check_kinds(coupling: str, mixing: str) -> None:
    """Raise a ``ValueError`` if there is no such coupling or mixing."""
    if coupling not in ("affine", "spline"):
        raise ValueError(f'coupling is {coupling!r}, expected "affine" or "spline".')
    if mixing not in ("permutation", "rotation"):
        raise ValueError(f'mixing is {mixing!r}, expected "permutation" or "rotation".')


def _per_group(
    num_blocks: int | Sequence[int], hidden_channels: Sequence[int] | Sequence[Sequence[int]], groups: int
) -> tuple[list[int], list[list[int]]]:
    """Blocks and hidden layers of each group."""
    depths = [num_blocks] * groups if isinstance(num_blocks, int) else list(num_blocks)
    is_shared = all(isinstance(h, int) for h in hidden_channels)
    each = [hidden_channels] * groups if is_shared else list(hidden_channels)
    widths = [list(cast("Sequence[int]", layers)) for layers in each]
    if len(depths) != groups or len(widths) != groups:
        raise ValueError(
            f"num_blocks = {num_blocks} and hidden_channels = {hidden_channels} do not fit {groups} groups; "
            "give one for all or one for each group."
        )
    return depths, widths
