"""The module from one result to the next: progress, previews, cancel, failures, closed scenes and modules."""

from __future__ import annotations

import re

import pytest
from driving import (
    Panel,
    add_image,
    app,
    dies,
    done,
    every_node,
    kind_of,
    panel,
    replay,
    shown,
    view,
)

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip

__all__ = ["done", "panel", "replay"]


def test_panel_wakes_up_with_the_first_result(panel):
    sections = [panel.ui.displaySection, panel.ui.probeSection, panel.ui.regionSection]
    assert not any(section.enabled for section in sections)
    panel.apply()
    assert all(section.enabled for section in sections)
    assert panel.ui.runBox.currentText == "Tissue, bundle"
    assert panel.ui.parameterBox.count == 4
    assert panel.ui.parameterBox.currentText == "Oxygen saturation of the blood"


def test_progress_is_shown(panel):
    (panel.replay / "hold").touch()
    panel.start()
    app.wait_until(lambda: panel.ui.progressBar.value == 500)
    assert panel.status.startswith("50%, halfway")
    panel.logic.inference.child._begun_s -= 60  # long enough for its pace to be known
    app.wait_until(lambda: panel.status.endswith(" left"))
    assert re.fullmatch(r"50%, halfway, about \d+ (s|min) left", panel.status)
    (panel.replay / "hold").unlink()
    panel.settle()
    assert panel.ui.applyButton.text == "Apply"


def test_log_tells_the_steps_and_why_a_run_has_failed(panel):
    assert not panel.ui.logSection.visible
    (panel.replay / "complaint").write_text("some warning\nmonai-inn: no.\n")
    panel.apply()
    assert [message.text for message in app.messages] == ["no."]
    app.messages.clear()
    assert panel.ui.logSection.visible
    assert panel.ui.logSection.collapsed
    lines = [line.split("s  ")[1] for line in panel.ui.logText.plainText.splitlines()]
    assert lines[-3:] == ["halfway", "some warning", "monai-inn: no."]
    (panel.replay / "complaint").unlink()
    panel.apply()
    assert "some warning" not in panel.ui.logText.plainText


def test_apply_again_replaces_in_place(done):
    def stored():
        derived = ("withheld", "graded", "probability_below")  # made by the display from what is stored
        return {node.GetID() for node in done.run.nodes() if kind_of(node) not in derived}

    key, nodes = done.run.key, stored()
    median = slicer.util.arrayFromVolume(done.run.find("median", "sao2"))
    median[:] = 0
    done.apply()
    assert done.run.key == key
    assert stored() == nodes
    assert slicer.util.arrayFromVolume(done.run.find("median", "sao2")).min() > 0
    assert done.ui.runBox.count == 1


@pytest.mark.parametrize("again", ["apply", "contours"])
def test_scene_does_not_grow(done, again):
    done.ui.contoursCheck.checked = again == "contours"
    number = len(every_node())
    for k in range(3):
        if again == "apply":
            done.apply()
        else:
            done.ui.thresholdSlider.value = 0.6 + k / 10
    assert len(every_node()) == number


def test_second_image_gets_a_result_of_its_own(done, spectra):
    first = done.run.key
    other = add_image(spectra[:, ::-1], "Other")
    done.ui.imageSelector.setCurrentNode(other)
    done.apply()
    second = done.run.key
    assert second != first
    assert [done.ui.runBox.itemText(n) for n in range(2)] == ["Tissue, bundle", "Other, bundle"]
    assert shown().GetAttribute("INN.run") == second
    done.choose(done.ui.runBox, first)
    assert shown().GetAttribute("INN.run") == first
    assert (done.run.image, done.state.image) == (done.image, other)

    def visible():
        return [
            legend.GetDisplayableNode().GetAttribute("INN.run")
            for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
            if legend.GetVisibility()
        ]

    assert visible() == []  # the panel has the color scale
    done.module.exit()
    assert visible() == [first]


def test_preview_becomes_the_result(panel):
    (panel.replay / "quick").touch()
    (panel.replay / "hold").touch()
    panel.start()
    app.wait_until(lambda: panel.run is not None)
    assert panel.run.name == "Tissue, bundle (preview)"
    assert kind_of(shown()) == "interval_width"
    assert panel.ui.applyButton.text == "Cancel"
    key = panel.run.key
    (panel.replay / "hold").unlink()
    panel.settle()
    assert (panel.run.key, panel.run.name, panel.ui.runBox.count) == (key, "Tissue, bundle", 1)


def test_no_preview_in_the_place_of_a_result(done):
    (done.replay / "quick").touch()
    done.apply()
    assert "--preview" not in (done.replay / "calls").read_text().splitlines()[-1]
    assert (done.run.name, done.ui.runBox.count) == ("Tissue, bundle", 1)


