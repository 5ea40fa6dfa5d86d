"""The panel of INN Registration, driven as a person would, and a stand-in for `monai-inn register`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from made_registrations import write_registration
from open_module import OpenModule, app, replace_python

__all__ = ["RegistrationPanel", "app", "done", "panel", "refused", "replay"]

MODULE = Path(__file__).parents[2] / "SlicerINN" / "INNRegistration"
SOURCE = MODULE / "INNRegistration.py"
# Arguments are -m monai_inn register BUNDLE XRAY -o OUT --json --progress-lines.
_REPLAY = """#!/bin/sh
here='{folder}'
if [ "$3" = bundles ]; then cat "$here/bundles.json"; exit 0; fi
echo $$ > "$here/pid"
echo "$@" >> "$here/calls"
echo 'PROGRESS 0.500 sampling poses' >&2
while [ -e "$here/hold" ]; do sleep 0.02; done
if [ -e "$here/complaint" ]; then cat "$here/complaint" >&2; exit 2; fi
if [ "$3" = fit ]; then mkdir "$8"; echo '{{}}'; exit 0; fi
cp -r "$here/result" "$7"
cat "$here/result/registration.json"
"""


class RegistrationPanel(OpenModule):
    """The open module, and what a person does with it."""

    SOURCE = SOURCE

    def open(self, folder: Path) -> None:
        """Open a result that was written before."""
        self.ui.resultEdit.currentPath = str(folder)
        self.ui.openButton.click()

    def prepare(self, bundle: Path, xray: Path, output: Path) -> None:
        """Choose the inputs."""
        self.ui.bundleEdit.currentPath = str(bundle)
        self.ui.xrayEdit.currentPath = str(xray)
        self.ui.outputEdit.currentPath = str(output)

    def start(self) -> int:
        """Press Find poses and wait until the stand-in, which must be on hold, is at work; its process ID."""
        self.ui.findButton.click()
        app.wait_until(lambda: self.logic.work.child.share == 0.5)
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
    replace_python(place, _REPLAY, monkeypatch)
    write_registration(place / "result")
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


@pytest.fixture
def done(panel, tmp_path):
    """The panel with two plausible poses."""
    panel.open(write_registration(tmp_path / "case"))
    return panel


def refused(panel, button):
    """Press a button; the one message that comes."""
    button.click()
    (message,), (error,) = app.messages, app.errors
    assert message.kind == "error"
    assert str(error) in message.text
    app.messages.clear()
    app.errors.clear()
    return message.text
