"""Lines of the scene through a posterior of known content."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from INNDisplayLib import (
    PoseSamples,
    line_ends,
    matrix_of,
    probability_below,
    rank_lines,
    read_line,
    read_poses,
    read_result,
    sample_arrays,
    show_line,
    show_mode,
    show_tube,
    store,
    store_poses,
)
from made_registrations import write_registration
from made_results import (
    IMAGE,
    OFFSETS,
    UNTRUSTED,
    image_center,
    image_spread,
    write_image_result,
    write_result,
)
from scipy.stats import binomtest

START, STOP = (0, 6, 2), (1, 6, 13)  # (k, j, i)
STEP_MM = 2.0


@pytest.fixture
def run(scene, tmp_path):
    return store(scene, read_result(write_result(tmp_path / "result")), "case")


def add_line(*points, name="Path"):
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", name)
    for point in points:
        line.AddControlPointWorld(vtk.vtkVector3d(*(float(v) for v in point)))
    return line


def at(run, *voxels, name=None):
    """World positions of (k, j, i) of the maps, through their transform."""
    volume = run.find("median", name or run.parameters[0].name)
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(volume.GetParentTransformNode(), None, to_world)
    matrix = matrix_of(volume)
    return [to_world.TransformPoint((matrix @ [i, j, k, 1])[:3]) for k, j, i in voxels]


def along_row(run, name="Path"):
    """A line through the centers of a row of voxels, (0, 6, 2) to (0, 6, 13)."""
    return add_line(*at(run, (0, 6, 2), (0, 6, 13)), name=name)


def test_values_and_millimeters_along_a_row(run):
    reading = read_line(run, along_row(run), "sao2", 0.5)
    assert reading.path.voxels.tolist() == [[0, 6, i] for i in range(2, 14)]
    np.testing.assert_allclose(reading.path.lengths, [1, *[STEP_MM] * 10, 1], atol=1e-5)
    stack, levels = run.quantiles("sao2")
    rows = stack[0, 6, 2:14]
    np.testing.assert_allclose(reading.interval[1], rows[:, levels == 0.5][:, 0], rtol=1e-6)
    np.testing.assert_allclose(reading.interval[[0, 2]], rows[:, [0, -1]].T, rtol=1e-6)
    p = probability_below(rows, levels, 0.5).astype(float)
    assert (reading.risk.low, reading.risk.high) == (p.max(), pytest.approx(1 - np.prod(1 - p)))
    assert reading.risk.length_mm == pytest.approx(11 * STEP_MM)
    assert reading.risk.unknown_mm == 0
    np.testing.assert_allclose(reading.at, at(run, (0, 6, 2 + int(p.argmax())))[0], atol=0.51)


def test_above_is_the_other_side(run):
    stack, levels = run.quantiles("a_mie")
    p = 1 - probability_below(stack[0, 6, 2:14], levels, 30.0).astype(float)
    risk = read_line(run, along_row(run), "a_mie", 30.0, is_above=True).risk
    assert (risk.low, risk.high) == (pytest.approx(p.max()), pytest.approx(1 - np.prod(1 - p)))


@pytest.mark.parametrize("kind", ["linear", "bent"])
def test_volumes_under_a_transform_are_read_where_they_are_seen(run, kind):
    plain = read_line(run, along_row(run), "sao2", 0.5)
    transform = slicer.vtkMRMLTransformNode() if kind == "bent" else slicer.vtkMRMLLinearTransformNode()
    node = slicer.mrmlScene.AddNode(transform)
    turn = vtk.vtkTransform()
    turn.RotateWXYZ(35, 1, 2, 3)
    turn.Translate(7, -3, 11)
    if kind == "linear":
        node.SetMatrixTransformToParent(turn.GetMatrix())
    else:
        spline = vtk.vtkThinPlateSplineTransform()
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        for x in (-60, 60):
            for y in (-60, 60):
                for z in (-60, 60):
                    source.InsertNextPoint(x, y, z)
                    target.InsertNextPoint(*turn.TransformPoint((x, y, z)))
        spline.SetSourceLandmarks(source)
        spline.SetTargetLandmarks(target)
        spline.SetBasisToR()
        node.SetAndObserveTransformToParent(spline)
    for parameter in ("sao2",):
        run.find("median", parameter).SetAndObserveTransformNodeID(node.GetID())
    moved = read_line(run, along_row(run), "sao2", 0.5)
    np.testing.assert_array_equal(moved.path.voxels, plain.path.voxels)
    np.testing.assert_allclose(moved.path.ends, plain.path.ends, atol=0.02)
    np.testing.assert_allclose(moved.interval, plain.interval)
    assert moved.risk.high == pytest.approx(plain.risk.high)


def test_a_line_under_a_transform_is_read_where_it_is_seen(run):
    line = along_row(run)
    plain = read_line(run, line, "sao2", 0.5)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    shift = vtk.vtkTransform()
    shift.Translate(0, 0, -3)  # one slice on: the third axis of the maps runs down
    node.SetMatrixTransformToParent(shift.GetMatrix())
    line.SetAndObserveTransformNodeID(node.GetID())
    moved = read_line(run, line, "sao2", 0.5)
    np.testing.assert_array_equal(moved.path.voxels, plain.path.voxels + np.array([1, 0, 0]))


def test_what_is_not_trusted_or_outside_is_measured_and_never_counted(run):
    first = UNTRUSTED[1].stop - 1
    line = add_line(*at(run, (0, first, -2), (0, first, 9)))
    reading = read_line(run, line, "sao2", 0.5)
    # Outside: 1.5 voxels before the first one; not trusted: voxels 0 to 3.
    assert reading.risk.unknown_mm == pytest.approx(5.5 * STEP_MM)
    assert np.isnan(reading.interval[:, :6]).all()
    assert np.isfinite(reading.interval[:, 6:]).all()
    stack, levels = run.quantiles("sao2")
    p = probability_below(stack[0, first, 4:10], levels, 0.5)
    assert reading.risk.low == pytest.approx(p.max())
    assert "11.0 mm are not trusted or outside the image" in reading.text
    assert reading.risk.order[0] == 1.0


def test_stored_samples_are_counted_beside_the_bounds(run):
    reading = read_line(run, along_row(run), "sao2", 0.5)
    samples = np.stack([values[0, 6, 2:14] for values in sample_arrays(run, "sao2")])
    assert reading.risk.joint == ((samples < 0.5).any(1).sum(), 3)
    assert "of 3 stored samples cross it" in reading.text
    assert not reading.is_joint


def test_joint_samples_of_an_unknown_image_give_the_probability_itself(scene, tmp_path):
    run = store(scene, read_result(write_image_result(tmp_path / "image")), "image")
    row = slice(2, 14)
    center, spread = (values[0, 6, row] for values in (image_center(), image_spread()))
    drawn = center + spread * OFFSETS[:, None]
    threshold = float(np.sort(drawn.min(1))[2:4].mean())  # three of five samples cross it
    reading = read_line(run, along_row(run), "flair", threshold)
    assert reading.risk.joint == (3, 5)
    exact = binomtest(3, 5).proportion_ci(0.95, "exact")
    assert (reading.risk.low, reading.risk.high) == (pytest.approx(exact.low), pytest.approx(exact.high))
    assert "of the joint samples (95 %)" in reading.text
    assert reading.parameter.name == IMAGE["name"]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "0 of 2 points are placed"),
        ([(0, 0, 0)], "1 of 2 points are placed; place entry and target"),
        ([(1, 2, 3), (1, 2, 3)], "entry and target are the same point"),
        ([(900, 0, 0), (900, 50, 0)], "lies outside the image of case"),
    ],
)
def test_a_line_that_is_none_is_refused_in_one_line(run, points, message):
    line = add_line(*points, name="Bad")
    with pytest.raises(ValueError, match=message) as refused:
        read_line(run, line, "sao2", 0.5)
    assert str(refused.value).startswith("Bad: ")
    assert "\n" not in str(refused.value)


def test_a_threshold_or_a_posterior_that_is_missing_is_said(run):
    line = along_row(run)
    with pytest.raises(ValueError, match="Threshold nan: give a number"):
        read_line(run, line, "sao2", float("nan"))
    for kind in ("quantiles", "samples"):
        run.drop(run.find(kind, "sao2", "vtkMRMLSequenceNode"))
    with pytest.raises(ValueError, match="neither quantiles nor samples of Oxygen saturation"):
        read_line(run, line, "sao2", 0.5)
    run.drop(run.find("median", "sao2"))
    with pytest.raises(ValueError, match="median of Oxygen saturation of the blood was deleted"):
        read_line(run, line, "sao2", 0.5)


def test_lines_are_ranked_by_the_worst_case(run):
    safe = add_line(*at(run, (0, 6, 12), (1, 6, 15)), name="safe")
    risky = add_line(*at(run, (0, 6, 4), (1, 6, 12)), name="risky")
    unknown = add_line(*at(run, (0, 1, 2), (0, 1, 14)), name="unknown")
    bad = add_line((0, 0, 0), name="bad")
    readings, complaints = rank_lines(run, [unknown, risky, bad, safe], "sao2", 0.45)
    assert [reading.node.GetName() for reading in readings] == ["safe", "risky", "unknown"]
    assert complaints == ["bad: 1 of 2 points are placed; place entry and target."]
    values = [reading.risk.high for reading in readings]
    assert values[0] < values[1]


def test_chart_holds_a_value_from_the_entry_of_a_voxel_to_its_end(run):
    first = UNTRUSTED[1].stop - 1
    reading = read_line(run, add_line(*at(run, (0, first, 0), (0, first, 9))), "sao2", 0.5)
    chart = show_line(run, reading)
    names = [chart.GetNthPlotSeriesNode(n).GetName() for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert names == ["lower end of 95%", "upper end of 95%", "median", "threshold", "not trusted"]
    table = chart.GetNthPlotSeriesNode(2).GetTableNode()
    columns = {table.GetColumnName(n): vtk.util.numpy_support.vtk_to_numpy(table.GetTable().GetColumn(n))
               for n in range(table.GetNumberOfColumns())}  # fmt: skip
    distance = columns["distance from the start [mm]"]
    np.testing.assert_allclose(distance, reading.path.ends.ravel())
    np.testing.assert_array_equal(columns["median"], np.repeat(reading.interval[1], 2))
    np.testing.assert_array_equal(np.isnan(columns["not trusted"]), np.isfinite(columns["median"]))
    assert chart.GetTitle().replace("\n", " ") == reading.text
    trusted = read_line(run, along_row(run), "sao2", 0.5)
    assert show_line(run, trusted) is chart
    assert chart.GetNumberOfPlotSeriesNodes() == 4  # nothing to warn of


def test_poses_carry_the_line_and_give_it_a_tube(run, tmp_path):
    poses = store_poses(slicer.mrmlScene, read_poses(write_registration(tmp_path / "poses")), "poses")
    line = along_row(run)
    plain = read_line(run, line, "sao2", 0.5)
    assert read_line(run, line, "sao2", 0.5, poses=poses).risk == plain.risk  # no pose is shown
    show_mode(poses, poses.result.poses[0].number)
    # Poses that are the shown one pushed across the line, which runs along the second world axis.
    off = np.array([[x, y, 0] for x in (-4.0, -2.0, 0.0, 2.0) for y in (0.0, 1.5)])
    cameras = np.repeat(poses.shown.camera_to_world[None], len(off), 0)
    cameras[:, :3, 3] += off
    poses.store_samples(PoseSamples(cameras, np.ones(len(off), np.int64)))
    reading = read_line(run, line, "sao2", 0.5, poses=poses)
    assert reading.risk.tube_mm == pytest.approx(np.quantile(np.abs(off[:, 0]), 0.95))
    others = [read_line(run, add_line(*(line_ends(line) + shift)), "sao2", 0.5).risk for shift in off]
    assert reading.risk.low == pytest.approx(np.mean([risk.low for risk in others]))
    assert reading.risk.high == pytest.approx(np.mean([risk.high for risk in others]))
    assert reading.risk.unknown_mm == pytest.approx(max(risk.unknown_mm for risk in others))
    assert "Averaged over the poses; 95 % of them stay within 4.0 mm" in reading.text
    model = show_tube(run, reading)
    bounds = np.array(model.GetMesh().GetBounds()).reshape(3, 2)
    assert np.ptp(bounds, axis=1).max() > reading.risk.length_mm - 0.1
    assert show_tube(run, plain) is None
    assert run.find("line tube", class_name="vtkMRMLModelNode") is None
