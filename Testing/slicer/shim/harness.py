"""What a test holds in its hands: the application, seen by the person in front of the screen."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace, TracebackType

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from . import ctk_widgets, mrml_widgets, parameter_node, pythonqt, scripted
from .dicom import provide_dicom
from .file_plugins import DropEvent, qSlicerFileDialog
from .message_box import Message, MessageBox
from .packages import Packages
from .scene import SliceView, has_opengl
from .scripted_module import ScriptedModule
from .slicer_app import CoreModule, SlicerApp
from .ui_loader import UiLoader

__all__ = ["Harness"]


class Harness:
    """Starts the stand-ins and drives modules; made once per process by `shim.install`.

    Attributes:
        messages: Message boxes that a person would have seen, as (kind, text, details).
        answers: What that person will answer, True or False, one for each question; True when it is empty.
        errors: Exceptions out of slots and observers, which Qt and VTK print and swallow.
        packages: Calls of `slicer.packaging` (`calls`), and names that shall seem not installed (`missing`).
        sample_data: Registered sample data sets by name.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="slicer-shim-")
        folder = Path(self._folder.name)
        self._application = QApplication.instance() or QApplication(["slicer-shim"])
        self._keep_settings_in(folder)
        self.messages: list[Message] = MessageBox.messages
        self.answers: deque[bool] = MessageBox.answers
        self.errors: list[BaseException] = []
        self.packages = Packages(self._ask)
        self.sample_data: dict[str, dict] = {}
        self._provide_widgets()
        self._slicer = SlicerApp(folder)
        self._provide_slicer()
        self._provide_sample_data()
        self._previous_hook, sys.excepthook = sys.excepthook, self._note_error

    @property
    def has_opengl(self) -> bool:
        """Whether `slice_view(...).grab` draws color legends here."""
        return has_opengl()

    def load_module(self, path: str | Path) -> ScriptedModule:
        """Import a scripted module, make its panel and enter it."""
        return ScriptedModule(Path(path).resolve())

    def slice_view(self, name: str = "Red") -> SliceView:
        """One of the views Red, Yellow and Green, or one that was added."""
        return self._slicer.layoutManager().sliceWidget(name).view

    def add_slice_view(self, name: str) -> None:
        """Make another slice view, as a layout that names it does."""
        self._slicer.layoutManager().add_slice_view(name)

    def load_plugin(self, path: str | Path) -> None:
        """Import a scripted module that only hooks into the DICOM module."""
        spec = importlib.util.spec_from_file_location(Path(path).stem, path)
        source = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(source)
        getattr(source, Path(path).stem)(SimpleNamespace())

    def drop(self, *paths: Path) -> bool:
        """Drop files and folders on the main window; whether a module has taken them."""
        return self._slicer.coreIOManager().drop(DropEvent([*paths]))

    def grab_panel(self, module: ScriptedModule, path: str | Path) -> None:
        """Write a PNG picture of a module's panel."""
        self.process_events()
        if not module.panel.grab().save(str(path)):
            raise OSError(f"cannot write {path}")

    def process_events(self) -> None:
        QApplication.processEvents()

    def wait_until(self, condition: Callable[[], object], seconds: float = 120.0) -> None:
        """Let timers and child processes go on until a condition holds.

        Raises:
            TimeoutError: it did not come true in time.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not true within {seconds} s")
            self.process_events()
            time.sleep(0.005)

    def reset(self) -> None:
        """Close the scene and forget every message, answer, error and call, as before a new test."""
        slicer.mrmlScene.Clear(False)
        slicer.dicomDatabase.files.clear()
        self.process_events()
        for record in (self.messages, self.answers, self.errors, self.packages.calls, self.packages.missing):
            record.clear()

    def _ask(self, question: str) -> bool:
        self.messages.append(Message("question", question, ""))
        return MessageBox.next_answer()

    def _note_error(
        self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        self.errors.append(error)
        self._previous_hook(kind, error, traceback)

    @staticmethod
    def _keep_settings_in(folder: Path) -> None:
        """Away from the settings of a Slicer that may be installed on this computer."""
        QApplication.setOrganizationName("NA-MIC")
        QApplication.setApplicationName("Slicer")
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        for scope in (QSettings.Scope.UserScope, QSettings.Scope.SystemScope):
            QSettings.setPath(QSettings.Format.IniFormat, scope, str(folder))

    @staticmethod
    def _provide_widgets() -> None:
        qt = pythonqt.adopt()
        qt.QMessageBox, qt.QUiLoader = MessageBox, UiLoader
        ctk = sys.modules["ctk"] = ModuleType("ctk", ctk_widgets.__doc__)
        for source, target in ((ctk_widgets, ctk), (mrml_widgets, slicer)):
            for name in source.__all__:
                setattr(target, name, getattr(source, name))
                UiLoader.stand_ins[name] = getattr(source, name)

    def _provide_slicer(self) -> None:
        slicer.app, slicer.selfTests = self._slicer, {}
        slicer.qSlicerFileDialog = qSlicerFileDialog
        provide_dicom()
        slicer.modules = SimpleNamespace(dicomPlugins={})
        for name, logic in self._slicer.core.module_logics.items():
            setattr(slicer.modules, name.lower(), CoreModule(name, logic))
        slicer.qSlicerScriptedLoadableModule = ScriptedModule
        i18n = ModuleType("slicer.i18n")
        i18n.tr, i18n.translate = lambda text: text, lambda context, text: text
        i18n.getContext = lambda path: Path(path).stem
        # A module for Slicer 5.10 installs through slicer.util: that must not happen in a test either.
        slicer.util.pip_install, slicer.util.pip_uninstall = (
            self.packages.pip_install,
            self.packages.pip_uninstall,
        )
        parts = {
            "i18n": i18n,
            "packaging": self.packages.module(),
            "parameterNodeWrapper": parameter_node,
            "ScriptedLoadableModule": scripted,
        }
        for name, part in parts.items():
            setattr(slicer, name, part)
            sys.modules[f"slicer.{name}"] = part

    def _provide_sample_data(self) -> None:
        def register(**source: object) -> None:
            self.sample_data[str(source["sampleName"])] = source

        module = sys.modules["SampleData"] = ModuleType("SampleData")
        module.SampleDataLogic = SimpleNamespace(registerCustomSampleDataSource=register)
