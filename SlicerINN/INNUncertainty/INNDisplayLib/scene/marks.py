"""The nodes that belong together in a scene: how they are marked and found, where they lie, their looks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import slicer.util
import vtk
from numpy.typing import NDArray

__all__ = [
    "IMAGE",
    "INSTANCES",
    "LEVELS",
    "MAP",
    "PARAMETER",
    "RUN",
    "SYNTHETIC",
    "UNIT",
    "RunNodes",
    "follow",
    "hide_legends",
    "itk_image",
    "mark",
    "matrix_of",
    "place",
    "set_layers",
    "world_matrix_of",
]

RUN, MAP, PARAMETER, UNIT, LEVELS = (f"INN.{word}" for word in ("run", "map", "parameter", "unit", "levels"))
SYNTHETIC = "INN.synthetic"
"""Attribute of nodes of an image that nobody acquired: what the image says of itself."""
IMAGE = "INN.image"
"""Role of the reference from a run's record to the image that was inferred."""

INSTANCES = "DICOM.instanceUIDs"
"""Slicer's attribute of volumes that its DICOM module has loaded: the instances they came from."""


def mark(node: slicer.vtkMRMLNode, run: str, kind: str, parameter: str) -> None:
    """Say which run a node belongs to, which map it is, and of which parameter."""
    for key, value in ((RUN, run), (MAP, kind), (PARAMETER, parameter)):
        node.SetAttribute(key, value)


def display_of(node: slicer.vtkMRMLDisplayableNode) -> slicer.vtkMRMLDisplayNode:
    """The display node of a node, made if it is missing."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    return node.GetDisplayNode()


def span(display: slicer.vtkMRMLVolumeDisplayNode, low: float, high: float) -> None:
    """Let the shades or colors of a volume reach from one value to another."""
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)


def show_legend(volume: slicer.vtkMRMLVolumeNode, title: str, form: str, labels: int) -> Any:
    """Show the color scale of a volume at the edge of the views, and return its node."""
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetTitleText(title)
    legend.SetLabelFormat(form)
    legend.SetNumberOfLabels(labels)
    legend.SetPosition(0.97, 0.5)
    legend.SetSize(0.11, 0.5)  # the text grows with the box, font sizes are not looked at
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetBackgroundColor(0.0, 0.0, 0.0)
        text.SetBackgroundOpacity(0.6)  # white letters are lost on a bright image
    return legend


def hide_legends(scene: slicer.vtkMRMLScene) -> None:
    """Show no color scale in the views."""
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", scene):
        legend.SetVisibility(False)


_TOP = 3  # 0 is the background, 1 the foreground, 2 labels; further ones come on top


def set_layers(
    view: slicer.vtkMRMLSliceCompositeNode,
    below: slicer.vtkMRMLNode | None,
    layer: slicer.vtkMRMLNode | None = None,
    opacity: float = 1.0,
    owner: slicer.vtkMRMLNode | None = None,
    covered: slicer.vtkMRMLNode | None = None,
) -> None:
    """Say what a slice view shows.

    Args:
        view: of which view.
        below: the image.
        layer: what is laid over it.
        opacity: of that, 0 to 1.
        owner: a volume that is not seen, and whose legend is: one is drawn for the three first layers alone.
        covered: patterns on top of all.
    """
    with slicer.util.NodeModify(view):
        view.SetBackgroundVolumeID(_id(below))
        view.SetForegroundVolumeID(_id(layer))
        view.SetForegroundOpacity(opacity)
        view.SetLabelVolumeID(_id(owner))
        view.SetLabelOpacity(0.0)
        view.SetNthLayerVolumeID(_TOP, _id(covered))
        if covered is not None:
            view.SetNthLayerOpacity(_TOP, 1.0)


def _id(node: slicer.vtkMRMLNode | None) -> str | None:
    return None if node is None else node.GetID()


def place(node: slicer.vtkMRMLVolumeNode, array: NDArray[Any], matrix: Any, image: Any) -> None:
    """Give a volume its voxels, its geometry, the transform of the image, and a display node.

    Bytes are colors, which are shown as they are.
    """
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    follow(node, image)
    display = display_of(node)
    if array.dtype == np.uint8 and array.ndim == 4:
        span(display, 0, 255)


def follow(node: slicer.vtkMRMLTransformableNode, image: slicer.vtkMRMLNode | None) -> None:
    """Put a node under the transform of an image, if that can have one."""
    can_move = image is not None and image.IsA("vtkMRMLTransformableNode")
    node.SetAndObserveTransformNodeID(image.GetTransformNodeID() if can_move else None)


def matrix_of(node: slicer.vtkMRMLVolumeNode) -> NDArray[np.float64]:
    """Index to RAS millimeters of a volume, without its transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def arrays_of(sequence: slicer.vtkMRMLSequenceNode) -> list[NDArray[Any]]:
    """Voxels of each volume in a sequence, views on its own memory."""
    items = range(sequence.GetNumberOfDataNodes())
    return [slicer.util.arrayFromVolume(sequence.GetNthDataNode(n)) for n in items]


