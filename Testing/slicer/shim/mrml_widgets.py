"""Stand-ins for the widgets of Slicer that show the scene."""

# ruff: noqa: N801, N815 -- the names are Slicer's

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakMethod

import shiboken6
import slicer
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

__all__ = ["qMRMLNodeComboBox", "qMRMLWidget", "qSlicerScriptedLoadableModuleWidget"]
_Scene = slicer.vtkMRMLScene
_SCENE_EVENTS = _Scene.NodeAddedEvent, _Scene.NodeRemovedEvent, _Scene.EndBatchProcessEvent
_CREATE, _DELETE = "create", "delete"  # entries below the nodes; node IDs start with "vtk"


class qMRMLWidget(QWidget):
    """A widget that knows its scene."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: slicer.vtkMRMLScene | None = None

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel of a module: what the Widget class of a scripted module gets as `parent`."""

    isEntered = False

    def __init__(self, make_widget: Callable[[QWidget], object]) -> None:
        super().__init__()
        self._make_widget = make_widget
        self._scripted: object | None = None
        self.setLayout(QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    def reload(self) -> None:
        """Make the Widget again from the source that is loaded now. Like Slicer, without `enter`."""
        self._scripted = self._make_widget(self)
        self._scripted.setup()

    def self(self) -> object:
        """The instance of the module's own Widget class."""
        return self._scripted


def _option(name: str, default: bool | str) -> Property:
    def read(self: qMRMLNodeComboBox) -> bool | str:
        return self._options.get(name, default)

    def write(self: qMRMLNodeComboBox, value: bool | str) -> None:
        self._options[name] = value
        self._refresh()

    return Property(type(default), read, write)


class qMRMLNodeComboBox(qMRMLWidget):
    """Selects one of the nodes of some classes, and follows the scene."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)

    addEnabled = _option("addEnabled", True)
    removeEnabled = _option("removeEnabled", True)
    noneEnabled = _option("noneEnabled", False)
    noneDisplay = _option("noneDisplay", "None")
    showHidden = _option("showHidden", False)
    showChildNodeTypes = _option("showChildNodeTypes", True)
    baseName = _option("baseName", "")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._options: dict[str, bool | str] = {}
        self._types = ["vtkMRMLNode"]
        self._current = ""
        self._listed: list[slicer.vtkMRMLNode] = []
        self._observed: list[tuple[slicer.vtkObject, int]] = []
        self._box = QComboBox(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.activated.connect(self._chosen)

    # What the list shows

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        self._scene = scene
        self._refresh()
        self.mrmlSceneChanged.emit(scene)

    def nodes(self) -> list[slicer.vtkMRMLNode]:
        """The nodes that can be selected, in the order of the scene."""
        scene = self._scene
        if scene is None:
            return []
        # Asked for once and not for every node: attributes of widgets are slow to read here.
        types, with_children, with_hidden = self._types, self.showChildNodeTypes, self.showHidden
        found: dict[slicer.vtkMRMLNode, None] = {}  # each once
        for name in types:  # the scene finds them much faster than Python
            nodes = scene.GetNodesByClass(name)
            nodes.UnRegister(scene)
            found |= dict.fromkeys(nodes)
        listed = [
            node
            for node in found
            if (with_children or node.GetClassName() in types)
            and (with_hidden or not node.GetHideFromEditors())
        ]
        return listed if len(types) == 1 else sorted(listed, key=scene.GetNodes().IndexOfFirstOccurence)

    def _follow_scene(self, *_: object) -> None:
        # Most nodes that come and go are not for this list.
        if not self._scene.IsBatchProcessing() and self.nodes() != self._listed:
            self._refresh()

    def _refresh(self) -> None:
        # While a scene is read or closed as a whole, selectors of Slicer wait for the end.
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        self._stop_observing()
        if self._scene is None:
            return
        nodes = self._listed = self.nodes()
        for event in _SCENE_EVENTS:
            self._observe(self._scene, event, self._follow_scene)
        for node in nodes:
            self._observe(node, "ModifiedEvent", self._show_name)
        self._fill(nodes)
        known = [self._box.itemData(index) for index in range(self._box.count)]
        selectable = [node_id for node_id in known if node_id not in (_CREATE, _DELETE)]
        self._select(self._current if self._current in selectable else next(iter(selectable), ""))

    def _observe(self, observed: slicer.vtkObject, event: int | str, method: Callable) -> None:
        # The scene outlives the widget, so it must neither keep it alive nor call it afterwards.
        weak = WeakMethod(method)

        def call(caller: slicer.vtkObject, *event_data: object) -> None:
            if weak() is not None and shiboken6.isValid(weak().__self__):
                weak()(caller, *event_data)
            elif caller is not None:  # neither does it live: a scene that is being deleted
                caller.RemoveObserver(tag)

        tag = observed.AddObserver(event, call)
        self._observed.append((observed, tag))

    def _fill(self, nodes: list[slicer.vtkMRMLNode]) -> None:
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        for node in nodes:
            self._box.addItem(node.GetName(), node.GetID())
        if self.addEnabled:
            self._box.addItem("Create new node", _CREATE)
        if self.removeEnabled and nodes:
            self._box.addItem("Delete current node", _DELETE)

    def _show_name(self, node: slicer.vtkMRMLNode, _: str) -> None:
        self._box.setItemText(self._box.findData(node.GetID()), node.GetName())

    def _stop_observing(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed, self._listed = [], []

    # Which node is selected

    def _chosen(self, index: int) -> None:
        entry = self._box.itemData(index)
        if entry == _CREATE:
            self.nodeAddedByUser.emit(self.addNode())
        elif entry == _DELETE:
            self._scene.RemoveNode(self.currentNode())
        else:
            self._select(entry)

    def _select(self, node_id: str) -> None:
        self._box.setCurrentIndex(self._box.findData(node_id))
        if node_id != self._current:
            self._current = node_id
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        """Select a node of the list; any other leaves nothing selected."""
        self._select(node_id if node_id and self._box.findData(node_id) >= 0 else "")

    def addNode(self) -> slicer.vtkMRMLNode:
        """Add a node of the first class and select it."""
        class_name = self._types[0]
        stem = self.baseName or class_name.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(class_name, self._scene.GenerateUniqueName(stem))
        self.setCurrentNode(node)
        return node

    def _set_types(self, names: list[str]) -> None:
        self._types = list(names)
        self._refresh()

    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)
    currentNodeID = Property(str, lambda self: self._current, setCurrentNodeID)
