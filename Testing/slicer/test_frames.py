"""A video: its frames are inferred one by one, and map, patterns and reading go with the frame."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from driving import app, kind_of, opened_panel, replace_python, shown, view
from made_results import AFFINE, SHAPE, write_result

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
from INNDisplayLib import matrix_of, runs

_FRAMES, _BANDS = 4, 5
# What is asked for is kept; a video gets a folder a frame, but for the last, which "cannot be inferred".
_PYTHON = """#!/bin/sh
here='{folder}'
echo "$@" >> "$here/calls"
if [ "$3" = bundles ]; then cat "$here/bundles.json"; exit 0; fi
case "$5" in
  *'*'*)
    ls "$(dirname "$5")" > "$here/frames"
    mkdir "$7"
    for n in 0 1 2; do cp -r "$here/$n" "$7/0000$n"; done;;
  *) cp -r "$here/1" "$7";;
esac
echo '{{"out": "out"}}'
"""
_BUNDLE = {
    "path": "/bundles/made", "name": "made", "bands": _BANDS, "camera": "made", "problem": "made",
    "calibration": {"errors": {}, "recalibrated": False, "simulations": 0}, "targets": [], "description": "",
    "intended_use": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A result for each frame: values rise with the frames, and in frame 2 other voxels are withheld."""
    place = tmp_path_factory.mktemp("frames")
    for number in range(_FRAMES - 1):
        write_result(place / str(number), seed=number, shift=0.05 * number, samples=0)
    return place


@pytest.fixture
def panel(results, tmp_path, monkeypatch):
    place = tmp_path / "python"
    replace_python(place, _PYTHON, monkeypatch)
    shutil.copytree(results, place, dirs_exist_ok=True)
    (place / "bundles.json").write_text(json.dumps({"bundles": [_BUNDLE]}))
    with opened_panel() as opened:
        opened.choose(opened.ui.bundleBox, "/bundles/made")
        opened.place = place
        yield opened


@pytest.fixture
def video(panel):
    """A sequence of images of five bands, a browser, and the volume that it plays them through."""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Video")
    sequence.SetIndexName("time")
    item = slicer.vtkMRMLVectorVolumeNode()
    item.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(AFFINE))
    for number in range(_FRAMES):
        slicer.util.updateVolumeFromArray(item, np.full((*SHAPE, _BANDS), number, np.float32))
        sequence.SetDataNodeAtValue(item, f"{number / 25:.2f}")
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Video browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser, browser.GetProxyNode(sequence)


@pytest.fixture
def played(panel, video):
    """The video after all its frames were inferred."""
    panel.ui.imageSelector.setCurrentNode(video[0])
    panel.apply()
    return video


def pattern():
    return slicer.mrmlScene.GetNodeByID(view().GetNthLayerVolumeID(3) or "")


def test_every_frame_is_inferred(panel, played):
    assert (panel.place / "frames").read_text().split() == [f"{n:05d}.nrrd" for n in range(_FRAMES)]
    found = runs(slicer.mrmlScene)
    assert [run.name for run in found] == [f"Video, made, frame {t}" for t in ("0.00", "0.04", "0.08")]
    assert panel.run.name == found[0].name  # that of the frame which is shown
    assert {run.image for run in found} == {played[2]}


def test_playing_turns_map_and_patterns_and_reading_together(panel, played):
    _, browser, proxy = played
    panel.choose(panel.ui.kindBox, "median")
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCursorPositionRAS(tuple((AFFINE @ (9, 6, 1, 1))[:3]))
    patterns, texts = [], []
    for number in (0, 1, 2, 1):
        browser.SetSelectedItemNumber(number)
        assert slicer.util.arrayFromVolume(proxy).max() == number
        run = runs(slicer.mrmlScene)[number]
        assert panel.run.name == run.name
        assert panel.ui.runBox.currentData == run.key
        assert (shown(), kind_of(shown())) == (run.find("median", "sao2"), "median")
        assert pattern().GetAttribute("INN.run") == run.key
        patterns.append(pattern())
        value = run.array("median", "sao2")[1, 6, 9]
        assert panel.ui.readoutLabel.text.startswith(f"Oxygen saturation of the blood {value:.3g}, 95%")
        texts.append(panel.ui.readoutLabel.text)
    assert len({*texts}) == 3
    assert texts[1] == texts[3]


def test_the_posterior_of_the_probe_goes_with_the_frame(panel, played):
    panel.ui.probeButton.click()
    panel.state.probe.AddControlPointWorld(*(AFFINE @ (9, 6, 1, 1))[:3])
    titles = []
    for number in (0, 1):
        played[1].SetSelectedItemNumber(number)
        chart = panel.run.find("posterior chart", "", "vtkMRMLPlotChartNode")
        titles.append(chart.GetTitle())
    assert titles[0] != titles[1]


