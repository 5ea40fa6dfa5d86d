"""Quantile levels that hold what they promise: conformal, from ranks of the truth in held-out posteriors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_inn.networks import PosteriorNetwork

__all__ = ["QuantileLevels"]

_ROUNDING = 1e-9  # levels such as (1 − .95) / 2 miss a whole rank by their last digit


class QuantileLevels:
    """At which levels to take posterior quantiles so that they cover the truth as often as they should.

    For each parameter ``n`` scores say at which level of its held-out posterior the truth lay. The central
    interval between ``at((α/2, 1 − α/2))`` leaves ``k = ⌊(n + 1) α/2⌋`` scores out at either end: a further
    exchangeable case lies in it with a probability of ``1 − 2k / (n + 1)``, which is at least ``1 − α`` and
    less than ``1 − α + 2 / (n + 1)``, whatever the posterior is. Where ``k`` is zero the level is 0 or 1: the
    interval then ends at the outermost samples and the promise, which only an infinite one keeps, is void.

    Args:
        scores: sorted along ``n``, between 0 and 1, shape ``(D, n)``.

    Source: Vovk, Gammerman and Shafer, Algorithmic learning in a random world, 2005 (split conformal).
    """

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    @classmethod
    def of(cls, network: PosteriorNetwork) -> QuantileLevels | None:
        """Those of a recalibrated network, ``None`` if it has none."""
        return None if network.level_scores is None else cls(network.level_scores)

    def at(self, levels: Sequence[float]) -> Tensor:
        """Return the levels to take instead of nominal ones, shape ``(len(levels), D)``.

        Below one half they are rounded down to a rank, above it up.
        """
        return torch.stack([self._at(level) for level in levels])

    def _at(self, level: float) -> Tensor:
        size = self.scores.shape[1]
        position = level * (size + 1)
        low, high = math.floor(position + _ROUNDING), math.ceil(position - _ROUNDING)
        if level < 0.5:
            return self.scores[:, low - 1] if low else torch.zeros_like(self.scores[:, 0])
        if level > 0.5:
            return self.scores[:, high - 1] if high <= size else torch.ones_like(self.scores[:, 0])
        return (self.scores[:, low - 1] + self.scores[:, high - 1]) / 2

    def probability(self, share: Tensor, column: int) -> Tensor:
        """Return how likely a parameter lies below a value that ``share`` of its samples lie below.

        That is the share of held-out cases whose truth lay below the quantile of that level.
        """
        below = torch.searchsorted(self.scores[column], share.contiguous(), right=True)
        return below.to(share.dtype) / self.scores.shape[1]
