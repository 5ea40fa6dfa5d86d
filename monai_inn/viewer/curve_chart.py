"""The drawing of the measured curve of a voxel, with the posterior-predictive band behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from monai_inn.reports.pages import rendered
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

    def heights(values: np.ndarray) -> np.ndarray:
        return BOTTOM - (BOTTOM - TOP) * (values - low) / (high - low)

    def across(values: np.ndarray) -> np.ndarray:
        return LEFT + (RIGHT - LEFT) * (values - start) / (end - start)

    x = across(curve.positions)
    return rendered(
        "viewer/curve.svg",
        **{"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        curve=curve,
        trusted=trusted,
        low=_points(x, heights(curve.low)),
        high=_points(x[::-1], heights(curve.high)[::-1]),
        median=_points(x, heights(curve.median)),
        measured=[(f"{a:.1f}", f"{b:.1f}") for a, b in zip(x, heights(curve.measured), strict=True)],
        rows=_marks(low, high, heights),
        columns=_marks(start, end, across),
        share=f"{curve.interval:.0%}",
    )


def _marks(low: float, high: float, place: Callable[[np.ndarray], np.ndarray]) -> list[tuple[float, str]]:
    """Places and texts of round numbers along an axis."""
    return [(float(place(np.array(value))), f"{value:.4g}") for value in ticks(low, high)]


def _range(low: float, high: float, margin: float) -> tuple[float, float]:
    """Ends of an axis with room at both, also where all values are equal."""
    room = margin * (high - low) or max(abs(high), 1.0) * margin
    return float(low - room), float(high + room)


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
