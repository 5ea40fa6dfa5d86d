"""A flow made ready for many rows on a CPU: no gradients, no copies, activations that stay in the cache.

The modules in ``couplings`` define the arithmetic and are what training and GPUs run. A plan does the same
arithmetic for one member at a time, with matrices merged beforehand.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from monai_inn.networks.bijections import Mixing
from monai_inn.networks.couplings import CouplingBlock
from monai_inn.networks.plan_parts import Chunk, PreparedSubnet, Sharing

if TYPE_CHECKING:
    from monai_inn.networks.flows import FlowStack

__all__ = ["Plan"]


class Plan:
    """One member of a flow, prepared for the leading ``channels``; safe to share between threads.

    Args:
        stack: the flow.
        member: which of its members.
        channels: leading channels, whole groups of the flow.
        sharing: how its subnets get the condition.
    """

    def __init__(self, stack: FlowStack, member: int, channels: int, sharing: Sharing) -> None:
        self._sharing = sharing
        with torch.no_grad():
            centring = stack.centring
            self._centring = None if centring is None else (centring.bias[member], centring.weight[member])
            self._groups = [
                _Group(start, stop, blocks, member, sharing) for start, stop, blocks in stack.spans(channels)
            ]

    @classmethod
    def of_members(cls, stack: FlowStack, channels: int, size: int) -> list[Plan]:
        """One for every member, for chunks with ``size`` rows a pixel."""
        sharing = Sharing.of(size, stack.condition_channels, stack.widest, stack.dtype.itemsize)
        return [cls(stack, member, channels, sharing) for member in range(stack.members)]

    def inverse(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """Samples ``(S, n, D)`` of latents ``(S, n, D)`` under conditions ``(n, F)``."""
        size, pixels, channels = latent.shape
        columns = latent.permute(2, 1, 0).reshape(channels, -1)
        chunk = Chunk(condition, latent, self._sharing)
        out = torch.empty_like(columns)
        for group in self._groups:
            group.inverse(columns, chunk, out)
        out = out.view(channels, pixels, size)
        if self._centring is not None and condition is not None:
            m, s = _shift_and_scale(*self._centring, condition, channels)
            out.mul_(torch.exp(-s)).add_(m)
        return out.permute(2, 1, 0)

    def log_prob(self, value: Tensor, condition: Tensor | None) -> Tensor:
        """Log densities ``(S, n)`` in nats of values ``(S, n, D)`` under conditions ``(n, F)``."""
        size, pixels, channels = value.shape
        columns = value.permute(2, 1, 0).reshape(channels, pixels, size)
        chunk = Chunk(condition, value, self._sharing)
        out = value.new_full((pixels, size), -0.5 * math.log(2 * math.pi) * channels)
        if self._centring is not None and condition is not None:
            m, s = _shift_and_scale(*self._centring, condition, channels)
            columns = (columns - m).mul_(s.exp())
            out += s.sum(0)
        for group in self._groups:
            group.add_log_prob(columns.reshape(channels, -1), chunk, out.view(-1))
        return out.T


def _shift_and_scale(bias: Tensor, weight: Tensor, condition: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Those of a centring, each ``(channels, n, 1)``."""
    m, s = torch.addmm(bias, weight, condition.T).unsqueeze(-1).chunk(2)
    return m[:channels], s[:channels]


class _Group:
    """The blocks of one member on channels ``start`` to ``stop``."""

    def __init__(
        self, start: int, stop: int, blocks: list[CouplingBlock], member: int, sharing: Sharing
    ) -> None:
        self._start, self._stop = start, stop
        self._blocks = [_Block(block, member, sharing) for block in blocks]
        gap = sharing.channels + start
        self._to_data = [block.in_order(block.to_data, gap) for block in self._blocks]
        self._to_latent = [self._blocks[0].to_latent]
        for before, block in itertools.pairwise(self._blocks):
            self._to_latent.append(before.in_order(block.to_latent, gap))

    def inverse(self, latent: Tensor, chunk: Chunk, out: Tensor) -> None:
        """Fill the group's channels of ``out (D, rows)``, of which those before are done."""
        buffers = _Buffers(self._stop - self._start, torch.cat([chunk.shared, out[: self._start]]))
        values = buffers.following(self._blocks[-1].split)
        values.put(latent[self._start : self._stop])
        for number in reversed(range(len(self._blocks))):
            block, source = self._blocks[number], values
            block.inverse_(source, chunk)
            if number:
                values = buffers.following(self._blocks[number - 1].split)
                _map(self._to_data[number], block.shift, source.whole, values.second, values.first)
        torch.addmm(block.shift, self._to_data[0], source.whole, out=out[self._start : self._stop])

    def add_log_prob(self, value: Tensor, chunk: Chunk, total: Tensor) -> None:
        """Add the group's log density of ``value (D, rows)``, less a constant, to ``total (rows)``."""
        buffers = _Buffers(self._stop - self._start, torch.cat([chunk.shared, value[: self._start]]))
        source = value[self._start : self._stop]
        for block, matrix in zip(self._blocks, self._to_latent, strict=True):
            values = buffers.following(block.split)
            _map(matrix, block.offset, source, values.second, values.first)
            block.forward_(values, chunk, total)
            source = values.whole
        for half in (values.second, values.first):
            total.sub_(half.square_().sum(0), alpha=0.5)


