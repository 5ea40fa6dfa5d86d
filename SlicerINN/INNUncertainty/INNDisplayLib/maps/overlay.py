"""Laying a run's maps over its image in all slice views: colors, transparency, legend, withheld voxels."""

from __future__ import annotations

import textwrap

import numpy as np
import slicer.util
from numpy.typing import NDArray

from ..numbers.posteriors import share_above
from ..plan.thresholds import ThresholdStep
from ..results.run import Run, runs
from ..results.sequences import sample_arrays, show_sample
from ..scene.appearance import OF_A_PIXEL, Appearance
from ..scene.colors import color_node, graded
from ..scene.marks import SYNTHETIC, hide_legends, matrix_of, place, set_layers, show_legend, span
from ..scene.patterns import hatch
from ..translating import tr as _
from .measuring import Comparison, compare
from .pictures import picture, pictures

__all__ = ["Overlay"]

_TABLES = {
    "interval_width": "INN interval width",
    "probability_above": "INN probability",
    "probability_below": "INN probability",
    "adequacy": "INN probability",
    "waic": "INN distrust",
    "mode_count": "INN distrust",
}
_VIEWS = ("Red", "Green", "Yellow")
_MAX_MODES = 4
_LABELS = {"mode_count": _MAX_MODES}  # of a legend
_LEGEND_WIDTH = 20  # characters
_NO_LIMIT = 1e30
_SINGLE = 1.5  # modes: a single one is the rule


