"""Operations that formats of exchange lack, in terms of those that they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["PlainOperations", "inverse", "normal_quantile", "position", "repeated"]


def normal_quantile(probability: Tensor) -> Tensor:
    """Return ``torch.special.ndtri`` of probabilities from 1e-10 to 1 − 1e-10, to 2e-7 of its size.

    Source: Wichura, Algorithm AS 241: the percentage points of the normal distribution, 1988, PPND7.
    """
    q = probability - 0.5
    r = 0.180625 - q * q
    middle = q * _ratio(
        r,
        (59.109374720, 159.29113202, 50.434271938, 3.3871327179),
        (67.187563600, 78.757757664, 17.895169469, 1.0),
    )
    # Where the middle holds the tail is of no use, but it must not be NaN.
    rest = torch.minimum(probability, 1 - probability).clamp(1e-30, 0.075)
    tail = _ratio(
        (-rest.log()).sqrt() - 1.6,
        (0.17023821103, 1.3067284816, 2.7568153900, 1.4234372777),
        (0.12021132975, 0.73700164250, 1.0),
    )
    return torch.where(q.abs() <= 0.425, middle, torch.where(q < 0, -tail, tail))


def _ratio(x: Tensor, above: Sequence[float], below: Sequence[float]) -> Tensor:
    """Ratio of two polynomials whose leading coefficients come first."""
    value, divisor = torch.full_like(x, above[0]), torch.full_like(x, below[0])
    for coefficient in above[1:]:
        value = value * x + coefficient
    for coefficient in below[1:]:
        divisor = divisor * x + coefficient
    return value / divisor


def position(ordered: Tensor, values: Tensor, *, right: bool = False) -> Tensor:
    """Return ``torch.searchsorted`` by bisection.

    Args:
        ordered: ascending numbers, shape ``(n,)``, or ``(…, n)`` with the leading axes of ``values``.
        values: shape ``(…, N)``, or any shape if ``ordered`` has one axis.
        right: whether entries equal to a value lie before it.
    """
    size = ordered.shape[-1]
    before = torch.zeros_like(values, dtype=torch.int64)
    step = 1 << (size.bit_length() - 1)
    while step:
        more = before + step
        last = (more - 1).clamp(max=size - 1)
        entry = ordered[last] if ordered.ndim == 1 else ordered.gather(-1, last)
        is_before = (entry <= values if right else entry < values) & (more <= size)
        before = torch.where(is_before, more, before)
        step //= 2
    return before


def _bucket(values: Tensor, ordered: Tensor, *, right: bool = False) -> Tensor:
    return position(ordered, values, right=right)


def repeated(values: Tensor, repeats: int, axis: int) -> Tensor:
    """Return ``torch.repeat_interleave``; onnxscript 0.7 makes a wrong shape of it if repeats are dynamic."""
    axis %= values.ndim
    expanded = values.unsqueeze(axis + 1)
    shape = [*values.shape[: axis + 1], repeats, *values.shape[axis + 1 :]]
    return expanded.expand(shape).flatten(axis, axis + 1)


def inverse(matrix: Tensor) -> Tensor:
    """Return ``torch.linalg.inv`` of positive definite matrices ``(…, n, n)``, without pivoting."""
    unit = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for k in range(matrix.shape[-1]):
        at = unit[k]
        pivot = matrix[..., k : k + 1, k : k + 1]
        row, column = matrix[..., k : k + 1, :], matrix[..., :, k : k + 1]
        # With 1 added to the pivot one product of column and row leaves the right row and column, too.
        step = (column - at.unsqueeze(1)) * (row + at) / pivot
        matrix = matrix - step
    return matrix


def _normal_share(z: Tensor) -> Tensor:
    """Return ``torch.special.ndtr``; of doubles to 1e-7, for onnxruntime 1.32 has ``Erf`` of floats alone."""
    return torch.special.ndtr(z.float()).to(z.dtype)


def _softplus(x: Tensor) -> Tensor:
    """Return ``softplus``; of doubles in steps, for onnxruntime 1.32 has ``Softplus`` of floats alone."""
    if x.dtype == torch.float64:
        return x.clamp_min(0) + (1 + (-x.abs()).exp()).log()
    return functional.softplus(x)


_PLAIN: dict[Any, Callable[..., Tensor]] = {
    torch.linalg.inv: inverse,
    torch.special.ndtri: normal_quantile,
    torch.special.ndtr: _normal_share,
    functional.softplus: _softplus,
    torch.searchsorted: position,
    torch.bucketize: _bucket,
    torch.Tensor.repeat_interleave: repeated,
}


class PlainOperations(TorchFunctionMode):
    """Context in which calls of torch's own operations take the ways of this file."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the plain operation in the place of one that has it."""
        return _PLAIN.get(func, func)(*args, **(kwargs or {}))
