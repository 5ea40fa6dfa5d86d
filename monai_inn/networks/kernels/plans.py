"""A flow made ready for many rows on a CPU: no gradients, no copies, activations that stay in the cache.

The modules in ``couplings`` define the arithmetic and are what training and GPUs run. A plan does the same
arithmetic for one member at a time, with matrices merged beforehand.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from monai_inn.networks.flows.bases import Base
from monai_inn.networks.flows.bijections import Mixing
from monai_inn.networks.flows.couplings import Centring, CouplingBlock
from monai_inn.networks.kernels.plan_parts import Chunk, PreparedSubnet, Sharing

if TYPE_CHECKING:
    from monai_inn.networks.flows.stacks import FlowStack

__all__ = ["Plan"]

_ALL = slice(None)


class Plan:
    """A flow prepared for its leading ``channels``; safe to share between threads.

    Args:
        stack: the flow.
        channels: leading channels, whole groups of the flow.
        size: rows of a pixel in a chunk.
        base: density of the latents if it is not the standard normal; ``inverse`` takes latents of it.
    """

    def __init__(self, stack: FlowStack, channels: int, size: int, base: Base | None = None) -> None:
        self._base = base
        widest = stack.widest(channels)
        self._sharing = Sharing.of(size, stack.condition_channels, widest, stack.dtype.itemsize)
        self._centring = stack.centring
        with torch.no_grad():
            self._groups = [_Group(*span, self._sharing) for span in stack.spans(channels)]

    def inverse(self, member: int, latent: Tensor, condition: Tensor | None) -> Tensor:
        """A member's samples ``(S, n, D)`` of latents ``(S, n, D)`` under conditions ``(n, F)``."""
        size, pixels, channels = latent.shape
        columns = latent.permute(2, 1, 0).reshape(channels, -1)
        chunk = Chunk(member, condition, latent, self._sharing)
        out = torch.empty_like(columns)
        for group in self._groups:
            group.inverse(columns, chunk, out)
        out = out.view(channels, pixels, size)
        if self._centring is not None and condition is not None:
            m, s = _shift_and_scale(self._centring, member, condition, channels)
            out.mul_(torch.exp(-s)).add_(m)
        return out.permute(2, 1, 0)

    def log_prob(self, member: int, value: Tensor, condition: Tensor | None) -> Tensor:
        """A member's log densities ``(S, n)`` in nats of ``(S, n, D)`` under conditions ``(n, F)``."""
        size, pixels, channels = value.shape
        columns = value.permute(2, 1, 0).reshape(channels, pixels, size)
        chunk = Chunk(member, condition, value, self._sharing)
        out = value.new_full((pixels, size), -0.5 * math.log(2 * math.pi) * channels)
        if self._centring is not None and condition is not None:
            m, s = _shift_and_scale(self._centring, member, condition, channels)
            columns = (columns - m).mul_(s.exp())
            out += s.sum(0)
        for number, group in enumerate(self._groups):
            of_latent = None if self._base is None else functools.partial(self._base.log_density, number)
            group.add_log_prob(columns.reshape(channels, -1), chunk, out.view(-1), of_latent)
        return out.T


def _shift_and_scale(
    centring: Centring, member: int, condition: Tensor, channels: int
) -> tuple[Tensor, Tensor]:
    """Those of a member's centring, each ``(channels, n, 1)``."""
    both = torch.addmm(centring.bias[member], centring.weight[member], condition.T)
    m, s = both.unsqueeze(-1).chunk(2)
    return m[:channels], s[:channels]


_Maps = tuple[tuple[Tensor, Tensor], ...]  # matrix and offset of every member


