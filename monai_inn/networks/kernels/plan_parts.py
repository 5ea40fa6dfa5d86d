"""What a plan is made of: how rows share the condition, the memory of one chunk, and subnets in strips.

A product costs what it must, so what can be saved is every other pass over an activation. Two kinds of rows
do that: a row of ones below an activation takes the bias of the next layer into its product, and a row that
is one for the samples of a pixel, else zero, takes what the condition adds for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_inn.networks.flows.couplings import Subnet
from monai_inn.networks.kernels.chunks import is_mkl_fast, rows_per_strip
from monai_inn.networks.kernels.products import linear, rectified_product

__all__ = ["Chunk", "PreparedSubnet", "Sharing"]


class Sharing(NamedTuple):
    """How subnets get the condition: by rows that tell the pixel, or with one row a pixel as it is.

    Args:
        rows: most rows of a strip, the piece of a chunk that a subnet works on.
        pixels: pixels of a strip; 0 if the condition itself and a row of ones are handed on.
        channels: rows that are handed on.
    """

    rows: int
    pixels: int
    channels: int

    @classmethod
    def of(cls, size: int, condition_channels: int, widest: int, item_bytes: int) -> Sharing:
        """The cheaper of the two ways for ``size`` samples a pixel."""
        rows = rows_per_strip(widest, item_bytes)
        pixels = max(1, rows // size)
        if pixels > condition_channels + 1:
            return cls(rows, 0, condition_channels + 1)
        return cls(rows, pixels, pixels)


class Chunk:
    """One member's work on some rows, ordered pixel by pixel.

    Args:
        member: number of the member.
        condition: shape ``(pixels, F)``, or ``None``.
        like: shape ``(size, pixels, channels)``, the values; for device and number format.
        sharing: how the condition is handed on.

    Attributes:
        shared: the rows that are handed on, shape ``(k, rows)``.
        given: condition and a one, ``(F + 1, pixels)``, of which each subnet makes its columns for
            ``shared``; ``None`` if ``shared`` is that already.
        strips: first and last row of each strip, and the number of its columns.
    """

    def __init__(self, member: int, condition: Tensor | None, like: Tensor, sharing: Sharing) -> None:
        self.member = member
        size, pixels, _ = like.shape
        rows, together = size * pixels, sharing.pixels
        given = like.new_ones(1, pixels)
        if condition is not None:
            given = torch.cat([condition.T, given])
        self.given: Tensor | None = None
        if together:
            self.given = F.pad(given, (0, -pixels % together))
            tells = torch.eye(together, dtype=like.dtype, device=like.device).repeat_interleave(size, 1)
            self.shared = tells.repeat(1, self.given.shape[1] // together)[:, :rows]
        else:
            self.shared = given.repeat_interleave(size, 1)
        span = together * size or rows
        strips = [
            (number, min(sharing.rows, first + span - start, rows - start))
            for number, first in enumerate(range(0, rows, span))
            for start in range(first, min(first + span, rows), sharing.rows)
        ]
        self.numbers, self.lengths = [list(part) for part in zip(*strips, strict=True)]
        self._hidden: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    def hidden(self, channels: int, rows: int, turn: int) -> tuple[Tensor, Tensor]:
        """Memory for an activation ``(channels, rows)``, and the same with a row of ones below it.

        Turns 0 and 1 have different memory.
        """
        key = channels, rows, turn
        if key not in self._hidden:
            memory = self.shared.new_empty(channels + 1, rows)
            memory[-1] = 1
            self._hidden[key] = memory[:-1], memory
        return self._hidden[key]


class PreparedSubnet:
    """All members of a subnet, reading ``[shared, passive, half]`` or ``[half, shared, passive]``.

    Args:
        net: the subnet.
        half: channels of the half that it reads.
        is_half_last: which of the two orders.
        sharing: how the condition is handed on.
    """

    def __init__(self, net: Subnet, half: int, is_half_last: bool, sharing: Sharing) -> None:
        (weight, bias), *later = zip(net.weights, net.biases, strict=True)
        passive = net.in_channels - half
        seen, before, condition = weight.split([half, passive, weight.shape[2] - net.in_channels], 2)
        given = torch.cat([condition, bias], 2)
        shared = weight.new_zeros(*weight.shape[:2], sharing.channels) if sharing.pixels else given
        first = torch.cat([shared, before, seen] if is_half_last else [seen, shared, before], 2)
        self._given, self._first = given.unbind(), first.unbind()
        self._place = 0 if is_half_last else half
        self._pixels, self._out = sharing.pixels, net.weights[-1].shape[1]
        self._is_channels_first = is_mkl_fast()
        self._later: list[Sequence[Any]]
        if self._is_channels_first:
            self._later = [torch.cat(layer, 2).unbind() for layer in later]
        else:
            self._later = [tuple(zip(w, b, strict=True)) for w, b in later]

    def strips(self, seen: Tensor, chunk: Chunk) -> Iterator[tuple[Tensor, slice]]:
        """Yield the outputs ``(out, r)`` of strips of what it reads, ``(in, rows)``, and their rows.

        The memory of the outputs is used again.
        """
        memory, stop = seen.new_empty(self._out * max(chunk.lengths)), 0
        targets = [memory[: self._out * length].view(self._out, length) for length in chunk.lengths]
        for target in self._fill(targets, seen, chunk):
            start, stop = stop, stop + target.shape[1]
            yield target, slice(start, stop)

    def outputs(self, seen: Tensor, chunk: Chunk) -> Tensor:
        """Return the outputs ``(out, rows)`` of all rows of what it reads, ``(in, rows)``."""
        out = seen.new_empty(self._out, seen.shape[1])
        for _ in self._fill(out.split(chunk.lengths, 1), seen, chunk):
            pass
        return out

    def _fill(self, targets: Sequence[Tensor], seen: Tensor, chunk: Chunk) -> Iterator[Tensor]:
        """Yield the memory for the outputs of each strip, when they are there."""
        firsts = self._firsts(chunk)
        later = [layer[chunk.member] for layer in self._later]
        strips = zip(chunk.numbers, seen.split(chunk.lengths, 1), targets, strict=True)
        for number, source, target in strips:
            if not later:
                torch.mm(firsts[number], source, out=target)
            elif self._is_channels_first:
                _channels_first(firsts[number], later, source, chunk, target)
            else:
                _rows_first(firsts[number], later, source, target)
            yield target

    def _firsts(self, chunk: Chunk) -> Sequence[Tensor]:
        """The first layer for every strip."""
        first = self._first[chunk.member]
        if chunk.given is None:
            return [first]
        columns = (
            torch.mm(self._given[chunk.member], chunk.given).unflatten(1, (-1, self._pixels)).transpose(0, 1)
        )
        firsts = first.expand(len(columns), -1, -1).clone()
        firsts[:, :, self._place : self._place + self._pixels] = columns
        return firsts.unbind()


def _channels_first(first: Tensor, later: Sequence[Tensor], seen: Tensor, chunk: Chunk, out: Tensor) -> None:
    """A strip by MKL: nothing is transposed, and biases come from rows of ones."""
    rows = seen.shape[1]
    active, hidden = chunk.hidden(first.shape[0], rows, 0)
    rectified_product(first, seen, active)
    *between, last = later
    for turn, weight in enumerate(between, start=1):
        before = hidden
        active, hidden = chunk.hidden(weight.shape[0], rows, turn % 2)
        rectified_product(weight, before, active)
    torch.mm(last, hidden, out=out)


def _rows_first(first: Tensor, later: Sequence[tuple[Tensor, Tensor]], seen: Tensor, out: Tensor) -> None:
    """A strip by oneDNN, which adds biases and rectifies inside its products."""
    hidden = linear(seen.T, first, rectify=True)
    *between, (last, last_bias) = later
    for weight, bias in between:
        hidden = linear(hidden, weight, bias.squeeze(1), rectify=True)
    torch.add(linear(last, hidden), last_bias, out=out)
