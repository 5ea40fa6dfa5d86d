"""Flows of single channels that are not numbers on a line: angles, and classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_inn.networks.flows.bijections import SplineTransform
from monai_inn.networks.flows.couplings import Context, Subnet

__all__ = ["CategoryFlow", "CategoryLine", "CircleFlow", "class_index"]

_HARMONICS = 2
_LAYERS = 3


class CircleFlow(nn.Module):
    """Density of one angle: a rotation and a spline, again and again; the first rotation sees the condition.

    Every spline has the slope one where its turn is cut, on both sides, so that it is smooth there; the
    rotations put the cuts at different places.

    Args:
        seen_channels: channels that the density depends on beside the condition.
        condition_channels: channels of the condition.
        hidden_channels: widths of the hidden layers.
        num_bins: bins of each spline.
        members: number of ensemble members.
        generator: source of the initial weights.
    """

    offsets: Tensor

    def __init__(
        self,
        seen_channels: int,
        condition_channels: int,
        hidden_channels: Sequence[int],
        num_bins: int,
        members: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.transform = SplineTransform(num_bins, bound=0.5)
        self._sizes = [2] + [self.transform.parameters_per_channel] * _LAYERS
        self.subnet = Subnet(
            seen_channels, condition_channels, hidden_channels, sum(self._sizes), members, generator
        )
        # Cuts a golden share of a turn apart are never close to one another.
        offsets = [0.618 * layer % 1 for layer in range(_LAYERS)]
        self.register_buffer("offsets", torch.tensor(offsets), persistent=False)

    def forward(self, turn: Tensor, seen: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Angles to uniform ones, both in turns within ±½; shapes and log-determinant ``(M, rows)``."""
        rotation, splines = self._layers(seen, context)
        log_det = torch.zeros_like(turn)
        for layer, raw in enumerate(splines):
            turn = _wrapped(turn - (rotation if layer == 0 else self.offsets[layer]))
            moved, change = self.transform.forward(turn.unsqueeze(1), raw)
            turn, log_det = moved.squeeze(1), log_det + change
        return turn, log_det

    def inverse(self, turn: Tensor, seen: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Undo ``forward``."""
        rotation, splines = self._layers(seen, context)
        log_det = torch.zeros_like(turn)
        for layer in reversed(range(_LAYERS)):
            moved, change = self.transform.inverse(turn.unsqueeze(1), splines[layer])
            turn, log_det = moved.squeeze(1), log_det + change
            turn = _wrapped(turn + (rotation if layer == 0 else self.offsets[layer]))
        return turn, log_det

    @property
    def embedded_channels(self) -> int:
        """Channels in which those behind it see an angle."""
        return 2 * _HARMONICS

    def embed(self, turn: Tensor) -> Tensor:
        """Cosines and sines ``(M, 2 · harmonics, rows)`` of turns ``(M, rows)``."""
        orders = torch.arange(1, _HARMONICS + 1, dtype=turn.dtype, device=turn.device)
        angle = 2 * math.pi * turn.unsqueeze(1) * orders.view(-1, 1)
        return torch.cat([angle.cos(), angle.sin()], 1)

    def _layers(self, seen: Tensor, context: Context) -> tuple[Tensor, list[Tensor]]:
        raw = _raw(self.subnet, seen, context)
        direction, *splines = raw.split(self._sizes, 1)
        return torch.atan2(direction[:, 1], direction[:, 0]) / (2 * math.pi), [
            s.contiguous() for s in splines
        ]


def _raw(subnet: Subnet, seen: Tensor, context: Context) -> Tensor:
    """What a subnet says; where it sees the condition alone, in one pass for all rows of a pixel."""
    if context.repeats == 1 or seen.shape[1] or context.condition is None:
        return subnet(seen, context)  # type: ignore[no-any-return]
    pixels = context.condition.shape[2]
    raw = subnet(seen[:, :, :pixels], Context(context.condition))
    return raw if pixels == 1 else raw.repeat_interleave(context.repeats, -1)  # type: ignore[no-any-return]


def _wrapped(turn: Tensor) -> Tensor:
    return turn - torch.round(turn)


_LEAST = 1e-7  # probability that a class keeps, below which float32 cannot find it again


class CategoryFlow(nn.Module):
    """Line with one slope for each class; takes the place of a ``CircleFlow``.

    Classes may as well be equal cells of a number's prior, in each of which its density is constant.

    Args:
        num_categories: number of classes ``K``.
        seen_channels: channels that the density depends on beside the condition.
        condition_channels: channels of the condition.
        hidden_channels: widths of the hidden layers.
        members: number of ensemble members.
        generator: source of the initial weights.
        is_guessed: whether the condition begins with log probabilities of the classes, which the subnet, that
            sees the rest of it, only corrects.
    """

    def __init__(
        self,
        num_categories: int,
        seen_channels: int,
        condition_channels: int,
        hidden_channels: Sequence[int],
        members: int,
        generator: torch.Generator,
        is_guessed: bool = False,
    ) -> None:
        super().__init__()
        self.num_categories, self.is_guessed = num_categories, is_guessed
        learned = condition_channels - num_categories * is_guessed
        self.subnet = Subnet(seen_channels, learned, hidden_channels, num_categories, members, generator)

    @property
    def embedded_channels(self) -> int:
        """Channels in which those behind it see a class."""
        return self.num_categories

    def embed(self, share: Tensor) -> Tensor:
        """Which class it is, one of ``K`` channels, ``(M, K, rows)``, of shares ``(M, rows)`` within ±½."""
        index = class_index(share + 0.5, self.num_categories)
        return nn.functional.one_hot(index, self.num_categories).movedim(-1, 1).to(share)

    def forward(self, share: Tensor, seen: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Shares of the prior to those of the posterior, both within ±½; log-determinant ``(M, rows)``."""
        return CategoryLine(self._logits(seen, context)).forward(share)

    def inverse(self, share: Tensor, seen: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Undo ``forward``."""
        return CategoryLine(self._logits(seen, context)).inverse(share)

    def _logits(self, seen: Tensor, context: Context) -> Tensor:
        if not self.is_guessed or context.condition is None:
            return _raw(self.subnet, seen, context)
        guess = context.condition[:, : self.num_categories]
        learned = Context(context.condition[:, self.num_categories :], context.repeats)
        logits = _raw(self.subnet, seen, learned)
        is_of_rows = logits.shape[2] > guess.shape[2]
        return logits + (guess.repeat_interleave(context.repeats, -1) if is_of_rows else guess)


class CategoryLine:
    """Shares of a flat prior over classes to those of their probabilities, and back.

    Args:
        logits: log probabilities up to a constant, ``(M, K, rows)``.
    """

    def __init__(self, logits: Tensor) -> None:
        probability = logits.softmax(1) + _LEAST
        self.probability = probability / probability.sum(1, keepdim=True)
        self.below = self.probability.cumsum(1) - self.probability
        self.classes = logits.shape[1]

    def forward(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of the prior to those of the posterior, within ±½, and log-determinant, ``(M, rows)``."""
        value = share + 0.5
        index = class_index(value, self.classes)
        slope = self._at(self.probability, index)
        inside = value * self.classes - index
        return self._at(self.below, index) + inside * slope - 0.5, (slope * self.classes).log()

    def inverse(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """Undo ``forward``."""
        value = share + 0.5
        index = (value.unsqueeze(1) >= self.below[:, 1:]).sum(1)
        slope = self._at(self.probability, index)
        inside = ((value - self._at(self.below, index)) / slope).clamp(0.0, 1 - 1e-6)
        return (index + inside) / self.classes - 0.5, -(slope * self.classes).log()

    @staticmethod
    def _at(values: Tensor, index: Tensor) -> Tensor:
        """Entry ``index (M, rows)`` of ``(M, K, rows)``; one member's rows may stand for those of all."""
        whole = values.expand(len(index), -1, index.shape[1])
        return whole.gather(1, index.unsqueeze(1)).squeeze(1)


def class_index(value: Tensor, classes: int) -> Tensor:
    """Return the number of the class that a share of the prior, between 0 and 1, stands for."""
    return (value * classes).long().clamp(0, classes - 1)