class _Group:
    """The blocks on channels ``start`` to ``stop``."""

    def __init__(self, start: int, stop: int, blocks: list[CouplingBlock], sharing: Sharing) -> None:
        self._start, self._stop = start, stop
        self._blocks = [_Block(block, sharing) for block in blocks]
        self._to_data: list[_Maps] = []
        self._to_latent: list[_Maps] = []
        gap, before = sharing.channels + start, None
        for block in blocks:
            matrix, offset = _to_data(block.mixing)
            self._to_data.append(_members(_of_buffer(matrix, block.split, gap), offset))
            matrix, offset = _to_latent(block.mixing)
            if before is not None:
                matrix = _of_buffer(matrix, before.split, gap)
            self._to_latent.append(_members(matrix, offset))
            before = block

    def inverse(self, latent: Tensor, chunk: Chunk, out: Tensor) -> None:
        """Fill the group's channels of ``out (D, rows)``, of which those before are done."""
        buffers = _Buffers(self._stop - self._start, torch.cat([chunk.shared, out[: self._start]]))
        values = buffers.following(self._blocks[-1].split)
        values.put(latent[self._start : self._stop])
        for number in reversed(range(len(self._blocks))):
            self._blocks[number].inverse_(values, chunk)
            source, (matrix, offset) = values.whole, self._to_data[number][chunk.member]
            if number:
                values = buffers.following(self._blocks[number - 1].split)
                _map(matrix, offset, source, values)
        torch.addmm(offset, matrix, source, out=out[self._start : self._stop])

    def add_log_prob(
        self,
        value: Tensor,
        chunk: Chunk,
        total: Tensor,
        of_latent: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Add the group's log density of ``value (D, rows)``, less a constant, to ``total (rows)``.

        ``of_latent`` gives that of the latents ``(size, rows)`` if they are not standard normal.
        """
        buffers = _Buffers(self._stop - self._start, torch.cat([chunk.shared, value[: self._start]]))
        source = value[self._start : self._stop]
        for block, maps in zip(self._blocks, self._to_latent, strict=True):
            values = buffers.following(block.split)
            _map(*maps[chunk.member], source, values)
            block.forward_(values, chunk, total)
            source = values.whole
        if of_latent is not None:
            total.add_(of_latent(torch.cat([values.first, values.second])))
            return
        for half in (values.second, values.first):
            total.sub_(half.square_().sum(0), alpha=0.5)


def _to_latent(mixing: Mixing) -> tuple[Tensor, Tensor]:
    """Matrix and offset of the forward direction."""
    matrix = mixing.orthogonal(mixing.shift.dtype) * mixing.log_scale.exp().mT
    return matrix, -matrix @ mixing.shift


def _to_data(mixing: Mixing) -> tuple[Tensor, Tensor]:
    """Matrix and offset of the inverse."""
    return mixing.orthogonal(mixing.shift.dtype).mT / mixing.log_scale.exp(), mixing.shift


def _of_buffer(matrix: Tensor, split: int, gap: int) -> Tensor:
    """A matrix on channels as one on a buffer, whose middle has ``gap`` rows."""
    nothing = matrix.new_zeros(*matrix.shape[:2], gap)
    return torch.cat([matrix[:, :, split:], nothing, matrix[:, :, :split]], 2)


def _members(matrix: Tensor, offset: Tensor) -> _Maps:
    return tuple(zip(matrix.unbind(), offset.unbind(), strict=True))


def _map(matrix: Tensor, offset: Tensor, source: Tensor, values: _Values) -> None:
    """Write ``matrix @ source + offset`` to the halves of a buffer."""
    split = len(values.first)
    torch.addmm(offset[split:], matrix[split:], source, out=values.second)
    torch.addmm(offset[:split], matrix[:split], source, out=values.first)


class _Values:
    """A buffer of values, ``[second half, shared, passive, first half]``.

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
    """Two buffers of values, to be read and written in turn, made anew only for another split."""

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
    """One coupling block; its mixing is part of the group's maps, but for the log-determinant."""

    def __init__(self, block: CouplingBlock, sharing: Sharing) -> None:
        self.split, self.transform = block.split, block.transform
        self._log_det = block.mixing.log_scale.sum((1, 2)).unbind()
        first, rest = block.first_given_second, len(block.mixing.shift[0]) - self.split
        self._second_given_first = PreparedSubnet(block.second_given_first, self.split, True, sharing)
        self._first_given_second = None if first is None else PreparedSubnet(first, rest, False, sharing)

    def inverse_(self, values: _Values, chunk: Chunk) -> None:
        """Undo the couplings in place."""
        for raw, rows in self._parts(self._second_given_first, values.after_second, chunk):
            self.transform.inverse_(values.second[:, rows], raw)
        if self._first_given_second is not None:
            for raw, rows in self._parts(self._first_given_second, values.before_first, chunk):
                self.transform.inverse_(values.first[:, rows], raw)

    def forward_(self, values: _Values, chunk: Chunk, total: Tensor) -> None:
        """Apply the couplings in place, adding the log-determinant of the block to ``total (rows)``."""
        total.add_(self._log_det[chunk.member])
        if self._first_given_second is not None:
            for raw, rows in self._parts(self._first_given_second, values.before_first, chunk):
                total[rows].add_(self.transform.forward_(values.first[:, rows], raw))
        for raw, rows in self._parts(self._second_given_first, values.after_second, chunk):
            total[rows].add_(self.transform.forward_(values.second[:, rows], raw))

    def _parts(self, net: PreparedSubnet, seen: Tensor, chunk: Chunk) -> Iterable[tuple[Tensor, slice]]:
        """The outputs of a subnet, and their rows: as they come where they are many, else all at once."""
        return net.strips(seen, chunk) if self.transform.is_wide else [(net.outputs(seen, chunk), _ALL)]
