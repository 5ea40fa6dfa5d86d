"""Rational-quadratic splines of many numbers on a CPU, compiled.

Torch passes over memory forty times where here a block of elements stays in the first-level cache, and
Python's lock is free. The compiler makes vector instructions of the loop over elements, since it knows the
number of bins and all memory is one array. Hence also exponential and logarithm are polynomials, and the bin
is found by selecting, not by branching.

Compiled by numba, which keeps the machine code on disk.

Source of the polynomial of the exponential: Moshier, Cephes mathematical library, ``expf``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic

__all__ = ["spline"]

_BLOCK = 128  # elements; with eight bins they take 12 KiB
_ZERO, _HALF, _ONE, _TWO, _FOUR = (np.float32(number) for number in (0, 0.5, 1, 2, 4))
_LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts, of which products of the first with small whole numbers are exact.
_LN_2, _REST = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LEAST = np.float32(-87.0)  # whose exponential is still a normal number
_E7, _E6, _E5, _E4, _E3, _E2 = (
    np.float32(c)
    for c in (1.9875691e-4, 1.39819995e-3, 8.3334519e-3, 4.16657949e-2, 1.66666655e-1, 5.00000012e-1)
)
_A15, _A13, _A11, _A9, _A7, _A5, _A3 = (np.float32(1 / n) for n in (15, 13, 11, 9, 7, 5, 3))
# Fused products and additions; all else as written, so that NaN stays NaN.
_FAST: Any = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
_SIGNATURE = "void(float32[:, :], float32[:, :, ::1], float32[:, :], float32[::1])"


@intrinsic
def _float_of(_: Any, bits: Any) -> Any:
    """The float32 that has the bits of an int32."""

    def code(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(numba.float32))

    return numba.float32(numba.int32), code


@numba.njit(**_FAST)
def _exp(x: Any) -> Any:
    """Exponential of a number that is 0 or less."""
    value = _LEAST if x < _LEAST else x
    whole = np.floor(value * _LOG2_E + _HALF)
    rest = value - whole * _LN_2 - whole * _REST
    total = ((((_E7 * rest + _E6) * rest + _E5) * rest + _E4) * rest + _E3) * rest + _E2
    bits = (np.int32(whole) + np.int32(127)) << np.int32(23)
    power: Any = _float_of(bits)  # type: ignore[call-arg]
    return (total * rest * rest + rest + _ONE) * power


@numba.njit(**_FAST)
def _softplus(x: Any) -> Any:
    t = _exp(-abs(x))
    s = t / (_TWO + t)  # log(1 + t) = 2 artanh(t / (2 + t))
    square = s * s
    total = (((_A15 * square + _A13) * square + _A11) * square + _A9) * square + _A7
    total = (total * square + _A5) * square + _A3
    return (x if x > _ZERO else _ZERO) + _TWO * (s + s * square * total)


@functools.cache
def spline(bins: int, is_inverse: bool) -> Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]:
    """Return the function that moves values in place: data to latent, or back.

    It takes the values ``(channels, n)``, the unconstrained widths, heights and inner slopes ``(3 bins - 1,
    channels, n)``, memory for the slopes of data to latent, shaped as the values, and five numbers: bound,
    length that is shared out among the bins, smallest bin, offset of raw slopes and smallest slope. All are
    float32. Slopes are not written on the way back.
    """
    heights, slopes, values = bins * _BLOCK, 2 * bins * _BLOCK, (3 * bins - 1) * _BLOCK
    rates = values + _BLOCK

    @numba.njit(_SIGNATURE, nogil=True, cache=True, **_FAST)
    def run(data: np.ndarray, raw: np.ndarray, slope_of: np.ndarray, numbers: np.ndarray) -> None:
        bound, shared, smallest, offset, least = numbers
        s = np.zeros((3 * bins + 1) * _BLOCK, np.float32)
        moved, steep = s[values:rates], s[rates:]
        channels, n = data.shape
        for block in range(channels * -(-n // _BLOCK)):
            start, channel = block // channels * _BLOCK, block % channels
            given = data[channel, start : start + _BLOCK]
            for k in range(3 * bins - 1):
                row, copy = raw[k, channel, start : start + _BLOCK], s[k * _BLOCK : (k + 1) * _BLOCK]
                for i in range(len(row)):  # assigning a part to a part is slower
                    copy[i] = row[i]
            for i in range(len(given)):
                moved[i] = given[i]
            for i in range(_BLOCK):
                old = s[values + i]
                value = -bound if old < -bound else old
                value = bound if value > bound else value
                peak_x, peak_y, total_x, total_y = s[i], s[heights + i], _ZERO, _ZERO
                for k in range(1, bins):
                    x, y = s[k * _BLOCK + i], s[heights + k * _BLOCK + i]
                    peak_x, peak_y = x if x > peak_x else peak_x, y if y > peak_y else peak_y
                for k in range(bins):
                    x, y = _exp(s[k * _BLOCK + i] - peak_x), _exp(s[heights + k * _BLOCK + i] - peak_y)
                    s[k * _BLOCK + i], s[heights + k * _BLOCK + i] = x, y
                    total_x, total_y = total_x + x, total_y + y
                share_x, share_y = shared / total_x, shared / total_y
                at_x, at_y, slope = -bound, -bound, offset  # the first and the last end have the slope 1
                width = height = right = top = before = after = _ZERO
                for k in range(bins):
                    is_above = value >= (at_y if is_inverse else at_x)
                    x = smallest + s[k * _BLOCK + i] * share_x
                    y = smallest + s[heights + k * _BLOCK + i] * share_y
                    at_x, at_y = at_x + x, at_y + y
                    width, height = x if is_above else width, y if is_above else height
                    right, top = at_x if is_above else right, at_y if is_above else top
                    before = slope if is_above else before
                    slope = s[slopes + k * _BLOCK + i] + offset if k < bins - 1 else offset
                    after = slope if is_above else after
                mean = height / width
                first, last = _softplus(before) + least, _softplus(after) + least
                if is_inverse:  # ``splines.solve_bin``
                    part, bend = (top - value) / height, first + last - _TWO * mean
                    a, b, c = mean - last + part * bend, last - part * bend, -mean * part
                    square = b * b - _FOUR * a * c
                    u = _TWO * c / (-b - np.sqrt(_ZERO if square < _ZERO else square))
                    new = right - u * width
                else:  # as in ``splines``
                    u = (right - value) / width
                    a, b = last + u * (mean - last), mean + u * (first - mean)
                    bottom = b + u * (a - b)
                    new, ratio = top - height * u * a / bottom, mean / bottom
                    s[rates + i] = (a + u * (b - a)) * ratio * ratio if value == old else _ONE
                s[values + i] = new if value == old else old
            for i in range(len(given)):
                given[i] = moved[i]
            if not is_inverse:
                out = slope_of[channel, start : start + _BLOCK]
                for i in range(len(out)):
                    out[i] = steep[i]

    return run
