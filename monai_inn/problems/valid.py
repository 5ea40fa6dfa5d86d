"""Simulations whose observations can be inferred."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_inn.problems.base import InverseProblem

__all__ = ["fresh_simulations", "fresh_simulations_of_each", "rows_of_valid", "valid_simulations"]

# The pool of a training has the seed of the training itself, which is mostly 0, as is that of a measurement.
_FRESH = 0x5EF2_0000


def rows_of_valid(n: int) -> int:
    """Return how many simulations are made to get ``n`` whose observations can be inferred."""
    return n + n // 8 + 64


def valid_simulations(problem: InverseProblem, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return ``n`` simulated pairs whose observations can be inferred: ``theta (n, D)``, ``y (n, C)``.

    They are fewer where there are not as many simulations.
    """
    most = problem.available(seed)
    theta, y = problem.simulate(rows_of_valid(n) if most is None else min(rows_of_valid(n), most), seed)
    keep = torch.nonzero(problem.is_valid(y)).squeeze(1)[:n]
    return theta[keep], y[keep]


def fresh_simulations(problem: InverseProblem, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return what ``valid_simulations`` does, of a seed far from those of trainings with seeds like this."""
    return valid_simulations(problem, n, seed + _FRESH)


def fresh_simulations_of_each(
    problems: Sequence[InverseProblem], n: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Return up to ``n`` fresh pairs of each problem, of the same prior draws, valid for all of them."""
    pairs = [problem.simulate(rows_of_valid(n), seed + _FRESH) for problem in problems]
    valid = [problem.is_valid(y) for problem, (_, y) in zip(problems, pairs, strict=True)]
    keep = torch.nonzero(torch.stack(valid).all(0)).squeeze(1)[:n]
    return [(theta[keep], y[keep]) for theta, y in pairs]
