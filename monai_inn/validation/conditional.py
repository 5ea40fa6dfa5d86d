"""The plot of where posteriors fail: their width and position in bins of the estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from monai_inn.validation.plots import (
    ROW,
    TITLE,
    WIDTH_IN,
    as_svg,
    draw_numbers,
    new_figure,
    rows_height,
    signed,
    wrapped,
)

__all__ = ["CONDITIONS", "conditional_plot"]

CONDITIONS = 4  # targets beside one another
# Of each row of panels: title, and the value that is right. Longer numbers than those of per cent do not fit.
_KINDS = {
    "width": ("interval width − right width, %", 1.0),
    "shift": ("values − truth, % of the posterior sd", 0.0),
}
_LIMIT = 30.0  # per cent, where the colours end


@as_svg
def conditional_plot(
    entries: list[dict[str, Any]], words: Mapping[str, str], names: Sequence[str], by: Sequence[str]
) -> Figure:
    """Draw width and shift of the named parameters in bins of the estimates of up to ``CONDITIONS`` targets.

    Numbers stand in the fields, since opposite colours are alike on a grey print; a star marks what is more
    than chance.
    """
    labels = [wrapped(words[name], ROW) for name in names]
    rows = max(rows_height(labels, 0.22), 0.4)
    figure = new_figure(WIDTH_IN * (1.2 + len(by)) / (1.2 + CONDITIONS), 2 * rows + 1.5)
    parts = figure.subfigures(2, 1, height_ratios=(rows + 0.35, rows + 1.15), squeeze=False)[:, 0]
    for part, kind in zip(parts, _KINDS, strict=True):
        is_last = part is parts[-1]
        part.suptitle(_KINDS[kind][0], fontsize=8)
        axes = part.subplots(1, len(by), sharey=True, squeeze=False)[0]
        for axis, target in zip(axes, by, strict=True):
            chosen = [entry for entry in entries if entry["by"] == target and entry["parameter"] in names]
            edges = _fields(axis, chosen, names, kind)
            shown = edges if is_last else [""] * len(edges)
            axis.set_xticks(np.arange(len(edges)) - 0.5, shown, fontsize=6, rotation=35)
            if is_last:
                unit = "" if chosen[0]["unit"] == "1" else f" ({chosen[0]['unit']})"
                axis.set_xlabel(wrapped(f"{words[target]}{unit}", TITLE + 6), fontsize=7)
        axes[0].set_yticks(np.arange(len(names)), labels, fontsize=7)
    return figure


def _fields(axis: Any, entries: list[dict[str, Any]], names: Sequence[str], kind: str) -> list[str]:
    """One field for each parameter and bin, with its number; returns the edges of the bins."""
    neutral = _KINDS[kind][1]
    bins = sorted({entry["bin"] for entry in entries})
    values = np.full((len(names), len(bins)), np.nan)
    texts = [["nan"] * len(bins) for _ in names]
    for entry in entries:
        row, column = names.index(entry["parameter"]), bins.index(entry["bin"])
        values[row, column] = value = 100 * (entry[kind]["value"] - neutral)
        texts[row][column] = signed("{:+.0f}", value) + "*" * (entry[kind]["p_corrected"] < 0.05)
    draw_numbers(axis, values, texts, _LIMIT, fontsize=6)
    ends = [next(entry for entry in entries if entry["bin"] == k) for k in bins]
    return [f"{ends[0]['low']:.3g}", *(f"{entry['high']:.3g}" for entry in ends)]
