"""A plan under all poses: its ellipsoid and tube in the scene, and the panel that asks for them."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
from driving import use_real_python
from driving_registration import app, panel, refused, replay
from made_registrations import POSES, TARGET, camera, phantom, write_registration

import slicer  # isort: skip -- driving has installed what stands in for it
import slicer.util  # isort: skip
import vtk  # isort: skip
from INNDisplayLib import (  # isort: skip
    ResultError, aim_text, pose_runs, read_aim, read_poses, show_aim, show_mode, store_aim, store_poses,
)  # fmt: skip

__all__ = ["panel", "replay"]
ENTRY, RADIUS_MM = TARGET + np.array([20.0, -60.0, 10.0]), 2.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A registration with what `monai-inn aim` says of a line, in the folder where it is looked for."""
    from monai_inn.applications.registration.results.aiming import aim

    folder = write_registration(tmp_path_factory.mktemp("aim") / "case")
    aim(folder, folder / "aim", target=TARGET.tolist(), entry=ENTRY.tolist(), radius_mm=RADIUS_MM)
    return folder


@pytest.fixture
def run(scene, folder):
    run = store_poses(scene, read_poses(folder), "case")
    show_mode(run, 1)
    return run


def model(run, kind):
    return run.find(kind, class_name="vtkMRMLModelNode")


def vertices(run, kind):
    return slicer.util.arrayFromModelPoints(model(run, kind)).astype(float)


# What is drawn.


def test_ellipsoid_is_that_of_the_poses(run, folder):
    """All its points are equally far from the mean in units of the covariance of where the target lies."""
    stored = np.load(folder / "samples.npz")["camera_to_world"]
    places = (stored @ np.linalg.inv(camera(POSES[0])) @ [*TARGET, 1.0])[:, :3]
    inverse = np.linalg.inv(np.cov(places, rowvar=False))
    off, far = places - places.mean(0), vertices(run, "aim ellipsoid") - places.mean(0)
    wanted = np.quantile(np.sqrt(np.einsum("si,ij,sj->s", off, inverse, off)), 0.95)
    found = np.sqrt(np.einsum("si,ij,sj->s", far, inverse, far))
    np.testing.assert_allclose(found, wanted, rtol=0.01)  # directions are written with three decimals


def test_ellipsoid_reaches_its_half_axes(run, folder):
    said = json.loads((folder / "aim" / "aim.json").read_text())["target"]["ellipsoid"]
    along = (vertices(run, "aim ellipsoid") - said["centre_ras_mm"]) @ np.array(said["directions_ras"]).T
    np.testing.assert_allclose(along.max(0), said["half_axes_mm"], rtol=2e-3)
    np.testing.assert_allclose(along.min(0), np.negative(said["half_axes_mm"]), rtol=2e-3)


def test_tube_has_the_radius_of_deviation_and_instrument(run, folder):
    line = json.loads((folder / "aim" / "aim.json").read_text())["line"]
    direction = (TARGET - ENTRY) / np.linalg.norm(TARGET - ENTRY)
    off = vertices(run, "aim tube") - ENTRY
    along = off @ direction
    across = np.linalg.norm(off - along[:, None] * direction, axis=1)
    np.testing.assert_allclose(across, line["tube_radius_mm"]["high"] + RADIUS_MM, rtol=1e-4)
    np.testing.assert_allclose([along.min(), along.max()], [0, line["length_mm"]], atol=1e-3)


def test_slices_cut_both(run):
    for kind in ("aim ellipsoid", "aim tube"):
        assert model(run, kind).GetDisplayNode().GetVisibility2D()


def test_it_is_drawn_with_the_pose_on_which_the_plan_relies(run):
    show_mode(run, 2)
    assert (model(run, "aim ellipsoid"), model(run, "aim tube")) == (None, None)
    assert show_aim(run).tube_mm > RADIUS_MM  # its numbers stay
    show_mode(run, 1)
    assert model(run, "aim tube") is not None