def _map(matrix: Tensor, offset: Tensor, value: Tensor, second: Tensor, first: Tensor) -> None:
    """Write ``matrix @ value + offset`` to two halves."""
    split = len(first)
    torch.addmm(offset[split:], matrix[split:], value, out=second)
    torch.addmm(offset[:split], matrix[:split], value, out=first)


class _Values:
    """Values of a group as ``[second half, shared, passive, first half]``.

    So what each subnet reads lies in one piece: that before the first half, or that after the second.
    """

    def __init__(self, channels: int, split: int, middle: Tensor) -> None:
        rest = channels - split
        self.whole = middle.new_empty(channels + len(middle), middle.shape[1])
        self.second, self.first = self.whole[:rest], self.whole[rest + len(middle) :]
        self.after_second, self.before_first = self.whole[rest:], self.whole[: rest + len(middle)]
        self.whole[rest : rest + len(middle)] = middle

    def put(self, value: Tensor) -> None:
        """Copy values ``(channels, rows)`` to the halves."""
        self.first.copy_(value[: len(self.first)])
        self.second.copy_(value[len(self.first) :])


class _Buffers:
    """Two buffers for values, to be read and written in turn, made anew only for another split."""

    def __init__(self, channels: int, middle: Tensor) -> None:
        self._channels, self._middle = channels, middle
        self._values: dict[tuple[int, int], _Values] = {}
        self._turn = 0

    def following(self, split: int) -> _Values:
        """The buffer that was not given last."""
        self._turn = 1 - self._turn
        key = split, self._turn
        if key not in self._values:
            self._values[key] = _Values(self._channels, split, self._middle)
        return self._values[key]


class _Block:
    """One coupling block of one member; the mixing as a matrix and an offset for each direction."""

    def __init__(self, block: CouplingBlock, member: int, sharing: Sharing) -> None:
        mixing: Mixing = block.mixing
        rotation = mixing.orthogonal(mixing.shift.dtype)[member]
        scale = mixing.log_scale[member].exp()
        self.split, self.transform = block.split, block.transform
        self.to_latent, self.to_data = rotation * scale.T, rotation.T / scale
        self.shift = mixing.shift[member]
        self.offset = -self.to_latent @ self.shift
        self.log_det = mixing.log_scale[member].sum()
        first, rest = block.first_given_second, len(rotation) - self.split
        self._second_given_first = PreparedSubnet(
            block.second_given_first, member, self.split, is_half_last=True, sharing=sharing
        )
        self._first_given_second = None
        if first is not None:
            self._first_given_second = PreparedSubnet(
                first, member, rest, is_half_last=False, sharing=sharing
            )

    def in_order(self, matrix: Tensor, gap: int) -> Tensor:
        """A matrix on the channels as one on values with ``gap`` shared and passive rows."""
        return torch.cat(
            [matrix[:, self.split :], matrix.new_zeros(len(matrix), gap), matrix[:, : self.split]], 1
        )

    def inverse_(self, values: _Values, chunk: Chunk) -> None:
        """Undo the couplings in place."""
        raw = self._second_given_first.outputs(values.after_second, chunk)
        self.transform.inverse_(values.second, raw)
        if self._first_given_second is not None:
            raw = self._first_given_second.outputs(values.before_first, chunk)
            self.transform.inverse_(values.first, raw)

    def forward_(self, values: _Values, chunk: Chunk, total: Tensor) -> None:
        """Apply the couplings in place, adding the log-determinant of the block to ``total (rows)``."""
        total.add_(self.log_det)
        if self._first_given_second is not None:
            raw = self._first_given_second.outputs(values.before_first, chunk)
            total.add_(self.transform.forward_(values.first, raw))
        raw = self._second_given_first.outputs(values.after_second, chunk)
        total.add_(self.transform.forward_(values.second, raw))
