"""Results that were written before: how Slicer's file dialogs and its drop target come to open them."""

from pathlib import Path

import qt
import slicer
import slicer.util
import vtk
from INNDisplayLib import CLASSES_FILE, read_classes, read_result, store, store_classes
from slicer.i18n import tr as _

from .panels.classes import take_classes
from .parameters import PanelState

__all__ = [
    "RECORDS",
    "INNUncertaintyFileDialog",
    "INNUncertaintyFileReader",
    "open_result",
    "result_folder",
    "select_run",
]

RECORDS = "result.json", CLASSES_FILE
_MARK = '"format_version"'  # near the beginning of every record, also of one that was cut off
_BEGINNING = 4096


def result_folder(path):
    """The folder of a result, given it or the record in it; ``None`` for anything else."""
    record = _record(path)
    if record.name not in RECORDS or not record.is_file():
        return None
    try:
        with record.open(encoding="utf-8", errors="replace") as file:
            return record.parent if _MARK in file.read(_BEGINNING) else None
    except OSError:
        return None


def open_result(path):
    """Put a result, given its folder or its record, into the scene and let the panel show it.

    Raises:
        ValueError: if there is none, or it is damaged; the scene is then as it was.
    """
    record, scene = _record(path), slicer.mrmlScene
    folder = record.parent if record.name in RECORDS else record
    name = folder.resolve().name
    if record.name == CLASSES_FILE:
        run = store_classes(scene, read_classes(folder), name)
        node = scene.GetSingletonNode("INNUncertainty", "vtkMRMLScriptedModuleNode")
        if node is not None:
            take_classes(PanelState(node), run)
        return run
    run = store(scene, read_result(folder), name)
    select_run(run)
    return run


def _record(path):
    """The record in a folder, or the file that was given; that of maps where there is neither."""
    path = Path(path)
    if not path.is_dir():
        return path
    return next((path / name for name in RECORDS if (path / name).is_file()), path / RECORDS[0])


def select_run(run):
    """Let the panel show a run; one that was not opened in this scene shows the latest anyway."""
    node = slicer.mrmlScene.GetSingletonNode("INNUncertainty", "vtkMRMLScriptedModuleNode")
    if node is not None:
        state = PanelState(node)
        with slicer.util.NodeModify(state):
            state.run, state.showClasses = run.key, False


class INNUncertaintyFileReader:
    """Reads records of results for Slicer, which looks for a class of this name in the module's file."""

    def __init__(self, parent):
        self.parent = parent

    def description(self):
        """What the file dialog calls it."""
        return _("INN result")

    def fileType(self):
        """What scripts call it: ``slicer.util.loadNodeFromFile(path, "INNResultFile")``."""
        return "INNResultFile"

    def extensions(self):
        """Files that are offered."""
        return [_("INN result") + f" ({' '.join(RECORDS)})"]

    def canLoadFile(self, path):
        """Whether a file is the record of a result."""
        return result_folder(path) is not None

    def canLoadFileConfidence(self, path):
        """More than that of readers which take any JSON file."""
        return 0.9 if self.canLoadFile(path) else 0.0

    def load(self, properties):
        """Put the result into the scene; what is wrong with it goes to the dialog."""
        try:
            run = open_result(properties["fileName"])
        except ValueError as error:
            self.parent.userMessages().AddMessage(vtk.vtkCommand.ErrorEvent, str(error))
            return False
        self.parent.loadedNodes = [node.GetID() for node in run.nodes()]
        return True


class INNUncertaintyFileDialog:
    """Takes result folders that are dropped on Slicer's window, which asks a class of this name."""

    def __init__(self, qSlicerFileDialog):  # noqa: N803 -- the name is Slicer's
        self.dialog = qSlicerFileDialog
        self.dialog.fileType = _("INN result folder")
        self.dialog.description = _("Show in INN Uncertainty")
        self.dialog.action = slicer.qSlicerFileDialog.Read
        self._dropped = []

    def execDialog(self):
        """Called after a drop, when everything is done."""

    def isMimeDataAccepted(self):
        """Accept results, and nothing that has other files beside them."""
        data = self.dialog.mimeData()
        paths = [url.toLocalFile() for url in data.urls()] if data.hasFormat("text/uri-list") else []
        self._dropped = [folder for folder in map(result_folder, paths) if folder is not None]
        self.dialog.acceptMimeData(bool(paths) and len(self._dropped) == len(paths))

    def dropEvent(self):
        """Take what was dropped; it is opened later, so that the program it was dragged from can go on."""
        self.isMimeDataAccepted()
        self.dialog.dropEvent().acceptProposedAction()
        qt.QTimer.singleShot(0, self._open)

    def _open(self):
        try:
            for folder in self._dropped:
                open_result(folder)
            slicer.util.selectModule("INNUncertainty")
        except ValueError as error:
            slicer.util.errorDisplay(str(error), windowTitle=_("INN Uncertainty"))
