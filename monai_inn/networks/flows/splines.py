"""Kernels of the rational-quadratic spline that a CPU runs fast.

Training calls a spline often and on few numbers, so that the number of torch operations decides. Hence one
softmax and one cumulative sum for widths and heights together, one look-up of an element's bin, and gradients
written by hand in place of sixty nodes of autograd. Positions in a bin are taken from its upper end, because
ends are what a cumulative sum gives: ``u = (x₁ − x) / w``. With the mean slope ``s = h / w`` and the slopes
``d₀`` and ``d₁`` at the lower and the upper end, everything follows from linear interpolations of positive
numbers, in which nothing cancels::

    A = lerp(d₁, s, u)    T = lerp(A, B, u)    y = y₁ − h u A / D
    B = lerp(s, d₀, u)    D = lerp(B, A, u)    dy/dx = T (s / D)²
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "MINIMUM",
    "OFFSET",
    "Grid",
    "solve_bin",
    "spline_forward",
    "spline_forward_",
    "spline_inverse",
    "spline_inverse_",
]

MINIMUM = 1e-3  # of a bin's share of width and height and of slopes, as in the source
OFFSET = math.log(math.expm1(1 - MINIMUM))  # softplus(OFFSET) + MINIMUM = 1: zeros give the identity


class Grid(NamedTuple):
    """Number of bins and half width of the square in which the spline acts."""

    bins: int
    bound: float

    @property
    def shared(self) -> float:
        """Length that softmax shares out among the bins; the rest is the minimum of each."""
        return 2 * self.bound * (1 - MINIMUM * self.bins)


class _Constants(NamedTuple):
    """Numbers as tensors, because a Python number costs each call a microsecond more."""

    numbers: Tensor  # of the bins, from 1, shape (bins, 1)
    first: Tensor  # smallest bin, for the first one less the bound, shape (bins, 1)
    smallest: Tensor
    scale: Tensor  # −, + the shared length, shape (2, 1)
    offset: Tensor
    minimum: Tensor
    one: Tensor


@functools.lru_cache(maxsize=32)
def _constants(grid: Grid, dtype: torch.dtype, device: torch.device) -> _Constants:
    def column(*values: float) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device).unsqueeze(1)

    smallest = 2 * grid.bound * MINIMUM
    numbers = column(*range(1, grid.bins + 1))
    first = column(smallest - grid.bound, *[smallest] * (grid.bins - 1))
    scale, one = column(-grid.shared, grid.shared), column(1).view(1)
    return _Constants(numbers, first, column(smallest), scale, column(OFFSET), column(MINIMUM), one)


@functools.lru_cache(maxsize=8)
def _columns(n: int, device: torch.device) -> Tensor:
    return torch.arange(n, dtype=torch.int32, device=device)


def spline_forward(x: Tensor, raw: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Data to latent: the result, shaped as ``x``, and the log-determinant ``(M, rows)``.

    Args:
        x: shape ``(M, channels, rows)``.
        raw: unconstrained widths, heights and inner slopes, shape ``(M, (3 bins − 1) channels, rows)``, or
            ``(M, 3 bins − 1, 1)``, the same for all rows of one channel.
        grid: bins and bound.
    """
    if torch.is_grad_enabled() and (x.requires_grad or raw.requires_grad):
        return _Forward.apply(x, raw.expand(-1, -1, x.shape[2]), grid)
    return _forward(x, raw, grid, keep=False)[:2]


