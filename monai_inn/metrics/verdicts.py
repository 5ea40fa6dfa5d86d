"""From ranks to a status and a sentence that a reader without statistics understands.

The one rule by which posteriors are judged, after a training as by ``validate``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_inn.metrics.calibration.coverage import (
    WidthShift,
    needed_cases_for_shift,
    needed_cases_for_width,
    width_and_shift,
)

__all__ = [
    "STATUSES",
    "Tolerance",
    "deviations",
    "holm",
    "overall",
    "rounded",
    "status_of",
    "verdict",
    "width_shift",
]

STATUSES = ("calibrated", "small deviation", "undecided", "miscalibrated")


@dataclass(frozen=True)
class Tolerance:
    """Deviations that do not matter to the application.

    Args:
        width: share by which intervals may be too narrow or too wide.
        shift: posterior standard deviations by which values may be too high or too low.
    """

    width: float = 0.1
    shift: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.width < 1 or not self.shift > 0:
            raise ValueError(
                f"tolerance = {self.width} (width), {self.shift} (shift); give a share between 0 and 1 and a "
                "positive number of posterior standard deviations."
            )

    def needed_cases(self) -> int:
        """Cases that show a calibrated parameter to be so with a probability of 95 %."""
        # Its estimate has to be as far from the tolerance's edge as the confidence bounds reach.
        power = 0.975
        return max(
            needed_cases_for_width(self.width, power=power), needed_cases_for_shift(self.shift, power=power)
        )


def holm(p_values: Any) -> Any:
    """Return p-values corrected for their number (Holm, 1979), same shape."""
    p = np.asarray(p_values, dtype=float)
    flat = p.ravel()
    order = np.argsort(flat)
    steps = np.maximum.accumulate(flat[order] * np.arange(flat.size, 0, -1))
    corrected = np.empty_like(flat)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected.reshape(p.shape)


def deviations(pit: Tensor) -> list[dict[str, Any]]:
    """Return number of cases, ``width`` and ``shift`` of each parameter, JSON-ready, for ``status_of``.

    Args:
        pit: output of ``pit``, shape ``(N, D)``; p-values are corrected for all ``D``.
    """
    both = width_and_shift(pit)
    corrected = holm(torch.stack([both.width_p, both.shift_p]).cpu())
    return [{"cases": both.cases, **width_shift(both, d, corrected)} for d in range(pit.shape[1])]


def width_shift(both: WidthShift, d: int, corrected: Any) -> dict[str, Any]:
    """Return ``width`` and ``shift`` of one parameter, JSON-ready, with the corrected p-values ``(2, D)``."""
    return {
        name: {
            "value": rounded(value[d]),
            "low": rounded(low[d]),
            "high": rounded(high[d]),
            "p": rounded(p[d]),
            "p_corrected": rounded(corrected[row, d]),
        }
        for row, (name, value, low, high, p) in enumerate(
            (
                ("width", both.width, both.width_low, both.width_high, both.width_p),
                ("shift", both.shift, both.shift_low, both.shift_high, both.shift_p),
            )
        )
    }


def rounded(value: Any) -> float | None:
    """Return six significant digits of a number, ``None`` for what is not finite."""
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


def status_of(figures: dict[str, Any], tolerance: Tolerance, alpha: float = 0.05) -> str:
    """Return the status of one parameter (or stratum) from its ``width`` and ``shift`` blocks.

    ``miscalibrated``: a deviation beyond the tolerance that is not chance; ``small deviation``: measurable,
    within the tolerance; ``undecided``: no deviation seen, but too few cases to exclude one beyond the
    tolerance; ``calibrated``: the confidence intervals lie inside the tolerance.
    """
    beyond, measurable, excluded = False, False, True
    for name, neutral, limit in (("width", 1.0, tolerance.width), ("shift", 0.0, tolerance.shift)):
        block = figures[name]
        is_real = block["p_corrected"] < alpha
        beyond |= is_real and abs(block["value"] - neutral) > limit
        measurable |= is_real
        excluded &= max(abs(block["low"] - neutral), abs(block["high"] - neutral)) <= limit
    if beyond:
        return "miscalibrated"
    if measurable:
        return "small deviation"
    return "calibrated" if excluded else "undecided"


def verdict(figures: dict[str, Any], status: str, tolerance: Tolerance, alpha: float = 0.05) -> str:
    """Return one sentence about a parameter (or stratum)."""
    if status == "calibrated":
        width, shift = figures["width"], figures["shift"]
        return (
            f"calibrated: interval widths {_range(width['low'] - 1, width['high'] - 1, percent=True)} off, "
            f"values {_range(shift['low'], shift['high'])} posterior sd off"
        )
    if status == "undecided":
        enough = max(tolerance.needed_cases(), 2 * figures["cases"])
        return (
            f"no deviation seen, but {figures['cases']:,} cases do not exclude one beyond the tolerance; "
            f"take {enough:,}"
        )
    parts = [_width(figures["width"], alpha), _shift(figures["shift"], alpha)]
    text = ", ".join(part for part in parts if part)
    return text + ("" if status == "miscalibrated" else " (within the tolerance)")


def overall(statuses: list[str]) -> str:
    """Return the worst status of the targets."""
    return max(statuses, key=STATUSES.index)


def _width(block: dict[str, Any], alpha: float) -> str:
    if block["p_corrected"] >= alpha:
        return ""
    share = abs(1 - block["value"])
    return f"intervals {_percent(share)} too {'narrow' if block['value'] < 1 else 'wide'}"


def _shift(block: dict[str, Any], alpha: float) -> str:
    if block["p_corrected"] >= alpha:
        return ""
    return f"values {abs(block['value']):.2f} posterior sd too {'high' if block['value'] > 0 else 'low'}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.01 else f"{100 * share:.0f} %"


def _range(low: float, high: float, percent: bool = False) -> str:
    text = (
        f"{math.floor(100 * low):+d} to {math.ceil(100 * high):+d} %"
        if percent
        else f"{low:+.2f} to {high:+.2f}"
    )
    return text.replace("-", "−")
