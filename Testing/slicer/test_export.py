"""Exporting from the panel, by the real child: NIfTI, CSV, the page for the record, DICOM."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from driving import Panel, app, members, replay, use_real_python

import slicer  # isort: skip -- driving has installed what stands in for it

from INNDisplayLib import read_result, store

__all__ = ["replay"]


@pytest.fixture
def panel(replay, recorded, monkeypatch):
    """The open module with one result in the scene, and no inference."""
    app.reset()
    store(slicer.mrmlScene, read_result(recorded / "result"), "tumor: bed 3, oximetry")
    opened = Panel()
    opened.settle()
    use_real_python(monkeypatch)
    yield opened
    opened.module.close()
    assert opened.left_behind() == []


def export(panel, folder, *forms):
    ui = panel.ui
    for box in (ui.exportNiftiCheck, ui.exportCsvCheck, ui.exportPageCheck, ui.exportDicomCheck):
        box.checked = box in [getattr(ui, f"export{form}Check") for form in forms]
    ui.exportFolderEdit.currentPath = str(folder)
    ui.exportButton.click()


def finish(panel):
    app.wait_until(lambda: panel.widget._export.child is None)
    return panel.ui.exportLabel.text


def test_every_form_is_written(panel, tmp_path):
    folder = tmp_path / "für die Akte"
    folder.mkdir()
    export(panel, folder, "Nifti", "Csv", "Page", "Dicom")
    assert panel.ui.exportButton.text == "Cancel"
    out = folder / "tumor_bed_3_oximetry"
    assert finish(panel) == f"Written to {out}"
    assert panel.ui.exportButton.text == "Export"
    assert app.messages == []
    assert {"export.json", "nifti", "summary.csv", "record.html", "dicom"} <= {p.name for p in out.iterdir()}
    written = nibabel.load(out / "nifti" / "median_vhb.nii.gz").get_fdata()
    shown = panel.run.array("median", "vhb")
    np.testing.assert_allclose(written.transpose(2, 1, 0), shown, rtol=1e-6)
    assert len([*(out / "dicom").glob("median_*.dcm")]) == 4
    assert json.loads((out / "export.json").read_text())


@pytest.mark.parametrize(
    ("folder", "forms", "message"),
    [("", ("Csv",), "Select a folder to write into."), ("here", (), "Select at least one form.")],
)
def test_what_is_missing_is_said(panel, tmp_path, folder, forms, message):
    export(panel, tmp_path / folder if folder else "", *forms)
    (shown,) = app.messages
    assert message in shown.text + shown.details
    assert panel.widget._export.child is None
    app.errors.clear()


def test_the_line_of_the_child_is_shown_once(panel, tmp_path):
    (tmp_path / "tumor_bed_3_oximetry").mkdir()
    (tmp_path / "tumor_bed_3_oximetry" / "mine.txt").write_text("")
    export(panel, tmp_path, "Csv")
    assert "choose another folder" in finish(panel)
    assert len(app.messages) == 1
    assert [p.name for p in (tmp_path / "tumor_bed_3_oximetry").iterdir()] == ["mine.txt"]


def test_a_source_that_does_not_fit_is_refused(panel, tmp_path):
    (tmp_path / "series").mkdir()
    panel.ui.exportSourceEdit.currentPath = str(tmp_path / "series")
    export(panel, tmp_path, "Dicom")
    assert "DICOM" in finish(panel)
    assert not (tmp_path / "tumor_bed_3_oximetry").exists()


def test_cancel_leaves_nothing(panel, tmp_path, monkeypatch):
    use_real_python(monkeypatch, alone=True)
    folder = tmp_path / "folder"
    folder.mkdir()
    export(panel, folder, "Csv", "Dicom")
    if Path("/proc/self/stat").exists():  # a shell that has not started Python yet would swallow the Ctrl-C
        group = panel.widget._export.child._process._process.pid
        app.wait_until(lambda: len(members(group)) == 2)
    panel.ui.exportButton.click()
    assert panel.ui.exportLabel.text == "Canceled; nothing was written."
    assert panel.ui.exportButton.text == "Export"
    assert [*folder.iterdir()] == []
