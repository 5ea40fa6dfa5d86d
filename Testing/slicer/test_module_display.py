"""What the panel shows of a result: maps, opacity, contours, samples, posteriors of voxels and segments."""

from __future__ import annotations

import json

import numpy as np
import pytest
from driving import (
    add_image,
    app,
    center_of,
    done,
    every_node,
    kind_of,
    panel,
    replay,
    shown,
    sphere,
    view,
)

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip

__all__ = ["done", "panel", "replay"]


def test_opacity(done):
    done.ui.opacitySlider.value = 0.25
    assert view().GetForegroundOpacity() == pytest.approx(0.25)


def test_image_and_map_beside_each_other(done):
    manager = slicer.app.layoutManager()
    before = manager.layout, app.slice_view("Yellow").node.GetOrientation()
    done.choose(done.ui.kindBox, "median")
    done.ui.mapBesideCheck.checked = True
    image, beside = app.slice_view("Red"), app.slice_view("Yellow")
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    opacities = [each.composite.GetForegroundOpacity() for each in (image, beside)]
    assert opacities == [0, 1]
    planes = [slicer.util.arrayFromVTKMatrix(each.node.GetSliceToRAS()) for each in (image, beside)]
    np.testing.assert_allclose(planes[0][:3, :3], planes[1][:3, :3])
    assert beside.composite.GetLinkedControl()
    assert not done.ui.opacitySlider.visible
    done.ui.mapBesideCheck.checked = False
    assert (manager.layout, beside.node.GetOrientation()) == before
    assert beside.composite.GetForegroundOpacity() == pytest.approx(done.state.opacity)
    assert not beside.composite.GetLinkedControl()


def test_scale_of_colors_stands_in_the_panel_and_in_the_views_without_it(done):
    def in_views():
        legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
        return [legend.GetTitleText() for legend in legends if legend.GetVisibility()]

    assert done.ui.legendTitle.text == "Oxygen saturation of the blood, 95% width"
    assert not done.ui.legendLabel.pixmap.isNull()
    assert in_views() == []
    done.module.exit()
    assert in_views() == ["Oxygen saturation of\nthe blood\n95% width"]
    done.module.enter()
    assert in_views() == []
    done.choose(done.ui.kindBox, "off")
    assert not done.ui.legendLabel.visible


def test_calibration_is_that_of_the_shown_result(done):
    assert done.ui.validationLabel.text.startswith("Tissue, bundle: intervals ")
    record = done.run.result.record
    record["bundle"]["calibration"] = {"simulations": 1234, "errors": {"sao2": 0.031, "vhb": 0.002}}
    done.run.record_node.SetText(json.dumps(record))
    done.widget.onStateChanged()
    said = "Tissue, bundle: intervals off by at most 3.1% on 1,234 simulations."
    assert done.ui.validationLabel.text == said


def test_controls_are_those_of_what_is_shown(done):
    def visible(name):
        return getattr(done.ui, name).visible

    expected = {
        "off": set(),
        "interval_width": {"opacitySlider", "gradedCheck"},
        "probability_below": {"opacitySlider", "gradedCheck", "thresholdSlider"},
        "sample": {"opacitySlider", "gradedCheck", "sampleSlider"},
        "difference": {"opacitySlider", "gradedCheck", "otherBox"},
    }
    for kind, names in expected.items():
        done.choose(done.ui.kindBox, kind)
        assert {name for name in set().union(*expected.values()) if visible(name)} == names
    assert (done.ui.inputsSection.collapsed, done.ui.displaySection.collapsed) == (True, False)


def test_maps_without_anything_to_see_say_so(done):
    done.run.array("mode_count", "sao2")[:] = 1
    done.choose(done.ui.kindBox, "mode_count")
    assert done.ui.hideBelowLabel.text.startswith(
        "Nothing to see: Oxygen saturation of the blood has one mode"
    )


def test_hide_below(done):
    display = shown().GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    assert done.ui.hideBelowLabel.text.startswith("Drawn from 0 on; ")
    done.ui.hideBelowSlider.value = 40
    assert display.GetLowerThreshold() == pytest.approx(low + 0.4 * (high - low))
    assert f"{0.4 * high:.3g}" in done.ui.hideBelowLabel.text
    done.ui.hideBelowSlider.value = 0
    assert display.GetLowerThreshold() < -1e20


