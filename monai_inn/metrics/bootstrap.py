"""Percentile bounds of any statistic over independent cases."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["bootstrap_bounds", "mean_of_cases", "median_of_cases"]

_VALUES = 1_000_000  # resampled at a time


def mean_of_cases(values: Tensor) -> Tensor:
    """Return the mean over the cases, ``(N, …)`` to ``(…)``."""
    return values.mean(0)


def median_of_cases(values: Tensor) -> Tensor:
    """Return the (lower) median over the cases, ``(N, …)`` to ``(…)``."""
    return values.median(0).values


def bootstrap_bounds(
    values: Tensor,
    statistic: Callable[[Tensor], Tensor] = mean_of_cases,
    *,
    n: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[Tensor, Tensor]:
    """Return the percentile interval of a statistic, cases resampled with all that belongs to each.

    For a paired difference give the differences as values, or a statistic of columns that belong together.

    Args:
        values: one row a case, shape ``(N, …)``.
        statistic: from rows ``(N, …)`` to what is bounded, as ``mean_of_cases``; it gets many resamplings
            at once, ``(N, resamplings, …)``, and must keep their axis.
        n: number of resamplings.
        seed: seed of the resampling.
        confidence: coverage of the interval.

    Returns:
        Lower and upper bound, of the shape of the statistic.

    Raises:
        ValueError: if there is no case, ``n < 1`` or ``confidence`` is not a probability.
    """
    if n < 1 or not 0 < confidence < 1 or len(values) < 1:
        raise ValueError(
            f"{len(values)} cases, n = {n}, confidence = {confidence}: give at least one case and one "
            "resampling, and a confidence between 0 and 1."
        )
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(values), (n, len(values)), generator=generator)
    together = max(1, _VALUES // values.numel())
    parts = [statistic(values[rows.T]) for rows in draws.split(together)]
    found = torch.cat(parts).sort(0).values
    # Order statistics and no interpolation: between −inf and a number there is nothing.
    low = round((1 - confidence) / 2 * (n - 1))
    return found[low], found[n - 1 - low]
