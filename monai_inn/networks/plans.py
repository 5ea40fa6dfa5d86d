"""A flow made ready for many rows on a CPU: no gradients, no copies, activations that stay in the cache.

The modules in ``couplings`` define the arithmetic and are what training and GPUs run. A plan does the same
arithmetic for one member at a time, with matrices merged beforehand.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from monai_inn.networks.bijections import AffineTransform, Mixing, SplineTransform
from monai_inn.networks.chunks import is_mkl_fast
from monai_inn.networks.couplings import CouplingBlock, Subnet
from monai_inn.networks.products import linear, linear_columns

if TYPE_CHECKING:
    from monai_inn.networks.flows import FlowStack

__all__ = ["Plan"]


class _Subnet(NamedTuple):
    """Weights of one member: the first layer, its parts for values and condition, the later layers."""

    first: Tensor
    seen: Tensor
    condition: Tensor
    bias: Tensor
    later: list[tuple[Tensor, Tensor]]


class _Block(NamedTuple):
    """One coupling block of one member; the mixing as a matrix, a shift and a log-determinant."""

    split: int
    transform: AffineTransform | SplineTransform
    second_given_first: _Subnet
    first_given_second: _Subnet | None
    to_latent: Tensor
    to_data: Tensor
    shift: Tensor
    log_det: Tensor


class Plan:
    """All members of a flow, prepared for the leading ``channels``; safe to share between threads.

    Args:
        stack: the flow.
        channels: leading channels, whole groups of the flow.
    """

    def __init__(self, stack: FlowStack, channels: int) -> None:
        self._centring = stack.centring
        with torch.no_grad():
            self._members = [
                [(start, stop, [_block(block, m) for block in blocks]) for start, stop, blocks in spans]
                for m in range(stack.members)
                for spans in [list(stack.spans(channels))]
            ]

    def inverse(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """Samples ``(S, n, M, D)`` of latents ``(S, n, D)`` under conditions ``(n, F)``."""
        size, pixels, channels = latent.shape
        columns = latent.permute(2, 1, 0).reshape(channels, -1)
        out = latent.new_empty(len(self._members), channels, pixels, size)
        for member, groups in enumerate(self._members):
            done = out[member].view(channels, -1)
            for start, stop, blocks in groups:
                value = columns[start:stop].clone()
                for block in reversed(blocks):
                    value = self._block_inverse(block, value, done[:start], condition, size)
                done[start:stop] = value
        centring = self._shift_and_scale(condition, channels)
        if centring is not None:
            m, s = (part.unsqueeze(-1) for part in centring)
            out.mul_(torch.exp(-s)).add_(m)
        return out.permute(3, 2, 0, 1)

    def log_prob(self, value: Tensor, condition: Tensor | None) -> Tensor:
        """Log densities ``(S, n, M)`` in nats of values ``(S, n, D)`` under conditions ``(n, F)``."""
        size, pixels, channels = value.shape
        columns = value.permute(2, 1, 0).reshape(channels, pixels, size)
        out = value.new_full((len(self._members), pixels, size), -0.5 * math.log(2 * math.pi) * channels)
        centring = self._shift_and_scale(condition, channels)
        for member, groups in enumerate(self._members):
            seen, total = columns, out[member].view(-1)
            if centring is not None:
                m, s = (part[member].unsqueeze(-1) for part in centring)
                seen = (columns - m).mul_(s.exp())
                out[member] += s.sum(0)
            seen = seen.reshape(channels, -1)
            for start, stop, blocks in groups:
                latent = seen[start:stop]
                for block in blocks:
                    latent = self._block_forward(block, latent, seen[:start], condition, size, total)
                total.sub_(latent.square().sum(0), alpha=0.5)
        return out.permute(2, 1, 0)

    def _shift_and_scale(self, condition: Tensor | None, channels: int) -> tuple[Tensor, Tensor] | None:
        """Those of the centring, each ``(M, channels, n)``; none without a condition."""
        if self._centring is None or condition is None:
            return None
        return self._centring.of(condition.T.expand(len(self._members), -1, -1), channels)

    def _block_inverse(
        self, block: _Block, value: Tensor, passive: Tensor, condition: Tensor | None, size: int
    ) -> Tensor:
        """Undo one block; ``value (channels, rows)`` is overwritten."""
        first, second = value[: block.split], value[block.split :]
        raw = _outputs(block.second_given_first, first, passive, condition, size)
        block.transform.inverse_(second, raw)
        if block.first_given_second is not None:
            raw = _outputs(block.first_given_second, second, passive, condition, size)
            block.transform.inverse_(first, raw)
        return torch.mm(block.to_data, value).add_(block.shift)

    def _block_forward(
        self,
        block: _Block,
        value: Tensor,
        passive: Tensor,
        condition: Tensor | None,
        size: int,
        total: Tensor,
    ) -> Tensor:
        """Apply one block to ``(channels, rows)``, adding its log-determinant to ``total (rows)``."""
        value = torch.mm(block.to_latent, value - block.shift)
        first, second = value[: block.split], value[block.split :]
        total.add_(block.log_det)
        if block.first_given_second is not None:
            raw = _outputs(block.first_given_second, second, passive, condition, size)
            moved, change = block.transform.forward(first.unsqueeze(0), raw.unsqueeze(0))
            first.copy_(moved[0])
            total.add_(change[0])
        raw = _outputs(block.second_given_first, first, passive, condition, size)
        moved, change = block.transform.forward(second.unsqueeze(0), raw.unsqueeze(0))
        second.copy_(moved[0])
        total.add_(change[0])
        return value


def _outputs(net: _Subnet, half: Tensor, passive: Tensor, condition: Tensor | None, size: int) -> Tensor:
    """Outputs ``(out, rows)`` of a subnet."""
    given: tuple[Tensor, ...] = ()
    if condition is not None and size == 1:
        # With one row a pixel nothing is shared, and one product is cheaper than two.
        given, condition = (condition.T,), None
    run = _channels_first if is_mkl_fast() else _rows_first
    return run(net, torch.cat([half, passive, *given]), condition, size)


def _rows_first(net: _Subnet, seen: Tensor, condition: Tensor | None, size: int) -> Tensor:
    """A subnet by oneDNN, bias and rectifier inside its products; ``condition`` if it is not in ``seen``."""
    rectify = bool(net.later)
    if condition is None:
        hidden = linear(seen.T, net.first, net.bias, rectify=rectify)
    else:
        hidden = linear(seen.T, net.seen)
        shared = linear(condition, net.condition, net.bias)
        hidden.view(len(condition), size, -1).add_(shared.unsqueeze(1))
        hidden = hidden.relu_() if rectify else hidden
    if not net.later:
        return hidden.T.contiguous()
    for weight, bias in net.later[:-1]:
        hidden = linear(hidden, weight, bias, rectify=True)
    return linear_columns(hidden, *net.later[-1])


def _channels_first(net: _Subnet, seen: Tensor, condition: Tensor | None, size: int) -> Tensor:
    """The same by MKL: nothing is transposed, and a bias added in place is faster than ``addmm``."""
    if condition is None:
        hidden = torch.mm(net.first, seen).add_(net.bias.unsqueeze(1))
    else:
        hidden = torch.mm(net.seen, seen)
        shared = torch.addmm(net.bias, condition, net.condition.T)
        hidden.view(len(hidden), len(condition), size).add_(shared.T.unsqueeze(-1))
    for weight, bias in net.later:
        hidden = torch.mm(weight, hidden.clamp_min_(0)).add_(bias.unsqueeze(1))
    return hidden


def _block(block: CouplingBlock, member: int) -> _Block:
    mixing: Mixing = block.mixing
    rotation = mixing.orthogonal(mixing.shift.dtype)[member]
    scale = mixing.log_scale[member].exp()
    first = block.first_given_second
    return _Block(
        block.split,
        block.transform,
        _subnet(block.second_given_first, member),
        None if first is None else _subnet(first, member),
        rotation * scale.T,
        rotation.T / scale,
        mixing.shift[member],
        mixing.log_scale[member].sum(),
    )


def _subnet(net: Subnet, member: int) -> _Subnet:
    first = net.weights[0][member]
    later = [(w[member], b[member, :, 0]) for w, b in zip(net.weights[1:], net.biases[1:], strict=True)]
    seen, condition = first[:, : net.in_channels], first[:, net.in_channels :]
    return _Subnet(first, seen.contiguous(), condition.contiguous(), net.biases[0][member, :, 0], later)
