"""The drawing of the measured curve of a voxel, with the posterior-predictive band behind it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np

from monai_inn.viewer.display import ticks

if TYPE_CHECKING:
    from monai_inn.viewer.display import VoxelCurve

__all__ = ["draw_curve"]

WIDTH, HEIGHT = 330, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 318, 26, 178  # edges of the plot
_MARGIN = 0.05  # of the range of values, above and below


def draw_curve(curve: VoxelCurve, trusted: bool) -> str:
    """Draw measured values as points, and median and band of the posterior predictive.

    Args:
        curve: what was measured, and the band.
        trusted: whether the posterior may be used; if not, the band has the colors of warnings.

    Returns:
        An ``svg`` element. All text that comes from a file is escaped.
    """
    values = np.concatenate([curve.measured, curve.low, curve.high])
    low, high = _range(values.min(), values.max(), _MARGIN)
    start, end = _range(curve.positions[0], curve.positions[-1], 0.02)
    x = LEFT + (RIGHT - LEFT) * (curve.positions - start) / (end - start)

    def heights(values: np.ndarray) -> np.ndarray:
        return BOTTOM - (BOTTOM - TOP) * (values - low) / (high - low)

    forth, back = _points(x, heights(curve.low)), _points(x[::-1], heights(curve.high)[::-1])
    axis, quantity = html.escape(curve.axis), html.escape(curve.quantity)
    middle = (LEFT + RIGHT) / 2
    return "".join(
        [
            f'<svg class="{"curve" if trusted else "curve withheld"}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'role="img" aria-label="Measured {quantity} and its predictive band">',
            f'<path class="band" d="M{forth}L{back}Z"/>',
            f'<path class="line" d="M{_points(x, heights(curve.median))}"/>',
            *(
                f'<circle class="point" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>'
                for a, b in zip(x, heights(curve.measured), strict=True)
            ),
            f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none"/>',
            *(
                f'<path class="axis" d="M{LEFT} {y:.1f}h-5"/>'
                f'<text class="tick end" x="{LEFT - 8}" y="{y + 4:.1f}">{value:.4g}</text>'
                for value in ticks(low, high)
                for y in [float(heights(np.array(value)))]
            ),
            *(
                f'<path class="axis" d="M{place:.1f} {BOTTOM}v5"/>'
                f'<text class="tick" x="{place:.1f}" y="{BOTTOM + 18}">{value:.4g}</text>'
                for value in ticks(start, end)
                for place in [LEFT + (RIGHT - LEFT) * (value - start) / (end - start)]
            ),
            f'<text class="label" x="{WIDTH / 2}" y="{TOP - 10}">{quantity}</text>',
            f'<text class="label" x="{middle}" y="{BOTTOM + 35}">{axis}</text>',
            *(
                f'<text class="note" x="{WIDTH / 2}" y="{BOTTOM + 51 + 14 * n}">{line}</text>'
                for n, line in enumerate(_note(curve))
            ),
            "</svg>",
        ]
    )


def _note(curve: VoxelCurve) -> tuple[str, str]:
    return (
        "points: measured; line: median of the predictions",
        f"shaded: {curve.interval:.0%} of the predictions, noise included",
    )


def _range(low: float, high: float, margin: float) -> tuple[float, float]:
    """Ends of an axis with room at both, also where all values are equal."""
    room = margin * (high - low) or max(abs(high), 1.0) * margin
    return float(low - room), float(high + room)


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
