"""The section Plan of the panel: regions that follow the threshold, and lines that are ranked."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from driving import Panel, app, center_of, replay

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip

from INNDisplayLib import (
    Division,
    find_regions,
    label_regions,
    probability_below,
    read_regions,
    read_result,
    region_labels,
    regions,
    store,
    thresholds,
)
from INNUncertaintyLib.panels import plan
from made_results import write_image_result, write_result

__all__ = ["replay"]


@pytest.fixture
def panel(replay, tmp_path):
    """The open module with a result in the scene; nothing is planned yet."""
    app.reset()
    store(slicer.mrmlScene, read_result(write_result(tmp_path / "result")), "case")
    opened = Panel()
    opened.settle()
    yield opened
    opened.module.close()
    assert app.errors == []


def computed(panel):
    """Wait until nothing is computed and the slider has come to rest."""
    widget = panel.widget
    app.wait_until(lambda: not widget._background.is_busy and not widget._rest.active)
    app.process_events()


def expected(panel, **division):
    run, state = panel.run, panel.state
    p = probability_below(*run.quantiles(state.parameter), state.threshold)
    division = Division(**division)
    return label_regions(division.event(p), run.withheld(), division)


def add_line(panel, *voxels):
    panel.ui.addLineButton.click()
    line = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")[-1]
    for voxel in voxels:
        line.AddControlPointWorld(center_of(panel.run.find("median", "sao2"), *voxel))
    return line


def rows(panel):
    table = panel.ui.lineTable
    columns = range(table.columnCount)
    return [[table.item(row, column).text() for column in columns] for row in range(table.rowCount)]


def test_regions_follow_the_threshold_and_the_controls(panel):
    ui = panel.ui
    assert (ui.certainBox.value, ui.possibleBox.value, ui.smallestIslandBox.value) == (95, 5, 0)
    assert find_regions(panel.run) is None
    ui.regionsCheck.checked = True
    computed(panel)
    node = find_regions(panel.run)
    np.testing.assert_array_equal(region_labels(panel.run), expected(panel))
    assert ui.regionsLabel.text.startswith("Oxygen saturation of the blood < 0.5. Volume: ")
    ui.thresholdSlider.value = 0.6
    computed(panel)
    np.testing.assert_array_equal(region_labels(panel.run), expected(panel))
    assert ui.regionsLabel.text.startswith("Oxygen saturation of the blood < 0.6. Volume: ")
    ui.certainBox.value, ui.possibleBox.value = 80, 30
    computed(panel)
    np.testing.assert_array_equal(region_labels(panel.run), expected(panel, certain=0.8, possible=0.3))
    ui.aboveCheck.checked = True
    computed(panel)
    np.testing.assert_array_equal(
        region_labels(panel.run), expected(panel, certain=0.8, possible=0.3, is_above=True)
    )
    assert find_regions(panel.run) is node
    ui.regionsCheck.checked = False
    app.process_events()
    assert not node.GetDisplayNode().GetVisibility()
    assert ui.regionsLabel.text == ""


def test_a_slider_that_is_moved_computes_once_it_rests(panel, monkeypatch):
    panel.ui.regionsCheck.checked = True
    computed(panel)
    made = []
    compute = plan.ThresholdStep.compute
    monkeypatch.setattr(
        plan.ThresholdStep,
        "compute",
        lambda self: (made.append(self.threshold) if self.division else None, compute(self))[1],
    )
    for threshold in (0.52, 0.55, 0.58, 0.61):
        panel.ui.thresholdSlider.value = threshold
        app.process_events()
    computed(panel)
    assert made == [0.61]


def test_what_is_no_longer_wanted_when_it_is_computed_is_not_shown(panel, monkeypatch):
    panel.ui.regionsCheck.checked = True
    computed(panel)
    go_on, compute = threading.Event(), thresholds.ThresholdStep.compute
    monkeypatch.setattr(
        thresholds.ThresholdStep,
        "compute",
        lambda self: (self.division is None or go_on.wait(60), compute(self))[1],
    )
    panel.ui.thresholdSlider.value = 0.7
    app.wait_until(lambda: panel.widget._background.is_busy)
    panel.ui.thresholdSlider.value = 0.4
    go_on.set()
    app.wait_until(lambda: not panel.widget._background.is_busy)
    assert read_regions(panel.run)["threshold"] != 0.7
    computed(panel)
    assert read_regions(panel.run)["threshold"] == 0.4
    np.testing.assert_array_equal(region_labels(panel.run), expected(panel))


def test_surfaces_are_shown_and_taken_away(panel):
    panel.ui.regionsCheck.checked = True
    computed(panel)
    node = find_regions(panel.run)
    panel.ui.regions3DCheck.checked = True
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    panel.ui.thresholdSlider.value = 0.6
    computed(panel)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    panel.ui.regions3DCheck.checked = False
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_surfaces_of_a_large_volume_go_when_the_threshold_moves(panel, monkeypatch):
    panel.ui.regionsCheck.checked = True
    computed(panel)
    panel.ui.regions3DCheck.checked = True
    monkeypatch.setattr(regions, "LARGE", 10)
    panel.ui.thresholdSlider.value = 0.6
    computed(panel)
    assert not find_regions(panel.run).GetSegmentation().ContainsRepresentation("Closed surface")
    assert not panel.ui.regions3DCheck.checked


def test_a_large_volume_is_computed_beside_the_panel_when_the_slider_is_released(panel, monkeypatch):
    monkeypatch.setattr(thresholds, "LARGE", 10)
    ui = panel.ui
    panel.choose(ui.kindBox, "probability_below")
    ui.contoursCheck.checked = ui.regionsCheck.checked = True
    computed(panel)
    assert not ui.thresholdSlider.tracking
    slider = ui.thresholdSlider._slider
    slider.setSliderDown(True)
    slider.setValue(700)
    assert panel.state.threshold == 0.5  # nothing happens while it is dragged
    slider.setSliderDown(False)
    assert panel.state.threshold == pytest.approx(0.7)
    assert ui.thresholdLabel.text == "Probability that Oxygen saturation of the blood < 0.7 (computing...)"
    computed(panel)
    volume = panel.run.find("probability_below", "sao2")
    p = probability_below(*panel.run.quantiles("sao2"), panel.state.threshold)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), p)
    np.testing.assert_array_equal(region_labels(panel.run), expected(panel))
    models = slicer.util.getNodesByClass("vtkMRMLModelNode")
    lines = [node for node in models if node.GetAttribute("INN.map") == "contour"]
    assert {"< 0.7" in line.GetName() for line in lines} == {True}
    assert ui.thresholdLabel.text == "Probability that Oxygen saturation of the blood < 0.7"
    monkeypatch.setattr(thresholds, "LARGE", 10**6)
    ui.opacitySlider.value = 0.3
    assert ui.thresholdSlider.tracking


def test_a_scene_that_closes_meanwhile_stays_empty(panel, monkeypatch):
    monkeypatch.setattr(thresholds, "LARGE", 10)
    panel.ui.regionsCheck.checked = True
    slicer.mrmlScene.Clear(False)
    computed(panel)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert (panel.ui.planSection.enabled, panel.ui.lineTable.rowCount) == (False, 0)


def test_lines_follow_a_view_that_another_layout_has_brought(panel, monkeypatch):
    monkeypatch.setattr(thresholds, "LARGE", 10)
    panel.ui.contoursCheck.checked = True
    computed(panel)
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    panel.widget._rest.stop()
    view.Modified()
    assert panel.widget._rest.isActive()
    slicer.mrmlScene.RemoveNode(view)


def test_lines_are_ranked_and_a_row_jumps_there(panel):
    risky = add_line(panel, (0, 6, 3), (0, 6, 12))
    safe = add_line(panel, (1, 6, 11), (1, 6, 15))
    placing = slicer.modules.markups.logic().GetActiveListID()
    assert placing == safe.GetID()
    panel.ui.rankButton.click()
    found = rows(panel)
    assert [row[0] for row in found] == [safe.GetName(), risky.GetName()]
    assert found[1][1] == "18.0"
    assert panel.ui.lineLabel.text.startswith(
        f"{safe.GetName()}, 8.0 mm. Crosses Oxygen saturation of the blood < 0.5: "
    )
    chart = panel.run.find("line chart", class_name="vtkMRMLPlotChartNode")
    assert chart.GetTitle().replace("\n", " ") == panel.ui.lineLabel.text
    panel.ui.lineTable.setCurrentCell(1, 0)
    assert panel.ui.lineLabel.text.startswith(risky.GetName())
    reading = panel.widget._readings[1]
    red = app.slice_view("Red").node.GetSliceToRAS()
    assert red.GetElement(2, 3) == pytest.approx(reading.at[2], abs=1e-6)
    risky.SetNthControlPointPositionWorld(0, *center_of(panel.run.find("median", "sao2"), 0, 6, 12.5))
    risky.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    assert [row[0] for row in rows(panel)] != [row[0] for row in found] or rows(panel) != found
    panel.ui.thresholdSlider.value = 0.7
    assert (rows(panel), panel.ui.lineLabel.text) == ([], ""), "they were ranked by another threshold"
    panel.ui.rankButton.click()
    assert len(rows(panel)) == 2
    slicer.mrmlScene.RemoveNode(safe)
    panel.widget.onStateChanged()
    assert rows(panel) == []


def test_lines_that_cannot_be_read_are_named(panel):
    panel.ui.rankButton.click()
    (message,) = app.messages
    assert "There is no line in the scene; press Add line" in message.text + message.details
    app.messages.clear()
    app.errors.clear()
    good = add_line(panel, (0, 6, 3), (0, 6, 12))
    bad = add_line(panel, (0, 6, 3))
    panel.ui.rankButton.click()
    assert [row[0] for row in rows(panel)] == [good.GetName()]
    assert panel.ui.lineLabel.text.splitlines()[-1] == (
        f"{bad.GetName()}: 1 of 2 points are placed; place entry and target."
    )
    assert app.messages == []


def test_plan_comes_back_with_the_scene(panel, tmp_path):
    ui = panel.ui
    ui.regionsCheck.checked = True
    ui.certainBox.value, ui.smallestIslandBox.value = 90, 30
    computed(panel)
    line = add_line(panel, (0, 6, 3), (0, 6, 12)).GetName()
    labels, text = region_labels(panel.run), ui.regionsLabel.text
    assert slicer.util.saveScene(str(tmp_path / "plan.mrb"))
    slicer.mrmlScene.Clear(False)
    panel.settle()
    assert (ui.regionsLabel.text, ui.planSection.enabled) == ("", False)
    slicer.util.loadScene(str(tmp_path / "plan.mrb"))
    panel.settle()
    computed(panel)
    np.testing.assert_array_equal(region_labels(panel.run), labels)
    assert (ui.regionsCheck.checked, ui.certainBox.value, ui.smallestIslandBox.value) == (True, 90, 30)
    assert ui.regionsLabel.text == text
    ui.rankButton.click()
    assert [row[0] for row in rows(panel)] == [line]


def test_without_quantiles_the_section_says_so(panel, tmp_path):
    store(slicer.mrmlScene, read_result(write_image_result(tmp_path / "image")), "image")
    panel.widget.onRunsChanged()
    panel.choose(panel.ui.runBox, panel.logic.run(panel.state).key)
    key = next(panel.ui.runBox.itemData(n) for n in range(2) if panel.ui.runBox.itemText(n) == "image")
    panel.choose(panel.ui.runBox, key)
    panel.ui.regionsCheck.checked = True
    computed(panel)
    assert panel.ui.regionsLabel.text.startswith("image: no quantiles of Flair image are stored")
    assert find_regions(panel.run) is None
