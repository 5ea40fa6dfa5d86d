"""Figures for people: maps with units and colour bars, and calibration curves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.problems import Parameter, labels
from monai_inn.reading.orientation import SliceView
from monai_inn.reports.pictures import (
    PATTERNS,
    Picture,
    colour_rendering,
    colours_in_words,
    cover,
    plane,
    view_of,
)
from monai_inn.reports.scales import PriorScale, prior_scales, trust_scale

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior

__all__ = ["map_figure"]

_DPI = 130
_PANEL_IN = 3.1
_TITLE = 36  # characters of a line above a panel
_INVALID = "#c8c8c8"
_HEADING_IN, _LEGEND_IN = 0.32, 0.3
_SHARES = {
    "adequacy": "adequacy: p-value, low = the model does not fit",
    "efficiency": "share of draws that count, 0 = by the network alone",
    "at_bound": "usual fit, 1 = a parameter at a bound",
}
_NOTICE = "Research only. Not a medical device; not for diagnosis or treatment."


def map_figure(
    maps: Mapping[str, Tensor],
    image: Tensor,
    path: str | PathLike[str],
    fitted: FittedPosterior,
    caption: str = "",
    title: str = "",
    false_alarm: float = 0.05,
) -> Path:
    """Draw one PNG of an image's posterior: input, trust, and median and interval width of what maps show.

    Colour scales depend on the problem alone, so that two figures can be compared. Pixels that are not
    explained are faded and striped, those that say nothing about a target dotted, unusable ones grey.

    Args:
        maps: maps of one image as ``FittedPosterior.maps`` returns them, each ``(D or 1, *spatial)``.
        image: the image ``(C, *spatial)``.
        path: PNG file to write.
        fitted: whose maps they are.
        caption: how they were made, shown at the bottom.
        title: heading.
        false_alarm: share of ordinary pixels that may be called not explained.

    Returns:
        The path written.
    """
    problem, view = fitted.problem, view_of(image)
    wavelengths = problem.application.wavelengths_nm
    measured = image[: problem.observation.num_values]  # settings of the acquisition stand behind
    picture = colour_rendering(measured, view, wavelengths)
    untrusted = plane(maps["ood"][0], view) > 0.5
    striped = cover(untrusted, "not explained")
    below = maps.get("probability_below", image.new_zeros(0))
    described = [(p.name, p.description) for p in problem.shown]
    words, inner = labels(described), labels(described, begin=False)
    shares = [(_SHARES[name], maps[name][0]) for name in _SHARES if name in maps]
    if (models := maps.get("model_probability")) is not None:
        named = zip(models.meta["channel_names"], models, strict=True)  # type: ignore[attr-defined]
        shares += [(f"probability of the model {name.replace('_', ' ')}", one) for name, one in named]
    columns = max(len(problem.shown), 3 + len(below) + len(shares))
    aspect = picture.shape[0] * view.pixel_mm[0] / max(picture.shape[1] * view.pixel_mm[1], 1e-9)
    figure, axes = _grid(3, columns, min(max(aspect, 0.4), 1.6))

    picture[~np.isfinite(plane(measured.nanmean(0), view))] = to_rgb(_INVALID)
    _show_picture(axes[0, 0], picture, f"input, {colours_in_words(wavelengths)}")
    share = _share(maps, untrusted, view)
    _show_picture(axes[0, 1], picture, f"not explained: {share:.0%} of the usable pixels")
    _cover(axes[0, 1], striped)
    norm = Normalize(*trust_scale(fitted, false_alarm))
    limit = f"{fitted.guard.threshold(false_alarm):.3g}".replace("-", "−")
    heading = f"WAIC, limit {limit} nat in the middle of the scale"
    _show(axes[0, 2], maps["waic"][0], view, heading, "nat", norm, "magma", "both")
    for k, axis in enumerate(axes[0, 3 : 3 + len(below)]):
        label = getattr(below, "meta", {}).get("channel_names", [f"threshold {k + 1}"] * (k + 1))[k]
        name, _, limit = label.partition(" ")
        _show(axis, below[k], view, f"probability of {inner.get(name, name)} {limit}")
        _cover(axis, striped)
    for axis, (text, values) in zip(axes[0, 3 + len(below) :], shares, strict=False):
        _show(axis, values, view, text)
    scales = prior_scales(problem)
    for d, p in enumerate(problem.shown):
        norm, width_norm = _norms(p, scales[p.name])
        word = words[p.name]
        _show(axes[1, d], maps["median"][d], view, f"{word}: median", p.unit, norm, "viridis")
        _show(axes[2, d], maps["interval_width"][d], view, f"{word}: interval width", p.unit, width_norm)
        silent = (plane(maps["uninformative"][d], view) > 0.5) & ~untrusted
        for row in (1, 2):
            _cover(axes[row, d], striped + cover(silent, "not informative"))
    for axis in (axis for axis in axes.flat if axis.images):
        _orient(axis, view)
    meaning = "; ".join(f"{p.name} = {p.description}" for p in problem.shown if p.description)
    _explain_patterns(figure)
    notes = "Colour scales do not depend on the image."
    return _save(figure, path, title or "Posterior maps", f"{_NOTICE} {notes} {caption}\n{meaning}.")


def _grid(rows: int, columns: int, aspect: float) -> tuple[Figure, NDArray[Any]]:
    """A figure of equal panels below a heading and a legend, off until something is shown in them."""
    height = rows * (_PANEL_IN * aspect * 0.85 + 0.45) + 1.3
    layout = ConstrainedLayoutEngine(rect=(0.0, 0.0, 1.0, 1 - (_HEADING_IN + _LEGEND_IN) / height))
    figure = Figure(figsize=(_PANEL_IN * columns + 0.4, height), layout=layout, dpi=_DPI)
    axes = figure.subplots(rows, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def _show_picture(axis: Axes, picture: Picture, title: str) -> None:
    axis.imshow(picture, interpolation="nearest", extent=_extent(picture.shape[:2]))
    _entitle(axis, title)


def _entitle(axis: Axes, title: str) -> None:
    # A given height saves matplotlib the search for ticks above, of which there are none.
    axis.set_title("\n".join(textwrap.wrap(title, _TITLE)), fontsize=9, y=1.0)


def _show(
    axis: Axes,
    channel: Tensor,
    view: SliceView,
    title: str,
    unit: str = "1",
    norm: Normalize | None = None,
    colours: str = "cividis",
    extend: str = "neither",
) -> None:
    """One map with its colour bar, of shares by default; NaN is grey."""
    import matplotlib

    colour_map = matplotlib.colormaps[colours].with_extremes(bad=_INVALID)
    values = plane(channel, view)
    drawn = axis.imshow(
        np.ma.masked_invalid(values),
        norm=norm or Normalize(0, 1),
        cmap=colour_map,
        interpolation="nearest",
        extent=_extent(values.shape),
    )
    _entitle(axis, title)
    bar = axis.figure.colorbar(drawn, ax=axis, shrink=0.85, pad=0.02, extend=extend)
    bar.set_label("no unit" if unit == "1" else f"[{unit}]", fontsize=9)
    if isinstance(norm, LogNorm):
        bar.set_ticks(LogLocator(subs=(1, 2, 5)))
        bar.minorticks_off()
        bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
    bar.ax.tick_params(labelsize=8)


def _orient(axis: Axes, view: SliceView) -> None:
    """Give pixels their shape, and say at the edges where the patient's right is, if that is known."""
    axis.set_aspect(view.pixel_mm[0] / view.pixel_mm[1])
    outline = [withStroke(linewidth=2, foreground="black")]
    for letter, (x, y) in zip(
        view.letters, ((0.03, 0.5), (0.97, 0.5), (0.5, 0.96), (0.5, 0.04)), strict=False
    ):
        axis.text(x, y, letter, transform=axis.transAxes, color="white", fontsize=8, ha="center",
                  va="center", path_effects=outline)  # fmt: skip


