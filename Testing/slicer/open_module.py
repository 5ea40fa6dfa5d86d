"""An open module of the extension, driven as a person would, and a stand-in for the Python that it starts."""

# ruff: noqa: E402 -- the parts of slicer exist only after install()

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest
from shim import install, missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)
if os.name == "nt":
    pytest.skip("the stand-in for Slicer's Python is a shell script", allow_module_level=True)
app = install()

import slicer
from INNUncertaintyLib.panels import background, files, module

# A panel looks a few times in a second whether a child has ended; hundreds of tests would wait for that.
for _part in (background, files, module):
    _part._POLL_MS = 5

__all__ = ["OpenModule", "app", "replace_python"]

_NO_WORKER = '#!/bin/sh\n[ "$2" = monai_inn.worker ] && exit 1\n'


class OpenModule:
    """The open module of ``SOURCE``, and what a person sees of it."""

    SOURCE: ClassVar[Path]

    def __init__(self) -> None:
        self.module = app.load_module(self.SOURCE)

    @property
    def widget(self):
        return self.module.widget

    @property
    def ui(self):
        return self.widget.ui

    @property
    def state(self):
        return self.widget._state

    @property
    def logic(self):
        return self.widget.logic

    @property
    def run(self):
        return self.logic.run(self.state)

    @property
    def status(self) -> str:
        return self.ui.statusLabel.text

    def settle(self, seconds: float = 120.0) -> None:
        """Wait until no child process is left."""
        app.wait_until(lambda: not self.widget._timer.active, seconds)


def replace_python(place: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shell script stand in for Slicer's Python; it writes its arguments to ``place / "calls"``.

    It cannot wait for runs as the real one does, so that each run has a process of its own.
    """
    (place / "bin").mkdir(parents=True)
    (place / "calls").touch()
    launcher = place / "bin" / "PythonSlicer"
    source = script.format(folder=place).replace("#!/bin/sh\n", _NO_WORKER, 1)
    launcher.write_text(source, encoding="utf-8")
    launcher.chmod(0o755)
    monkeypatch.setattr(slicer.app, "slicerHome", str(place))