def indices_at(volume: slicer.vtkMRMLVolumeNode, places: Any) -> NDArray[np.float64]:
    """Voxels (i, j, k), not rounded, of world positions ``(N, 3)``, through the volume's transform."""
    to_local, matrix = vtk.vtkGeneralTransform(), vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volume.GetParentTransformNode(), to_local)
    volume.GetRASToIJKMatrix(matrix)
    local = np.array([to_local.TransformPoint(place) for place in places])
    to_index = slicer.util.arrayFromVTKMatrix(matrix)
    return local @ to_index[:3, :3].T + to_index[:3, 3]


def matrix_between(
    source: slicer.vtkMRMLNode | None, target: slicer.vtkMRMLNode | None
) -> NDArray[np.float64] | None:
    """What takes points under one transform to those under another; ``None`` if that is not linear."""
    matrix = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, matrix):
        return None
    return slicer.util.arrayFromVTKMatrix(matrix)


def world_matrix_of(volume: slicer.vtkMRMLVolumeNode) -> NDArray[np.float64] | None:
    """Index to RAS of a volume with the transform that it lies under; ``None`` if that is not linear."""
    to_world = matrix_between(volume.GetParentTransformNode(), None)
    return None if to_world is None else to_world @ matrix_of(volume)


_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_image(array: NDArray[Any], matrix: NDArray[np.float64]) -> sitk.Image:
    """Return an image of voxels ``(K, J, I)``, or of vectors ``(K, J, I, C)``.

    Args:
        array: the voxels.
        matrix: index to RAS millimeters, ``(4, 4)``.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=array.ndim == 4)
    lps = _RAS_TO_LPS @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


class RunNodes:
    """The nodes of one result in a scene, found by an attribute that all of them carry.

    Users may rename, move or delete any node: names are never looked at, and what is missing comes back at
    the next ``store``.

    Args:
        scene: the scene.
        key: value of the attribute.
    """

    internal: tuple[str, ...] = ()
    """Kinds that are not offered where people choose nodes: they mean nothing by themselves."""

    def __init__(self, scene: slicer.vtkMRMLScene, key: str) -> None:
        self.scene, self.key = scene, key
        self._read: dict[str, tuple[str, Any]] = {}

    @classmethod
    def all_of(cls, scene: slicer.vtkMRMLScene, record: str) -> list:
        """All runs in a scene whose record has a kind, oldest first."""
        nodes = slicer.util.getNodesByClass("vtkMRMLTextNode", scene)
        return [cls(scene, node.GetAttribute(RUN)) for node in nodes if node.GetAttribute(MAP) == record]

    def read(self, kind: str, parse: Callable[[Any], Any]) -> Any:
        """What a text node of JSON holds, parsed anew when it has changed; ``None`` without the node."""
        node = self.find(kind, class_name="vtkMRMLTextNode")
        if node is None:
            return None
        text = node.GetText()
        if kind not in self._read or self._read[kind][0] != text:
            self._read[kind] = text, parse(json.loads(text))
        return self._read[kind][1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunNodes) and (other.scene, other.key) == (self.scene, self.key)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def name(self) -> str:
        """What people call it: the name of its folder."""
        tree, item = self.folder()
        return tree.GetItemName(item)

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
        made.SetHideFromEditors(kind in self.internal)
        tree, folder = self.folder()
        tree.CreateItem(folder, made)  # moves the item that the application may have made
        return made

    def title(self, kind: str, parameter: str = "") -> str:
        """What a node is called."""
        return f"{self.name}: {kind}"

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

    def draw(
        self,
        kind: str,
        mesh: vtk.vtkPolyData,
        color: tuple[float, float, float],
        parameter: str = "",
        thickness: int = 2,
    ) -> slicer.vtkMRMLModelNode:
        """Draw a mesh in 3-D and, with lines of a thickness in pixels, as its cut in slices."""
        model = self.node(kind, parameter, "vtkMRMLModelNode")
        model.SetAndObserveMesh(mesh)
        display = display_of(model)
        display.SetColor(*color)
        display.SetVisibility2D(True)
        display.SetSliceIntersectionThickness(thickness)
        return model

    def forget(self, *kinds: str) -> None:
        """Take all nodes of some kinds out of the scene."""
        for node in [*self.nodes()]:
            if node.GetAttribute(MAP) in kinds:
                self.drop(node)

    def remove(self) -> None:
        """Take all nodes of the run out of the scene."""
        tree, folder = self.folder()
        for node in [*self.nodes()]:
            self.drop(node)
        tree.RemoveItem(folder)
