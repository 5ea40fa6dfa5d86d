"""Flows with channels that are angles or classes, which come first and are not numbers on a line.

Like every flow here these work on values in which the prior is a standard normal. An angle comes as ``Φ⁻¹``
of its share of a turn, so that its cut lies at ±∞; inside, ``Φ`` closes the circle again, see ``heads``.
Angles and classes come first, each given those before; all other channels follow, given these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from monai_inn.networks.flows.couplings import Context
from monai_inn.networks.flows.heads import CategoryFlow, CircleFlow
from monai_inn.networks.flows.stacks import FlowStack, Stack, check_kinds

__all__ = ["LeadingStack", "log_normal", "normal_score", "turn_of"]

_LEAST_SHARE = 1e-6  # of a turn, nearer to the cut than which float32 cannot say where


class LeadingStack(Stack):
    """Layers of a flow some of whose channels are angles or classes; takes the place of a ``FlowStack``.

    Args:
        in_channels: number of channels.
        condition_channels: channels of the condition.
        periodic: the channels that are angles, all of the first group.
        categories: channels that are classes, and how many of them, ``(channel, K)``; of the first group.
        is_guessed: whether the condition begins with log probabilities of the first of them. Nothing else
            sees these: values that hardly vary about a mean far from zero keep a subnet from learning.
        groups: sizes of the groups of channels, as for a ``FlowStack``.
        num_blocks: coupling blocks for the other channels, one number or one for each group.
        members: number of ensemble members.
        seed: seed of the initial weights.
        **others: hidden layers, coupling, bins, clamp and mixing as for a ``FlowStack``; splines of circles
            have three times as many bins.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        condition_channels: int,
        periodic: Sequence[int],
        categories: Sequence[tuple[int, int]],
        is_guessed: bool,
        groups: Sequence[int],
        num_blocks: int | Sequence[int],
        members: int,
        seed: int,
        **others: Any,
    ) -> None:
        super().__init__()
        classes = dict(categories)
        leading = [*periodic, *classes]
        are_distinct = len(set(leading)) == len(periodic) + len(categories)
        if not are_distinct or not set(leading) <= set(range(groups[0])):
            raise ValueError(
                f"angles and classes, {leading}, are not channels of the first group of {groups[0]}, each "
                "once."
            )
        check_kinds(others["coupling"], others["mixing"])
        self.leading = tuple(leading)
        self.others = tuple(c for c in range(in_channels) if c not in self.leading)
        self.groups, self.members, self.condition_channels = tuple(groups), members, condition_channels
        generator = torch.Generator().manual_seed(seed)
        self.heads, seen = nn.ModuleList(), 0
        guessed, self.num_guessed = categories[0] if is_guessed else (None, 0)
        learned = condition_channels - self.num_guessed
        for channel in self.leading:
            whole = condition_channels if channel == guessed else learned
            sizes = (seen, whole, others["hidden_channels"])
            head: CircleFlow | CategoryFlow = (
                CategoryFlow(classes[channel], *sizes, members, generator, channel == guessed)
                if channel in classes
                else CircleFlow(*sizes, 3 * others["num_bins"], members, generator)
            )
            self.heads.append(head)
            seen += head.embedded_channels
        self.rest = None
        if self.others:
            left = [groups[0] - len(self.leading), *groups[1:]]
            first = 0 if left[0] else 1  # nothing may be left of the first group
            if not isinstance(num_blocks, int):
                num_blocks = num_blocks[first:]
            self.rest = FlowStack(
                in_channels=len(self.others),
                condition_channels=learned + seen,
                num_blocks=num_blocks,
                groups=left[first:],
                members=members,
                seed=seed + 1,
                **others,
            )

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Context) -> None:
        """Set every ActNorm from a first batch ``(M, channels, rows)``."""
        if self.rest is not None:
            seen = x[:, :0]
            for channel, head in self._heads():
                seen = torch.cat([seen, head.embed(turn_of(x[:, channel]))], 1)
            self.rest.initialise(x[:, list(self.others)], _with(self._learned(context), seen))

    def forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Data to latent. ``x`` may hold only the leading groups. Log-determinant of shape ``(M, rows)``."""
        return self._through(x, context, is_inverse=False)

    def inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Latent to data."""
        return self._through(z, context, is_inverse=True)

    def _through(self, values: Tensor, context: Context, *, is_inverse: bool) -> tuple[Tensor, Tensor]:
        """Head by head, each of which sees the data of those before it, then all others."""
        log_det = values.new_zeros(len(values), values.shape[2])
        columns: dict[int, Tensor] = {}
        seen, learned = values[:, :0], self._learned(context)
        for channel, head in self._heads():
            share = turn_of(values[:, channel])
            is_guessed = isinstance(head, CategoryFlow) and head.is_guessed
            step = head.inverse if is_inverse else head.forward
            moved, change = step(share, seen, context if is_guessed else learned)
            columns[channel] = normal_score(moved)
            log_det = log_det + change + log_normal(values[:, channel]) - log_normal(columns[channel])
            seen = torch.cat([seen, head.embed(moved if is_inverse else share)], 1)
        others = [channel for channel in self.others if channel < values.shape[1]]
        if self.rest is not None and others:
            rest = self.rest.inverse if is_inverse else self.rest.forward
            moved, change = rest(values[:, others], _with(learned, seen))
            columns |= dict(zip(others, moved.unbind(1), strict=True))
            log_det = log_det + change
        return torch.stack([columns[channel] for channel in range(values.shape[1])], 1), log_det

    def _learned(self, context: Context) -> Context:
        """The context without the guess."""
        if not self.num_guessed or context.condition is None:
            return context
        return Context(context.condition[:, self.num_guessed :], context.repeats)

    def _heads(self) -> Iterator[tuple[int, CircleFlow | CategoryFlow]]:
        for channel, head in zip(self.leading, self.heads, strict=True):
            yield channel, cast("CircleFlow | CategoryFlow", head)

    def log_prob(self, x: Tensor, context: Context) -> Tensor:
        """Log density in nats of ``x (M, channels, rows)``, shape ``(M, rows)``."""
        z, log_det = self(x, context)
        return log_det + log_normal(z).sum(1)

    def widest(self, channels: int) -> int:
        """Channels of the widest activation; all of them are needed for any of the ``channels``."""
        del channels
        return max(weight.shape[1] for name, weight in self.named_parameters() if ".weights." in name)


def turn_of(x: Tensor) -> Tensor:
    """Return the share of a turn, within ±½, of a normal score."""
    return torch.special.ndtr(x) - 0.5


def normal_score(turn: Tensor) -> Tensor:
    """Return the normal score of a share of a turn within ±½."""
    return torch.special.ndtri((turn + 0.5).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE))


def log_normal(z: Tensor) -> Tensor:
    """Return the log density of a standard normal, elementwise."""
    return -0.5 * z.square() - 0.5 * math.log(2 * math.pi)


def _with(context: Context, seen: Tensor) -> Context:
    """The condition of every row, with further channels below it."""
    if context.condition is None:
        return Context(seen)
    condition = context.condition
    if context.repeats > 1:
        condition = condition.repeat_interleave(context.repeats, -1)
    return Context(torch.cat([condition.expand(len(seen), -1, -1), seen], 1))
