"""A scripted module that has been loaded: what Slicer's module factory makes of a `.py` file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import slicer
import slicer.util
from PySide6.QtCore import QCoreApplication, QEvent

from .file_plugins import ScriptedFileDialog, ScriptedFileReader
from .mrml_widgets import qSlicerScriptedLoadableModuleWidget

__all__ = ["ScriptedModule"]


class ScriptedModule:
    """Loads the file, makes the module, its panel and its Widget, and enters it.

    The module's own class gets this object as `parent` and fills in `title`, `categories` and the like.
    """

    icon = None
    hidden = False

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        # What Reload replaces comes back at the end: tests have imported names of the former libraries.
        folder = str(path.parents[1])
        # Not by `getattr`: some of the thousands of modules that tests load import others when asked.
        files = {n: getattr(m, "__dict__", {}).get("__file__") for n, m in [*sys.modules.items()]}
        self._libraries = {n: sys.modules[n] for n, file in files.items() if (file or "").startswith(folder)}
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(self.name, path)
        sys.modules[self.name] = source = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(source)
        setattr(slicer.modules, self.name.lower(), self)
        self.instance = getattr(source, self.name)(self)
        self._register_file_plugins(source)
        # Modules connect to this signal in order to register their sample data.
        slicer.app.startupCompleted.emit()
        self.panel = qSlicerScriptedLoadableModuleWidget(self._make_widget)
        self.panel.windowTitle = self.title
        self.panel.reload()
        self.panel.resize(440, 700)
        self.panel.show()
        self.enter()

    def _register_file_plugins(self, source: ModuleType) -> None:
        """As Slicer: classes with these names in the module's file, if there are such ones."""
        files = slicer.app.coreIOManager()
        readers = [
            ScriptedFileReader(made) for made in [getattr(source, f"{self.name}FileReader", None)] if made
        ]
        dialogs = [
            ScriptedFileDialog(made) for made in [getattr(source, f"{self.name}FileDialog", None)] if made
        ]
        self._file_plugins = (files.readers, readers), (files.dialogs, dialogs)
        for known, own in self._file_plugins:
            known += own

    def _make_widget(self, panel: qSlicerScriptedLoadableModuleWidget) -> object:
        name = f"{self.name}Widget"
        widget = getattr(sys.modules[self.name], name)(panel)
        setattr(slicer.modules, name, widget)  # slicer.util.reloadScriptedModule looks for it there
        return widget

    @property
    def widget(self) -> object:
        """The module's own Widget object; another one after `reload`."""
        return self.panel.self()

    @property
    def logic(self) -> object:
        return self.widget.logic

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        return self.panel

    def enter(self) -> None:
        """The user opens the module."""
        self.panel.isEntered = True
        getattr(self.widget, "enter", lambda: None)()

    def exit(self) -> None:
        """The user goes to another module."""
        self.panel.isEntered = False
        getattr(self.widget, "exit", lambda: None)()

    def reload(self) -> None:
        """The developer presses Reload: the file is read again; like Slicer, without `enter`."""
        self.widget.onReload()

    def run_tests(self) -> None:
        """The module's self test, in Slicer's testing mode: errors are raised instead of shown."""
        slicer.app.is_testing = True
        try:
            slicer.selfTests[self.name]()
        finally:
            slicer.app.is_testing = False

    def close(self) -> None:
        """The application quits."""
        if self.panel.isEntered:
            self.exit()
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(self.name)
        self.panel.close()
        self.panel.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        for known, own in self._file_plugins:
            known[:] = [each for each in known if each not in own]
        for name in (self.name.lower(), f"{self.name}Widget"):
            delattr(slicer.modules, name)
        sys.modules.update(self._libraries)
        del slicer.selfTests[self.name], sys.modules[self.name]
        sys.path.remove(str(Path(self.path).parent))
