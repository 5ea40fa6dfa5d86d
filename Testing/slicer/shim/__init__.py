"""Runs an unmodified scripted module of 3D Slicer in a plain Python process, without desktop Slicer.

The scene, the logics, the slice views and `slicer.util` are Slicer's own (pip package slicer-core). Qt is Qt
(PySide6-Essentials, offscreen), made to follow the conventions of PythonQt. Everything else is written here:

| file | stands in for |
| --- | --- |
| `pythonqt.py`, `ui_loader.py`, `message_box.py` | `import qt`: attributes, signals, `.ui` files, dialogs |
| `ctk_widgets.py`, `ctk_scales.py`, `mrml_widgets.py` | `import ctk`, and widgets of the package `slicer` |
| `parameter_node.py`, `_types.py`, `_storage.py`, `_gui.py` | `slicer.parameterNodeWrapper` |
| `scripted.py`, `packages.py` | `slicer.ScriptedLoadableModule`, `slicer.packaging` |
| `file_plugins.py`, `dicom.py` | classes for readers and dropped files; `DICOMLib`, `slicer.dicomDatabase` |
| `scene.py`, `slicer_app.py` | the application: scene, slice views, `slicer.app`, `slicer.modules` |
| `harness.py`, `scripted_module.py` | a person in front of the screen: what a test holds in its hands |

    from shim import install

    app = install()
    module = app.load_module("INNUncertainty/INNUncertainty.py")
    module.widget.ui.applyButton.click()
    assert not app.messages
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .harness import Harness

__all__ = ["install", "missing_package"]

_harness: Harness | None = None


def missing_package() -> str | None:
    """The pip package without which nothing here works, if it cannot be imported."""
    try:
        _import_slicer()
    except ImportError:
        return "slicer-core"
    try:
        import PySide6.QtWidgets  # noqa: F401
    except ImportError:
        return "PySide6-Essentials"
    return None


def install() -> Harness:
    """Start the stand-in application, once per process; later calls return the same object.

    Call it before anything imports `slicer`, `qt`, `ctk` or a scripted module.

    Raises:
        ImportError: slicer-core or PySide6-Essentials is missing.
    """
    global _harness
    if _harness is None:
        _import_slicer()
        from .harness import Harness

        _harness = Harness()
    return _harness


def _import_slicer() -> None:
    """Import the package `slicer`, which must not take this folder, of the same name, for a part of itself.

    It imports every file of every folder called `slicer` below the entries of `sys.path`, and pytest adds the
    parent of this one.
    """
    parent = Path(__file__).resolve().parents[2]
    path = sys.path[:]
    sys.path[:] = [entry for entry in path if Path(entry).resolve() != parent]
    try:
        import slicer.util  # noqa: F401
    finally:
        sys.path[:] = path
