"""The nodes of one inference in a scene, found by what they are marked with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from numpy.typing import NDArray

from .marks import IMAGE, LEVELS, MAP, PARAMETER, RUN, mark
from .result import Result, Shown, parse_result
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
# Not offered where people choose volumes: they mean nothing by themselves.
_INTERNAL = ("quantiles", "withheld", "graded", "valid", "ood")


class Run:
    """One inference in a scene, found by an attribute that all of its nodes carry.

    Users may rename, move or delete any node: names are never looked at, and what is missing comes back at
    the next ``store``.

    Args:
        scene: the scene.
        key: value of the attribute.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, key: str) -> None:
        self.scene, self.key = scene, key
        self._parsed: tuple[str, Result] | None = None
        self._stacks: dict[str, tuple[int, NDArray[np.float32]]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and (other.scene, other.key) == (self.scene, self.key)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def record_node(self) -> slicer.vtkMRMLTextNode | None:
        """The text node that holds the record, ``None`` once it was deleted."""
        return self.find("record", class_name="vtkMRMLTextNode")

    @property
    def result(self) -> Result:
        """The record without its files, which may be long gone."""
        text = self.record_node.GetText()
        if self._parsed is None or self._parsed[0] != text:
            self._parsed = text, parse_result(Path(), json.loads(text))
        return self._parsed[1]

    @property
    def name(self) -> str:
        """What people call it: the name of its folder."""
        tree, item = self.folder()
        return tree.GetItemName(item)

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

    def nodes(self) -> Iterator[slicer.vtkMRMLNode]:
        """All nodes of the run."""
        for node in slicer.util.getNodesByClass("vtkMRMLNode", self.scene):
            if node.GetAttribute(RUN) == self.key:
                yield node

    def find(
        self, kind: str, parameter: str = "", class_name: str = "vtkMRMLVolumeNode"
    ) -> slicer.vtkMRMLNode | None:
        """The node of a kind of map, of a parameter if the kind has one for each."""
        for node in slicer.util.getNodesByClass(class_name, self.scene):
            if (node.GetAttribute(RUN), node.GetAttribute(MAP)) == (self.key, kind) and parameter in (
                "",
                node.GetAttribute(PARAMETER),
            ):
                return node
        return None

    def node(self, kind: str, parameter: str, class_name: str) -> slicer.vtkMRMLNode:
        """The same, made if it is missing."""
        found = self.find(kind, parameter, class_name)
        if found is not None:
            return found
        made = self.scene.AddNewNodeByClass(class_name, self.title(kind, parameter))
        mark(made, self.key, kind, parameter)
        made.SetHideFromEditors(kind in _INTERNAL)
        tree, folder = self.folder()
        tree.CreateItem(folder, made)  # moves the item that the application may have made
        return made

    def title(self, kind: str, parameter: str = "") -> str:
        """What a map is called."""
        text = _NAMES.get(kind, kind)
        if "{" in text:
            text = text.format(interval=self.interval)
        whole = f"{parameter} {text}" if any(p.name == parameter for p in self._known()) else text
        return f"{self.name}: {whole}"

    def folder(self) -> tuple[slicer.vtkMRMLSubjectHierarchyNode, int]:
        """The subject hierarchy and the run's folder in it, made again if a user has deleted it."""
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        found = tree.GetItemByUID("INN", self.key)
        if not found:
            found = tree.CreateFolderItem(tree.GetSceneItemID(), "INN result")
            tree.SetItemUID(found, "INN", self.key)
        return tree, found

    def array(self, kind: str, parameter: str = "") -> NDArray[Any] | None:
        """Voxels ``(K, J, I)`` or ``(K, J, I, C)`` of a map, a view on the node's own memory."""
        node = self.find(kind, parameter)
        return None if node is None or node.GetImageData() is None else slicer.util.arrayFromVolume(node)

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

    def drop(self, node: slicer.vtkMRMLNode) -> None:
        """Take a node out of its folder and out of the scene, with what shows and stores it."""
        tree, _ = self.folder()
        item = tree.GetItemByDataNode(node)
        if item:
            tree.RemoveItem(item, False, False)  # first, or it is left looking for its node
        own = [node]
        if node.IsA("vtkMRMLDisplayableNode"):
            own += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        if node.IsA("vtkMRMLStorableNode"):
            own.append(node.GetStorageNode())
        for each in own:
            if each is not None:
                self.scene.RemoveNode(each)

    def remove(self) -> None:
        """Take all nodes of the run out of the scene."""
        tree, folder = self.folder()
        for node in [*self.nodes()]:
            self.drop(node)
        tree.RemoveItem(folder)

    def _known(self) -> tuple[Shown, ...]:
        return self.parameters if self.record_node is not None else ()


def runs(scene: slicer.vtkMRMLScene) -> list[Run]:
    """All runs in a scene, oldest first."""
    records = slicer.util.getNodesByClass("vtkMRMLTextNode", scene)
    return [Run(scene, node.GetAttribute(RUN)) for node in records if node.GetAttribute(MAP) == "record"]
