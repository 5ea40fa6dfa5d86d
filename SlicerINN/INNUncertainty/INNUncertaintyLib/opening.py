"""Results that were written before: how Slicer's file dialogs and its drop target come to open them."""

from pathlib import Path

import qt
import slicer
import slicer.util
import vtk
from INNDisplayLib import read_result, store
from slicer.i18n import tr as _

from .parameters import PanelState

__all__ = [
    "INNUncertaintyFileDialog",
    "INNUncertaintyFileReader",
    "open_result",
    "result_folder",
    "select_run",
]

_RECORD = "result.json"
_MARK = '"format_version"'  # near the beginning of every record, also of one that was cut off
_BEGINNING = 4096


def result_folder(path):
    """The folder of a result, given it or the record in it; ``None`` for anything else."""
    path = Path(path)
    record = path / _RECORD if path.is_dir() else path
    if record.name != _RECORD or not record.is_file():
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
    folder = Path(path).parent if Path(path).name == _RECORD else Path(path)
    run = store(slicer.mrmlScene, read_result(folder), folder.resolve().name)
    select_run(run)
    return run


def select_run(run):
    """Let the panel show a run; one that was not opened in this scene shows the latest anyway."""
    node = slicer.mrmlScene.GetSingletonNode("INNUncertainty", "vtkMRMLScriptedModuleNode")
    if node is not None:
        PanelState(node).run = run.key


class INNUncertaintyFileReader:
    """Reads ``result.json`` for Slicer, which looks for a class of this name in the module's file."""

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
        return [_("INN result") + f" ({_RECORD})"]

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
