"""The density of a class among several, as a flow of one channel.

A class is a number whose integer part says which one it is, uniform within its unit. In shares of the prior's
classes it is then uniform, and the bijection to a posterior is a line with one slope for each class: its
probability over the prior's. The density within a class is constant, so that probabilities are exact.

Source: Ho et al., Flow++, 2019 (dequantisation); the exact line in the place of a variational bound is not
theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_inn.networks.flows.couplings import Context, Subnet

__all__ = ["CategoryFlow"]

_LEAST = 1e-7  # probability that a class keeps, below which float32 cannot find it again


class CategoryFlow(nn.Module):
    """Line with one slope for each class; takes the place of a ``CircleFlow``.

    Args:
        num_categories: number of classes ``K``.
        seen_channels: channels that the density depends on beside the condition.
        condition_channels: channels of the condition.
        hidden_channels: widths of the hidden layers.
        members: number of ensemble members.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        num_categories: int,
        seen_channels: int,
        condition_channels: int,
        hidden_channels: Sequence[int],
        members: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.num_categories = num_categories
        self.subnet = Subnet(
            seen_channels, condition_channels, hidden_channels, num_categories, members, generator
        )

    @property
    def embedded_channels(self) -> int:
        """Channels in which those behind it see a class."""
        return self.num_categories

    def embed(self, share: Tensor) -> Tensor:
        """Which class it is, one of ``K`` channels, ``(M, K, rows)``, of shares ``(M, rows)`` within ±½."""
        index = self._index(share + 0.5)
        return nn.functional.one_hot(index, self.num_categories).movedim(-1, 1).to(share)

    def forward(self, share: Tensor, seen: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Shares of the prior to those of the posterior, both within ±½; log-determinant ``(M, rows)``."""
        probability, below = self._shares(seen, context)
        value = share + 0.5
        index = self._index(value)
        slope = self._at(probability, index)
        inside = value * self.num_categories - index
        log_det = (slope * self.num_categories).log()
        return self._at(below, index) + inside * slope - 0.5, log_det

    def inverse(self, share: Tensor, seen: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Undo ``forward``."""
        probability, below = self._shares(seen, context)
        value = share + 0.5
        index = (value.unsqueeze(1) >= below[:, 1:]).sum(1)
        slope = self._at(probability, index)
        inside = ((value - self._at(below, index)) / slope).clamp(0.0, 1 - 1e-6)
        return (index + inside) / self.num_categories - 0.5, -(slope * self.num_categories).log()

    def _shares(self, seen: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Probability of each class, and of all before it, ``(M, K, rows)``."""
        probability = self.subnet(seen, context).softmax(1) + _LEAST
        probability = probability / probability.sum(1, keepdim=True)
        return probability, probability.cumsum(1) - probability

    def _index(self, value: Tensor) -> Tensor:
        return (value * self.num_categories).long().clamp(0, self.num_categories - 1)

    @staticmethod
    def _at(values: Tensor, index: Tensor) -> Tensor:
        """Entry ``index (M, rows)`` of ``(M, K, rows)``; one member's rows may stand for those of all."""
        whole = values.expand(len(index), -1, index.shape[1])
        return whole.gather(1, index.unsqueeze(1)).squeeze(1)