class Overlay:
    """The layers of a run in the slice views of its scene.

    Color scales span the parameter's bounds or its prior, never the range of an image, so that two images
    can be compared. What is not explained, says nothing or is not usable is covered by patterns that no
    setting of the map touches, see ``hatch``.

    Args:
        run: whose maps are shown.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.scene = run, run.scene
        self.comparison: Comparison | None = None  # of the latest difference

    def show(self, appearance: Appearance, has_legend: bool = True) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Show the image, the map and the withheld voxels in every slice view; returns the map's volume.

        Args:
            appearance: what is shown, and how.
            has_legend: whether the views show the color scale themselves. It covers a part of the image, but
                says of a synthetic one what it is.
        """
        volume = self.update(appearance)
        layer = None if volume is None else self._layer(volume, appearance)
        covered = hatch(self.run, appearance.parameter)
        below = self._below(appearance)
        views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self.scene)
        for number, view in enumerate(sorted(views, key=_place_of)):
            opacity = float(number > 0) if appearance.map_beside else appearance.opacity
            owner = volume if layer is not volume else None
            set_layers(view, below[number % len(below)], layer, opacity, owner, covered)
        # An image alone needs none, unless nobody acquired it.
        is_synthetic = volume is None and below[0] is not None and bool(below[0].GetAttribute(SYNTHETIC))
        self._legends((below[0] if is_synthetic else volume) if has_legend else None, appearance)
        return volume

    def _below(self, appearance: Appearance) -> list[slicer.vtkMRMLVolumeNode | None]:
        """What lies below the map: images of the posterior or to compare with, else what was measured."""
        names = appearance.pictures or pictures(self.run)[:1]
        return [picture(self.run, name, appearance.sample) for name in names] or [self.run.background]

    def update(self, appearance: Appearance) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Refresh the map's colors, limits and, for a probability, its values; returns the map's volume."""
        if appearance.kind == "off":
            return None
        if appearance.kind.startswith("probability"):
            volume = self._probability(appearance)
        elif appearance.kind == "sample":
            volume = show_sample(self.run, self.run.parameter(appearance.parameter).name, appearance.sample)
        elif appearance.kind == "difference":
            volume = self._difference(appearance)
        else:
            of = "" if appearance.kind in OF_A_PIXEL else appearance.parameter
            volume = self.run.find(appearance.kind, of)
        if volume is None:
            return None
        low, high = self.scale(appearance)
        display = volume.GetDisplayNode()
        with slicer.util.NodeModify(display):
            display.SetAndObserveColorNodeID(self._colors(appearance).GetID())
            span(display, low, high)
            limit = self.limit(appearance)
            is_whole = limit is None or limit <= low  # what lies beyond the scale is drawn as its end
            display.SetThreshold(-_NO_LIMIT if is_whole else limit, _NO_LIMIT)
            display.ApplyThresholdOn()  # keeps NaN from being drawn
            display.InterpolateOff()
        return volume

    def limit(self, appearance: Appearance) -> float | None:
        """The value below which nothing is drawn; ``None`` if the map is not drawn by its own value."""
        low, high = self.scale(appearance)
        if self.is_two_sided(appearance) or appearance.fades_with_width:
            return None  # it would hide one side, or what is certain
        limit = low + appearance.hide_below * (high - low)
        return max(limit, _SINGLE) if appearance.kind == "mode_count" else limit

    def scale(self, appearance: Appearance) -> tuple[float, float]:
        """Ends of the color scale, in the unit of the map."""
        if appearance.kind.startswith("probability") or appearance.kind == "adequacy":
            return 0.0, 1.0
        if appearance.kind == "mode_count":
            return 1.0, float(_MAX_MODES)
        if appearance.kind == "waic":
            low, high = self.run.result.record["trust"]["waic_scale"]
            return low, high
        shown = self.run.parameter(appearance.parameter)
        if self.is_two_sided(appearance):
            return -shown.width / 2, shown.width / 2
        return (0.0, shown.width) if appearance.kind == "interval_width" else (shown.low, shown.high)

    def is_two_sided(self, appearance: Appearance) -> bool:
        """Whether values lie on both sides of 0, as those of a change between two results."""
        is_change = "change" in self.run.result.record
        return appearance.kind == "difference" or (is_change and appearance.kind == "median")

    def unit(self, appearance: Appearance) -> str:
        """The unit of the color scale as it follows a number."""
        if appearance.kind == "waic":
            return " nat"
        plain = appearance.kind in ("mode_count", "adequacy") or appearance.kind.startswith("probability")
        return "" if plain else self.run.parameter(appearance.parameter).suffix

    def _probability(self, appearance: Appearance) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The probability of a side of the threshold: below it from quantiles, above it from samples."""
        parameter, kind = self.run.parameter(appearance.parameter), appearance.kind
        if kind == "probability_below":
            return ThresholdStep(self.run, parameter.name, appearance.threshold).place()
        samples = sample_arrays(self.run, parameter.name)
        if not samples:
            return None
        values = share_above(samples, appearance.threshold)
        volume = self.run.node(kind, parameter.name, "vtkMRMLScalarVolumeNode")
        volume.SetAttribute("INN.threshold", repr(appearance.threshold))
        like = self.run.find("median", parameter.name) or self.run.find("valid")
        place(volume, values, matrix_of(like), like)
        return volume

    def _difference(self, appearance: Appearance) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The median of another run minus this one's; nothing if there is no other run."""
        others = [run for run in runs(self.scene) if run.key == appearance.other != self.run.key]
        if not others:
            return None
        self.comparison = compare(self.run, others[0], self.run.parameter(appearance.parameter).name)
        return self.comparison.volume

    def _colors(self, appearance: Appearance) -> slicer.vtkMRMLColorTableNode:
        two_sided = self.is_two_sided(appearance)
        name = "INN difference" if two_sided else _TABLES.get(appearance.kind, "INN value")
        shown = self.run.parameter(appearance.parameter)
        decades = (shown.low, shown.high) if name == "INN value" and shown.scale == "log" else None
        return color_node(self.scene, name, decades)

    def _layer(
        self, volume: slicer.vtkMRMLScalarVolumeNode, appearance: Appearance
    ) -> slicer.vtkMRMLVolumeNode:
        """What is drawn of a map: itself, or its colors with an alpha for each voxel."""
        if not appearance.fades:
            return volume
        low, high = self.scale(appearance)
        values = slicer.util.arrayFromVolume(volume)
        share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
        alpha = self._certainty(appearance) if appearance.fades_with_width else share
        if appearance.kind == "difference":
            alpha = np.abs(2 * share - 1)
        start = appearance.hide_below
        return graded(self.run, volume, share, np.clip((alpha - start) / max(1 - start, 1e-6), 0, 1))

    def _certainty(self, appearance: Appearance) -> NDArray[np.floating]:
        """One where the interval has no width, zero where the image says nothing beyond the prior."""
        shown = self.run.parameter(appearance.parameter)
        width = self.run.array("interval_width", shown.name)
        if width is None:
            return np.ones(self.run.shape)
        return 1 - np.clip(np.nan_to_num(width, nan=np.inf) / shown.width, 0, 1)

    def _legends(self, volume: slicer.vtkMRMLVolumeNode | None, appearance: Appearance) -> None:
        """A legend with unit for what is shown, none for anything else of any run."""
        hide_legends(self.scene)
        if volume is None:
            return
        low, high = self.scale(appearance)
        form, labels = "%.2f" if high - low <= 10 else "%.0f", _LABELS.get(appearance.kind, 5)
        legend = show_legend(volume, self.legend_title(appearance, _LEGEND_WIDTH), form, labels)
        legend.SetVisibility(True)

    def legend_title(self, appearance: Appearance, width: int = 0) -> str:
        """What is shown, in its unit; in lines of so many characters for a legend inside of a view."""
        shown, kind = self.run.parameter(appearance.parameter), appearance.kind
        name = "\n".join(textwrap.wrap(shown.label, width)) if width else shown.label
        comma, blank = ("\n", "\n") if width else (", ", " ")
        if kind.startswith("probability"):
            side = "<" if kind == "probability_below" else ">"
            title = f"P({name}{blank}{side} {shown.text(appearance.threshold)})"
        elif kind in OF_A_PIXEL:
            title = f"WAIC{blank}[nat]" if kind == "waic" else _("adequacy") + comma + _("p-value")
        else:
            of = (*appearance.pictures, "mean")[0] if kind == "off" else kind
            what = {
                "interval_width": _("{interval:.0%} width").format(interval=self.run.interval),
                "mean": _("mean"),
                "median": _("median"),
                "mode_count": _("modes"),
                "sample": _("one sample"),
            }.get(of, of)
            title = f"{name}{comma}{what}{'' if kind == 'mode_count' else shown.bracket}"
        return _("SYNTHETIC") + blank + title if self.run.synthetic else title


def _place_of(view: slicer.vtkMRMLSliceCompositeNode) -> int:
    """Where a view stands, whichever was made first."""
    name = view.GetLayoutName()
    return _VIEWS.index(name) if name in _VIEWS else len(_VIEWS)
