"""Is one quantity independent of others? The Hilbert–Schmidt criterion and its permutation test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.metrics.two_sample import median_distance, permutation_p_value
from monai_inn.seeding import stream

__all__ = ["IndependenceResult", "hsic", "independence_test"]

_LEAST_WIDTH = 1e-6  # where more than half of all points are equal, only equal points are alike
_WIDTH_ROWS = 200  # whose distances have the median of all
_LEAST_ROWS, _MOST_ROWS = 5, 4000  # whose matrices take 0.4 GB


class IndependenceResult(NamedTuple):
    """How far one quantity is from being independent of others.

    Attributes:
        hsic: the criterion, 0 for independent quantities but for what chance adds on few rows.
        p_value: share of random pairings with a value as large.
    """

    hsic: float
    p_value: float


def hsic(x: Tensor, *others: Tensor, doubt: float = 0.0) -> Tensor:
    """Return the Hilbert–Schmidt criterion of ``x`` and all the others together, ``tr(K H L H) / n²``.

    Its mean over all random pairings of the rows is taken off, so that it is 0 on average for independent
    quantities. It is larger wherever ``x`` tells anything of the others jointly. Gradients flow through it.
    Numbers, shape ``(n, D)``, have the kernel ``exp(−d² / (2 h²))`` with the median distance ``h`` of up to
    200 rows, through which no gradient flows. Classes, integers of shape ``(n,)``, have 1 for equal and 0 for
    others. The kernel of several quantities is the product of theirs.

    Args:
        x: numbers or classes of ``n`` rows.
        *others: numbers or classes of the same rows.
        doubt: how many standard deviations, over the random pairings, count as chance: what is above them is
            returned, or 0. A loss then does not follow what chance adds.

    Source: Gretton et al., A kernel statistical test of independence, 2008.
    """
    own, other = _centred(_kernel(x)), _centred(_joint(others))
    by_chance = own.trace() * other.trace() / (len(x) - 1)
    value = ((own * other).sum() - by_chance) / len(x) ** 2
    if not doubt:
        return value
    squares = [_without_diagonal(kernel.detach()).square().sum() for kernel in (own, other)]
    return (value - doubt * (2 * squares[0] * squares[1]).sqrt() / len(x) ** 3).clamp_min(0.0)


@torch.no_grad()
def independence_test(
    x: Tensor, *others: Tensor, permutations: int = 200, seed: int = 0
) -> IndependenceResult:
    """Return ``hsic`` and the share of random pairings of ``x`` with the others that reach it.

    The p-value is exact for independent rows: under independence it is uniform on its steps.

    Args:
        x: numbers ``(n, D)`` or classes ``(n,)``, see ``hsic``.
        *others: numbers or classes of the same rows.
        permutations: random pairings, at least 19.
        seed: seed of the pairings.

    Raises:
        ValueError: if rows do not belong together, are fewer than five or too many for memory, a value is
            NaN or infinite, or there are too few permutations.
    """
    if permutations < 19:
        raise ValueError(f"permutations = {permutations}; give 19 or more.")
    every = [_checked(values, len(x)) for values in (x, *others)]
    own, other = _centred(_kernel(every[0])), _joint(every[1:])
    generator, values = stream(seed, "pairings"), [(own * other).mean()]
    for _ in range(permutations):
        order = torch.randperm(len(x), generator=generator)
        values.append((own * other[order.unsqueeze(1), order]).mean())
    return IndependenceResult(float(hsic(*every)), permutation_p_value(torch.stack(values)))


def _kernel(values: Tensor) -> Tensor:
    """How alike any two of ``n`` rows are, from 0 to 1, ``(n, n)``."""
    if not values.is_floating_point():
        return (values.unsqueeze(0) == values.unsqueeze(1)).float()
    # By products: differences of all pairs would take as many times the memory as there are numbers in a row.
    values = values - values.detach().mean(0)
    length = values.square().sum(1)
    squared = (length + length.unsqueeze(1) - 2 * values @ values.T).clamp_min(0.0)
    some = slice(None, None, -(-len(values) // _WIDTH_ROWS))
    width = max(median_distance(squared[some, some].detach().sqrt()), _LEAST_WIDTH)
    return (squared * (-0.5 / width**2)).exp()


def _joint(values: Sequence[Tensor]) -> Tensor:
    return math.prod(map(_kernel, values[1:]), start=_kernel(values[0]))


def _centred(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()


def _without_diagonal(kernel: Tensor) -> Tensor:
    return kernel - kernel.diag().diag()


def _checked(values: Tensor, rows: int) -> Tensor:
    is_class = not values.is_floating_point()
    if values.ndim != 2 - is_class or len(values) != rows or not _LEAST_ROWS <= rows <= _MOST_ROWS:
        raise ValueError(
            f"numbers (n, D) and classes (n,) of the same {_LEAST_ROWS} to {_MOST_ROWS} rows expected, got "
            f"{'classes' if is_class else 'numbers'} of shape {tuple(values.shape)} beside {rows} rows."
        )
    if not bool(values.isfinite().all()):
        raise ValueError("some values are NaN or infinite; leave those rows out.")
    return values.detach().cpu() if is_class else values.detach().cpu().double()
