"""The inner loop of ``raycasting``: sums along rays through voxels of three channels, with their slopes.

Rays are sampled where they cross the planes of voxels that they cross most steeply, between which attenuation
is taken as linear. A pose then moves points within planes, never planes: sums change smoothly, and their
slopes are exact. Points at equal distances would shift against the voxels, which looks like information on
the depth.

Compiled by numba, which keeps the machine code on disk; importing this file costs about a second.

Source: Joseph, An improved algorithm for reprojecting rays through pixel images, 1982.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

__all__ = ["cast_rows"]

_ONE, _ZERO = np.float32(1), np.float32(0)
_EDGE = 1.001  # voxels: the neighbour of a point must still be one
_FAR, _LEVEL = 1e9, 1e-9  # voxels; a ray that runs in a plane crosses it there


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
        voxels: three channels of each, flat, the last axis fastest, float32.
        size: voxels along each axis, shape ``(3,)``.
        weight: of each channel in the mixture, shape ``(3,)``.
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
        out: filled with the sums of the mixture, of the second and of the third channel, and of the mixture's
            slopes where rays move along each axis and turn about it, shape ``(9, rows, columns)``.
    """
    w0, w1, w2 = weight[0], weight[1], weight[2]
    a, b, c = steep, (steep + 1) % 3, (steep + 2) % 3
    stride = (3 * size[1] * size[2], 3 * size[2], 3)
    sa, sb, sc = stride[a], stride[b], stride[c]
    share = 1.0 / (rays * rays)
    d, g, m = np.zeros(3), np.zeros(3), np.zeros(3)
    for i in range(begin, end):
        for j in range(out.shape[2]):
            sum0, sum1, sum2 = 0.0, 0.0, 0.0
            g[:], m[:] = 0.0, 0.0
            for ray in range(rays * rays):
                u = j * rays + ray % rays
                v = i * rays + ray // rays
                enter, beyond = 0.0, _FAR
                for axis in range(3):
                    d[axis] = first[axis] + u * along_row[axis] + v * along_column[axis] - source[axis]
                    if abs(d[axis]) < _LEVEL:
                        d[axis] = _LEVEL
                    near = -source[axis] / d[axis]
                    far = (size[axis] - _EDGE - source[axis]) / d[axis]
                    enter, beyond = max(enter, min(near, far)), min(beyond, max(near, far))
                leave = min(beyond, 1.0)
                if not leave > enter:
                    continue
                start, stop = source[a] + enter * d[a], source[a] + leave * d[a]
                forward = 1 if d[a] > 0 else -1
                plane = math.ceil(start) if forward > 0 else math.floor(start)
                count = math.floor(forward * (stop - plane) + 0.5) + 1
                count = min(count, math.floor(forward * (source[a] + beyond * d[a] - plane)) + 1)
                # Where the detector stands inside the CT, its last plane counts in part: no image jumps.
                last = min(_ONE, np.float32(forward * (stop - plane) - count + 1.5))
                slope_b, slope_c = d[b] / d[a], d[c] / d[a]
                y0 = source[b] + (plane - source[a]) * slope_b
                z0 = source[c] + (plane - source[a]) * slope_c
                sum_a, sum_b, sum_c = _ZERO, _ZERO, _ZERO
                gb, gc, t0, t1, t2 = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
                for k in range(count):
                    on = plane + forward * k
                    y, z = np.float32(y0 + forward * k * slope_b), np.float32(z0 + forward * k * slope_c)
                    part = _ONE if k < count - 1 else last
                    q, r = int(y), int(z)
                    fy, fz = y - np.float32(q), z - np.float32(r)
                    at = on * sa + q * sb + r * sc
                    n0, n1 = part * (_ONE - fy) * (_ONE - fz), part * (_ONE - fy) * fz
                    n2, n3 = part * fy * (_ONE - fz), part * fy * fz
                    b0, b1, b2, b3 = (
                        voxels[at + 1],
                        voxels[at + sc + 1],
                        voxels[at + sb + 1],
                        voxels[at + sb + sc + 1],
                    )
                    c0, c1, c2, c3 = (
                        voxels[at + 2],
                        voxels[at + sc + 2],
                        voxels[at + sb + 2],
                        voxels[at + sb + sc + 2],
                    )
                    sum_b += n0 * b0 + n1 * b1 + n2 * b2 + n3 * b3
                    sum_c += n0 * c0 + n1 * c1 + n2 * c2 + n3 * c3
                    v0 = w0 * voxels[at] + w1 * b0 + w2 * c0
                    v1 = w0 * voxels[at + sc] + w1 * b1 + w2 * c1
                    v2 = w0 * voxels[at + sb] + w1 * b2 + w2 * c2
                    v3 = w0 * voxels[at + sb + sc] + w1 * b3 + w2 * c3
                    sum_a += n0 * v0 + n1 * v1 + n2 * v2 + n3 * v3
                    if with_slopes:
                        up = part * ((v2 - v0) + fz * ((v3 - v2) - (v1 - v0)))
                        across = part * ((v1 - v0) + fy * ((v3 - v2) - (v1 - v0)))
                        gb += up
                        gc += across
                        # The turning moment of a slope that is at right angles to the ray.
                        back = -(up * np.float32(slope_b) + across * np.float32(slope_c))
                        x = np.float32(on - centre[a])
                        y -= np.float32(centre[b])
                        z -= np.float32(centre[c])
                        t0 += y * across - z * up
                        t1 += z * back - x * across
                        t2 += x * up - y * back
                step = share * math.sqrt(1 + slope_b * slope_b + slope_c * slope_c)
                sum0 += step * sum_a
                sum1 += step * sum_b
                sum2 += step * sum_c
                if with_slopes:
                    g[a] -= step * (gb * slope_b + gc * slope_c)
                    g[b] += step * gb
                    g[c] += step * gc
                    # A turn changes how far apart the points on the ray are, too.
                    m[a] += step * t0
                    m[b] += step * (t1 - sum_a * slope_c)
                    m[c] += step * (t2 + sum_a * slope_b)
            out[0, i, j], out[1, i, j], out[2, i, j] = sum0, sum1, sum2
            if with_slopes:
                for axis in range(3):
                    out[3 + axis, i, j] = g[axis]
                    out[6 + axis, i, j] = m[axis]


def _compiled(cache: bool) -> Any:
    # All of fast mathematics but the promise that nothing is infinite.
    fast = {"reassoc", "contract", "arcp", "nsz", "afn"}
    return numba.njit(_cast_rows, fastmath=fast, nogil=True, error_model="numpy", cache=cache)


try:
    cast_rows = _compiled(True)
except RuntimeError:  # no folder to keep the machine code in
    cast_rows = _compiled(False)