def test_no_map_lies_over_a_frame_that_was_not_inferred(panel, played):
    _, browser, proxy = played
    browser.SetSelectedItemNumber(3)
    assert (shown(), pattern()) == (None, None)
    assert view().GetBackgroundVolumeID() == proxy.GetID()
    legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    assert not any(legend.GetVisibility() for legend in legends)
    panel.ui.opacitySlider.value = 0.3
    assert shown() is None
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCursorPositionRAS(tuple((AFFINE @ (9, 6, 1, 1))[:3]))
    assert panel.ui.readoutLabel.text == "No result at this place of this frame."
    browser.SetSelectedItemNumber(2)
    assert shown().GetAttribute("INN.run") == runs(slicer.mrmlScene)[2].key


def test_the_views_follow_while_another_module_is_open(panel, played):
    browser, found = played[1], runs(slicer.mrmlScene)
    panel.module.exit()
    browser.SetSelectedItemNumber(1)
    assert shown().GetAttribute("INN.run") == found[1].key
    browser.SetSelectedItemNumber(3)
    assert (shown(), pattern()) == (None, None)
    panel.module.enter()
    browser.SetSelectedItemNumber(2)
    assert shown().GetAttribute("INN.run") == panel.run.key == found[2].key


def test_views_that_show_something_else_are_left_alone(panel, played):
    browser = played[1]
    panel.module.exit()
    slicer.util.setSliceViewerLayers(background=played[2], foreground=None, label=None)
    browser.SetSelectedItemNumber(1)
    assert shown() is None


def test_choosing_a_result_turns_the_video_to_its_frame(panel, played):
    _, browser, _ = played
    panel.choose(panel.ui.runBox, runs(slicer.mrmlScene)[2].key)
    assert browser.GetSelectedItemNumber() == 2
    assert shown().GetAttribute("INN.run") == panel.run.key == runs(slicer.mrmlScene)[2].key


def test_inferring_the_video_again_replaces_in_place(panel, played):
    keys = [run.key for run in runs(slicer.mrmlScene)]
    number = slicer.mrmlScene.GetNumberOfNodes()
    panel.apply()
    assert [run.key for run in runs(slicer.mrmlScene)] == keys
    assert slicer.mrmlScene.GetNumberOfNodes() == number


def test_a_single_frame_keeps_its_map_to_itself(panel, video):
    _, browser, proxy = video
    browser.SetSelectedItemNumber(1)
    panel.ui.imageSelector.setCurrentNode(proxy)
    panel.apply()
    (run,) = runs(slicer.mrmlScene)
    assert shown().GetAttribute("INN.run") == run.key
    browser.SetSelectedItemNumber(2)
    assert shown() is None
    panel.apply()
    first, second = runs(slicer.mrmlScene)
    assert shown().GetAttribute("INN.run") == second.key
    browser.SetSelectedItemNumber(1)
    assert shown().GetAttribute("INN.run") == first.key == run.key


def test_a_video_that_was_deleted_meanwhile_leaves_nothing(panel, video):
    panel.ui.imageSelector.setCurrentNode(video[0])
    panel.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(video[0])
    panel.settle()
    (message,) = app.messages
    assert message.text == "The video was deleted meanwhile; load it and apply the bundle again."
    assert runs(slicer.mrmlScene) == []


def test_a_frame_of_a_video_is_compared_with_another(panel, played):
    panel.choose(panel.ui.otherBox, runs(slicer.mrmlScene)[2].key)
    panel.ui.changeButton.click()
    app.wait_until(lambda: panel.widget._change is None)
    assert panel.run.name == (
        "Video, made, frame 0.08 minus Video, made, frame 0.00: Oxygen saturation of the blood"
    )
    change = panel.run.array("median", "sao2_change")
    assert np.nanmedian(change) == pytest.approx(0.1, abs=0.02)


def test_a_saved_video_plays_again(panel, played, tmp_path):
    assert slicer.util.saveScene(str(tmp_path / "video.mrb"))
    slicer.mrmlScene.Clear(False)
    panel.settle()
    slicer.util.loadScene(str(tmp_path / "video.mrb"), {"clear": False})
    panel.settle()
    browser = next(
        b for b in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode") if b.GetName() == "Video browser"
    )
    for number in (2, 1):
        browser.SetSelectedItemNumber(number)
        assert panel.run.name == runs(slicer.mrmlScene)[number].name
        assert shown().GetAttribute("INN.run") == panel.run.key
    assert np.allclose(matrix_of(shown()), AFFINE, atol=1e-5)
