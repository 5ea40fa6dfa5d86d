"""Results are opened from their folder, their record, a scene, and by dropping them on Slicer's window."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pytest
from driving import app, drop, kind_of, replace_python, shown
from driving import panel_without_bundles as panel
from made_results import write_result

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
from INNDisplayLib import read_result, runs, store

__all__ = ["panel"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_result(tmp_path_factory.mktemp("results") / "liver, day 1")


def names():
    return [run.name for run in runs(slicer.mrmlScene)]


@pytest.mark.parametrize("what", ["folder", "record"])
def test_a_dropped_result_is_shown(panel, folder, what):
    assert drop(folder if what == "folder" else folder / "result.json")
    assert names() == ["liver, day 1"]
    assert panel.ui.runBox.currentText == "liver, day 1"
    assert kind_of(shown()) == "interval_width"
    assert panel.ui.displaySection.enabled


def test_a_drop_opens_the_module(panel, folder):
    panel.module.exit()
    assert drop(folder)
    assert panel.run.name == "liver, day 1"
    assert panel.ui.displaySection.enabled


def test_a_second_drop_is_shown_beside_the_first(panel, folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "day 8")
    assert drop(folder, other)
    assert [panel.ui.runBox.itemText(n) for n in range(2)] == ["liver, day 1", "day 8"]
    assert panel.run.name == "day 8"


def test_other_drops_are_left_to_others(panel, folder, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "result.json").write_text("[1, 2]")
    (tmp_path / "list.json").write_text('{"format_version": 1}')
    for paths in (
        [tmp_path],
        [tmp_path / "images"],
        [tmp_path / "list.json"],
        [folder, tmp_path],
        [tmp_path / "no"],
    ):
        assert not drop(*paths)
    assert (names(), app.messages) == ([], [])


def test_slicers_own_loading_takes_the_record(panel, folder, tmp_path):
    first = slicer.util.loadNodeFromFile(str(folder / "result.json"))
    assert first is not None
    assert names() == ["liver, day 1"]
    assert panel.run.name == "liver, day 1"
    manager = slicer.app.coreIOManager()
    (tmp_path / "result.json").write_text("{}")
    assert manager.fileType(str(tmp_path / "result.json")) != manager.fileType(str(folder / "result.json"))


def damaged(folder, tmp_path, how):
    target = shutil.copytree(folder, tmp_path / "damaged")
    record = target / "result.json"
    if how == "missing map":
        (target / "median_vhb.nii.gz").unlink()
    elif how == "cut record":
        record.write_bytes(record.read_bytes()[:900])
    elif how == "cut map":
        path = target / "median_vhb.nii.gz"
        path.write_bytes(path.read_bytes()[:100])
    elif how == "half map":
        path = target / "median_vhb.nii.gz"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "half plain map":
        whole = gzip.decompress((target / "median_vhb.nii.gz").read_bytes())
        (target / "median_vhb.nii").write_bytes(whole[: len(whole) // 2])
        record.write_text(record.read_text().replace("median_vhb.nii.gz", "median_vhb.nii"))
    elif how == "another version":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"format_version": 2}))
    return target


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing map", "median_vhb.nii.gz is missing; copy the folder as a whole"),
        ("cut record", "result.json: cannot be read"),
        ("cut map", "median_vhb.nii.gz: cannot be read; the file is truncated or damaged"),
        ("half map", "median_vhb.nii.gz: cannot be read; the file is truncated or damaged"),
        ("half plain map", "median_vhb.nii: cannot be read; the file is truncated or damaged"),
        ("another version", "has format 2, this module shows 1; update"),
    ],
)
def test_a_damaged_result_is_refused_in_a_line(panel, folder, tmp_path, how, message):
    target = damaged(folder, tmp_path, how)
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(RuntimeError, match=message):
        slicer.util.loadNodeFromFile(str(target / "result.json"))
    assert drop(target)
    (shown_message,) = app.messages
    assert message in shown_message.text
    assert (names(), slicer.mrmlScene.GetNumberOfNodes()) == ([], before)


@pytest.mark.parametrize("what", ["folder", "record"])
def test_the_field_for_other_files_takes_results(panel, folder, what):
    panel.ui.fileEdit.currentPath = str(folder if what == "folder" else folder / "result.json")
    panel.widget.onLoad()
    assert (names(), panel.ui.runBox.currentText) == (["liver, day 1"], "liver, day 1")
    assert "voxels usable" in panel.status


def test_the_field_for_other_files_takes_scenes(panel, folder, tmp_path):
    panel.logic.open(folder)
    panel.choose(panel.ui.kindBox, "probability_below")
    panel.ui.thresholdSlider.value = 0.4
    before = slicer.util.arrayFromVolume(shown()).copy()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    panel.ui.fileEdit.currentPath = str(tmp_path / "case.mrb")
    panel.widget.onLoad()
    panel.settle()
    assert names() == ["liver, day 1"]
    assert "voxels usable" in panel.status
    np.testing.assert_allclose(slicer.util.arrayFromVolume(shown()), before, atol=1e-6)
    panel.ui.thresholdSlider.value = 0.6  # from quantiles, without inference
    assert np.nanmean(slicer.util.arrayFromVolume(shown())) > np.nanmean(before) + 0.1


def test_a_scene_without_results_says_so(panel, tmp_path):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "note")
    assert slicer.util.saveScene(str(tmp_path / "note.mrb"))
    slicer.mrmlScene.Clear(False)
    panel.ui.fileEdit.currentPath = str(tmp_path / "note.mrb")
    panel.widget.onLoad()
    assert panel.status == "The scene holds no result."
    (tmp_path / "cut.mrb").write_bytes((tmp_path / "note.mrb").read_bytes()[:100])
    panel.ui.fileEdit.currentPath = str(tmp_path / "cut.mrb")
    with pytest.raises(RuntimeError, match=r"Failed to load node from file: .*cut\.mrb"):
        panel.widget.onLoad()
    app.errors.clear()


# The DICOM series of an image.

_EXPORTING = """#!/bin/sh
if [ "$3" = bundles ]; then echo '{{"bundles": []}}'; exit 0; fi
last=
for word in "$@"; do
  if [ "$last" = --source ]; then echo "$word" > '{folder}/source'; ls "$word" >> '{folder}/source'; fi
  last=$word