@pytest.mark.parametrize("end", ["cancel", "failure"])
def test_preview_goes_with_what_is_not_finished(panel, end):
    (panel.replay / "quick").touch()
    (panel.replay / "hold").touch()
    panel.start()
    app.wait_until(lambda: panel.run is not None)
    if end == "cancel":
        panel.ui.applyButton.click()
    else:
        (panel.replay / "complaint").write_text("monai-inn: no.\n")
        (panel.replay / "hold").unlink()
        panel.settle()
    assert (panel.run, panel.ui.runBox.count, shown()) == (None, 0, None)
    assert len(app.messages) == (end == "failure")


def test_cancel_leaves_nothing(panel):
    before = every_node()
    (panel.replay / "hold").touch()
    pid = panel.start()
    panel.ui.applyButton.click()
    assert panel.status == "Canceled; nothing was changed."
    assert (panel.ui.applyButton.text, panel.ui.progressBar.value) == ("Apply", 0)
    assert dies(pid)
    assert panel.left_behind() == []
    panel.settle()
    assert (every_node(), app.messages) == (before, [])
    (panel.replay / "hold").unlink()
    panel.apply()
    assert panel.run is not None


def test_cancel_keeps_the_earlier_result(done):
    before = every_node()
    (done.replay / "hold").touch()
    done.start()
    done.ui.applyButton.click()
    assert every_node() == before
    assert kind_of(shown()) == "interval_width"


def test_complaint_of_the_command_is_shown_once(panel):
    (panel.replay / "complaint").write_text("a warning\nmonai-inn: the image is too dark; expose longer.\n")
    panel.ui.applyButton.click()
    panel.settle()
    app.wait_until(lambda: not panel.logic.is_busy())
    assert [(m.kind, m.text) for m in app.messages] == [("error", "the image is too dark; expose longer.")]
    assert panel.status == "the image is too dark; expose longer."
    assert (panel.ui.applyButton.text, panel.run) == ("Apply", None)
    (panel.replay / "complaint").unlink()
    panel.apply()
    assert len(app.messages) == 1


def test_logic_starts_one_at_a_time(panel):
    (panel.replay / "hold").touch()
    panel.start()
    with pytest.raises(RuntimeError, match="running"):
        panel.logic.start(panel.state)
    panel.logic.cancel()


def test_closing_the_scene_ends_the_child(panel):
    (panel.replay / "hold").touch()
    pid = panel.start()
    slicer.mrmlScene.Clear(False)
    assert dies(pid)
    (panel.replay / "hold").unlink()
    panel.settle()
    assert (panel.run, panel.state.image, app.messages) == (None, None, [])
    assert (panel.ui.applyButton.text, panel.ui.applyButton.enabled) == ("Apply", False)
    assert panel.ui.runBox.count == 0


def test_scene_may_be_closed_before_the_bundles_are_known(replay):
    app.reset()
    early = Panel()
    try:
        assert early.logic.is_busy()
        slicer.mrmlScene.Clear(False)
        early.settle()
        assert early.ui.bundleBox.findText("bundle") >= 0
    finally:
        early.module.close()


def test_closing_the_module_ends_the_child(panel):
    (panel.replay / "hold").touch()
    pid = panel.start()
    panel.module.reload()
    assert dies(pid)
    assert panel.left_behind() == []


def test_inference_goes_on_behind_another_module(panel):
    (panel.replay / "hold").touch()
    panel.start()
    panel.module.exit()
    (panel.replay / "hold").unlink()
    panel.settle()
    panel.module.enter()
    assert panel.run.name == "Tissue, bundle"
    assert kind_of(shown()) == "interval_width"
    assert panel.ui.displaySection.enabled


def test_exit_unties_the_panel(done):
    done.module.exit()
    assert done.state is None
    done.ui.opacitySlider.value = 0.1
    slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCursorPositionRAS((0, 0, 0))
    done.widget._shortcut.activated.emit()
    assert not done.widget._shortcut.enabled
    assert view().GetForegroundOpacity() == pytest.approx(0.6)
    done.module.enter()
    assert done.ui.opacitySlider.value == pytest.approx(0.6)
    assert done.widget._shortcut.enabled


def test_scene_closed_behind_another_module(done):
    done.module.exit()
    slicer.mrmlScene.Clear(False)
    done.module.enter()
    assert (done.run, done.ui.runBox.count, done.ui.displaySection.enabled) == (None, 0, False)


def test_reload_shows_the_same(done):
    done.ui.opacitySlider.value = 0.3
    old, bundle = done.widget, done.state.bundle
    done.module.reload()
    done.settle()
    assert done.widget is not old
    assert not old._timer.active
    assert not old._shortcut.enabled
    assert (done.state.bundle, done.ui.bundleBox.currentData) == (bundle, bundle)
    assert (done.ui.opacitySlider.value, done.ui.runBox.currentText) == (0.3, "Tissue, bundle")
    assert done.ui.applyButton.enabled
    done.apply()