def test_a_target_alone_has_no_tube(scene, tmp_path):
    from monai_inn.applications.registration.results.aiming import aim

    folder = write_registration(tmp_path / "case")
    aim(folder, tmp_path / "out", target=TARGET.tolist())
    run = store_poses(scene, read_poses(folder), "case")
    show_mode(run, 1)
    store_aim(run, read_aim(tmp_path / "out"))
    assert model(run, "aim ellipsoid") is not None
    assert model(run, "aim tube") is None
    assert "path" not in aim_text(show_aim(run))


def test_it_comes_back_with_the_scene(run, scene, tmp_path):
    before, said = vertices(run, "aim tube"), aim_text(show_aim(run))
    assert slicer.util.saveScene(str(tmp_path / "plan.mrb"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "plan.mrb"))
    (back,) = pose_runs(scene)
    np.testing.assert_allclose(vertices(back, "aim tube"), before, atol=1e-3)
    assert aim_text(show_aim(back)) == said


@pytest.mark.parametrize(
    "edit",
    [
        lambda r: r["target"].pop("ellipsoid"),
        lambda r: r["target"]["ellipsoid"].update(half_axes_mm=[1, 2]),
        lambda r: r["target"]["ellipsoid"].update(centre_ras_mm=[0, 0, float("nan")]),
        lambda r: r["line"].pop("tube_radius_mm"),
        lambda r: r["target"]["depth_mm"].update(high="far"),
    ],
)
def test_a_damaged_aim_gives_one_line(scene, folder, tmp_path, edit):
    record = json.loads((folder / "aim" / "aim.json").read_text())
    edit(record)
    (tmp_path / "aim.json").write_text(json.dumps(record))
    with pytest.raises(ResultError, match=r"aim\.json is damaged .*Aim again"):
        read_aim(tmp_path)


def test_an_aim_that_was_made_later_comes_with_the_folder_only_from_inside_it(scene, folder, tmp_path):
    case = write_registration(tmp_path / "case")
    run = store_poses(scene, read_poses(case), "case")
    assert show_aim(run) is None
    (case / "aim").symlink_to(folder / "aim")
    with pytest.raises(ResultError, match=r"aim/aim\.json leads out of the folder"):
        read_poses(case)
    (case / "aim").unlink()
    shutil.copytree(folder / "aim", case / "aim")
    assert store_poses(scene, read_poses(case), "case") == run
    assert show_aim(run) is not None


def test_words_have_no_jargon(folder):
    aim = read_aim(folder / "aim")
    aim.record["line"]["breaches"] = [
        {"label": 7, "probability": 0.125, "standard_error": 0.0102},
        {"label": 8, "probability": 0.0, "standard_error": 0.0},
    ]
    aim.record["names"] = {"7": "spinal cord"}
    first, path, cord, eight = aim_text(aim).splitlines()
    target, line = aim.record["target"], aim.record["line"]
    assert f"at most {target['in_plane_mm']['high']:.1f} mm in the image" in first
    assert f"{target['depth_mm']['high']:.1f} mm in depth" in first
    assert f"at most {line['tube_radius_mm']['high']:.1f} mm" in path
    assert cord == "spinal cord: touched in 12.5 % of the poses (± 1.0 %)."
    assert eight == "Structure with label 8: touched in none of the poses."
    aim.record["is_trusted"] = False
    assert aim_text(aim).endswith("Do not use this: the registration is not trusted.")


# The panel.


def add_plan(kind, *points):
    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node", "plan")
    for point in points:
        node.AddControlPointWorld(*point)
    return node


