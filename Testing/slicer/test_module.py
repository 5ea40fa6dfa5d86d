"""The unmodified module, driven through its panel."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
from driving import (
    SPACING,
    Panel,
    add_image,
    app,
    center_of,
    is_alive,
    panel,
    recorded,
    replay,
    spectra,
    sphere,
)

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip

__all__ = ["panel", "recorded", "replay", "spectra"]


def view():
    return app.slice_view("Red").composite


def shown() -> slicer.vtkMRMLVolumeNode | None:
    """The map that lies over the image in the slice views."""
    found = {app.slice_view(name).composite.GetForegroundVolumeID() for name in ("Red", "Green", "Yellow")}
    assert len(found) == 1, "the views differ"
    return slicer.mrmlScene.GetNodeByID(found.pop() or "")


def kind_of(node) -> str:
    return node.GetAttribute("INN.map")


def every_node() -> set[str]:
    return {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}


@pytest.fixture
def done(panel):
    """The panel after an inference."""
    panel.apply()
    return panel


def test_what_slicer_shows_before_it_is_opened(panel):
    module = panel.module
    assert (module.title, module.categories) == ("INN Uncertainty", ["Quantification"])
    assert "Research only" in module.acknowledgementText
    assert "posterior" in module.helpText
    assert not module.icon.isNull()


def test_real_child_from_the_list_of_bundles_to_the_map(recorded, spectra):
    app.reset()
    image = add_image(spectra)
    real = Panel()
    try:
        assert real.status == "Looking for bundles..."
        assert not real.ui.applyButton.enabled
        real.settle()
        assert {"oximetry", "oximetry_rgb"} <= {real.ui.bundleBox.itemText(n) for n in range(2)}
        real.prepare(recorded / "bundle", image)
        assert "16 bands" in real.ui.bundleCard.plainText
        assert "not calibrated" in real.ui.validationLabel.text
        real.apply()
        assert real.status.startswith("84 of 84 voxels usable; ")
        run = real.run
        assert (run.image, run.name) == (image, "Tissue, bundle")
        median = run.find("median", "sao2")
        wanted = slicer.util.loadVolume(recorded / "result" / "median_sao2.nii.gz", {"show": False})
        np.testing.assert_array_equal(
            slicer.util.arrayFromVolume(median), slicer.util.arrayFromVolume(wanted)
        )
        np.testing.assert_allclose(center_of(median, 1, 2, 3), center_of(image, 1, 2, 3), atol=1e-4)
        np.testing.assert_allclose(median.GetSpacing(), SPACING, rtol=1e-5)
        assert kind_of(shown()) == "interval_width"
        assert view().GetBackgroundVolumeID() == run.background.GetID()
        assert (app.messages, app.errors, real.left_behind()) == ([], [], [])
        assert real.ui.progressBar.value == 0
    finally:
        real.module.close()


def test_bundles_of_xrays_are_left_to_their_own_module():
    from INNUncertaintyLib.bundles import bundles_of

    listing = [{"name": "a", "problem": "oximetry"}, {"name": "b", "problem": "registration"}]
    broken = {"name": "c", "error": "truncated"}
    assert [bundle.name for bundle in bundles_of({"bundles": [*listing, broken]})] == ["a", "c"]


def test_options_reach_the_command(panel):
    panel.ui.samplesBox.value, panel.ui.storedSamplesBox.value, panel.ui.falseAlarmBox.value = 32, 5, 0.01
    panel.apply()
    words = (panel.replay / "calls").read_text().splitlines()[-1].split()
    given = dict(zip(words[7::2], words[8::2], strict=False))
    assert Path(given.pop("--preview")).name == "preview"
    assert given == {
        "--samples": "32",
        "--save-samples": "5",
        "--save-quantiles": "16",
        "--false-alarm": "0.01",
        "--json": "--progress-lines",
    }


def test_panel_wakes_up_with_the_first_result(panel):
    sections = [panel.ui.displaySection, panel.ui.probeSection, panel.ui.regionSection]
    assert not any(section.enabled for section in sections)
    panel.apply()
    assert all(section.enabled for section in sections)
    assert panel.ui.runBox.currentText == "Tissue, bundle"
    assert panel.ui.parameterBox.count == 4
    assert panel.ui.parameterBox.currentText.startswith("sao2: oxygen saturation")


def test_progress_is_shown(panel):
    (panel.replay / "hold").touch()
    panel.start()
    app.wait_until(lambda: panel.ui.progressBar.value == 500)
    assert panel.status == "50%, halfway"
    (panel.replay / "hold").unlink()
    panel.settle()
    assert panel.ui.applyButton.text == "Apply"


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
    visible = [
        legend.GetDisplayableNode().GetAttribute("INN.run")
        for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
        if legend.GetVisibility()
    ]
    assert visible == [first]


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
    assert not is_alive(pid)
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
    assert not is_alive(pid)
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
    assert not is_alive(pid)
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


def test_opacity(done):
    done.ui.opacitySlider.value = 0.25
    assert view().GetForegroundOpacity() == pytest.approx(0.25)


def test_hide_below(done):
    display = shown().GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    assert done.ui.hideBelowLabel.text.startswith("Drawn from 0 on; ")
    done.ui.hideBelowSlider.value = 40
    assert display.GetLowerThreshold() == pytest.approx(low + 0.4 * (high - low))
    assert f"{0.4 * high:.3g}" in done.ui.hideBelowLabel.text
    done.ui.hideBelowSlider.value = 0
    assert display.GetLowerThreshold() < -1e20


def test_fade(done):
    plain = shown()
    done.ui.gradedCheck.checked = True
    assert kind_of(shown()) == "graded"
    assert len(set(slicer.util.arrayFromVolume(shown())[..., 3].ravel())) > 5
    done.ui.gradedCheck.checked = False
    assert shown() is plain


def test_kinds(done):
    seen = {}
    for kind in ("interval_width", "probability_below", "median", "sample", "mode_count", "waic"):
        done.choose(done.ui.kindBox, kind)
        seen[kind_of(shown())] = shown().GetID()
        assert done.ui.hideBelowLabel.text
        assert done.ui.sampleSlider.enabled == (kind == "sample")
    assert len(set(seen.values())) == 6
    assert [*seen] == ["interval_width", "probability_below", "median", "sample", "mode_count", "waic"]
    done.choose(done.ui.kindBox, "off")
    assert (shown(), done.ui.hideBelowLabel.text) == (None, "")


def test_parameter(done):
    done.choose(done.ui.parameterBox, "a_mie")
    assert shown().GetAttribute("INN.parameter") == "a_mie"
    assert done.ui.thresholdLabel.text == "Probability that a_mie < 27.5 1/cm"
    assert (done.ui.thresholdSlider.minimum, done.ui.thresholdSlider.maximum) == (5, 50)
    assert "1/cm" in done.ui.hideBelowLabel.text


def test_threshold(done):
    done.choose(done.ui.kindBox, "probability_below")
    values = slicer.util.arrayFromVolume(shown())
    for threshold, expected in ((0.0, 0), (1.0, 1)):
        done.ui.thresholdSlider.value = threshold
        values = slicer.util.arrayFromVolume(shown())
        np.testing.assert_allclose(values, expected, atol=0.05)
    done.ui.thresholdSlider.value = 0.6
    assert done.ui.thresholdLabel.text == "Probability that sao2 < 0.6"
    assert done.state.threshold == 0.6
    assert float(shown().GetAttribute("INN.threshold")) == 0.6


def test_contours(done):
    def lines():
        return [n for n in slicer.util.getNodesByClass("vtkMRMLModelNode") if kind_of(n) == "contour"]

    done.ui.contoursCheck.checked = True
    assert len(lines()) == 3
    assert all(line.GetDisplayNode().GetVisibility2D() for line in lines())
    before = {line.GetName() for line in lines()}
    done.ui.thresholdSlider.value = 0.7
    assert {line.GetName() for line in lines()} & before == set()
    done.ui.contoursCheck.checked = False
    assert lines() == []


def test_samples(done):
    done.choose(done.ui.kindBox, "sample")
    assert (done.ui.sampleSlider.minimum, done.ui.sampleSlider.maximum) == (1, 3)
    assert done.ui.sampleLabel.text == "sample 1 of 3"
    first = slicer.util.arrayFromVolume(shown()).copy()
    done.ui.sampleSlider.value = 3
    assert done.ui.sampleLabel.text == "sample 3 of 3"
    assert (slicer.util.arrayFromVolume(shown()) != first).mean() > 0.9
    assert shown().GetName().endswith("sample 3 of 3")


def test_sample_that_another_result_lacks(done):
    done.choose(done.ui.kindBox, "sample")
    done.state.sample = 7
    assert (done.ui.sampleSlider.value, done.ui.sampleLabel.text) == (3, "sample 3 of 3")
    assert shown().GetName().endswith("sample 3 of 3")


def test_key_takes_the_map_off_and_on(done):
    key = done.widget._shortcut
    assert key.key.toString() == "U"
    done.choose(done.ui.kindBox, "median")
    key.activated.emit()
    assert (shown(), done.ui.kindBox.currentText) == (None, "Image alone")
    assert view().GetBackgroundVolumeID() == done.run.background.GetID()
    key.activated.emit()
    assert (kind_of(shown()), done.ui.kindBox.currentText) == ("median", "Median")


def test_map_hides_pixels_of_the_view(done):
    app.slice_view("Red").fit()
    covered = app.slice_view("Red").pixels()
    done.choose(done.ui.kindBox, "off")
    assert (app.slice_view("Red").pixels() != covered).any(2).mean() > 0.05


def test_cursor(done):
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    median = done.run.find("median", "sao2")
    trusted = [*np.argwhere(~done.run.withheld())[10]]
    crosshair.SetCursorPositionRAS(center_of(median, *trusted))
    text = done.ui.readoutLabel.text
    assert text.startswith("sao2 ")
    assert text.endswith("in distribution")
    assert "P(<" not in text
    done.choose(done.ui.kindBox, "probability_below")
    crosshair.SetCursorPositionRAS(center_of(median, *np.add(trusted, (0, 0, 0.1))))
    assert "P(< 0.5)" in done.ui.readoutLabel.text
    withheld = np.argwhere(done.run.withheld())[0]
    crosshair.SetCursorPositionRAS(center_of(median, *withheld))
    assert done.ui.readoutLabel.text.startswith("OUT OF DISTRIBUTION")
    crosshair.SetCursorPositionRAS((500, 0, 0))
    assert done.ui.readoutLabel.text == "outside the image"


def test_cursor_without_a_result(panel):
    before = panel.ui.readoutLabel.text
    slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCursorPositionRAS((1, 2, 3))
    assert panel.ui.readoutLabel.text == before


def test_probe_fills_one_chart(done):
    def charts():
        return slicer.util.getNodesByClass("vtkMRMLPlotChartNode")

    done.ui.probeButton.click()
    probe = done.state.probe
    assert probe.GetNumberOfControlPoints() == 0
    assert slicer.modules.markups.logic().GetActiveListID() == probe.GetID()
    interaction = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLInteractionNode")
    assert interaction is None or interaction.GetCurrentInteractionMode() == interaction.Place
    median = done.run.find("median", "sao2")
    probe.AddControlPointWorld(center_of(median, 0, 1, 2))
    (chart,) = charts()
    first = chart.GetTitle()
    assert first == done.ui.readoutLabel.text
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    assert table.GetNumberOfRows() > 20
    nodes = every_node()
    probe.SetNthControlPointPositionWorld(0, center_of(median, 1, 4, 5))
    assert charts() == [chart]
    assert chart.GetTitle() != first
    assert every_node() == nodes
    done.ui.probeButton.click()
    assert (done.state.probe, probe.GetNumberOfControlPoints()) == (probe, 0)
    slicer.mrmlScene.RemoveNode(probe)
    done.ui.probeButton.click()
    assert done.state.probe is not probe


def test_region(done):
    node, segment = sphere(done.run.find("median", "sao2"), 1.2)
    done.ui.segmentationSelector.setCurrentNode(node)
    assert (done.ui.segmentBox.currentText, done.ui.segmentBox.currentData) == ("Tumor", segment)
    done.ui.regionButton.click()
    lines = done.ui.regionLabel.text.splitlines()
    assert lines[0].startswith("Mean sao2 over Tumor: ")
    assert "another grid" in lines[-1]
    node.GetSegmentation().GetSegment(segment).SetName("Vessel")
    done.module.exit()
    done.module.enter()
    assert done.ui.segmentBox.currentText == "Vessel"


def test_probe_segments_and_result_come_back_with_the_scene(done, tmp_path):
    done.choose(done.ui.parameterBox, "vhb")
    done.choose(done.ui.kindBox, "probability_below")
    done.ui.thresholdSlider.value = 0.1
    done.ui.opacitySlider.value = 0.35
    done.ui.probeButton.click()
    done.state.probe.AddControlPointWorld(center_of(done.run.find("median", "vhb"), 0, 1, 2))
    node, _ = sphere(done.run.find("median", "vhb"))
    done.ui.segmentationSelector.setCurrentNode(node)
    key, bundle, reading = done.run.key, done.state.bundle, done.ui.readoutLabel.text
    values = slicer.util.arrayFromVolume(shown()).copy()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    done.settle()
    assert (done.run, done.ui.runBox.count, done.ui.displaySection.enabled) == (None, 0, False)
    asked = (done.replay / "calls").read_text().splitlines()[-1]
    assert asked == "-m monai_inn bundles --json --progress-lines"
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    done.settle()
    asked = (done.replay / "calls").read_text().splitlines()[-1]
    assert asked == f"-m monai_inn bundles {bundle} --json --progress-lines"
    assert (done.run.key, done.run.name) == (key, "Tissue, bundle")
    assert (done.ui.runBox.currentText, done.ui.kindBox.currentData) == (
        "Tissue, bundle",
        "probability_below",
    )
    assert (done.ui.parameterBox.currentData, done.ui.thresholdSlider.value) == ("vhb", 0.1)
    assert (done.ui.opacitySlider.value, view().GetForegroundOpacity()) == (0.35, pytest.approx(0.35))
    np.testing.assert_allclose(slicer.util.arrayFromVolume(shown()), values, atol=1e-5)
    assert done.ui.imageSelector.currentNode().GetName() == "Tissue"
    assert (done.state.bundle, done.ui.bundleBox.currentData) == (bundle, bundle)
    assert done.ui.segmentBox.currentText == "Tumor"
    done.state.probe.SetNthControlPointPositionWorld(0, center_of(done.run.find("median", "vhb"), 1, 3, 3))
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert chart.GetTitle() == done.ui.readoutLabel.text != reading
    assert "vhb" in chart.GetTitle()
    done.apply()
    assert (done.run.key, done.ui.runBox.count) == (key, 1)


def test_many_bands_do_not_keep_the_scene_from_being_saved(panel, tmp_path):
    slicer.mrmlScene.RemoveNode(panel.image.GetStorageNode())
    panel.apply()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert slicer.util.arrayFromVolume(panel.state.image).shape == (2, 6, 7, 16)


def test_sequence_of_bands_is_an_image(panel, spectra):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Bands")
    for band in range(spectra.shape[-1]):
        item = slicer.vtkMRMLScalarVolumeNode()
        item.CopyOrientation(panel.image)
        slicer.util.updateVolumeFromArray(item, np.ascontiguousarray(spectra[..., band]))
        sequence.SetDataNodeAtValue(item, str(band))
    panel.ui.imageSelector.setCurrentNode(sequence)
    panel.apply()
    assert (panel.run.image, panel.run.name) == (sequence, "Bands, bundle")
    assert panel.run.background.GetAttribute("INN.map") == "photo"
    assert kind_of(shown()) == "interval_width"


def test_selector_offers_images_alone(panel):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Skin")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Bands")
    assert [node.GetName() for node in panel.ui.imageSelector.nodes()] == ["Tissue", "Bands"]


def test_first_image_is_the_default_and_no_result_is(done):
    done.ui.imageSelector.setCurrentNode(None)
    assert done.status == "Select an image."
    done.module.exit()
    done.module.enter()
    assert done.state.image is done.image
    slicer.mrmlScene.RemoveNode(done.image)
    done.module.exit()
    done.module.enter()
    assert done.state.image is None
    assert kind_of(shown()) == "interval_width"


def test_status_forgets_what_is_no_longer_missing(panel):
    panel.ui.imageSelector.setCurrentNode(None)
    assert (panel.status, panel.ui.applyButton.toolTip) == ("Select an image.", "Select an image.")
    panel.ui.imageSelector.setCurrentNode(panel.image)
    assert (panel.status, panel.ui.applyButton.enabled) == ("", True)


def test_packages_are_installed_after_a_yes(panel, monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    assert not panel.ui.installButton.visible
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", missing)
    panel.module.reload()
    app.process_events()
    assert panel.ui.installButton.visible
    assert not panel.ui.applyButton.enabled
    app.answers.append(False)
    panel.ui.installButton.click()
    (question,) = app.messages
    assert question.kind == "question"
    assert "monai_inn" in question.text
    assert app.packages.calls == []

    def install(requirements):
        assert requirements == ["monai_inn[io]>=0.1"]
        monkeypatch.setattr(importlib.metadata, "version", version)

    monkeypatch.setattr(slicer.util, "pip_install", install)
    panel.ui.installButton.click()
    panel.settle()
    assert not panel.ui.installButton.visible
    assert panel.ui.bundleBox.count > 0


def test_logic_works_without_the_panel(panel):
    logic, state = type(panel.logic)(), panel.state
    logic.start(state)
    found = []
    app.wait_until(lambda: found.append(logic.poll()) or found[-1] is not None, 20)
    logic.show(state)
    assert found[-1].image is panel.image
    assert not logic.is_busy()


def test_self_test(panel):
    panel.module.run_tests()
    assert app.messages == []
    assert Path(os.fspath(panel.module.path)).name == "INNUncertainty.py"


def test_sample_data_are_registered_and_fit_the_bundle(panel):
    from INNUncertaintyLib import number_of_bands, register_sample_data

    register_sample_data()
    sample = app.sample_data["INNOrganMosaic"]
    path = Path(url2pathname(urlparse(sample["uris"]).path))
    assert path.is_file()
    assert Path(sample["thumbnailFileName"]).is_file()
    volume = slicer.util.loadVolume(str(path))
    assert number_of_bands(volume) == 100  # those of the bundle `oximetry`
    assert slicer.util.arrayFromVolume(volume).shape == (1, 128, 96, 100)


def test_two_results_are_compared(done, spectra):
    ui = done.ui
    done.choose(ui.kindBox, "difference")
    assert not ui.otherBox.enabled
    assert "no other result" in ui.compareLabel.text
    other = add_image(spectra[:, ::-1], "Other")
    ui.imageSelector.setCurrentNode(other)
    done.apply()
    assert [ui.otherBox.itemText(n) for n in range(ui.otherBox.count)] == ["Tissue, bundle"]
    assert ui.otherBox.enabled
    assert "medians differ by 0 (median over" in ui.compareLabel.text  # the replayed result is the same
    assert shown().GetAttribute("INN.map") == "difference"
    assert shown().GetDisplayNode().GetColorNode().GetName() == "INN difference"
