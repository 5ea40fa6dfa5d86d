"""Layers that see the condition, centring and couplings; they pay for it once per pixel, not per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monai_inn.networks.flows.bijections import AffineTransform, Mixing, SplineTransform, member_linear
from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.networks.kernels.products import is_fast, linear, linear_columns

__all__ = ["Centring", "Context", "CouplingBlock", "Subnet"]


@dataclass
class Context:
    """What the subnets of a chunk share: the condition of each pixel, and which rows belong to it.

    Args:
        condition: shape ``(M, F, pixels)``, or ``None`` for an unconditional flow.
        repeats: rows per pixel; rows are ordered pixel by pixel.
    """

    condition: Tensor | None
    repeats: int = 1


class Centring(nn.Module):
    """Shift and scale of every channel, linear in the condition: ``y = (x − m(c)) e^{s(c)}``.

    It carries what a regression tells, mean and width, and leaves the shape to the couplings. A new one is
    the identity.

    Args:
        channels: number of channels.
        condition_channels: number of channels of the condition.
        members: number of ensemble members.
    """

    def __init__(self, channels: int, condition_channels: int, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(members, 2 * channels, condition_channels))
        self.bias = nn.Parameter(torch.zeros(members, 2 * channels, 1))

    def of(self, condition: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        """``m`` and ``s`` of the leading channels, ``(M, channels, pixels)``, for ``(M, F, pixels)``."""
        with full_precision(condition.device):  # a mean needs all its digits
            m, s = member_linear(self.bias, self.weight, condition.to(self.weight)).chunk(2, 1)
        return m[:, :channels], s[:, :channels]

    def forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Centre all or the leading channels, ``(M, channels, rows)``; log-determinant ``(M, rows)``."""
        m, s = self._rows(x, context)
        return (x - m) * s.exp(), s.sum(1)

    def inverse(self, y: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Undo ``forward``."""
        m, s = self._rows(y, context)
        return y * torch.exp(-s) + m, -s.sum(1)

    def _rows(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        if context.condition is None:
            raise ValueError("a conditional flow needs a condition.")
        m, s = self.of(context.condition, x.shape[1])
        if context.repeats > 1:
            m, s = (value.repeat_interleave(context.repeats, -1) for value in (m, s))
        return m, s


class Subnet(nn.Module):
    """Fully connected network of one coupling, for all members at once.

    The first layer is split, ``W [x, c] + b = W_x x + (W_c c + b)``: the bracket is computed once per pixel.
    Weights start as in ``torch.nn.Linear``. A last layer of zeros, which would make a new flow the identity,
    trains more slowly.
    """

    def __init__(
        self,
        in_channels: int,
        condition_channels: int,
        hidden_channels: Sequence[int],
        out_channels: int,
        members: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        sizes = [in_channels + condition_channels, *hidden_channels]
        self.in_channels = in_channels
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in zip(sizes, [*hidden_channels, out_channels], strict=True):
            bound = max(fan_in, 1) ** -0.5  # that of torch.nn.Linear
            for store, columns in ((self.weights, fan_in), (self.biases, 1)):
                uniform = torch.rand(members, fan_out, columns, generator=generator)
                store.append(nn.Parameter((2 * uniform - 1) * bound))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Map ``(M, in_channels, rows)`` to ``(M, out_channels, rows)``."""
        if is_fast(x):
            return self._members(x, context)
        hidden = self._first(x, context)
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            hidden = member_linear(bias, weight, hidden.relu_())
        return hidden.to(x.dtype)

    def _members(self, x: Tensor, context: Context) -> Tensor:
        """The same, one member after the other through the faster kernel."""
        if context.condition is not None:
            condition = context.condition
            if context.repeats > 1:
                condition = condition.repeat_interleave(context.repeats, -1)
            x = torch.cat([x, condition], 1)
        layers = [
            zip(_unbound(w), _unbound(b.squeeze(-1)), strict=True)
            for w, b in zip(self.weights, self.biases, strict=True)
        ]
        outputs = []
        for hidden, *member in zip(_unbound(x), *layers, strict=True):
            rows = hidden.T
            for weight, bias in member[:-1]:
                rows = linear(rows, weight, bias, rectify=True)
            outputs.append(linear_columns(rows, *member[-1]))
        return outputs[0].unsqueeze(0) if len(outputs) == 1 else torch.stack(outputs)

    def _first(self, x: Tensor, context: Context) -> Tensor:
        weight, shared = self.weights[0], self.biases[0]
        if context.condition is None:
            return member_linear(shared, weight[:, :, : self.in_channels], x)
        if context.repeats == 1:  # as in training: nothing to share, so one product is cheaper than two
            return member_linear(shared, weight, torch.cat([x, context.condition], 1))
        shared = member_linear(shared, weight[:, :, self.in_channels :], context.condition)
        hidden = (weight[:, :, : self.in_channels] @ x).unflatten(-1, (-1, context.repeats))
        return (hidden + shared.unsqueeze(-1)).flatten(-2)


def _unbound(stacked: Tensor) -> tuple[Tensor, ...]:
    """Members of a tensor; squeezing, unlike selecting, costs nothing in the backward pass."""
    return (stacked.squeeze(0),) if len(stacked) == 1 else stacked.unbind(0)


class CouplingBlock(nn.Module):
    """Mixing, then each half transformed given the other half, the condition and the passive channels.

    Args:
        channels: number of channels that the block transforms.
        passive_channels: channels of earlier groups that the subnets see and the block leaves alone.
        condition_channels: channels of the condition, 0 for none.
        hidden_channels: widths of the subnets' hidden layers.
        transform: element-wise transform with parameters from the subnets.
        members: number of ensemble members.
        generator: source of the initial weights.
        num_sides: 2 transforms both halves, 1 only the second.
        split: channels of the first half; the lower half by default.
        mixing: kind of the mixing matrix, see ``Mixing``.
    """

    def __init__(
        self,
        channels: int,
        passive_channels: int,
        condition_channels: int,
        hidden_channels: Sequence[int],
        transform: AffineTransform | SplineTransform,
        members: int,
        generator: torch.Generator,
        num_sides: int = 2,
        split: int | None = None,
        mixing: str = "rotation",
    ) -> None:
        super().__init__()
        self.split = channels // 2 if split is None else split
        self.transform = transform
        self.mixing = Mixing(channels, members, generator, mixing)
        halves = (self.split, channels - self.split)

        def subnet(seen: int, moved: int) -> Subnet:
            out = moved * transform.parameters_per_channel
            seen += passive_channels
            return Subnet(seen, condition_channels, hidden_channels, out, members, generator)

        self.second_given_first = subnet(halves[0], halves[1])
        # With one channel there is no first half to move: the block is an element-wise conditional map.
        has_first = num_sides == 2 and halves[0] > 0
        self.first_given_second = subnet(halves[1], halves[0]) if has_first else None

    def forward(self, x: Tensor, passive: Tensor | None, context: Context) -> tuple[Tensor, Tensor]:
        """Data to latent: ``(M, channels, rows)`` and the log-determinant ``(M, rows)``."""
        x, log_det = self.mixing(x)
        first, second = x[:, : self.split], x[:, self.split :]
        if self.first_given_second is not None:
            raw = self.first_given_second(_join(second, passive), context)
            first, change = self.transform.forward(first, raw)
            log_det = log_det + change
        raw = self.second_given_first(_join(first, passive), context)
        second, change = self.transform.forward(second, raw)
        return torch.cat([first, second], 1), log_det + change

    def inverse(self, z: Tensor, passive: Tensor | None, context: Context) -> tuple[Tensor, Tensor]:
        """Latent to data, and the log-determinant of that direction."""
        first, second = z[:, : self.split], z[:, self.split :]
        raw = self.second_given_first(_join(first, passive), context)
        second, log_det = self.transform.inverse(second, raw)
        if self.first_given_second is not None:
            raw = self.first_given_second(_join(second, passive), context)
            first, change = self.transform.inverse(first, raw)
            log_det = log_det + change
        x, change = self.mixing.inverse(torch.cat([first, second], 1))
        return x, log_det + change


def _join(half: Tensor, passive: Tensor | None) -> Tensor:
    return half if passive is None else torch.cat([half, passive], 1)
