"""The nodes of one inference in a scene, found by what they are marked with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import slicer
import slicer.util
from numpy.typing import NDArray

from .marks import IMAGE, LEVELS
from .result import Result, Shown, parse_result
from .run_nodes import RunNodes
from .samples import stacked

__all__ = ["Run", "runs"]

_NAMES = {
    "interval_width": "{interval:.0%} interval width",
    "mode_count": "number of modes",
    "ood": "out of distribution",
    "probability_below": "probability below",
    "valid": "usable",
    "waic": "WAIC, high = out of distribution",
}
_MOST_COLORS = 3


class Run(RunNodes):
    """One inference in a scene.

    Args:
        scene: the scene.
        key: value of the attribute that its nodes carry.
    """

    internal = ("quantiles", "withheld", "graded", "valid", "ood")

    def __init__(self, scene: slicer.vtkMRMLScene, key: str) -> None:
        super().__init__(scene, key)
        self._stacks: dict[str, tuple[int, NDArray[np.float32]]] = {}

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
    def interval(self) -> float:
        """The probability inside its intervals."""
        return self.result.record["settings"].get("interval", 0.95)

    def parameter(self, name: str) -> Shown:
        """The parameter of a name, or the first one."""
        known = self.parameters
        return next((p for p in known if p.name == name), known[0])

    @property
    def image(self) -> slicer.vtkMRMLNode | None:
        """The volume or sequence that was inferred, if it is still in the scene."""
        return self.record_node.GetNodeReference(IMAGE)

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

    def title(self, kind: str, parameter: str = "") -> str:
        """What a map is called."""
        text = _NAMES.get(kind, kind)
        if "{" in text:
            text = text.format(interval=self.interval)
        whole = f"{parameter} {text}" if any(p.name == parameter for p in self._known()) else text
        return f"{self.name}: {whole}"

    def quantiles(self, parameter: str) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
        """Quantiles ``(K, J, I, L)`` of a parameter and their levels ``(L,)``; ``None`` without them."""
        node = self.find("quantiles", parameter, "vtkMRMLSequenceNode")
        if node is None:
            return None
        known = self._stacks.get(parameter)
        if known is None or known[0] != node.GetMTime():
            known = self._stacks[parameter] = node.GetMTime(), stacked(node)
        return known[1], np.array(json.loads(node.GetAttribute(LEVELS)))

    def withheld(self) -> NDArray[np.bool_]:
        """Where no number must be shown without a warning: out of distribution, or not usable at all."""
        return self.untrusted() | ~self.usable()

    def untrusted(self) -> NDArray[np.bool_]:
        """Usable voxels that are out of distribution."""
        ood = self.array("ood")
        return np.zeros(self.shape, bool) if ood is None else np.nan_to_num(ood) > 0.5

    def usable(self) -> NDArray[np.bool_]:
        """Voxels that could be inferred."""
        valid = self.array("valid")
        return np.ones(self.shape, bool) if valid is None else valid > 0.5

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along K, J and I."""
        for kind in ("median", "valid", "waic"):
            if (array := self.array(kind)) is not None:
                return array.shape
        raise ValueError(f"{self.name}: all maps were deleted; apply the bundle again.")

    def _known(self) -> tuple[Shown, ...]:
        return self.parameters if self.record_node is not None else ()


def runs(scene: slicer.vtkMRMLScene) -> list[Run]:
    """All runs in a scene, oldest first."""
    return Run.all_of(scene, "record")
