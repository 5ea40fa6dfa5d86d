"""Choosing some of many channels by a score: greedy, then one swap at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["best_set", "even_set", "random_sets"]

# From choices (B, k) to a number each, (B,); HIGH = good.
Score = Callable[[Tensor], Tensor]
_RANDOM_STARTS = 4
_LEAST_GAIN = 1e-9


def even_set(channels: int, size: int) -> Tensor:
    """Return evenly spaced channels, the first and the last among them, ``(k,)``."""
    if size == 1:
        return torch.tensor([channels // 2])
    return torch.linspace(0, channels - 1, size).round().long()


def random_sets(channels: int, size: int, number: int, seed: int) -> Tensor:
    """Return random choices in ascending order, ``(number, k)``."""
    draws = torch.rand(number, channels, generator=torch.Generator().manual_seed(seed))
    return draws.argsort(1)[:, :size].sort(1).values


def best_set(score: Score, channels: int, size: int, starts: Sequence[Tensor] = (), seed: int = 0) -> Tensor:
    """Return the channels ``(k,)`` with the best score that swaps of one channel lead to.

    Args:
        score: from choices ``(B, k)`` of any size ``k`` to their scores ``(B,)``.
        channels: how many there are.
        size: how many to choose.
        starts: choices to start from; the greedy one, an even one and four random ones by default.
        seed: seed of the random ones.
    """
    if not starts:
        random = random_sets(channels, size, _RANDOM_STARTS, seed)
        starts = [_greedy(score, channels, size), even_set(channels, size), *random]
    found = torch.stack([_swapped(score, channels, start) for start in starts])
    return found[score(found).argmax()].sort().values


def _greedy(score: Score, channels: int, size: int) -> Tensor:
    """The best two channels, or the best one, and then the best to be added, again and again."""
    if size == 1:
        return score(torch.arange(channels)[:, None]).argmax()[None]
    pairs = torch.combinations(torch.arange(channels))
    chosen = pairs[score(pairs).argmax()]
    while len(chosen) < size:
        left = _others(chosen, channels)
        longer = torch.cat([chosen.expand(len(left), -1), left[:, None]], 1)
        chosen = longer[score(longer).argmax()]
    return chosen


def _swapped(score: Score, channels: int, chosen: Tensor) -> Tensor:
    """The choice after the best swap of one channel, until none is better."""
    now = score(chosen[None])[0]
    while len(left := _others(chosen, channels)):
        rows = chosen.repeat(len(chosen) * len(left), 1)
        place = torch.arange(len(chosen)).repeat_interleave(len(left))
        rows[torch.arange(len(rows)), place] = left.repeat(len(chosen))
        scores = score(rows)
        if scores.max() <= now + _LEAST_GAIN:
            break
        chosen, now = rows[scores.argmax()], scores.max()
    return chosen


def _others(chosen: Tensor, channels: int) -> Tensor:
    return torch.tensor([c for c in range(channels) if c not in chosen.tolist()], dtype=torch.long)
