"""The nodes of one inference in a scene, found by what they are marked with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import slicer.util
from numpy.typing import NDArray

from ..scene.marks import IMAGE, INSTANCES, LEVELS, SYNTHETIC, RunNodes, arrays_of
from ..translating import tr as _
from .result import Result, Shown, parse_result

__all__ = ["Run", "runs"]

_OF_VALUES = {
    "interval_high", "interval_low", "interval_width", "mean", "median", "probability_above", "sample",
    "samples",
}  # fmt: skip
_MOST_COLORS = 3


class Run(RunNodes):
    """One inference in a scene.

    Args:
        scene: the scene.
        key: value of the attribute that its nodes carry.
    """

    internal = (
        "quantiles", "curve", "withheld", "graded", "valid", "ood", "p_value", "reason", "uninformative",
        "interval_low", "interval_high",
    )  # fmt: skip

    @property
    def record_node(self) -> slicer.vtkMRMLTextNode | None:
        """The text node that holds the record, ``None`` once it was deleted."""
        return self.find("record", class_name="vtkMRMLTextNode")

    @property
    def result(self) -> Result:
        """The record without its files, which may be long gone."""
        return self.read("record", lambda record: parse_result(Path(), record))

    @property
    def parameters(self) -> tuple[Shown, ...]:
        """The parameters that it has maps of."""
        return self.result.parameters

    @property
    def synthetic(self) -> str:
        """What an image that nobody acquired says of itself; empty for all others."""
        return "" if self.record_node is None else str(self.result.record.get("synthetic", ""))

    @property
    def interval(self) -> float:
        """The probability inside its intervals."""
        return self.result.record["settings"].get("interval", 0.95)

    def parameter(self, name: str) -> Shown:
        """The parameter of a name, or the first one."""
        known = self.parameters
        return next((p for p in known if p.name == name), known[0])

    @property
    def image(self) -> slicer.vtkMRMLNode | None:
        """The volume or sequence that was inferred, if it is in the scene."""
        known = self.record_node.GetNodeReference(IMAGE)
        if known is not None or not (sources := self.result.record.get("source_instances")):
            return known
        volumes = slicer.util.getNodesByClass("vtkMRMLVolumeNode", self.scene)
        uids = ((volume, volume.GetAttribute(INSTANCES) or "") for volume in volumes)
        return next((volume for volume, text in uids if {*text.split()} & {*sources}), None)

    @property
    def bundle_path(self) -> str:
        """The folder of the bundle that made it."""
        return self.result.record["bundle"]["path"]

    @property
    def background(self) -> slicer.vtkMRMLVolumeNode | None:
        """What maps are laid over: the image, or the photo that inference made of its many bands."""
        image = self.image
        if image is None or not image.IsA("vtkMRMLVolumeNode") or image.GetImageData() is None:
            return self.find("photo")
        if image.GetImageData().GetNumberOfScalarComponents() <= _MOST_COLORS:
            return image
        return self.find("photo") or image

    def node(self, kind: str, parameter: str, class_name: str) -> slicer.vtkMRMLNode:
        """The node of a kind of map, made if it is missing; those of a synthetic image say so."""
        found = super().node(kind, parameter, class_name)
        if kind in _OF_VALUES and self.synthetic:
            found.SetAttribute(SYNTHETIC, self.synthetic)
        return found

    def title(self, kind: str, parameter: str = "") -> str:
        """What a map is called."""
        if kind == "reference":
            return f"{self.name}: {parameter}"
        text = _names().get(kind, kind)
        if "{" in text:
            text = text.format(interval=self.interval)
        known = self.parameters if self.record_node is not None else ()
        label = next((p.label for p in known if p.name == parameter), None)
        whole = text if label is None else f"{label}, {text}"
        marked = (
            _("SYNTHETIC {whole}").format(whole=whole) if kind in _OF_VALUES and self.synthetic else whole
        )
        return f"{self.name}: {marked}"

    def check_threshold(self, parameter: str, threshold: float) -> None:
        """Raise a ``ValueError`` if a threshold of a parameter is not a number."""
        if not math.isfinite(threshold):
            text = _("Threshold {value}: give a number, in the unit of {parameter}.")
            raise ValueError(text.format(value=threshold, parameter=self.parameter(parameter).label))

    def layers(self, parameter: str) -> tuple[list[NDArray[np.float32]], NDArray[np.float64]] | None:
        """Quantiles of a parameter, an array ``(K, J, I)`` a level, and the levels; ``None`` without them.

        The arrays are views of the scene's own memory.
        """
        node = self.find("quantiles", parameter, "vtkMRMLSequenceNode")
        if node is None:
            return None
        return arrays_of(node), np.array(json.loads(node.GetAttribute(LEVELS)))

    def quantiles(self, parameter: str) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
        """A copy of the same in one array, ``(K, J, I, L)``."""
        found = self.layers(parameter)
        return None if found is None else (np.stack(found[0], -1), found[1])

    def withheld(self) -> NDArray[np.bool_]:
        """Where no number must be shown without a warning: out of distribution, or not usable at all."""
        return self.untrusted() | ~self.usable()

    def untrusted(self, at: Any = ...) -> NDArray[np.bool_]:
        """Usable voxels that are out of distribution; of one voxel, if its (k, j, i) is given."""
        return self._flag("ood", at=at)

    def uninformative(self, parameter: str, at: Any = ...) -> NDArray[np.bool_]:
        """Voxels whose interval of a parameter is hardly narrower than before the measurement."""
        return self._flag("uninformative", parameter, at)

    def reason(self, voxel: tuple[int, int, int]) -> str:
        """Why a voxel is not explained, in words; empty if that is not known."""
        number, texts = self.array("reason"), self.result.record["trust"].get("reasons", [])
        place = 0 if number is None else int(np.nan_to_num(number[voxel]))
        return texts[place] if 0 < place < len(texts) else ""

    def usable(self, at: Any = ...) -> NDArray[np.bool_]:
        """Voxels that could be inferred."""
        return self._flag("valid", at=at, missing=True)

    def _flag(
        self, kind: str, parameter: str = "", at: Any = ..., missing: bool = False
    ) -> NDArray[np.bool_]:
        """Where a map of 0 and 1 is 1; a reading of one voxel does not go through the whole volume."""
        found = self.array(kind, parameter)
        return np.full(self.shape, missing)[at] if found is None else np.nan_to_num(found[at]) > 0.5

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along K, J and I."""
        for kind in ("median", "valid", "waic"):
            if (array := self.array(kind)) is not None:
                return array.shape
        raise ValueError(_("{run}: all maps were deleted; apply the bundle again.").format(run=self.name))


def _names() -> dict[str, str]:
    """What kinds of maps are called."""
    return {
        "adequacy": _("adequacy, low = the model does not fit"),
        "at_bound": _("usual fit, 1 = a parameter at a bound"),
        "efficiency": _("share of draws that count, 0 = by the network alone"),
        "interval_high": _("{interval:.0%} interval, upper end"),
        "interval_low": _("{interval:.0%} interval, lower end"),
        "interval_width": _("{interval:.0%} interval width"),
        "mean": _("mean"),
        "median": _("median"),
        "mode_count": _("number of modes"),
        "ood": _("out of distribution"),
        "p_value": _("p-value, low = not explained"),
        "probability_above": _("probability above"),
        "probability_below": _("probability below"),
        "reason": _("reason"),
        "regions": _("regions of decision"),
        "uninformative": _("not informative"),
        "valid": _("usable"),
        "waic": _("WAIC, high = out of distribution"),
    }


def runs(scene: slicer.vtkMRMLScene) -> list[Run]:
    """All runs in a scene, oldest first."""
    return Run.all_of(scene, "record")
