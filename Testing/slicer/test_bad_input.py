"""What goes wrong at the panel: it says so in a line, leaves nothing behind, and goes on."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from driving import (
    add_image,
    app,
    complaint_of,
    dies,
    members,
    panel,
    replay,
    sphere,
    use_real_python,
)

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip

__all__ = ["panel", "replay"]


def refused(panel) -> str:
    """Press Apply; the one message that comes, and the exception that Slicer raises on after it."""
    panel.ui.applyButton.click()
    (message,), (error,) = app.messages, app.errors
    assert message.kind == "error"
    assert str(error) in message.text
    assert (panel.logic.inference, panel.left_behind()) == (None, [])
    assert panel.ui.applyButton.text == "Apply"
    app.messages.clear()
    app.errors.clear()
    return message.text


def test_no_image(panel):
    panel.ui.imageSelector.setCurrentNode(None)
    assert (panel.ui.applyButton.enabled, panel.status) == (False, "Select an image.")
    with pytest.raises(ValueError, match="Select an image"):
        panel.logic.start(panel.state)


@pytest.mark.parametrize("bands", [0, 5, 17])
def test_wrong_number_of_bands(panel, spectra, bands):
    wrong = add_image(np.resize(spectra, (2, 6, 7, bands)) if bands else spectra[..., 0], "Wrong")
    panel.ui.imageSelector.setCurrentNode(wrong)
    said = f"bundle needs an image of 16 channels (imec_ssm4x4_470_620); this one has {bands or 1}."
    assert (panel.ui.applyButton.enabled, panel.status, panel.ui.applyButton.toolTip) == (False, said, said)
    with pytest.raises(ValueError, match="needs an image of 16 channels"):
        panel.logic.start(panel.state)
    panel.ui.imageSelector.setCurrentNode(panel.image)
    assert panel.ui.applyButton.enabled


def test_volume_without_voxels(panel):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Empty")
    panel.ui.imageSelector.setCurrentNode(empty)
    assert not panel.ui.applyButton.enabled
    assert panel.status.endswith("this one has 0.")


def test_folder_without_bundles(panel, tmp_path):
    before = [*panel.state.bundleFolders]
    (tmp_path / "nothing").mkdir()
    for folder in (tmp_path / "nothing", tmp_path / "missing", "/", "/tm"):
        panel.ui.bundleFolderEdit.currentPath = str(folder)
        assert panel.status == f"No bundle in {folder}."
    assert panel.state.bundleFolders == before
    assert not panel.logic.is_busy()
    panel.ui.bundleFolderEdit.currentPath = ""
    assert (panel.status, panel.ui.applyButton.enabled) == ("", True)


def test_bundle_of_the_scene_is_not_on_this_computer(panel):
    panel.state.bundle = "/other/computer/bundle"
    assert (panel.status, panel.ui.applyButton.enabled) == ("Select a bundle. These fit: bundle.", False)
    assert (panel.ui.bundleBox.currentIndex, panel.ui.bundleCard.plainText) == (-1, "")
    panel.ui.bundleBox.setCurrentIndex(panel.ui.bundleBox.findText("bundle"))
    assert (panel.status, panel.ui.applyButton.enabled) == ("", True)


def test_list_of_bundles_fails(panel):
    (panel.replay / "bundles.json").write_text("{broken")
    panel.logic.list_bundles([])
    panel.widget._timer.start()
    panel.settle()
    assert len(app.messages) == 1
    assert "ended with code 0" in app.messages[0].text
    assert panel.ui.applyButton.enabled


def test_python_of_slicer_is_missing(panel):
    (panel.replay / "bin" / "PythonSlicer").unlink()
    assert "install Slicer again" in refused(panel)


def test_tampered_bundle(panel, recorded, tmp_path):
    shutil.copytree(recorded / "bundle", tmp_path / "tampered")
    weights = max((tmp_path / "tampered" / "models").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    command = "infer", str(tmp_path / "tampered"), str(recorded / "image.nrrd"), "-o", str(tmp_path / "out")
    (panel.replay / "complaint").write_text(complaint_of(*command), encoding="utf-8")
    panel.apply()
    (message,) = app.messages
    assert message.text == panel.status
    assert "tampered" in panel.status
    assert "weights were changed" in panel.status
    assert "\n" not in panel.status
    assert panel.run is None


def test_child_is_killed(panel):
    (panel.replay / "hold").touch()
    os.kill(panel.start(), signal.SIGKILL)
    panel.settle()
    (message,) = app.messages
    assert "memory ran out" in message.text
    assert (panel.run, panel.status) == (None, message.text)
    assert panel.left_behind() == []
    (panel.replay / "hold").unlink()


def test_temporary_folder_cannot_be_written(panel, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path / "file"))
    assert "could not be started" in refused(panel)
    monkeypatch.undo()


def test_disk_is_full_when_the_image_is_written(panel, monkeypatch):
    import SimpleITK

    def full(*_, **__):
        raise RuntimeError("itk::ERROR: no space")

    monkeypatch.setattr(SimpleITK, "WriteImage", full)
    assert "free space on the disk" in refused(panel)


def test_disk_is_full_at_once(panel, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert "No space left on device" in refused(panel)


def test_result_is_incomplete(panel):
    result = panel.replay / "result"
    copy = panel.replay / "copy"
    shutil.copytree(result.resolve(), copy)
    result.unlink()
    copy.rename(result)
    (result / "median_sao2.nii.gz").write_bytes(b"cut off")
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.applyButton.click()
    panel.settle()
    assert "median_sao2.nii.gz: cannot be read" in app.messages[0].text
    (result / "median_sao2.nii.gz").unlink()
    panel.ui.applyButton.click()
    panel.settle()
    assert "median_sao2.nii.gz is missing" in app.messages[1].text
    assert (panel.run, slicer.mrmlScene.GetNumberOfNodes(), len(app.messages)) == (None, before, 2)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_scene_is_closed_by_an_impatient_user(panel, monkeypatch):
    with monkeypatch.context() as only_here:  # the bundles are listed anew when the scene is closed
        use_real_python(only_here, alone=True)
        panel.ui.applyButton.click()
    group = panel.logic.inference.child._process._process.pid
    app.wait_until(lambda: len(members(group)) == 2)  # the launcher and Python
    slicer.mrmlScene.Clear(False)
    app.wait_until(lambda: not members(group))
    panel.settle()
    assert (panel.run, app.messages, panel.left_behind()) == (None, [], [])


def test_apply_twice_is_cancel(panel):
    (panel.replay / "hold").touch()
    pid = panel.start()
    panel.ui.applyButton.click()
    panel.ui.applyButton.click()
    assert dies(pid)
    app.wait_until(lambda: panel.logic.inference.child.share == 0.5)
    panel.ui.applyButton.click()
    assert (panel.logic.inference, app.messages, panel.run) == (None, [], None)


def test_segmentation_on_another_grid_or_elsewhere(panel):
    panel.apply()
    node, _ = sphere(panel.run.find("median", "sao2"), 1.2)
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.ui.regionButton.click()
    assert "The segment lies on another grid" in panel.ui.regionLabel.text
    before = panel.ui.regionLabel.text
    far = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    far.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4) + 500 * np.eye(4, k=3)))
    node.SetAndObserveTransformNodeID(far.GetID())
    panel.ui.regionButton.click()
    assert "none that can be trusted" in app.messages[0].text
    assert panel.ui.regionLabel.text == before
    app.errors.clear()


def test_no_segment(panel):
    panel.apply()
    panel.ui.regionButton.click()
    assert "Select a segmentation and a segment." in app.messages[0].text
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    panel.ui.segmentationSelector.setCurrentNode(empty)
    assert panel.ui.segmentBox.count == 0
    panel.ui.regionButton.click()
    assert len(app.messages) == 2
    panel.ui.segmentationSelector.setCurrentNode(None)
    slicer.mrmlScene.RemoveNode(empty)
    app.errors.clear()


def test_segment_is_deleted_after_it_was_chosen(panel):
    panel.apply()
    node, segment = sphere(panel.run.find("median", "sao2"))
    panel.ui.segmentationSelector.setCurrentNode(node)
    node.GetSegmentation().RemoveSegment(segment)
    panel.ui.regionButton.click()
    assert "Select a segmentation and a segment." in app.messages[0].text
    assert panel.ui.segmentBox.count == 0
    app.errors.clear()


def test_image_is_renamed_and_deleted_while_it_is_inferred(panel):
    (panel.replay / "hold").touch()
    panel.start()
    panel.image.SetName("Renamed")
    slicer.mrmlScene.RemoveNode(panel.image)
    assert panel.ui.applyButton.text == "Cancel"
    assert panel.ui.applyButton.enabled
    (panel.replay / "hold").unlink()
    panel.settle()
    assert (panel.run.image, panel.run.name) == (None, "Tissue, bundle")
    assert panel.run.background.GetAttribute("INN.map") == "photo"
    assert not panel.ui.applyButton.enabled
    assert app.messages == []


def test_image_is_deleted_afterwards(panel):
    panel.apply()
    panel.image.SetName("Renamed")
    slicer.mrmlScene.RemoveNode(panel.image)
    assert (panel.ui.applyButton.enabled, panel.status) == (False, "Select an image.")
    panel.choose(panel.ui.kindBox, "median")
    view = app.slice_view("Red").composite
    assert view.GetBackgroundVolumeID() == panel.run.find("photo").GetID()
    assert view.GetForegroundVolumeID() == panel.run.find("median", "sao2").GetID()


def test_record_is_deleted(panel):
    panel.apply()
    slicer.mrmlScene.RemoveNode(panel.run.record_node)
    assert (panel.run, panel.ui.runBox.count, panel.ui.displaySection.enabled) == (None, 0, False)
    slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCursorPositionRAS((10, -20, 30))
    panel.apply()
    assert panel.ui.runBox.count == 1


def test_record_is_deleted_while_its_result_is_replaced(panel):
    panel.apply()
    (panel.replay / "hold").touch()
    panel.start()
    slicer.mrmlScene.RemoveNode(panel.run.record_node)
    (panel.replay / "hold").unlink()
    panel.settle()
    assert app.messages == []
    assert (panel.ui.runBox.count, panel.run.name) == (1, "Tissue, bundle")


def test_shown_map_is_deleted(panel):
    panel.apply()
    slicer.mrmlScene.RemoveNode(panel.run.find("interval_width", "sao2"))
    panel.ui.opacitySlider.value = 0.5
    assert not app.slice_view("Red").composite.GetForegroundVolumeID()
    panel.choose(panel.ui.kindBox, "median")
    assert app.slice_view("Red").composite.GetForegroundVolumeID()
    assert app.messages == []


def test_all_maps_are_deleted(panel):
    panel.apply()
    for node in [*panel.run.nodes()]:
        if node.IsA("vtkMRMLVolumeNode"):
            slicer.mrmlScene.RemoveNode(node)
    panel.ui.opacitySlider.value = 0.5
    panel.choose(panel.ui.kindBox, "median")
    assert panel.status.endswith("all maps were deleted; apply the bundle again.")
    panel.apply()
    assert app.slice_view("Red").composite.GetForegroundVolumeID()


def test_sequence_whose_volumes_differ(panel, spectra):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Bands")
    for band in range(16):
        item = slicer.vtkMRMLScalarVolumeNode()
        item.CopyOrientation(panel.image)
        if band == 7:
            item.SetSpacing(1, 1, 1)
        slicer.util.updateVolumeFromArray(item, np.ascontiguousarray(spectra[..., band]))
        sequence.SetDataNodeAtValue(item, f"{band:02}")
    panel.ui.imageSelector.setCurrentNode(sequence)
    assert "lie on different grids; resample them first" in refused(panel)


def test_sequence_of_something_else(panel):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Poses")
    for number in range(16):
        sequence.SetDataNodeAtValue(slicer.vtkMRMLLinearTransformNode(), str(number))
    panel.ui.imageSelector.setCurrentNode(sequence)
    assert "holds no volumes" in refused(panel)
