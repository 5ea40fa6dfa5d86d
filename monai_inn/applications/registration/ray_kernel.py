"""The inner loop of ``raycasting``: sums along rays through voxels of three materials, with their slopes.

Rays are sampled where they cross the planes of voxels that they cross most steeply, between which attenuation
is taken as linear. A pose then moves points within planes, never planes: sums change smoothly, and their
slopes are exact. Points at equal distances would shift against the voxels, which looks like information on
the depth.

A CT is larger than the cache. The three materials of a voxel share 32 bits, and neighbouring rays go through
some planes together, whose voxels they share, before they go on.

Compiled by numba, which keeps the machine code on disk; importing this file costs about a second.

Source: Joseph, An improved algorithm for reprojecting rays through pixel images, 1982.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

__all__ = ["LEVELS", "cast_rows", "packed"]

LEVELS = (2047, 1023, 2047)
"""Largest number of each material that a voxel holds."""

_ONE, _ZERO = np.float32(1), np.float32(0)
_EDGE = 1.001  # voxels: the neighbour of a point must still be one
_FAR, _LEVEL = 1e9, 1e-9  # voxels; a ray that runs in a plane crosses it there
_TOGETHER = 16  # planes
# All of fast mathematics but the promise that nothing is infinite.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}


def packed(levels: np.ndarray) -> np.ndarray:
    """Return voxels of 32 bits from three whole numbers of each, ``(I, J, K, 3)``, at most ``LEVELS``."""
    first, second, third = np.moveaxis(levels.astype(np.uint32), -1, 0)
    return (first << 21 | second << 11 | third).flatten().view(np.int32)


def _crossed(source: Any, d: Any, size: Any, steep: int) -> tuple[int, int, int, float]:
    """First and last plane that a ray crosses, the one in which it ends, and the share by which that counts.

    ``d`` leads from the source to the detector.
    """
    enter, leave = 0.0, _FAR
    for axis in range(3):
        near, far = -source[axis] / d[axis], (size[axis] - _EDGE - source[axis]) / d[axis]
        enter, leave = max(enter, min(near, far)), min(leave, max(near, far))
    end = min(leave, 1.0)
    if not end > enter:
        return 1, 0, 0, 0.0
    start, stop = source[steep] + enter * d[steep], source[steep] + end * d[steep]
    beyond = source[steep] + leave * d[steep]
    forward = 1 if d[steep] > 0 else -1
    plane = math.ceil(start) if forward > 0 else math.floor(start)
    count = math.floor(forward * (stop - plane) + 0.5) + 1
    count = min(count, math.floor(forward * (beyond - plane)) + 1)
    if count < 1:
        return 1, 0, 0, 0.0
    # Where the detector stands inside the CT, the last plane counts in part: no image jumps.
    share = min(1.0, forward * (stop - plane) - count + 1.5)
    final = plane + forward * (count - 1)
    return min(plane, final), max(plane, final), final, share


def _cast_rows(
    voxels: Any,
    size: Any,
    weight: Any,
    source: Any,
    first: Any,
    along_row: Any,
    along_column: Any,
    centre: Any,
    steep: int,
    rays: int,
    with_slopes: bool,
    begin: int,
    end: int,
    out: Any,
) -> None:
    """Fill rows ``begin`` to ``end`` of an image; all points in voxels.

    Args:
        voxels: see ``packed``; the last axis is the fastest.
        size: voxels along each axis, shape ``(3,)``.
        weight: of each material's levels in the mixture, shape ``(3,)``, float32.
        source: where rays start.
        first: where the first ray meets the detector.
        along_row: from one ray to its neighbour in the row.
        along_column: the same down a column.
        centre: point that turns are about.
        steep: axis whose planes the rays cross most steeply, the same for all lest images jump.
        rays: rays along each side of a pixel, which are averaged.
        with_slopes: whether slopes are asked for.
        begin: first row.
        end: row behind the last.
        out: filled with the sums of the mixture, of the second and of the third material's levels, and of the
            mixture's slopes where rays move along each axis and turn about it, shape ``(9, rows, columns)``.
    """
    w0, w1, w2 = weight[0], weight[1], weight[2]
    a, b, c = steep, (steep + 1) % 3, (steep + 2) % 3
    stride = (size[1] * size[2], size[2], 1)
    sa, sb, sc = stride[a], stride[b], stride[c]
    x0, y0, z0 = np.float32(centre[a]), np.float32(centre[b]), np.float32(centre[c])
    across = out.shape[2] * rays
    n = (end - begin) * rays * across
    line, shares = np.empty((n, 4), np.float32), np.empty(n, np.float32)
    planes, sums = np.empty((n, 3), np.int64), np.zeros((n, 8), np.float32)
    lowest, highest, d = size[a], -1, np.zeros(3)
    for ray in range(n):
        for axis in range(3):
            on_detector = first[axis] + ray % across * along_row[axis]
            d[axis] = on_detector + (begin * rays + ray // across) * along_column[axis] - source[axis]
            if abs(d[axis]) < _LEVEL:
                d[axis] = _LEVEL
        line[ray, 2], line[ray, 3] = d[b] / d[a], d[c] / d[a]
        line[ray, 0], line[ray, 1] = source[b] - source[a] * d[b] / d[a], source[c] - source[a] * d[c] / d[a]
        planes[ray, 0], planes[ray, 1], planes[ray, 2], shares[ray] = _crossed(source, d, size, a)
        if planes[ray, 0] <= planes[ray, 1]:
            lowest, highest = min(lowest, planes[ray, 0]), max(highest, planes[ray, 1])
    for block in range(lowest, highest + 1, _TOGETHER):
        for ray in range(n):
            y_at_0, z_at_0, slope_y, slope_z = line[ray, 0], line[ray, 1], line[ray, 2], line[ray, 3]
            final, share = np.float32(planes[ray, 2]), shares[ray]
            sum_m, sum_b, sum_c, gy, gz = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
            tx, ty, tz = _ZERO, _ZERO, _ZERO
            for plane in range(max(block, planes[ray, 0]), min(block + _TOGETHER, planes[ray, 1] + 1)):
                x = np.float32(np.int32(plane))
                y, z = y_at_0 + x * slope_y, z_at_0 + x * slope_z
                part = share if x == final else _ONE
                q, r = np.int32(y), np.int32(z)
                fy, fz = y - np.float32(q), z - np.float32(r)
                at = np.uint64(plane * sa + q * sb + r * sc)
                p0, p1 = voxels[at], voxels[at + np.uint64(sc)]
                p2, p3 = voxels[at + np.uint64(sb)], voxels[at + np.uint64(sb + sc)]
                b0, b1, b2, b3 = _second(p0), _second(p1), _second(p2), _second(p3)
                c0, c1, c2, c3 = _third(p0), _third(p1), _third(p2), _third(p3)
                n0, n1 = part * (_ONE - fy) * (_ONE - fz), part * (_ONE - fy) * fz
                n2, n3 = part * fy * (_ONE - fz), part * fy * fz
                sum_b += n0 * b0 + n1 * b1 + n2 * b2 + n3 * b3
                sum_c += n0 * c0 + n1 * c1 + n2 * c2 + n3 * c3
                v0, v1 = w0 * _first(p0) + w1 * b0 + w2 * c0, w0 * _first(p1) + w1 * b1 + w2 * c1
                v2, v3 = w0 * _first(p2) + w1 * b2 + w2 * c2, w0 * _first(p3) + w1 * b3 + w2 * c3
                sum_m += n0 * v0 + n1 * v1 + n2 * v2 + n3 * v3
                if with_slopes:
                    along_y = part * ((v2 - v0) + fz * ((v3 - v2) - (v1 - v0)))
                    along_z = part * ((v1 - v0) + fy * ((v3 - v2) - (v1 - v0)))
                    gy += along_y
                    gz += along_z
                    # The turning moment of a slope that is at right angles to the ray.
                    along_x = -(along_y * slope_y + along_z * slope_z)
                    x, y, z = x - x0, y - y0, z - z0
                    tx += y * along_z - z * along_y
                    ty += z * along_x - x * along_z
                    tz += x * along_y - y * along_x
            for k, more in enumerate((sum_m, sum_b, sum_c, gy, gz, tx, ty, tz)):
                sums[ray, k] += more
    out[:, begin:end] = 0
    for ray in range(n):
        i, j = begin + ray // across // rays, ray % across // rays
        slope_y, slope_z = line[ray, 2], line[ray, 3]
        step = math.sqrt(1 + slope_y * slope_y + slope_z * slope_z) / (rays * rays)
        mixture, gy, gz = sums[ray, 0], sums[ray, 3], sums[ray, 4]
        for k in range(3):
            out[k, i, j] += step * sums[ray, k]
        if with_slopes:
            out[3 + a, i, j] -= step * (gy * slope_y + gz * slope_z)
            out[3 + b, i, j] += step * gy
            out[3 + c, i, j] += step * gz
            # A turn changes how far apart the points on the ray are, too.
            out[6 + a, i, j] += step * sums[ray, 5]
            out[6 + b, i, j] += step * (sums[ray, 6] - mixture * slope_z)
            out[6 + c, i, j] += step * (sums[ray, 7] + mixture * slope_y)


def _first(voxel: Any) -> Any:
    return np.float32(np.int32(voxel >> 21 & 2047))


def _second(voxel: Any) -> Any:
    return np.float32(np.int32(voxel >> 11 & 1023))


def _third(voxel: Any) -> Any:
    return np.float32(np.int32(voxel & 2047))


def _compiled(function: Any, cache: bool) -> Any:
    return numba.njit(function, fastmath=_FAST, nogil=True, error_model="numpy", cache=cache)


_crossed, _first, _second, _third = (_compiled(f, False) for f in (_crossed, _first, _second, _third))
try:
    cast_rows = _compiled(_cast_rows, True)
except RuntimeError:  # no folder to keep the machine code in
    cast_rows = _compiled(_cast_rows, False)
