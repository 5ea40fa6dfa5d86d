"""Measured curves in a scene: stored and saved with it, read at a voxel, and drawn beside the posterior."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_results import AFFINE, LOST, PLACES, UNTRUSTED, curve_values, write_result
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

import slicer
import slicer.util
from chart_view import draw_chart
from driving import NO_BUNDLES, Panel, app
from INNDisplayLib import ResultError, curve_at, read_at, read_result, runs, save_result, show_curve, store
from open_module import replace_python

PARTS = ("measured", "low", "median", "high")
VOXEL = 1, 6, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_result(tmp_path_factory.mktemp("made") / "result", curves=True)


@pytest.fixture
def run(scene, folder):
    return store(scene, read_result(folder), "case 1")


def world(k, j, i):
    return tuple(float(v) for v in (AFFINE @ [i, j, k, 1])[:3])


def check(run):
    """The curves of two voxels are what the files hold."""
    for voxel, there in ((VOXEL, [0, 1, 2, 3, 4]), (LOST[:3], [0, 1, 2, 4])):
        found = curve_at(run, voxel)
        assert (found.quantity, found.axis, found.interval) == ("concentration [mM]", "time [s]", 0.9)
        np.testing.assert_array_equal(found.positions, np.array(PLACES)[there])
        for part in PARTS:
            np.testing.assert_array_equal(getattr(found, part), curve_values(part)[voxel][there])


def test_curves_come_with_the_run_and_go_into_files_again(scene, run, tmp_path):
    check(run)
    assert curve_at(run, (0, 11, 15)) is None  # not usable
    assert curve_at(run, None) is None
    assert run.find("curve", "low", "vtkMRMLSequenceNode").GetHideFromEditors()
    save_result(run, tmp_path / "saved")
    again = store(scene, read_result(tmp_path / "saved"), "saved")
    check(again)


def test_curves_are_saved_with_the_scene(app, scene, run, tmp_path):
    path = tmp_path / "case.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(path))
    (back,) = runs(slicer.mrmlScene)
    check(back)


def test_another_result_without_curves_takes_them_away(scene, run, tmp_path):
    store(scene, read_result(write_result(tmp_path / "plain")), "case 1", run=run)
    assert curve_at(run, VOXEL) is None
    assert run.find("curve", class_name="vtkMRMLSequenceNode") is None


def test_deleted_curves_are_not_drawn_and_not_saved(scene, run, tmp_path):
    run.drop(run.find("curve", "high", "vtkMRMLSequenceNode"))
    assert curve_at(run, VOXEL) is None
    save_result(run, tmp_path / "saved")
    kinds = [(f.kind, f.parameter) for f in read_result(tmp_path / "saved").files if f.kind == "curve"]
    assert kinds == [("curve", part) for part in PARTS if part != "high"]


@pytest.mark.parametrize("change", [{"unit": 3}, {"positions": ["a"]}, {"interval": None}])
def test_damaged_words_are_refused_in_one_line(folder, tmp_path, change):
    record = json.loads((folder / "result.json").read_text())
    record["curves"] |= change
    (tmp_path / "result.json").write_text(json.dumps(record))
    with pytest.raises(ResultError, match=r"result\.json is damaged"):
        read_result(tmp_path)


def test_the_chart_has_points_a_line_and_dashes(run):
    plot = slicer.vtkMRMLPlotSeriesNode
    reading = read_at(run, world(*VOXEL))
    chart = show_curve(run, curve_at(run, reading.voxel), reading)
    assert (chart.GetXAxisTitle(), chart.GetYAxisTitle()) == ("time [s]", "concentration [mM]")
    assert "90%" in chart.GetTitle()
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [s.GetName() for s in series] == ["lower end of 90%", "upper end of 90%", "median", "measured"]
    styles = [(s.GetLineStyle(), s.GetMarkerStyle()) for s in series]
    none, circle = plot.MarkerStyleNone, plot.MarkerStyleCircle
    dash, solid = (plot.LineStyleDash, none), (plot.LineStyleSolid, none)
    assert styles == [dash, dash, solid, (plot.LineStyleNone, circle)]
    table = series[0].GetTableNode().GetTable()
    column = [table.GetColumnByName("measured").GetValue(n) for n in range(table.GetNumberOfRows())]
    np.testing.assert_allclose(column, curve_values("measured")[VOXEL])
    withheld = read_at(run, world(0, 1, 1))
    assert UNTRUSTED[1].start <= withheld.voxel[1] < UNTRUSTED[1].stop
    assert show_curve(run, curve_at(run, withheld.voxel), withheld) is chart
    assert chart.GetTitle().startswith("[///] NOT EXPLAINED")
    assert series[2].GetColor() != series[3].GetColor()
    outside = read_at(run, (500.0, 0.0, 0.0))
    assert show_curve(run, curve_at(run, outside.voxel), outside).GetNumberOfPlotSeriesNodes() == 0
    assert chart.GetTitle() == "outside the image"


def test_a_probe_shows_both_charts_side_by_side(folder, tmp_path, monkeypatch):
    replace_python(tmp_path / "python", NO_BUNDLES, monkeypatch)
    app.reset()
    run = store(slicer.mrmlScene, read_result(folder), "case 1")
    opened = Panel()
    opened.settle()
    try:
        opened.ui.probeButton.click()
        probe = opened.state.probe
        probe.AddControlPointWorld(world(*VOXEL))

        def charts():
            views = [
                slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLPlotViewNode")
                for name in ("INNPosterior", "INNCurve")
            ]
            return [view.GetPlotChartNode().GetAttribute("INN.map") for view in views]

        assert charts() == ["posterior chart", "curve chart"]
        manager = slicer.app.layoutManager()
        layout = manager.layout
        manager.setLayout(1)  # the user likes another one
        probe.SetNthControlPointPositionWorld(0, world(*LOST[:3]))
        assert manager.layout == 1
        chart = run.find("curve chart", class_name="vtkMRMLPlotChartNode")
        assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == len(PLACES) - 1
        opened.ui.probeButton.click()
        probe.AddControlPointWorld(world(*VOXEL))
        assert manager.layout == layout != 1
        opened.choose(opened.ui.kindBox, "adequacy")
        assert "colors span 0 to 1" in opened.ui.hideBelowLabel.text
        run.drop(run.find("adequacy"))
        opened.state.opacity = 0.5
        assert opened.ui.hideBelowLabel.text.startswith("Not in this result: set Simulations")
    finally:
        opened.module.close()


def test_a_picture_of_the_chart(app, run, tmp_path):
    if not app.has_opengl:
        pytest.skip("needs OpenGL (libegl1, libgl1-mesa-dri) to draw charts")
    reading = read_at(run, world(*VOXEL))
    draw_chart(show_curve(run, curve_at(run, reading.voxel), reading), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
