"""Stand-in for `slicer.app` and the objects that one reaches through it."""

# ruff: noqa: N815 -- the names are Slicer's

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import slicer
import slicer.util
import vtk
from PySide6.QtCore import QObject, QProcessEnvironment, QSettings, Qt, Signal
from PySide6.QtWidgets import QApplication, QMainWindow, QWidget

from .file_plugins import DropEvent, ScriptedFileDialog, ScriptedFileReader
from .scene import SceneCore, SliceView

__all__ = ["CoreModule", "SlicerApp"]
_VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
_FOUR_UP = 3  # vtkMRMLLayoutNode::SlicerLayoutFourUpView
# The real PythonSlicer is a launcher: killing it leaves the Python that it started running, and so does this.
_LAUNCHER = '#!/bin/sh\n"{python}" "$@"\nexit $?\n'


class CoreModule:
    """A module that Slicer brings along: here just its logic."""

    def __init__(self, name: str, logic: slicer.vtkMRMLAbstractLogic) -> None:
        self.name, self._logic = name, logic

    def logic(self) -> slicer.vtkMRMLAbstractLogic:
        return self._logic


class _SliceWidget:
    def __init__(self, view: SliceView) -> None:
        self.view = view

    def sliceLogic(self) -> slicer.vtkMRMLSliceLogic:
        return self.view.logic

    def mrmlSliceNode(self) -> slicer.vtkMRMLSliceNode:
        return self.view.node

    def mrmlSliceCompositeNode(self) -> slicer.vtkMRMLSliceCompositeNode:
        return self.view.composite

    def fitSliceToBackground(self) -> None:
        self.view.fit()


class _LayoutLogic:
    """Holds the node with the descriptions of layouts."""

    def __init__(self) -> None:
        self._node = slicer.vtkMRMLLayoutNode()

    def GetLayoutNode(self) -> slicer.vtkMRMLLayoutNode:
        return self._node


class _LayoutManager(QObject):
    """Three slice views, and those that the description of a layout names; nothing is put on a screen."""

    layoutChanged = Signal(int)

    def __init__(self, core: SceneCore) -> None:
        super().__init__()
        self._core = core
        self._widgets: dict[str, _SliceWidget] = {}
        for name, orientation in _VIEWS.items():
            self.add_slice_view(name, orientation)
        self._logic = _LayoutLogic()
        self.layout, self.threeDViewCount = _FOUR_UP, 0

    def add_slice_view(self, name: str, orientation: str = "Axial") -> None:
        """Make a slice view, once."""
        if name not in self._widgets:
            self._widgets[name] = _SliceWidget(SliceView(self._core, name, orientation))

    def layoutLogic(self) -> _LayoutLogic:
        return self._logic

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> _SliceWidget | None:
        return self._widgets.get(name)

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        return self._core.logic.GetSliceLogics()

    def setLayout(self, layout: int) -> None:
        self.layout = layout
        if self._logic.GetLayoutNode().IsLayoutDescription(layout):
            description = self._logic.GetLayoutNode().GetLayoutDescription(layout)
            for view in ElementTree.fromstring(description).iter("view"):
                if view.get("class") == "vtkMRMLSliceNode":
                    self.add_slice_view(view.get("singletontag", ""))
                elif view.get("class") == "vtkMRMLPlotViewNode":
                    node = slicer.vtkMRMLPlotViewNode()
                    node.SetSingletonTag(view.get("singletontag", ""))
                    self._core.scene.AddNode(node)  # a singleton: the one that is there, if there is one
        self.layoutChanged.emit(layout)

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.fitSliceToBackground()


