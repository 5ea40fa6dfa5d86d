"""The panel of INN Registration, driven as a person would, and a stand-in for `monai-inn register`."""

# ruff: noqa: E402 -- the parts of slicer exist only after install()

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from made_registrations import write_registration
from shim import install, missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)
if os.name == "nt":
    pytest.skip("the stand-in for Slicer's Python is a shell script", allow_module_level=True)
app = install()

import slicer

__all__ = ["RegistrationPanel", "app", "panel", "replay"]

MODULE = Path(__file__).parents[2] / "SlicerINN" / "INNRegistration"
SOURCE = MODULE / "INNRegistration.py"
# Arguments are -m monai_inn register BUNDLE XRAY -o OUT --json --progress-lines.
_REPLAY = """#!/bin/sh
here='{folder}'
echo $$ > "$here/pid"
echo "$@" >> "$here/calls"
echo 'PROGRESS 0.500 sampling poses' >&2
while [ -e "$here/hold" ]; do sleep 0.02; done
if [ -e "$here/complaint" ]; then cat "$here/complaint" >&2; exit 2; fi
cp -r "$here/result" "$7"
cat "$here/result/registration.json"
"""


class RegistrationPanel:
    """The open module, and what a person does with it."""

    def __init__(self) -> None:
        self.module = app.load_module(SOURCE)

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

    def open(self, folder: Path) -> None:
        """Open a result that was written before."""
        self.ui.resultEdit.currentPath = str(folder)
        self.ui.openButton.click()

    def prepare(self, bundle: Path, xray: Path, output: Path) -> None:
        """Choose the inputs."""
        self.ui.bundleEdit.currentPath = str(bundle)
        self.ui.xrayEdit.currentPath = str(xray)
        self.ui.outputEdit.currentPath = str(output)

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until no child process is left."""
        app.wait_until(lambda: not self.widget._timer.active, seconds)

    def start(self) -> int:
        """Press Find poses and wait until the stand-in, which must be on hold, is at work; its process ID."""
        self.ui.findButton.click()
        app.wait_until(lambda: self.logic.registering.child.share == 0.5, 20)
        return int((self.replay / "pid").read_text())

    def table(self) -> list[list[str]]:
        """The texts of the table of poses."""
        table = self.ui.poseTable
        return [
            [table.item(row, column).text() for column in range(table.columnCount)]
            for row in range(table.rowCount)
        ]


@pytest.fixture
def replay(tmp_path, monkeypatch) -> Path:
    """Folder of a stand-in for Slicer's Python: `hold` makes it wait, `complaint` fail."""
    place = tmp_path / "replay"
    (place / "bin").mkdir(parents=True)
    (place / "calls").touch()
    write_registration(place / "result")
    launcher = place / "bin" / "PythonSlicer"
    launcher.write_text(_REPLAY.format(folder=place), encoding="utf-8")
    launcher.chmod(0o755)
    monkeypatch.setattr(slicer.app, "slicerHome", str(place))
    return place


@pytest.fixture
def panel(replay, tmp_path, monkeypatch):
    """The open module with inputs chosen; no result is there."""
    app.reset()
    bundle, xray, output = tmp_path / "bundle", tmp_path / "lateral ü.v1.dcm", tmp_path / "out"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text("{}")
    xray.write_bytes(b"image")
    output.mkdir()
    monkeypatch.syspath_prepend(str(MODULE))
    opened = RegistrationPanel()
    opened.replay, opened.output = replay, output
    opened.prepare(bundle, xray, output)
    yield opened
    opened.module.close()
    assert app.errors == []
    for name in [name for name in sys.modules if name.startswith("INNRegistration")]:
        del sys.modules[name]