def add_segments(ct, **centers):
    """A segmentation with a ball of 12 mm for each name, offset from the target."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "structures")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    for name, center in centers.items():
        ball = vtk.vtkSphereSource()
        ball.SetCenter(*(TARGET + center))
        ball.SetRadius(12)
        ball.Update()
        key = node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), name)
        node.GetDisplayNode().SetSegmentDisplayPropertiesToDefault(key)  # as a view does
    return node


@pytest.fixture
def opened(panel, tmp_path):
    """The panel with two plausible poses and their CT."""
    array, matrix = phantom()
    ct = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="CT")
    panel.open(write_registration(tmp_path / "case"))
    panel.ui.ctSelector.setCurrentNode(ct)
    panel.ct = ct
    return panel


def hide(node, name):
    key = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    node.GetDisplayNode().SetSegmentVisibility(key, False)


def offered(panel):
    return panel.ui.aimLabel.text, panel.ui.aimButton.enabled, panel.ui.aimButton.toolTip


def test_what_is_missing_is_said(panel, tmp_path):
    said = "Find poses first."
    assert offered(panel) == (said, False, said)
    panel.open(write_registration(tmp_path / "case"))
    line, point = add_plan("Line", ENTRY), add_plan("Fiducial")
    for node, said in (
        (None, "Select a point (target) or a line (entry, target)."),
        (line, "Place entry and target of the line."),
        (point, "Place the target point."),
    ):
        panel.ui.planSelector.setCurrentNode(node)
        assert offered(panel) == (said, False, said)
        with pytest.raises(ValueError, match=said.split(" (")[0]):
            panel.logic.aim(panel.state)
    point.AddControlPointWorld(*TARGET)
    assert panel.ui.aimButton.enabled
    array, matrix = phantom()
    ct = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix)
    panel.ui.avoidSelector.setCurrentNode(add_segments(ct, cord=[0, 0, 0]))
    assert (
        offered(panel)[0] == "Structures to avoid need a line from entry to target; a point touches nothing."
    )
    line.AddControlPointWorld(*TARGET)
    panel.ui.planSelector.setCurrentNode(line)
    assert panel.ui.aimButton.enabled


def test_untrusted_poses_carry_no_plan(panel, tmp_path):
    panel.open(write_registration(tmp_path / "bad", is_trusted=False))
    panel.ui.planSelector.setCurrentNode(add_plan("Fiducial", TARGET))
    assert offered(panel)[0] == "Find poses first."
    panel.ui.untrustedCheck.click()
    assert panel.ui.aimButton.enabled


def test_from_the_button_to_the_scene(opened, monkeypatch, tmp_path):
    """The real command, fed with the scene alone: the result's folder has gone."""
    shutil.rmtree(tmp_path / "case")
    use_real_python(monkeypatch)
    line = add_plan("Line", ENTRY, TARGET)
    opened.ui.planSelector.setCurrentNode(line)
    opened.ui.avoidSelector.setCurrentNode(add_segments(opened.ct, cord=[10, -30, 5], aorta=[-30, 30, 0]))
    opened.ui.radiusBox.value = RADIUS_MM
    opened.ui.aimButton.click()
    assert opened.ui.aimButton.text == "Cancel"
    opened.settle()
    aim = show_aim(opened.run)
    assert app.messages == []
    np.testing.assert_allclose(aim.plan, [ENTRY, TARGET], atol=1e-3)
    assert aim.record["names"] == {"1": "cord", "2": "aorta"}
    said = opened.ui.aimLabel.text
    assert "cord: touched in " in said
    assert "cord: touched in none" not in said, "the line goes through it in the first pose"
    assert model(opened.run, "aim tube") is not None
    assert [*opened.output.iterdir()] == []
    line.SetNthControlPointPositionWorld(1, 0, 0, 0)
    assert (show_aim(opened.run), model(opened.run, "aim tube")) == (None, None), "it was of another plan"
    assert opened.ui.aimLabel.text == ""