done
echo '{{"out": "out"}}'
"""


@pytest.fixture
def series(tmp_path):
    """Three instances of a series."""
    pydicom = pytest.importorskip("pydicom", reason='pydicom is missing: pip install "monai_inn[dicom]"')
    (tmp_path / "archive").mkdir()
    paths = []
    for number in range(3):
        image = pydicom.Dataset()
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", f"1.2.3.{number}"
        image.SeriesInstanceUID, image.StudyInstanceUID = "1.2.3", "1.2"
        paths.append(tmp_path / "archive" / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


@pytest.mark.parametrize("beside", [False, True])
def test_the_dicom_source_is_that_of_the_volume(panel, folder, series, tmp_path, monkeypatch, beside):
    place = series[0].parent
    if beside:
        (place / "other.dcm").write_bytes(b"of another series")
    replace_python(tmp_path / "exporting", _EXPORTING, monkeypatch)
    slicer.dicomDatabase.add(place)
    image = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Tissue")
    image.SetAttribute("DICOM.instanceUIDs", "1.2.3.0 1.2.3.1 1.2.3.2")
    run = store(slicer.mrmlScene, read_result(folder), "from DICOM", image)
    panel.state.run = run.key
    assert panel.ui.exportSourceEdit.currentPath == str(place)
    for box in (panel.ui.exportNiftiCheck, panel.ui.exportCsvCheck, panel.ui.exportPageCheck):
        box.checked = False
    panel.ui.exportDicomCheck.checked = True
    panel.ui.exportFolderEdit.currentPath = str(tmp_path)
    panel.ui.exportButton.click()
    app.wait_until(lambda: panel.widget._export.child is None)
    told, *files = (tmp_path / "exporting" / "source").read_text().splitlines()
    assert (told == str(place)) is not beside
    assert files == ["0.dcm", "1.dcm", "2.dcm"]


def test_what_the_user_enters_as_source_stays(panel, folder, series, tmp_path):
    run = panel.logic.open(folder)
    panel.state.run = run.key
    assert panel.ui.exportSourceEdit.currentPath == ""
    panel.ui.exportSourceEdit.currentPath = str(tmp_path)
    panel.ui.opacitySlider.value = 0.2
    assert panel.ui.exportSourceEdit.currentPath == str(tmp_path)


def test_a_volume_of_another_computer_has_no_source(panel, folder, series):
    slicer.dicomDatabase.add(series[0].parent)
    series[1].unlink()
    image = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Tissue")
    image.SetAttribute("DICOM.instanceUIDs", "1.2.3.0 1.2.3.1")
    panel.state.run = store(slicer.mrmlScene, read_result(folder), "moved", image).key
    assert panel.ui.exportSourceEdit.currentPath == ""
