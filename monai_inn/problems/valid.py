"""Simulations whose observations can be inferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from monai_inn.problems.base import InverseProblem
from monai_inn.problems.parameters import Parameter
from monai_inn.seeding import stream

__all__ = ["fresh_simulations", "fresh_simulations_of_each", "rows_of_valid", "valid_simulations"]

# The pool of a training has the seed of the training itself, which is mostly 0, as is that of a measurement.
_FRESH = 0x5EF2_0000
_MOST_DOUBLINGS = 6


def rows_of_valid(n: int) -> int:
    """Return how many simulations are made to get ``n`` whose observations can be inferred."""
    return n + n // 8 + 64


def valid_simulations(problem: InverseProblem, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return ``n`` simulated pairs whose observations can be inferred: ``theta (n, D)``, ``y (n, C)``.

    They are fewer where there are not as many simulations.

    Raises:
        ValueError: if hardly any simulated observation can be inferred.
    """
    most = problem.available(seed)
    rows = rows_of_valid(n)
    for _ in range(_MOST_DOUBLINGS):
        theta, y = problem.simulate(rows if most is None else min(rows, most), seed)
        keep = torch.nonzero(problem.is_valid(y)).squeeze(1)[:n]
        if len(keep) == n or most is not None:
            return theta[keep], y[keep]
        rows *= 2  # what was simulated before comes first again
    raise ValueError(
        f"only {len(keep)} of {len(y):,} simulations of {problem.name!r} can be inferred; see its prior, its "
        "noise and its is_valid."
    )


def fresh_simulations(problem: InverseProblem, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return what ``valid_simulations`` does, of a seed far from those of trainings with seeds like this."""
    return valid_simulations(problem, n, seed + _FRESH)


def fresh_simulations_of_each(
    problems: Sequence[InverseProblem], n: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Return up to ``n`` fresh pairs of each problem, valid for all of them.

    Parameters that a problem shares with the first have the same values; that takes independent parameters.
    """
    draws = problems[0].simulate_clean(rows_of_valid(n), seed + _FRESH)[0]
    first = dict(zip(problems[0].parameters, draws.unbind(-1), strict=True))
    pairs = [_with_values(problem, first, rows_of_valid(n), seed + _FRESH) for problem in problems]
    valid = [problem.is_valid(y) for problem, (_, y) in zip(problems, pairs, strict=True)]
    keep = torch.nonzero(torch.stack(valid).all(0)).squeeze(1)[:n]
    return [(theta[keep], y[keep]) for theta, y in pairs]


def _with_values(
    problem: InverseProblem, given: Mapping[Parameter, Tensor], n: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Simulated pairs in which some parameters have given values ``(n,)``."""
    theta, y = problem.simulate(n, seed)
    columns = zip(problem.parameters, theta.unbind(-1), strict=True)
    values = torch.stack([given.get(p, own) for p, own in columns], -1)
    if torch.equal(values, theta):
        return theta, y
    return values, problem.noise(problem.simulate_again(values, y), stream(seed, "noise of given values"))