def test_structures_are_tested_where_their_transform_puts_them(opened, tmp_path):
    from INNRegistrationLib.aiming import _write_structures

    array, matrix = phantom()
    labels = slicer.util.addVolumeFromArray(
        (array > array.mean()).astype(np.int16), ijkToRAS=matrix, nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    _write_structures(labels, None, tmp_path / "a.nii.gz")
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    shift = np.eye(4)
    shift[:3, 3] = 50, 0, -7
    slicer.util.updateTransformMatrixFromArray(moved, shift)
    labels.SetAndObserveTransformNodeID(moved.GetID())
    _write_structures(labels, None, tmp_path / "b.nii.gz")
    before, after = (nibabel.load(tmp_path / f"{name}.nii.gz").affine for name in "ab")
    np.testing.assert_allclose(after, shift @ before, atol=1e-4)


def test_a_line_without_length_is_no_plan(opened):
    opened.ui.planSelector.setCurrentNode(add_plan("Line", TARGET, TARGET))
    assert offered(opened)[0] == "Entry and target are the same point; move one of them."


def test_another_plan_takes_the_aim_away(panel, folder):
    panel.open(folder)
    assert "The path is off by at most" in panel.ui.aimLabel.text
    panel.ui.planSelector.setCurrentNode(add_plan("Line", ENTRY, TARGET))
    assert show_aim(panel.run) is not None, "it is the same"
    panel.ui.planSelector.setCurrentNode(add_plan("Fiducial", TARGET))
    assert (show_aim(panel.run), panel.ui.aimLabel.text) == (None, "")


@pytest.mark.parametrize("is_left", [False, True], ids=["open", "left"])
@pytest.mark.parametrize("way", ["move", "delete a point", "delete the node", "transform"])
def test_a_plan_that_changes_takes_the_aim_away(panel, folder, way, is_left):
    panel.open(folder)
    run, plan = panel.run, add_plan("Line", ENTRY, TARGET)
    panel.ui.planSelector.setCurrentNode(plan)
    assert model(run, "aim tube") is not None
    if is_left:
        panel.module.exit()
    if way == "move":
        plan.SetNthControlPointPositionWorld(0, 0, 0, 0)
    elif way == "delete a point":
        plan.RemoveNthControlPoint(1)
    elif way == "delete the node":
        slicer.mrmlScene.RemoveNode(plan)
    else:
        matrix = np.eye(4)
        matrix[0, 3] = 5
        moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        slicer.util.updateTransformMatrixFromArray(moved, matrix)
        plan.SetAndObserveTransformNodeID(moved.GetID())
    assert (show_aim(run), model(run, "aim tube"), model(run, "aim ellipsoid")) == (None, None, None)
    if is_left:
        panel.module.enter()
    assert "off by at most" not in panel.ui.aimLabel.text


def test_a_plan_that_stays_keeps_the_aim_of_another_module(panel, folder):
    panel.open(folder)
    run, plan = panel.run, add_plan("Line", ENTRY, TARGET)
    panel.ui.planSelector.setCurrentNode(plan)
    panel.module.exit()
    plan.SetNthControlPointPositionWorld(0, *ENTRY)
    slicer.mrmlScene.RemoveNode(add_plan("Line", ENTRY))
    assert model(run, "aim tube") is not None


def test_hidden_segments_do_not_count_and_overlaps_are_refused(opened):
    (opened.replay / "complaint").write_text("monai-inn: enough.\n")
    opened.ui.planSelector.setCurrentNode(add_plan("Line", ENTRY, TARGET))
    node = add_segments(opened.ct, cord=[0, 0, 0], aorta=[4, 0, 0])
    opened.ui.avoidSelector.setCurrentNode(node)
    assert "The segment aorta overlaps another one; hide one of them." in refused(opened, opened.ui.aimButton)
    hide(node, "aorta")
    opened.ui.aimButton.click()
    opened.settle()
    assert "--avoid 1 --json" in (opened.replay / "calls").read_text()
    assert opened.status == "enough."
    app.messages.clear()
    hide(node, "cord")
    assert "structures has no visible structure to avoid." in refused(opened, opened.ui.aimButton)


def test_cancel_leaves_nothing(opened):
    (opened.replay / "hold").touch()
    opened.ui.planSelector.setCurrentNode(add_plan("Fiducial", TARGET))
    opened.ui.aimButton.click()
    app.wait_until(lambda: opened.logic.work.child.share == 0.5)
    scratch = opened.logic.work.folder
    assert (scratch / "poses" / "samples.npz").is_file()
    opened.ui.aimButton.click()
    assert (opened.logic.work, scratch.exists(), show_aim(opened.run)) == (None, False, None)
    assert opened.ui.aimButton.text == "Carry through all poses"
