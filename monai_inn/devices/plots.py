"""The drawings of a comparison of devices, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from monai_inn.devices.figures import entry_of
from monai_inn.validation.plots import (
    INK,
    WIDTH_IN,
    as_svg,
    draw_bounds,
    draw_numbers,
    new_figure,
    signed,
    wrapped,
)

__all__ = ["SETS", "bands_plot", "differences_plot", "numbers_plot", "overview_plot", "regions_plot"]

_NAME = 26  # characters of a line beside a row
# Dark enough on white paper, and told apart by people who do not see all colours (Okabe and Ito).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#8b5a8c", "#7a6a00", "#1c1c1c")
_MARKS = "osD^v*"
# What people read for each choice of bands.
SETS = {
    "chosen": "the choice",
    "linear": "the best of the linearised problem",
    "even": "evenly spaced bands",
    "random": "random bands, on average",
}


@as_svg
def overview_plot(record: Mapping[str, Any], parameter: Mapping[str, Any]) -> Figure:
    """Draw bits, width, cases with several modes and error of every device for one parameter, with bounds."""
    entries = [entry_of(device, parameter["name"]) for device in record["devices"]]
    names = [wrapped(device["name"], _NAME) for device in record["devices"]]
    unit = "" if parameter["unit"] == "1" else f", {parameter['unit']}"
    blocks = (
        ("bits", 1.0, "information, bits\n(more is better)"),
        ("width_over_prior", 100.0, "95 % interval, % of\nthe prior's (less is better)"),
        ("share_multimodal", 100.0, "more than one likely\nvalue, % of cases"),
        ("absolute_error", 1.0, f"|median − truth|{unit}\n(less is better)"),
    )
    rows = np.arange(len(entries))[::-1]
    figure = new_figure(WIDTH_IN, 1.0 + 0.34 * len(entries))
    axes = figure.subplots(1, len(blocks), sharey=True)
    for axis, (key, factor, label) in zip(axes, blocks, strict=True):
        for row, entry in zip(rows, entries, strict=True):
            ends = {k: factor * (entry[key][k] or 0.0) for k in ("low", "value", "high")}
            draw_bounds(axis, row, ends, _COLOURS[0])
        axis.set_xlim(left=min(0.0, axis.get_xlim()[0]))
        axis.axvline(0, color=INK, linewidth=0.6)
        axis.set_xlabel(label, fontsize=8)
    axes[1].set_xlim(0, max(105.0, axes[1].get_xlim()[1]))
    axes[2].set_xlim(0, max(5.0, axes[2].get_xlim()[1]))
    axes[1].axvline(100, color=INK, linewidth=0.8, linestyle="--")
    axes[0].set_yticks(rows, names, fontsize=8)
    axes[0].set_ylim(-0.6, len(entries) - 0.4)
    return figure


@as_svg
def regions_plot(record: Mapping[str, Any], parameter: Mapping[str, Any], word: str) -> Figure:
    """Draw bits and the share of cases with several modes over the true value of one parameter."""
    blocks = (
        ("bits", 1.0, "information, bits"),
        ("share_multimodal", 100.0, "more than one likely value, %"),
    )
    unit = "" if parameter["unit"] == "1" else f", {parameter['unit']}"
    figure = new_figure(WIDTH_IN, 3.0)
    axes = figure.subplots(1, 2)
    for axis, (key, factor, label) in zip(axes, blocks, strict=True):
        for i, device in enumerate(record["devices"]):
            regions = entry_of(device, parameter["name"])["regions"]
            # Bins hold equally many cases: on this axis they have equal widths, whatever the scale.
            place = np.arange(len(regions)) + 0.08 * (i - (len(record["devices"]) - 1) / 2)
            low, value, high = (
                factor * np.array([region[key][k] or 0.0 for region in regions])
                for k in ("low", "value", "high")
            )
            colour, mark = _COLOURS[i % len(_COLOURS)], _MARKS[i % len(_MARKS)]
            axis.vlines(place, low, high, color=colour, linewidth=1.2)
            axis.plot(
                place, value, marker=mark, markersize=4, color=colour, linewidth=1.2, label=device["name"]
            )
        edges = [f"{region['low']:.2g} –\n{region['high']:.2g}" for region in regions]
        axis.set_xticks(np.arange(len(edges)), edges, fontsize=7)
        axis.set_ylabel(label)
        axis.axhline(0, color=INK, linewidth=0.6)
        axis.grid(axis="y", color="0.92")
    axes[1].set_ylim(0, max(5.0, axes[1].get_ylim()[1]))
    figure.supxlabel(f"true value: {word[:1].lower()}{word[1:]}{unit}", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8)
    return figure


@as_svg
def differences_plot(record: Mapping[str, Any], parameter: str) -> Figure:
    """Draw how many bits the device of a row tells more than that of a column; a star is more than chance."""
    names = [device["name"] for device in record["devices"]]
    size = len(names)
    values, texts = np.zeros((size, size)), [["–"] * size for _ in names]
    for entry in record["differences"]:
        if entry["parameter"] == parameter:
            first, second, bits = names.index(entry["first"]), names.index(entry["second"]), entry["bits"]
            star = "*" * ((bits["low"] or 0.0) > 0 or (bits["high"] or 0.0) < 0)
            for sign, row, column in ((1, first, second), (-1, second, first)):
                values[row, column] = value = sign * (bits["value"] or 0.0)
                texts[row][column] = signed("{:+.2f}", value) + star
    limit = max(0.1, float(np.abs(values).max()))
    figure = new_figure(min(WIDTH_IN, 2.6 + 1.0 * size), 1.2 + 0.42 * size)
    axis = figure.subplots()
    draw_numbers(axis, values, texts, limit, fontsize=8)
    axis.set_xticks(np.arange(size), [wrapped(name, max(10, 70 // size)) for name in names], fontsize=7)
    axis.set_yticks(np.arange(size), [wrapped(name, _NAME) for name in names], fontsize=8)
    axis.set_xlabel("bits that the device of the row tells more than that of the column", fontsize=8)
    return figure


@as_svg
def numbers_plot(record: Mapping[str, Any]) -> Figure:
    """Draw how much the best, even and random choices of each number of bands tell, with bounds."""
    choices = record["choices"]
    numbers = [choice["bands"] for choice in choices]
    figure = new_figure(WIDTH_IN, 2.6)
    axis = figure.subplots()
    for name, colour, mark in zip(("chosen", "even", "random"), _COLOURS, _MARKS, strict=False):
        bits = [
            next((s["bits"] for s in choice["sets"] if s["name"] == name), choice["random"]["bits"])
            for choice in choices
        ]
        ends = [[abs(b["value"] - b[end]) for b in bits] for end in ("low", "high")]
        style: dict[str, Any] = {
            "color": colour,
            "marker": mark,
            "markersize": 4.5,
            "capsize": 3,
            "label": SETS[name],
        }
        axis.errorbar(numbers, [b["value"] for b in bits], ends, **style)
    axis.set_xticks(numbers)
    axis.set_xlabel("number of bands that share the light", fontsize=8)
    axis.set_ylabel("information, bits", fontsize=8)
    axis.grid(color="0.92")
    axis.legend(frameon=False, fontsize=8)
    return figure


@as_svg
def bands_plot(record: Mapping[str, Any], choice: Mapping[str, Any]) -> Figure:
    """Draw the bits of every set of bands of one number, and where the bands lie."""
    axis_of = record["wavelengths_nm"] or list(range(1, len(record["channels"]) + 1))
    label = "number of the channel" if record["wavelengths_nm"] is None else "wavelength, nm"
    rows = {SETS[s["name"]]: s["bits"] for s in choice["sets"]} | {SETS["random"]: choice["random"]["bits"]}
    places = np.arange(len(rows))[::-1]
    figure = new_figure(WIDTH_IN, 1.0 + 0.4 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    for place, bits in zip(places, rows.values(), strict=True):
        draw_bounds(left, place, bits, _COLOURS[0])
    each = choice["random"]["of_each"]
    left.plot(each, np.full(len(each), places[-1]), ".", color="0.5", markersize=3, zorder=0)
    for place, entry in zip(places, choice["sets"], strict=False):
        right.plot([axis_of[n] for n in entry["channels"]], [place] * len(entry["channels"]), "|",
                   color=_COLOURS[0], markersize=12, markeredgewidth=2)  # fmt: skip
    margin = 0.03 * (max(axis_of) - min(axis_of))
    right.set_xlim(min(axis_of) - margin, max(axis_of) + margin)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_yticks(places, [wrapped(name, _NAME) for name in rows], fontsize=8)
    left.set_ylim(-0.6, len(rows) - 0.4)
    left.set_xlabel("information, bits (more is better)", fontsize=8)
    right.set_xlabel(label, fontsize=8)
    right.grid(axis="x", color="0.92")
    return figure
