"""The module INN Registration when something goes wrong: bad folders, failed children, closed scenes."""

from __future__ import annotations

import json
import os
import signal

import pytest
from driving_registration import app, done, panel, refused, replay
from made_registrations import write_registration

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
from PySide6.QtCore import Qt  # isort: skip

__all__ = ["done", "panel", "replay"]


def test_folder_that_is_no_result(panel, tmp_path):
    (tmp_path / "empty").mkdir()
    nodes = len(slicer.util.getNodesByClass("vtkMRMLNode"))
    panel.ui.resultEdit.currentPath = str(tmp_path / "empty")
    assert "no registration.json in it" in refused(panel, panel.ui.openButton)
    panel.ui.resultEdit.currentPath = ""
    assert "Select the folder of a result" in refused(panel, panel.ui.openButton)
    folder = write_registration(tmp_path / "broken")
    (folder / "drr_2.nii.gz").write_bytes(b"no image")
    panel.ui.resultEdit.currentPath = str(folder)
    assert "truncated" in refused(panel, panel.ui.openButton)
    assert len(slicer.util.getNodesByClass("vtkMRMLNode")) == nodes
    assert panel.run is None


@pytest.mark.parametrize(
    ("edit", "path", "said"),
    [
        ("bundleEdit", "/nowhere", "No prepared patient and no bundle in /nowhere."),
        ("xrayEdit", "/no.dcm", "There is no file /no.dcm."),
    ],
)
def test_missing_files(panel, edit, path, said):
    getattr(panel.ui, edit).currentPath = path
    assert (panel.status, panel.ui.findButton.enabled) == (said, False)
    with pytest.raises(ValueError, match=said):
        panel.logic.start(panel.state)


def test_child_complains(panel):
    (panel.replay / "complaint").write_text("monai-inn: the bundle infers oxygenation, not poses.\n")
    panel.ui.findButton.click()
    panel.settle()
    (message,) = app.messages
    assert message.text == panel.status == "the bundle infers oxygenation, not poses."
    assert panel.run is None
    assert panel.ui.findButton.text == "Find poses"


def test_child_is_killed(panel):
    (panel.replay / "hold").touch()
    os.kill(panel.start(), signal.SIGKILL)
    panel.settle()
    (message,) = app.messages
    assert "killed" in message.text
    assert "\n" not in message.text
    assert panel.run is None


def test_child_leaves_no_result(panel):
    (panel.replay / "result" / "registration.json").write_text("{}")
    panel.ui.findButton.click()
    panel.settle()
    (message,) = app.messages
    assert "lacks" in message.text
    assert panel.run is None


def test_scene_is_closed_in_the_middle(panel):
    (panel.replay / "hold").touch()
    pid = panel.start()
    slicer.mrmlScene.Clear(False)
    assert panel.logic.work is None
    assert panel.status == "Scene closed; the registration was canceled."
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (panel.replay / "hold").unlink()
    app.process_events()
    assert panel.run is None


def test_result_comes_while_another_module_is_open(panel):
    (panel.replay / "hold").touch()
    panel.start()
    panel.module.exit()
    (panel.replay / "hold").unlink()
    panel.settle()
    panel.module.enter()
    assert panel.run.name == "lateral ü"
    assert panel.ui.poseTable.rowCount == 2


def test_result_was_deleted(done):
    done.run.remove()
    assert (done.run, done.ui.poseTable.rowCount, done.ui.posesSection.enabled) == (None, 0, False)
    assert done.ui.targetLabel.text == ""


def test_record_was_changed_in_the_scene(done):
    done.run.find("registration", class_name="vtkMRMLTextNode").SetText("{}")
    done.ui.checkerboardButton.click()
    assert "registration.json lacks" in done.status
    assert (done.ui.poseTable.rowCount, done.ui.bannerLabel.visible) == (0, False)


def test_texts_of_a_result_are_shown_as_they_are(panel, tmp_path):
    folder = write_registration(tmp_path / "case")
    path = folder / "registration.json"
    record = json.loads(path.read_text())
    record["ambiguity"]["statement"] = "<b>Two</b> poses"
    path.write_text(json.dumps(record))
    panel.open(folder)
    assert panel.ui.bannerLabel.text.startswith("? <b>Two</b> poses")
    assert panel.ui.bannerLabel.textFormat == Qt.TextFormat.PlainText