def _cover(axis: Axes, overlay: NDArray[np.uint8]) -> None:
    if overlay.any():
        axis.imshow(overlay, interpolation="nearest", extent=axis.images[0].get_extent())


def _explain_patterns(figure: Figure) -> None:
    """A legend of what covers the maps."""
    texts = {
        "not explained": "not explained (out of distribution): do not use",
        "not informative": "not informative: interval as wide as before the measurement",
    }
    patches = [
        Patch(facecolor="white", edgecolor=colour, hatch=hatch, label=texts[name])
        for name, (colour, hatch) in PATTERNS.items()
    ]
    patches.append(
        Patch(facecolor=_INVALID, edgecolor="0.5", label="not usable: not measured, saturated or masked")
    )
    below = 1 - _HEADING_IN / figure.get_size_inches()[1]
    figure.legend(
        handles=patches, loc="upper center", bbox_to_anchor=(0.5, below), ncols=3, fontsize=9, frameon=False
    )


def _extent(shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    return (0.0, float(shape[1]), float(shape[0]), 0.0)


def _norms(parameter: Parameter, scale: PriorScale) -> tuple[Normalize, Normalize]:
    """Colour scales of a parameter's values and of its interval widths."""
    values = LogNorm if parameter.scale == "log" else Normalize
    return values(scale.low, scale.high), Normalize(0, scale.width)


def _share(maps: Mapping[str, Tensor], untrusted: Any, view: SliceView) -> float:
    valid = plane(maps["valid"][0], view) > 0.5
    return float(untrusted[valid].mean()) if valid.any() else 0.0


def _save(figure: Figure, path: str | PathLike[str], title: str, caption: str) -> Path:
    """Add heading and caption and write the PNG."""
    figure.suptitle(title, fontsize=13, fontweight="bold", y=1 - 0.06 / figure.get_size_inches()[1])
    width = int(figure.get_size_inches()[0] * 15)
    text = "\n".join(line for part in caption.split("\n") for line in textwrap.wrap(part, width))
    figure.supxlabel(text, fontsize=8.5, color="0.25", x=0.01, ha="left")
    target = Path(path)
    FigureCanvasAgg(figure).print_png(target, metadata={"Software": "monai_inn", "Description": _NOTICE})
    return target