class _FileManager:
    """Reads and writes scenes and volumes, and any node by its default storage; modules add readers."""

    def __init__(self, core: SceneCore) -> None:
        self._core = core
        self.readers: list[ScriptedFileReader] = []
        self.dialogs: list[ScriptedFileDialog] = []

    def fileType(self, path: str | Path) -> str:
        sure = max(self.readers, key=lambda each: each.confidence(str(path)), default=None)
        if sure is not None and sure.confidence(str(path)) > 0:
            return sure.reader.fileType()
        return "SceneFile" if str(path).endswith((".mrb", ".mrml")) else "VolumeFile"

    def drop(self, event: DropEvent) -> bool:
        """Hand what was dropped to the one dialog that takes it; Slicer asks if there are several."""
        taking = [dialog for dialog in self.dialogs if dialog.takes(event)]
        if taking:
            taking[0].drop(event)
        return event.accepted

    def fileWriterFileType(self, node: slicer.vtkMRMLNode) -> str:
        return "NodeFile"

    def loadNodes(
        self, kind: str, properties: dict, loaded: vtk.vtkCollection, messages: object = None
    ) -> bool:
        path = Path(properties["fileName"]).resolve()
        for reader in self.readers:
            if reader.reader.fileType() == kind:
                return reader.load(properties, loaded, messages)
        if kind == "SceneFile":
            return bool(self._core.scene.ReadFromMRB(str(path)))
        if kind != "VolumeFile":
            raise NotImplementedError(f"no stand-in for reading a {kind}")
        name = properties.get("name") or path.name.split(".")[0]
        options = int(bool(properties.get("labelmap")))
        volumes = self._core.module_logics["Volumes"]
        node = volumes.AddArchetypeVolume(str(path), name, options, vtk.vtkStringArray())
        if node is None:
            return False
        loaded.AddItem(node)
        if properties.get("show", True):
            slicer.util.setSliceViewerLayers(**{"label" if options else "background": node}, fit=True)
        return True

    def saveNodes(self, kind: str, properties: dict, messages: object = None) -> bool:
        path = str(Path(properties["fileName"]).resolve())
        if kind == "SceneFile":
            return bool(self._core.scene.WriteToMRB(path, None))
        node = self._core.scene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))


class _ModuleSelector:
    def selectModule(self, name: str) -> None:
        """Open a module that is loaded."""
        module = getattr(slicer.modules, name.lower())
        if not module.panel.isEntered:
            module.enter()


class _MainWindow(QMainWindow):
    def moduleSelector(self) -> _ModuleSelector:
        return _ModuleSelector()


class _ModuleManager(QObject):
    moduleAboutToBeUnloaded = Signal(str)

    def module(self, name: str) -> object | None:
        return getattr(slicer.modules, name.lower(), None)


class SlicerApp(QObject):
    """The application as a module sees it, in the voice of Slicer 5.10."""

    startupCompleted = Signal()
    aboutToQuit = Signal()
    applicationName, applicationVersion = "Slicer", "5.10.0"
    majorVersion, minorVersion = 5, 10
    documentationBaseUrl = "https://slicer.readthedocs.io/en/5.10/"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.core = SceneCore(folder)
        # The functions of slicer.util look for the scene here.
        slicer.mrmlScene = self.core.scene
        self.is_testing = False
        self.temporaryPath = self.slicerHome = str(folder)
        self._layouts = _LayoutManager(self.core)
        self._modules = _ModuleManager()
        self._files = _FileManager(self.core)
        self._window = _MainWindow()
        self._window.name = "qSlicerMainWindow"
        self._add_launcher(folder / "bin")

    @staticmethod
    def _add_launcher(folder: Path) -> None:
        folder.mkdir()
        launcher = folder / "PythonSlicer"
        launcher.write_text(_LAUNCHER.format(python=sys.executable))
        launcher.chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:
        return self.core.logic

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return self.core.scene

    def layoutManager(self) -> _LayoutManager:
        return self._layouts

    def moduleManager(self) -> _ModuleManager:
        return self._modules

    def coreIOManager(self) -> _FileManager:
        return self._files

    ioManager = coreIOManager

    def settings(self) -> QSettings:
        return QSettings()

    userSettings = revisionUserSettings = settings

    def startupEnvironment(self) -> QProcessEnvironment:
        return QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, module: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{module.lower()}.html"

    def testingEnabled(self) -> bool:
        """True only in the self test of a module: everywhere else a person would see the message boxes."""
        return self.is_testing

    def processEvents(self) -> None:
        QApplication.processEvents()

    def setOverrideCursor(self, cursor: Qt.CursorShape) -> None:
        QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        QApplication.restoreOverrideCursor()

    def topLevelWidgets(self) -> list[QWidget]:
        return QApplication.topLevelWidgets()

    def pauseRender(self) -> None:
        """Nothing is rendered unless a test asks for it."""

    resumeRender = pauseRender
