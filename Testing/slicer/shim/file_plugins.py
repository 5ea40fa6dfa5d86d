"""Stand-ins for what Slicer makes of the classes ``XFileReader`` and ``XFileDialog`` in a module's file."""

# ruff: noqa: N815 -- the names are Slicer's

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import slicer
import vtk
from PySide6.QtCore import QMimeData, QUrl

__all__ = ["DropEvent", "ScriptedFileDialog", "ScriptedFileReader", "qSlicerFileDialog"]


class ScriptedFileReader:
    """`qSlicerScriptedFileReader`: the ``parent`` of a reader written in Python."""

    def __init__(self, made_by: type) -> None:
        self.loadedNodes: list[str] = []
        self.messages = slicer.vtkMRMLMessageCollection()
        self.reader = made_by(self)

    def userMessages(self) -> slicer.vtkMRMLMessageCollection:
        return self.messages

    def supportedNameFilters(self, path: str) -> list[str]:
        """Those of its name filters, as "INN result (result.json)", that a path ends with."""
        endings = {
            f: re.findall(r"\*?([^\s*()]+)(?=[\s)])", f[f.index("(") :]) for f in self.reader.extensions()
        }
        return [f for f, found in endings.items() if path.endswith(tuple(found))]

    def confidence(self, path: str) -> float:
        return self.reader.canLoadFileConfidence(path) if self.supportedNameFilters(path) else 0.0

    def load(self, properties: dict, loaded: vtk.vtkCollection, messages: object) -> bool:
        """Let the reader load; its messages are passed on, as the manager of files does."""
        self.loadedNodes = []
        self.messages.ClearMessages()
        done = self.reader.load(properties)
        if not isinstance(done, bool):
            raise TypeError(f"load() returned {done!r}; Slicer takes True and False alone")
        if messages is not None:
            messages.AddMessages(self.messages)
        for node in self.loadedNodes:
            loaded.AddItem(slicer.mrmlScene.GetNodeByID(node))
        return done


class qSlicerFileDialog:  # noqa: N801
    """What a file dialog may be for."""

    IOAction = Enum("IOAction", ["Read", "Write"])
    Read, Write = IOAction.Read, IOAction.Write


class DropEvent:
    """Files and folders that are dropped on the main window."""

    def __init__(self, paths: list[Path]) -> None:
        self.mime = QMimeData()
        self.mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        self.accepted = False

    def acceptProposedAction(self) -> None:
        self.accepted = True


class ScriptedFileDialog:
    """`qSlicerScriptedFileDialog`: what a dialog written in Python is given."""

    fileType = description = ""
    action = None

    def __init__(self, made_by: type) -> None:
        self._event: DropEvent | None = None
        self._accepted = False
        self.dialog = made_by(self)

    def mimeData(self) -> QMimeData:
        return self._event.mime

    def acceptMimeData(self, accept: bool) -> None:
        self._accepted = accept

    def dropEvent(self) -> DropEvent:
        return self._event

    def takes(self, event: DropEvent) -> bool:
        """Whether it would take a drop."""
        self._event, self._accepted = event, False
        self.dialog.isMimeDataAccepted()
        return self._accepted

    def drop(self, event: DropEvent) -> None:
        """Take a drop; the manager of files then runs the dialog if it was accepted."""
        self._event = event
        self.dialog.dropEvent()
        if event.accepted:
            self.dialog.execDialog()