@pytest.mark.parametrize(
    ("kind", "graded", "said", "limit"),
    [
        ("median", False, "Drawn from 0.4 on; ", 0.4),
        ("mode_count", False, "Drawn from 3 on; ", 2.2),
        ("median", True, "Drawn where the interval is narrower than 0.57; ", None),
    ],
)
def test_the_text_says_what_is_drawn(done, kind, graded, said, limit):
    done.run.array("mode_count", "sao2")[0, 0, 0] = 3
    done.choose(done.ui.kindBox, kind)
    done.ui.gradedCheck.checked = graded
    done.ui.hideBelowSlider.value = 40
    assert done.ui.hideBelowLabel.text.startswith(said)
    if limit is not None:
        assert shown().GetDisplayNode().GetLowerThreshold() == pytest.approx(limit)
        return
    width = done.run.array("interval_width", "sao2")
    alpha = slicer.util.arrayFromVolume(shown())[..., 3]
    assert (alpha[width > 0.571] == 0).all()
    assert (alpha[width < 0.56] > 0).all()


def test_a_difference_is_drawn_on_both_sides(done, spectra):
    done.ui.imageSelector.setCurrentNode(add_image(spectra[:, ::-1], "Other"))
    done.apply()
    done.choose(done.ui.kindBox, "difference")
    done.ui.hideBelowSlider.value = 40
    assert done.ui.hideBelowLabel.text.startswith("All of it is drawn; colors span -0.475 to 0.475")
    assert shown().GetDisplayNode().GetLowerThreshold() < -1e20
    done.ui.gradedCheck.checked = True
    assert done.ui.hideBelowLabel.text.startswith("Drawn beyond ± 0.19; ")


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
    assert (
        done.ui.thresholdLabel.text == "Probability that Reduced scattering coefficient at 500 nm < 27.5 1/cm"
    )
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
    assert done.ui.thresholdLabel.text == "Probability that Oxygen saturation of the blood < 0.6"
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
    trusted = [*np.argwhere(~done.run.withheld() & ~done.run.uninformative("sao2"))[-1]]
    crosshair.SetCursorPositionRAS(center_of(median, *trusted))
    text = done.ui.readoutLabel.text
    assert text.startswith("Oxygen saturation of the blood ")
    assert text.endswith("in distribution")
    assert (done.ui.alarmLabel.visible, done.ui.readoutLabel.styleSheet) == (False, "")
    assert "P(<" not in text
    done.choose(done.ui.kindBox, "probability_below")
    crosshair.SetCursorPositionRAS(center_of(median, *np.add(trusted, (0, 0, 0.1))))
    assert "P(< 0.5)" in done.ui.readoutLabel.text
    withheld = np.argwhere(done.run.withheld())[0]
    crosshair.SetCursorPositionRAS(center_of(median, *withheld))
    assert done.ui.readoutLabel.text.startswith("[///] NOT EXPLAINED")
    assert (done.ui.alarmLabel.visible, done.ui.alarmLabel.text) == (True, "⚠")
    assert "border" in done.ui.readoutLabel.styleSheet
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
    assert first.replace("\n", " ") == done.ui.readoutLabel.text
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
    assert lines[0].startswith("Oxygen saturation of the blood, mean over Tumor: ")
    assert "another grid" in lines[-1]
    node.GetSegmentation().GetSegment(segment).SetName("Vessel")
    done.module.exit()
    done.module.enter()
    assert done.ui.segmentBox.currentText == "Vessel"
    done.choose(done.ui.parameterBox, "vhb")
    assert done.ui.regionLabel.text == "", "it was of another parameter"


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
    assert chart.GetTitle().replace("\n", " ") == done.ui.readoutLabel.text != reading
    assert "Blood volume fraction" in chart.GetTitle().replace("\n", " ")
    done.apply()
    assert (done.run.key, done.ui.runBox.count) == (key, 1)


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
