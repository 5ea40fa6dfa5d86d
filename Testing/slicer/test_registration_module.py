"""The unmodified module INN Registration, driven through its panel."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from driving_registration import MODULE, app, done, panel, replay
from made_registrations import POSES, TARGET, camera, phantom, write_registration

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
import vtk  # isort: skip
from PySide6.QtCore import Qt  # isort: skip
from PySide6.QtTest import QTest  # isort: skip

__all__ = ["done", "panel", "replay"]
PANEL_WIDTH = 440  # that of the pictures in the docs


def matrix_of(run):
    matrix = vtk.vtkMatrix4x4()
    run.transform.GetMatrixTransformToParent(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def target_of(run):
    return run.find("target", class_name="vtkMRMLMarkupsFiducialNode")


def surface(run):
    model = run.find("spread", class_name="vtkMRMLModelNode")
    return None if model is None else np.array(model.GetPolyData().GetBounds())


def color(label):
    return label.styleSheet.split(";")[0]


def add_ct(name="CT"):
    array, matrix = phantom()
    return slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name=name)


def test_what_slicer_shows_before_it_is_opened(panel):
    module = panel.module
    assert (module.title, module.categories) == ("INN Registration", ["Registration"])
    assert module.dependencies == ["INNUncertainty"]
    assert "Research only" in module.acknowledgementText
    assert not module.icon.isNull()


def test_empty_panel_says_what_to_do(panel):
    assert not panel.ui.bannerLabel.visible
    assert not panel.ui.untrustedCheck.visible
    assert not panel.ui.posesSection.enabled
    assert panel.ui.findButton.enabled
    for edit, said in (
        (panel.ui.outputEdit, "Select a folder to write into."),
        (panel.ui.xrayEdit, "Select an X-ray."),
        (panel.ui.bundleEdit, "Select the patient's CT, or a folder that was prepared or trained for it."),
    ):
        edit.currentPath = ""
        assert (panel.status, panel.ui.findButton.enabled, panel.ui.findButton.toolTip) == (said, False, said)


def test_what_is_open_fits_a_usual_screen(panel, tmp_path):
    """Of 1080 pixels Slicer itself and the head of the module need 230."""
    assert panel.ui.posesSection.collapsed
    assert panel.module.panel.sizeHint().height() <= 850
    panel.open(write_registration(tmp_path / "case"))
    assert not panel.ui.posesSection.collapsed
    assert panel.module.panel.sizeHint().height() <= 850


def test_find_poses_from_the_button_to_the_scene(panel):
    panel.ui.findButton.click()
    assert panel.ui.findButton.text == "Cancel"
    panel.settle()
    words = (panel.replay / "calls").read_text().split(" -o ")
    assert words[0] == f"-m monai_inn register {panel.state.bundle} {panel.state.xray}"
    assert words[1].strip() == f"{panel.output / 'lateral ü'} --json --progress-lines"
    assert panel.status == "lateral ü: 2 plausible pose(s)."
    assert (app.messages, panel.ui.findButton.text, panel.ui.progressBar.value) == ([], "Find poses", 0)
    assert panel.run.name == "lateral ü"
    np.testing.assert_array_equal(matrix_of(panel.run), camera(POSES[0]))
    panel.ui.findButton.click()
    panel.settle()
    assert (panel.output / "lateral ü_2" / "registration.json").is_file()  # nothing is replaced


def test_options_reach_the_command(panel):
    ui = panel.ui
    assert [ui.boneBox.itemText(n) for n in range(3)] == ["as the file says", "dark", "bright"]
    ui.boneBox.setCurrentIndex(2)
    ui.spacingBox.value = 0.308
    ui.mirrorCheck.click()
    ui.reweightCheck.click()
    ui.refineCheck.click()
    ui.findButton.click()
    panel.settle()
    words = (panel.replay / "calls").read_text().strip()
    told = "--contrast attenuation --spacing 0.308 --mirror --reweight --refine"
    assert words.endswith(f"{told} --json --progress-lines")


def test_a_ct_of_the_scene_is_enough(panel):
    ct = add_ct()
    panel.ui.bundleEdit.currentPath = ""
    panel.ui.ctSelector.setCurrentNode(ct)
    panel.ui.reweightCheck.checked = True
    assert not panel.ui.reweightCheck.enabled
    panel.ui.findButton.click()
    panel.settle()
    words = (panel.replay / "calls").read_text()
    written = Path(words.split("register ")[1].split(" ")[0])
    assert written.name == "ct.nrrd"
    assert "--reweight" not in words
    assert not written.parent.exists()
    assert panel.status == "lateral ü: 2 plausible pose(s)."


def test_a_prepared_patient_is_taken(panel, tmp_path):
    patient = tmp_path / "patient"
    patient.mkdir()
    (patient / "patient.json").write_text("{}")
    panel.ui.bundleEdit.currentPath = str(patient)
    panel.ui.findButton.click()
    panel.settle()
    assert f"register {patient} " in (panel.replay / "calls").read_text()
    assert not panel.ui.refineCheck.enabled


def test_what_was_assumed_is_told(panel, tmp_path):
    folder = write_registration(tmp_path / "case")
    path = folder / "registration.json"
    record = json.loads(path.read_text())
    record["xray"]["notes"] = ["A picture says nothing of its spacing.", "Columns were reversed."]
    record["weights"] = {"statement": "950 of 1,000 draws counted."}
    path.write_text(json.dumps(record))
    panel.open(folder)
    said = "A picture says nothing of its spacing. Columns were reversed. 950 of 1,000 draws counted."
    assert panel.status == f"case: 2 plausible pose(s). {said}"


def test_packages_are_installed_after_a_yes(panel, monkeypatch):
    import importlib.util

    find_spec = importlib.util.find_spec
    gone = lambda name, *rest: None if name == "nanodrr" else find_spec(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", gone)
    panel.module.exit()
    panel.module.enter()
    assert panel.ui.installButton.visible
    assert (panel.status, panel.ui.findButton.enabled) == ("Install the packages first.", False)
    app.answers.append(False)
    panel.ui.installButton.click()
    (question,) = app.messages
    assert "monai_inn[io,registration]" in question.text
    assert app.packages.calls == []

    def install(requirements):
        assert requirements == ["monai_inn[io,registration]>=0.1"]
        monkeypatch.setattr(importlib.util, "find_spec", find_spec)

    monkeypatch.setattr(slicer.packaging, "pip_install", install)
    panel.ui.installButton.click()
    assert not panel.ui.installButton.visible
    assert panel.ui.findButton.enabled


def test_progress_and_cancel(panel):
    (panel.replay / "hold").touch()
    pid = panel.start()
    app.wait_until(lambda: panel.ui.progressBar.value == 500)
    assert panel.status.startswith("50%, sampling poses")
    assert "sampling poses" in panel.ui.logText.plainText
    panel.ui.findButton.click()
    assert panel.status == "Canceled; nothing was changed."
    assert (panel.logic.work, panel.run, [*panel.output.iterdir()]) == (None, None, [])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_table_has_a_row_for_each_pose(done):
    heads = [done.ui.poseTable.horizontalHeaderItem(n).text().replace("\n", " ") for n in range(9)]
    assert heads[:3] == ["#", "Mass [%]", "LAO/RAO [°]"]
    assert heads[5:] == ["Right [mm]", "Down [mm]", "Away [mm]", "NCC"]
    rows = done.table()
    assert rows[0][:8] == ["1", "58", "70.0 LAO", "6.0 CRA", "2.0", "3.0", "-5.0", "20.0"]
    assert rows[1][:4] == ["2", "42", "114.0 LAO", "6.0 CAU"]
    assert "right (RAO) is negative" in done.ui.poseTable.horizontalHeaderItem(2).toolTip()
    assert done.ui.poseTable.currentRow() == 0


def test_nothing_of_the_table_is_cut_off(panel, tmp_path):
    """At the width that a panel usually has, with the widest angles, and with what is fixed."""
    folder = write_registration(tmp_path / "wide")
    path = folder / "registration.json"
    record = json.loads(path.read_text())
    for mode in record["modes"]:
        mode["pose"] |= {"lao": -114.0, "cra": -26.0, "roll": -13.0, "right": -55.0, "down": -48.0}
        mode["pose"]["away"] = -120.0
    record["parameters"][2]["is_free"] = False
    path.write_text(json.dumps(record))
    panel.open(folder)
    panel.module.panel.resize(PANEL_WIDTH, 1200)
    app.process_events()
    table = panel.ui.poseTable
    widths = [table.columnWidth(n) for n in range(table.columnCount)]
    assert sum(widths) <= table.viewport().width
    assert table.horizontalHeaderItem(4).text() == "Roll\n[°]\nfixed"
    assert panel.table()[0][2:5] == ["114.0 RAO", "26.0 CAU", "-13.0"]
    hints = [table.sizeHintForColumn(n) for n in range(len(widths))]
    assert all(width >= hint for width, hint in zip(widths, hints, strict=True))


def test_click_moves_the_carm(done):
    table = done.ui.poseTable
    np.testing.assert_array_equal(matrix_of(done.run), camera(POSES[0]))
    place = table.visualItemRect(table.item(1, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    np.testing.assert_array_equal(matrix_of(done.run), camera(POSES[1]))
    assert done.ui.poseLabel.text.startswith("Pose 2, 42 %: 114.0° LAO ± 2.0°, 6.0° CAU")
    assert done.run.find("drr").GetAttribute("INN.mode") == "2"
    assert done.run.find("comparison").GetAttribute("INN.mode") == "2"


def test_arrow_keys_move_the_carm(done):
    table = done.ui.poseTable
    for key, number in ((Qt.Key.Key_Down, 2), (Qt.Key.Key_Up, 1)):
        QTest.keyClick(table, key)
        np.testing.assert_array_equal(matrix_of(done.run), camera(POSES[number - 1]))
        assert table.currentRow() == number - 1


def test_images_stand_in_their_views(done):
    manager = slicer.app.layoutManager()
    for name, kind in (("INNXray", "xray"), ("INNDRR", "drr"), ("INNCompare", "comparison")):
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == done.run.find(kind).GetID()
        assert app.slice_view(name).pixels()[..., 0].std() > 10
    assert manager.sliceWidget("INNXray").mrmlSliceNode().GetSliceVisible()
    assert manager.sliceWidget("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID() is None


def test_ways_of_comparing(done):
    run, ui = done.run, done.ui
    ui.shareSlider.value = 0.0
    np.testing.assert_array_equal(run.array("comparison"), run.array("xray"))
    ui.shareSlider.value = 1.0
    np.testing.assert_array_equal(run.array("comparison"), run.array("drr"))
    ui.checkerboardButton.click()
    assert (ui.shareSlider.visible, ui.fieldsBox.visible) == (False, True)
    ui.fieldsBox.value = 2
    values = run.array("comparison")[0]
    np.testing.assert_array_equal(values[:32, :32], run.array("xray")[0, :32, :32])
    np.testing.assert_array_equal(values[:32, 32:], run.array("drr")[0, :32, 32:])
    ui.differenceButton.click()
    np.testing.assert_allclose(run.array("comparison"), run.array("xray") - run.array("drr"), atol=1e-6)
    assert (ui.shareSlider.visible, ui.fieldsBox.visible) == (False, False)
    assert [ui.blendButton.checked, ui.checkerboardButton.checked, ui.differenceButton.checked] == [0, 0, 1]
    done.ui.poseTable.setCurrentCell(1, 0)
    assert run.find("comparison").GetAttribute("INN.comparison") == "difference"


def test_ellipsoid_follows_the_target(done):
    run = done.run
    assert done.ui.targetLabel.text.startswith("Target at R 4.0, A -30.0, S 120.0 mm. Target, 95 %: ± ")
    before = surface(run)
    target_of(run).SetNthControlPointPositionWorld(0, 60, 0, 100)
    assert np.abs(surface(run) - before).max() > 20
    assert done.ui.targetLabel.text.startswith("Target at R 60.0, A 0.0, S 100.0 mm.")
    done.ui.targetButton.click()
    np.testing.assert_allclose(run.target, TARGET, atol=1e-4)
    np.testing.assert_allclose(surface(run), before, atol=1e-3)


@pytest.mark.parametrize("way", ["deleted", "scene closed"])
def test_a_target_that_has_gone_is_not_listened_to(done, way):
    target = target_of(done.run)
    if way == "deleted":
        slicer.mrmlScene.RemoveNode(target)
        target.RemoveAllControlPoints()
        target.AddControlPoint(0, 0, 0)
    else:
        done.module.exit()
        slicer.mrmlScene.Clear(False)
    event = slicer.vtkMRMLMarkupsNode.PointModifiedEvent
    assert not done.widget.hasObserver(target, event, done.widget.onTarget)


def test_ellipsoid_follows_the_target_while_another_module_is_open(done, tmp_path):
    run, target = done.run, target_of(done.run)
    before, said = surface(run), done.ui.targetLabel.text
    done.module.exit()
    target.SetNthControlPointPositionWorld(0, 60, 0, 100)
    assert np.abs(surface(run) - before).max() > 20
    assert done.ui.targetLabel.text == said  # nobody sees it
    target.RemoveNthControlPoint(0)
    assert (surface(run), run.find("shadow", class_name="vtkMRMLModelNode")) == (None, None)
    target.AddControlPointWorld(*TARGET)
    np.testing.assert_allclose(surface(run), before, atol=1e-3)
    slicer.mrmlScene.RemoveNode(target)
    assert surface(run) is None
    done.module.enter()
    assert done.ui.targetLabel.text == "The target was deleted."


def test_cleanup_leaves_no_observer_at_all(done):
    widget = done.widget
    done.module.exit()
    widget.cleanup()
    assert [*widget.Observations] == []


@pytest.mark.parametrize("way", ["node", "point", "undefined"])
def test_a_deleted_target_comes_back(done, way):
    run, target = done.run, target_of(done.run)
    before, said = surface(run), done.ui.targetLabel.text
    if way == "node":
        slicer.mrmlScene.RemoveNode(target)
    elif way == "point":
        target.RemoveNthControlPoint(0)
    else:
        target.UnsetNthControlPointPosition(0)
    assert surface(run) is None
    assert done.ui.targetLabel.text == "The target was deleted."
    done.ui.targetButton.click()
    np.testing.assert_allclose(surface(run), before, atol=1e-3)
    assert done.ui.targetLabel.text == said
    assert target_of(run).GetDisplayNode().GetVisibility()
    assert target_of(run).GetNumberOfControlPoints() == 1
    target_of(run).SetNthControlPointPositionWorld(0, 60, 0, 100)
    assert done.ui.targetLabel.text.startswith("Target at R 60.0")


def test_a_ct_under_a_transform_is_refused(done):
    ct = add_ct()
    done.prepare("", done.ui.xrayEdit.currentPath, done.output)
    done.ui.ctSelector.setCurrentNode(ct)
    assert done.ui.findButton.enabled
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    ct.SetAndObserveTransformNodeID(moved.GetID())
    done.module.enter()
    said = "CT lies under a transform; harden it in the module Transforms."
    for button in (done.ui.findButton, done.ui.trainButton):
        assert (button.enabled, button.toolTip) == (False, said)
    with pytest.raises(ValueError, match="CT lies under a transform"):
        done.logic.start(done.state)


@pytest.mark.parametrize(
    ("number", "is_trusted", "wanted", "said"),
    [
        (1, True, "#2e7d32", "✓ One pose explains"),
        (2, True, "#ffca3a", "? Two poses explain"),
        (2, False, "#b00020", "⚠ NOT TRUSTED. Do not use these poses"),
    ],
)
def test_banner(panel, tmp_path, number, is_trusted, wanted, said):
    panel.open(write_registration(tmp_path / "case", number, is_trusted))
    assert panel.ui.bannerLabel.visible
    assert panel.ui.bannerLabel.text.startswith(said)
    assert wanted in color(panel.ui.bannerLabel)
    assert panel.ui.untrustedCheck.visible == (not is_trusted)


def test_untrusted_poses_are_shown_after_a_confirmation_only(panel, tmp_path):
    panel.open(write_registration(tmp_path / "bad", is_trusted=False))
    ui = panel.ui
    assert not ui.poseTable.enabled
    assert (ui.poseLabel.text, panel.run.shown, panel.run.find("drr")) == ("", None, None)
    np.testing.assert_array_equal(matrix_of(panel.run), np.eye(4))
    assert panel.run.find("xray") is not None
    ui.untrustedCheck.click()
    assert ui.poseTable.enabled
    np.testing.assert_array_equal(matrix_of(panel.run), camera(POSES[0]))
    assert ui.bannerLabel.text.startswith("⚠ NOT TRUSTED")
    ui.untrustedCheck.click()
    np.testing.assert_array_equal(matrix_of(panel.run), np.eye(4))
    assert surface(panel.run) is None
    ui.untrustedCheck.click()
    panel.open(write_registration(tmp_path / "worse", is_trusted=False, seed=1))
    assert not ui.untrustedCheck.checked  # nobody has confirmed that one
    assert panel.run.shown is None


def test_two_results_side_by_side(done, tmp_path):
    first = done.run
    done.open(write_registration(tmp_path / "other", number=1, seed=3))
    assert [done.ui.runBox.itemText(n) for n in range(2)] == ["case", "other"]
    assert (done.run.name, done.ui.poseTable.rowCount) == ("other", 1)
    assert first.shown is None  # one C-arm at a time
    done.ui.runBox.setCurrentIndex(0)
    assert (done.run, done.ui.poseTable.rowCount, first.shown.number) == (first, 2, 1)
    done.open(tmp_path / "case")
    assert done.ui.runBox.count == 2


def test_ct_stands_behind_the_slices_at_the_target(done):
    ct = add_ct()
    done.ui.ctSelector.setCurrentNode(ct)
    manager = slicer.app.layoutManager()
    for name, axis in (("Red", 2), ("Green", 1)):
        widget = manager.sliceWidget(name)
        assert widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() == ct.GetID()
        place = slicer.util.arrayFromVTKMatrix(widget.mrmlSliceNode().GetSliceToRAS())[axis, 3]
        assert place == pytest.approx(TARGET[axis], abs=1e-4)
    xray = manager.sliceWidget("INNXray").mrmlSliceCompositeNode()
    assert xray.GetBackgroundVolumeID() == done.run.find("xray").GetID()
    assert app.slice_view("INNXray").pixels()[..., 0].std() > 10
    done.ui.poseTable.setCurrentCell(1, 0)
    assert manager.sliceWidget("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID() == ct.GetID()


def test_everything_comes_back_with_the_scene(done, tmp_path):
    done.ui.ctSelector.setCurrentNode(add_ct())
    done.ui.poseTable.setCurrentCell(1, 0)
    done.ui.differenceButton.click()
    target_of(done.run).SetNthControlPointPositionWorld(0, 10, 20, 30)
    key, bounds, text = done.run.key, surface(done.run), done.ui.targetLabel.text
    assert slicer.util.saveScene(str(tmp_path / "case ü.mrb"))
    slicer.mrmlScene.Clear(False)
    assert (done.run, done.ui.poseTable.rowCount, done.ui.bannerLabel.visible) == (None, 0, False)
    slicer.util.loadScene(str(tmp_path / "case ü.mrb"))
    assert (done.run.key, done.ui.poseTable.rowCount, done.ui.poseTable.currentRow()) == (key, 2, 1)
    np.testing.assert_array_equal(matrix_of(done.run), camera(POSES[1]))
    np.testing.assert_allclose(surface(done.run), bounds, atol=1e-3)
    assert done.ui.targetLabel.text == text
    assert done.ui.differenceButton.checked
    assert done.ui.ctSelector.currentNode().GetName() == "CT"
    assert done.ui.xrayEdit.currentPath == done.state.xray != ""
    target_of(done.run).SetNthControlPointPositionWorld(0, 0, 0, 0)
    assert "R 0.0, A 0.0, S 0.0 mm" in done.ui.targetLabel.text


def test_confirmation_is_not_saved(panel, tmp_path):
    panel.open(write_registration(tmp_path / "bad", is_trusted=False))
    panel.ui.untrustedCheck.click()
    assert slicer.util.saveScene(str(tmp_path / "bad.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "bad.mrb"))
    assert not panel.ui.untrustedCheck.checked
    assert panel.run.shown is None


def test_logic_works_without_the_panel(panel, tmp_path):
    logic, state = type(panel.logic)(), panel.state
    run = logic.open(write_registration(tmp_path / "case"))
    state.run, state.pose = run.key, 2
    assert logic.show(state).shown.number == 2


def test_self_test(panel):
    """It registers the sample X-ray; here the stand-in answers."""
    panel.module.run_tests()
    assert app.messages == []
    called = (panel.replay / "calls").read_text()
    assert "torso_xray.png -o " in called
    assert "--contrast intensity --spacing 1.125" in called


def test_sample_data_can_be_tried_at_once(panel):
    from INNRegistrationLib import register_sample_data

    register_sample_data()
    sample = app.sample_data["INNTorso"]
    assert Path(sample["thumbnailFileName"]).is_file()
    panel.module.exit()
    (volume,) = sample["customDownloader"](None)  # by the module Sample Data
    panel.module.enter()
    assert slicer.util.arrayFromVolume(volume).shape == (112, 101, 122)
    assert panel.ui.ctSelector.currentNode() is volume
    assert (panel.ui.xrayEdit.currentPath, panel.ui.bundleEdit.currentPath) == (panel.state.xray, "")
    assert panel.ui.boneBox.currentText == "dark"
    assert panel.ui.findButton.enabled, panel.status


def test_shipped_examples_are_those_of_the_package():
    root = MODULE.parents[1]
    for name, source in (("torso_ct.nii.gz", "Resources/ct"), ("torso_xray.png", "Resources")):
        shipped = MODULE / "Resources" / "SampleData" / name
        assert shipped.read_bytes() == (root / source / name).read_bytes()


def test_shipped_networks_are_chosen_by_name(panel, tmp_path):
    spine = tmp_path / "lumbar_spine"
    (spine / "configs").mkdir(parents=True)
    (spine / "configs" / "metadata.json").write_text("{}")
    entries = [
        {"name": "oximetry", "path": "/oximetry", "result": "maps"},
        {"name": "lumbar_spine", "path": str(spine), "result": "poses"},
        {"name": "broken", "path": "/broken", "result": "poses", "error": "damaged"},
    ]
    (panel.replay / "bundles.json").write_text(json.dumps({"bundles": entries}))
    panel.ui.patientSection.collapsed = False
    app.wait_until(lambda: panel.ui.shippedBox.count)
    assert [panel.ui.shippedBox.itemText(n) for n in range(panel.ui.shippedBox.count)] == [
        "none",
        "lumbar_spine",
    ]
    panel.ui.shippedBox.setCurrentIndex(1)
    assert panel.ui.bundleEdit.currentPath == panel.state.bundle == str(spine)
    panel.ui.findButton.click()
    panel.settle()
    assert f"register {spine} " in (panel.replay / "calls").read_text()
    panel.ui.bundleEdit.currentPath = str(tmp_path)
    assert panel.ui.shippedBox.currentText == "none"


def test_a_network_is_trained_for_the_ct(panel):
    assert not panel.ui.trainButton.enabled
    assert panel.ui.trainButton.toolTip == "Select the patient's CT."
    panel.ui.ctSelector.setCurrentNode(add_ct("Torso"))
    panel.ui.minutesBox.value = 3
    (panel.replay / "hold").touch()
    panel.ui.trainButton.click()
    app.wait_until(lambda: panel.ui.progressBar.visible and panel.ui.progressBar.value == 500)
    assert (panel.ui.trainButton.text, panel.ui.findButton.text) == ("Cancel", "Cancel")
    (panel.replay / "hold").unlink()
    panel.settle()
    words = (panel.replay / "calls").read_text().splitlines()[-1].split()
    assert words[2:5] == ["fit", "registration", "--ct"]
    assert Path(words[5]).name == "ct.nrrd"
    assert not Path(words[5]).exists()
    assert "--minutes 3" in " ".join(words)
    assert panel.state.bundle == panel.ui.bundleEdit.currentPath == str(panel.output / "Torso bundle")
    assert panel.status == f"Trained: {panel.output / 'Torso bundle'}"


def test_a_training_is_canceled_and_leaves_nothing(panel):
    panel.ui.ctSelector.setCurrentNode(add_ct("Torso"))
    before = panel.state.bundle
    (panel.replay / "hold").touch()
    panel.ui.trainButton.click()
    app.wait_until(lambda: panel.logic.work.child.share == 0.5)
    panel.ui.trainButton.click()
    assert (panel.logic.work, panel.state.bundle) == (None, before)
    assert panel.status == "Canceled; nothing was changed."
    assert not (panel.output / "Torso bundle").exists()


def test_reload_reads_the_own_library_anew(panel):
    import INNRegistrationLib

    panel.module.reload()
    assert sys.modules["INNRegistrationLib"] is not INNRegistrationLib