def spline_inverse(y: Tensor, raw: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Latent to data without gradients: the result and its log-determinant; shapes as in ``spline_forward``.

    Both directions share the arithmetic of the knots, so that a round trip ends where it began.
    """
    raw = _elements_last(raw, y, grid)
    share = torch.softmax(raw[: 2 * grid.bins].view(2, grid.bins, -1), 1)
    x, u, found, is_inside = _inverse(y.reshape(-1), share, raw[2 * grid.bins :], grid)
    (width, height), (left, right) = found.size.unbind(), found.slopes.unbind()
    mean_slope = height / width
    a, b = torch.lerp(right, mean_slope, u), torch.lerp(mean_slope, left, u)
    slope = torch.lerp(a, b, u).mul_(mean_slope.div_(torch.lerp(b, a, u)).square_())
    one = _constants(grid, y.dtype, y.device).one
    return x.view_as(y), -torch.lerp(one, slope, is_inside).log().view_as(y).sum(1)


def spline_forward_(x: Tensor, raw: Tensor, grid: Grid) -> Tensor:
    """Data to latent in place, without gradients; returns the log-determinant ``(rows,)``.

    Args:
        x: shape ``(channels, rows)``.
        raw: shape ``((3 bins − 1) channels, rows)``; may be lost.
        grid: bins and bound.
    """
    if _is_compiled(x):
        return _compiled(x, raw, grid, is_inverse=False).log_().sum(0)
    moved, log_det = spline_forward(x.unsqueeze(0), raw.unsqueeze(0), grid)
    x.copy_(moved.squeeze(0))
    return log_det.squeeze(0)


def spline_inverse_(y: Tensor, raw: Tensor, grid: Grid) -> None:
    """Undo ``spline_forward_``."""
    if _is_compiled(y):
        _compiled(y, raw, grid, is_inverse=True)
        return
    k, raw = grid.bins, raw.view(3 * grid.bins - 1, -1)
    logits = raw[: 2 * k].view(2, k, -1)
    share = torch.softmax(logits, 1, out=logits)
    y.copy_(_inverse(y.reshape(-1), share, raw[2 * k :], grid)[0].view_as(y))


def _is_compiled(value: Tensor) -> bool:
    return value.device.type == "cpu" and value.dtype == torch.float32


def _compiled(value: Tensor, raw: Tensor, grid: Grid, *, is_inverse: bool) -> Tensor:
    """Move values ``(channels, rows)`` in place; their slopes if it is data to latent."""
    from monai_inn.networks.kernels.spline import spline

    slope = value if is_inverse else torch.empty_like(value)
    numbers = np.array((grid.bound, grid.shared, 2 * grid.bound * MINIMUM, OFFSET, MINIMUM), np.float32)
    raw = raw.view(3 * grid.bins - 1, *value.shape)
    spline(grid.bins, is_inverse)(value.numpy(), raw.numpy(), slope.numpy(), numbers)
    return slope


def _inverse(value: Tensor, share: Tensor, inner: Tensor, grid: Grid) -> tuple[Tensor, Tensor, _Bins, Tensor]:
    """Result, position in the bin, bins, and 1 where the value was inside; ``share`` is lost."""
    inside, is_inside = _clamped(value, grid.bound)
    found = _find(inside, share, inner, share, grid, axis=1)
    (width, height), (x1, y1), (left, right) = found.size.unbind(), found.end.unbind(), found.slopes.unbind()
    mean_slope = height / width
    bend = torch.add(left, right).sub_(mean_slope, alpha=2)
    u = solve_bin(y1.sub_(inside).div_(height), mean_slope, right, bend)
    moved = torch.addcmul(x1, u, width, value=-1)
    return _merged(moved, value, inside, is_inside), u, found, is_inside


def solve_bin(y: Tensor, mean_slope: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
    """Position in the bin at a fraction ``y`` of its height, from the end of ``slope``: a stable root."""
    a = mean_slope - slope + y * bend
    b = slope - y * bend
    c = -mean_slope * y
    discriminant = (b.square() - 4 * a * c).clamp_min(0)
    return 2 * c / (-b - discriminant.sqrt())


class _Bins(NamedTuple):
    """The bins of ``n`` elements; pairs are of the x and the y axis, or of the left and the right end."""

    passed: Tensor  # upper ends at or below the value: the index of the bin, shape (n,)
    size: Tensor  # width and height, shape (2, n)
    end: Tensor  # upper ends, shape (2, n)
    raw_slopes: Tensor  # before softplus, shape (2, n)
    slopes: Tensor  # shape (2, n)


def _find(value: Tensor, share: Tensor, inner: Tensor, spare: Tensor, grid: Grid, *, axis: int) -> _Bins:
    """Look up the bins of values.

    Args:
        value: positions within the bound, shape ``(n,)``.
        share: softmax of widths and heights, shape ``(2, bins, n)``, or ``(2, bins, 1)`` for all values.
        inner: raw slopes at the inner knots, shape ``(bins − 1, n)`` or ``(bins − 1, 1)``.
        spare: memory of the shape of ``share``, which may be given up for it.
        grid: bins and bound.
        axis: 0 for positions in x, 1 in y.
    """
    k, n, columns = grid.bins, value.numel(), share.shape[2]
    constants = _constants(grid, value.dtype, value.device)
    ends = torch.add(constants.first, share, alpha=grid.shared)
    for lower, upper in itertools.pairwise(ends.unbind(1)):  # cumsum along a strided axis is slower
        upper.add_(lower)
    # The sum of a floating-point mask is vectorised, that of a boolean one is not.
    passed = torch.le(ends[axis, :-1], value, out=value.new_empty(k - 1, n)).sum(0)
    place = torch.add(_columns(columns, value.device), passed.int(), alpha=columns)

    def pick(table: Tensor) -> Tensor:
        return table.view(2, k * columns).index_select(1, place)  # faster than gather

    size = torch.add(constants.smallest, pick(share), alpha=grid.shared)
    edge = inner.new_zeros(1, columns)
    torch.cat([edge, inner, inner, edge], out=spare.view(2 * k, columns))
    raw_slopes = pick(spare).add_(constants.offset)
    slopes = F.softplus(raw_slopes).add_(constants.minimum)
    return _Bins(passed, size, pick(ends), raw_slopes, slopes)


def _elements_last(raw: Tensor, value: Tensor, grid: Grid) -> Tensor:
    """Parameters as ``(3 bins − 1, M channels rows)``; what rows of a single member share is one column."""
    each = 3 * grid.bins - 1
    if len(raw) > 1:
        raw = raw.expand(-1, -1, value.shape[2])
    return raw.view(len(raw), each, -1).transpose(0, 1).reshape(each, -1)


def _clamped(value: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Values brought within the bound, and 1 where they were, 0 elsewhere."""
    inside = value.clamp(-bound, bound)
    return inside, torch.eq(inside, value, out=torch.empty_like(value))


def _merged(moved: Tensor, value: Tensor, inside: Tensor, is_inside: Tensor) -> Tensor:
    """What moved if inside, else the value, exactly; two products take less time than one ``where``."""
    return torch.addcmul(value, inside, is_inside, value=-1).addcmul_(moved, is_inside)


def _forward(x: Tensor, raw: Tensor, grid: Grid, *, keep: bool) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Result, log-determinant, and what the gradient needs if that is to be kept."""
    k, value = grid.bins, x.reshape(-1)
    raw = _elements_last(raw, x, grid)
    share = torch.softmax(raw[: 2 * k].view(2, k, -1), 1)
    inside, is_inside = _clamped(value, grid.bound)
    spare = torch.empty_like(share) if keep else share
    passed, size, position, raw_slopes, slopes = _find(inside, share, raw[2 * k :], spare, grid, axis=0)
    (width, height), (u, y1), (left, right) = size.unbind(), position.unbind(), slopes.unbind()
    u.sub_(inside).div_(width)
    mean_slope = height / width
    a, b = torch.lerp(right, mean_slope, u), torch.lerp(mean_slope, left, u)
    top, bottom = torch.lerp(a, b, u), torch.lerp(b, a, u)
    fraction = torch.mul(u, a).div_(bottom)
    moved = torch.addcmul(y1, height, fraction, value=-1)
    y = _merged(moved, value, inside, is_inside).view_as(x)
    ratio = mean_slope.div_(bottom)
    one = _constants(grid, value.dtype, value.device).one
    slope = torch.lerp(one, torch.mul(top, ratio).mul_(ratio), is_inside)
    log_det = slope.log().view_as(x).sum(1)
    if not keep:
        return y, log_det, ()
    y1.copy_(fraction)  # ends have become positions
    number = torch.addcmul(is_inside, passed, is_inside)  # of the bin, from 1; 0 outside
    kept = (share, number, is_inside.view_as(x), size, position, raw_slopes, slopes, a, b, top, bottom, slope)
    return y, log_det, kept


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        y, log_det, kept = _forward(x, raw, grid, keep=True)
        ctx.grid = grid
        ctx.save_for_backward(*kept)
        return y, log_det

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_y: Tensor, of_log_det: Tensor) -> tuple[Tensor, Tensor, None]:
        share, number, is_inside, size, position, raw_slopes, slopes, *curve = ctx.saved_tensors
        a, b, top, bottom, slope = curve
        (width, height), (u, fraction), (left, right) = size.unbind(), position.unbind(), slopes.unbind()
        members, channels, rows = is_inside.shape
        of_y, of_log = of_y.reshape(-1), torch.mul(of_log_det.unsqueeze(1), is_inside).reshape(-1)
        of_top, of_bottom = of_log / top, of_log / bottom
        lift = torch.mul(of_y, height).div_(bottom)
        sink = torch.mul(lift, fraction).sub_(of_bottom, alpha=2)
        of_right = torch.lerp(of_top, sink - lift, u)
        of_right.addcmul_(u, of_right, value=-1)
        of_left = torch.lerp(sink, of_top, u).mul_(u)
        # All slopes times c leave y alone and add log c to the log-determinant: that gives the mean slope's.
        of_mean = torch.addcmul(of_log, right, of_right, value=-1).addcmul_(left, of_left, value=-1)
        of_u = torch.add(of_top, of_bottom, alpha=2).mul_(a - b).addcmul_(of_bottom, left - right)
        of_x = torch.mul(of_y, slope).addcdiv_(of_u, width, value=2)
        of_end = torch.stack([of_x, of_y])
        of_size = torch.mul(of_end, position).addcdiv_(of_mean, size, value=-1)
        rates = raw_slopes.sigmoid().unbind()
        of_slopes = of_left.mul_(rates[0]), of_right.mul_(rates[1])
        of_raw = _spread(share, number, of_end, of_size, of_slopes, ctx.grid)
        shape = members, len(of_raw) * channels, rows
        of_raw = of_raw.view(len(of_raw), members, -1).transpose(0, 1).reshape(shape)
        return of_x.view_as(is_inside), of_raw, None


def _spread(
    share: Tensor, number: Tensor, ends: Tensor, sizes: Tensor, slopes: tuple[Tensor, Tensor], grid: Grid
) -> Tensor:
    """Gradient of all raw parameters, shape ``(3 bins − 1, n)``, from those of the bins with these numbers.

    Args:
        share: softmax of widths and heights, shape ``(2, bins, n)``.
        number: from 1, or 0 outside, shape ``(n,)``.
        ends: gradients of upper ends, that of x negative, shape ``(2, n)``; overwritten.
        sizes: gradients of width and height, that of the height negative, shape ``(2, n)``; overwritten.
        slopes: gradients of the raw slopes at the left and the right end, shape ``(n,)``.
        grid: bins and bound.
    """
    k, n = grid.bins, number.numel()
    constants = _constants(grid, number.dtype, number.device)
    of_raw = share.new_empty(3 * k - 1, n)
    of_logits = of_raw[: 2 * k].view(2, k, n)
    up_to, at = of_logits.unbind()  # borrowed, for the logits come last
    torch.ge(number, constants.numbers, out=up_to)
    torch.eq(number, constants.numbers, out=at)
    of_share = torch.mul(up_to, ends.mul_(constants.scale).unsqueeze(1))
    of_share.addcmul_(at, sizes.mul_(constants.scale).unsqueeze(1), value=-1)
    torch.mul(at[1:], slopes[0], out=of_raw[2 * k :]).addcmul_(at[:-1], slopes[1])
    torch._softmax_backward_data(of_share, share, 1, share.dtype, grad_input=of_logits)
    return of_raw
