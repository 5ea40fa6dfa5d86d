"""A registration in a scene: exact places, exact ellipsoids, honest pictures, and what must be refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_registrations import DETECTOR, POSES, TARGET, camera, centers, project, write_registration
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

import slicer
import slicer.util
import vtk
from INNDisplayLib import (
    CHI_95,
    IMAGE_VIEWS,
    Comparing,
    PoseSamples,
    ResultError,
    ellipsoid,
    hide_mode,
    pose_runs,
    pose_verdict,
    read_poses,
    runs,
    show_comparison,
    show_images,
    show_mode,
    show_spread,
    spread_of,
    store_poses,
    surface_above,
)
from scipy.stats import chi2
from vtk.util.numpy_support import vtk_to_numpy

PIXEL_MM = 1e-3


@pytest.fixture
def folder(tmp_path):
    return write_registration(tmp_path / "case")


@pytest.fixture
def run(scene, folder):
    return store_poses(scene, read_poses(folder), "case")


def world_of(volume):
    """Index to world, through all transforms."""
    matrix, local = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(volume.GetParentTransformNode(), None, matrix)
    volume.GetIJKToRASMatrix(local)
    return slicer.util.arrayFromVTKMatrix(matrix) @ slicer.util.arrayFromVTKMatrix(local)


def to_parent(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def points_of(run, kind):
    return vtk_to_numpy(run.find(kind, class_name="vtkMRMLModelNode").GetPolyData().GetPoints().GetData())


# Places.


@pytest.mark.parametrize("number", [1, 2])
def test_rays_through_ct_points_hit_their_pixel_of_the_placed_xray(run, number):
    show_mode(run, number)
    matrix = camera(POSES[number - 1])
    placed = world_of(run.find("xray"))
    origin, across, down = placed[:3, 3], placed[:3, 0], placed[:3, 1]
    points = np.vstack([centers(), TARGET + np.random.default_rng(2).uniform(-60, 60, (20, 3))])
    for point, (column, row_) in zip(points, project(points, matrix), strict=True):
        source = matrix[:3, 3]
        # Where the ray from the source through the point meets the plane of the image.
        along, *at = np.linalg.solve(np.stack([point - source, -across, -down], 1), origin - source)
        assert along > 1  # the detector is behind the patient
        off_mm = (np.array(at) - (column, row_)) * DETECTOR["spacing_mm"]
        assert np.abs(off_mm).max() < PIXEL_MM


@pytest.mark.parametrize("number", [1, 2])
def test_transform_is_that_of_the_record_and_rigid(run, folder, number):
    show_mode(run, number)
    stored = json.loads((folder / "registration.json").read_text())["modes"][number - 1]["camera_to_world"]
    matrix = to_parent(run.transform)
    np.testing.assert_array_equal(matrix, stored)
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1, abs=1e-12)
    for kind in ("xray", "drr", "comparison"):
        assert run.find(kind).GetParentTransformNode() is run.transform
    assert run.transform.GetAttribute("INN.mode") == str(number)


def test_images_are_those_of_the_files(run, folder):
    import nibabel

    for number in (2, 1):
        show_mode(run, number)
        for kind, name in (("xray", "xray"), ("drr", f"drr_{number}")):
            stored = nibabel.load(folder / f"{name}.nii.gz").get_fdata(dtype=np.float32)
            np.testing.assert_array_equal(run.array(kind), stored.transpose(2, 1, 0))
    assert run.array("drr").shape == (1, DETECTOR["rows"], DETECTOR["columns"])


def test_carm_reaches_from_the_source_to_the_corners_of_the_image(run):
    show_mode(run, 1)
    points = points_of(run, "carm")
    matrix = slicer.util.arrayFromVTKMatrix(_ijk_to_ras(run.find("xray")))
    corners = [[-0.5, -0.5], [63.5, -0.5], [63.5, 47.5], [-0.5, 47.5]]
    wanted = [(matrix @ [*corner, 0, 1])[:3] for corner in corners]
    np.testing.assert_allclose(points[:4], wanted, atol=1e-4)
    np.testing.assert_array_equal(points[6:13:2], 0)  # the other end of each edge
    assert run.find("carm", class_name="vtkMRMLModelNode").GetParentTransformNode() is run.transform


def _ijk_to_ras(volume):
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_parallel_beam_has_parallel_edges(scene, folder):
    path = folder / "registration.json"
    record = json.loads(path.read_text())
    record["detector"]["beam"] = "parallel"
    path.write_text(json.dumps(record))
    points = points_of(store_poses(scene, read_poses(folder), "case"), "carm")
    edges = points[:4] - points[6:13:2]
    np.testing.assert_allclose(edges, [[0, 0, 1020]] * 4, atol=1e-4)


@pytest.mark.parametrize("number", [1, 2])
def test_views_look_at_the_images_as_a_radiograph_is_read(app, run, number):
    for name in IMAGE_VIEWS:
        app.add_slice_view(name)
    show_mode(run, number)
    show_images(run)
    for name, kind in IMAGE_VIEWS.items():
        view, volume = app.slice_view(name), run.find(kind)
        assert view.composite.GetBackgroundVolumeID() == volume.GetID()
        to_index = np.linalg.inv(world_of(volume)) @ slicer.util.arrayFromVTKMatrix(view.node.GetXYToRAS())
        width, height = view.node.GetDimensions()[:2]
        middle = to_index @ [width / 2, height / 2, 0, 1]
        np.testing.assert_allclose(middle[:3], [31.5, 23.5, 0], atol=1e-3)
        right, up = to_index[:3, 0], to_index[:3, 1]
        assert right[0] > 0
        assert up[1] < 0  # rows count from the top
        np.testing.assert_allclose([right[1], right[2], up[0], up[2]], 0, atol=1e-9)
        corner = to_index @ [0, height, 0, 1]
        assert corner[0] < -0.5  # all of it is in sight
        assert corner[1] < -0.5
        picture = view.pixels()[..., 0].astype(float)
        assert picture.std() > 10


def test_pixels_of_a_view_are_those_of_the_image(app, run):
    app.add_slice_view("INNDRR")
    show_mode(run, 1)
    show_images(run)
    view, values = app.slice_view("INNDRR"), run.array("drr")[0]
    row_, column = np.unravel_index(values.argmax(), values.shape)
    to_view = np.linalg.inv(slicer.util.arrayFromVTKMatrix(view.node.GetXYToRAS()))
    x, y, _, _ = to_view @ world_of(run.find("drr")) @ [column, row_, 0, 1]
    picture = view.pixels()[..., 0].astype(float)
    found = picture[round(picture.shape[0] - 1 - y), round(x)]
    assert found == pytest.approx(255 * min(values.max(), 1), abs=3)


# Spread.


@pytest.mark.parametrize("number", [1, 2])
def test_spread_of_the_target_is_that_of_the_record(run, number):
    pose = run.result.pose(number)
    spread = spread_of(run.samples, pose, TARGET)
    np.testing.assert_allclose(spread.mean, pose.record["target"]["mean_ras_mm"], atol=1e-8)
    np.testing.assert_allclose(spread.covariance, pose.record["target"]["covariance_mm2"], atol=1e-8)
    assert spread.samples == (174, 120)[number - 1]


def test_axes_of_the_ellipsoid_are_the_eigenvectors(run):
    assert chi2.ppf(0.95, 3) == pytest.approx(CHI_95**2, rel=1e-12)
    spread = spread_of(run.samples, run.result.pose(1), TARGET + np.array([10, 20, -30]))
    lengths, axes = spread.axes()
    assert np.linalg.det(axes) == pytest.approx(1)
    np.testing.assert_allclose(axes @ np.diag(lengths**2) @ axes.T, CHI_95**2 * spread.covariance, atol=1e-9)
    assert [*lengths] == sorted(lengths, reverse=True)
    surface = ellipsoid(spread)
    points = vtk_to_numpy(surface.GetPoints().GetData()) - spread.mean
    distance = np.einsum("ij,jk,ik->i", points, np.linalg.inv(spread.covariance), points)
    np.testing.assert_allclose(distance, CHI_95**2, rtol=1e-3)  # all of its points are on the surface
    for axis, length in zip(axes.T, lengths, strict=True):
        assert np.abs(points @ axis).max() == pytest.approx(length, rel=5e-3)


def test_ellipsoid_holds_95_percent_of_the_samples(run):
    own = run.samples.camera_to_world[run.samples.mode == 1]
    spread = spread_of(run.samples, run.result.pose(1), TARGET)
    moved = (own @ np.linalg.inv(camera(POSES[0])) @ [*TARGET, 1.0])[:, :3] - spread.mean
    inside = np.einsum("ij,jk,ik->i", moved, np.linalg.inv(spread.covariance), moved) <= CHI_95**2
    assert 0.90 <= inside.mean() <= 0.99  # 174 samples


def test_ellipsoid_follows_pose_and_target(run):
    show_mode(run, 1)
    model = run.find("spread", class_name="vtkMRMLModelNode")
    assert model.GetDisplayNode().GetVisibility2D()
    assert model.GetDisplayNode().GetVisibility3D()
    assert model.GetParentTransformNode() is None
    first = points_of(run, "spread").copy()
    show_mode(run, 2)
    assert np.abs(points_of(run, "spread") - first).max() > 1
    run.find("target", class_name="vtkMRMLMarkupsFiducialNode").SetNthControlPointPositionWorld(0, 50, 0, 0)
    spread = show_spread(run)
    np.testing.assert_allclose(spread.mean, [50, 0, 0], atol=8)
    assert run.find("spread", class_name="vtkMRMLModelNode") is model
    scene = run.scene
    scene.RemoveNode(run.find("target", class_name="vtkMRMLMarkupsFiducialNode"))
    assert show_spread(run) is None
    assert run.find("spread", class_name="vtkMRMLModelNode") is None


def test_too_few_samples_draw_nothing(scene, folder):
    with np.load(folder / "samples.npz") as stored:
        few = dict(stored, mode=np.where(np.arange(len(stored["mode"])) < 4, 1, 0))
    np.savez(folder / "samples.npz", **few)
    run = store_poses(scene, read_poses(folder), "case")
    show_mode(run, 1)
    assert run.find("spread", class_name="vtkMRMLModelNode") is None


def test_words_of_the_spread(run):
    text = show_mode(run, 1) and show_spread(run).text
    assert text.startswith("Target, 95 %: ± ")
    assert "mm" in text
    assert text.endswith(("left to right.", "back to front.", "foot to head."))


def test_target_that_cannot_move_is_told(run):
    pose = run.result.pose(1)
    still = PoseSamples(np.repeat(pose.camera_to_world[None], 50, 0), np.ones(50, int))
    spread = spread_of(still, pose, TARGET)
    assert "fixed" in spread.text
    assert ellipsoid(spread).GetNumberOfPoints() > 0
    np.testing.assert_allclose(spread.mean, TARGET, atol=1e-9)


@pytest.mark.parametrize("view", ["detector", "source"])
def test_made_registrations_have_the_geometry_of_the_package(monkeypatch, view):
    torch = pytest.importorskip("torch")
    from pose_problems import project_points

    from monai_inn.applications.registration.carm import Detector, camera_to_world

    monkeypatch.setitem(DETECTOR, "view", view)
    detector = Detector(**DETECTOR)
    for pose in POSES:
        wanted = camera_to_world(torch.tensor(pose), detector, torch.tensor(TARGET))
        np.testing.assert_allclose(camera(pose), wanted, atol=1e-9)
        if view == "detector":
            seen = project_points(torch.tensor(centers()), wanted, detector)
            np.testing.assert_allclose(project(centers(), camera(pose)), seen, atol=1e-9)


@pytest.mark.parametrize("number", [1, 2])
def test_shadow_lies_where_the_target_appears(run, number):
    show_mode(run, number)
    model = run.find("shadow", class_name="vtkMRMLModelNode")
    assert model.GetParentTransformNode() is run.transform
    assert model.GetDisplayNode().GetVisibility2D()
    points = points_of(run, "shadow")
    np.testing.assert_allclose(points[:, 2], DETECTOR["source_detector_mm"], atol=0.51)
    to_pixel = np.linalg.inv(slicer.util.arrayFromVTKMatrix(_ijk_to_ras(run.find("xray"))))
    pixels = (to_pixel @ np.c_[points, np.ones(len(points))].T)[:2].T
    np.testing.assert_allclose(pixels[:4].mean(0), project([TARGET], camera(POSES[number - 1]))[0], atol=1e-3)
    outline = pixels[4 : len(pixels) // 2]
    own = run.samples.camera_to_world[run.samples.mode == number]
    seen = np.concatenate([project([TARGET], matrix) for matrix in own])
    wanted = 2 * CHI_95 * seen.std(0)
    np.testing.assert_allclose(np.ptp(outline, axis=0), wanted, rtol=0.05)


def test_shadow_of_a_fixed_target_is_a_cross(run):
    show_mode(run, 1)
    run.store_samples(PoseSamples(np.repeat(camera(POSES[0])[None], 50, 0), np.ones(50, int)))
    show_spread(run)
    assert len(points_of(run, "shadow")) == 8


# Bone.


def write_bone(folder, values, matrix):
    import nibabel

    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), matrix), folder / "bone.nii.gz")


def ball(matrix, radius, at):
    """Voxels ``(I, J, K)`` that fall by .001 a mm from .0238, the level of bone, on a ball's surface."""
    grid = np.moveaxis(np.indices((40, 40, 40)), 0, -1) @ matrix[:3, :3].T + matrix[:3, 3]
    return 0.0238 + 1e-3 * (radius - np.linalg.norm(grid - at, axis=-1))


@pytest.mark.parametrize("side", [1, -1])
def test_surface_of_a_ball_is_closed_and_looks_outwards(side):
    matrix = np.diag([side * 2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = [10 - side * 39, -39.0, -39.0]
    values = ball(matrix, 25, [10, 0, 0])
    mesh = surface_above(values.transpose(2, 1, 0), matrix, 0.0238)
    points = vtk_to_numpy(mesh.GetPoints().GetData()) - [10, 0, 0]
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 25, atol=0.03)  # 2 mm chords of the distance
    a, b, c = (
        points[vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)[:, n]] for n in range(3)
    )
    signed = (a * np.cross(b, c)).sum() / 6
    assert signed == pytest.approx(4 / 3 * np.pi * 25**3, rel=0.01)


def test_bone_of_the_folder_stands_around_the_target_while_a_pose_is_shown(scene, folder):
    matrix = np.diag([-2.0, -2.0, 2.0, 1.0])
    matrix[:3, 3] = TARGET + np.array([39.0, 39.0, -39.0])
    values = ball(matrix, 25, TARGET)
    values[1, 1, 1] = 0.05  # a speck
    write_bone(folder, values, matrix)
    run = store_poses(scene, read_poses(folder), "case")
    bone = run.find("bone", class_name="vtkMRMLModelNode")
    assert not bone.GetDisplayNode().GetVisibility()
    show_mode(run, 1)
    assert bone.GetDisplayNode().GetVisibility()
    far = np.linalg.norm(points_of(run, "bone") - TARGET, axis=1)
    np.testing.assert_allclose(far, 25, atol=0.2)  # the blur moves a surface of this curvature by less
    hide_mode(run)
    assert not bone.GetDisplayNode().GetVisibility()


def test_a_folder_without_bone_has_none(scene, folder):
    write_bone(folder, np.full((4, 4, 4), 0.02), np.eye(4))
    run = store_poses(scene, read_poses(folder), "case")
    assert run.find("bone", class_name="vtkMRMLModelNode") is None


def test_damaged_bone_is_refused(scene, folder):
    (folder / "bone.nii.gz").write_bytes(b"no image")
    with pytest.raises(ResultError, match=r"bone\.nii\.gz: cannot be read"):
        store_poses(scene, read_poses(folder), "case")


# Comparison.


def test_ends_of_the_blend_are_the_images(run):
    show_mode(run, 1)
    for share, kind in ((0.0, "xray"), (1.0, "drr")):
        show_comparison(run, Comparing("blend", share))
        np.testing.assert_array_equal(run.array("comparison"), run.array(kind))
    show_comparison(run, Comparing("blend", 0.25))
    wanted = 0.75 * run.array("xray") + 0.25 * run.array("drr")
    np.testing.assert_allclose(run.array("comparison"), wanted, rtol=1e-6)


def test_checkerboard_takes_turns(run):
    show_mode(run, 2)
    show_comparison(run, Comparing("checkerboard", fields=8))
    found, xray, drr = (run.array(kind)[0] for kind in ("comparison", "xray", "drr"))
    np.testing.assert_array_equal(found[:8, :8], xray[:8, :8])
    np.testing.assert_array_equal(found[:8, 8:16], drr[:8, 8:16])
    np.testing.assert_array_equal(found[8:16, :8], drr[8:16, :8])
    assert (found == xray).mean() == pytest.approx(0.5, abs=0.01)


def test_difference_has_a_symmetric_scale_that_no_image_changes(run, folder):
    import nibabel

    for number in (1, 2):
        show_mode(run, number, Comparing("difference"))
        stored = nibabel.load(folder / f"difference_{number}.nii.gz").get_fdata(dtype=np.float32)
        np.testing.assert_allclose(run.array("comparison"), stored.transpose(2, 1, 0), atol=1e-6)
        display = run.find("comparison").GetDisplayNode()
        assert display.GetColorNode().GetName() == "INN difference"
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-0.2, 0.2)
    show_comparison(run, Comparing("blend"))
    assert display.GetColorNode().GetID() == "vtkMRMLColorTableNodeGrey"
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)


def test_unknown_comparison_is_refused(run):
    show_mode(run, 1)
    with pytest.raises(ValueError, match="blend, checkerboard, difference"):
        show_comparison(run, Comparing("flicker"))


# Scene.


def test_scene_does_not_grow_and_can_be_emptied(run):
    before_storing = len([*run.nodes()])
    show_mode(run, 1)
    number = len(slicer.util.getNodesByClass("vtkMRMLNode"))
    for k in (2, 1, 2):
        show_mode(run, k, Comparing("difference" if k == 1 else "checkerboard"))
    assert len(slicer.util.getNodesByClass("vtkMRMLNode")) <= number + 2  # the color table and what stores it
    hide_mode(run)
    assert len([*run.nodes()]) == before_storing
    np.testing.assert_array_equal(to_parent(run.transform), np.eye(4))
    assert run.shown is None
    run.remove()
    assert pose_runs(run.scene) == []


def test_same_result_is_stored_once_and_is_no_map(scene, run, folder):
    assert store_poses(scene, read_poses(folder), "again") == run
    assert len(pose_runs(scene)) == 1
    assert runs(scene) == []  # of the other module


def test_everything_lies_in_one_folder(run):
    show_mode(run, 1)
    tree, folder = run.folder()
    assert tree.GetItemName(folder) == "case"
    for node in run.nodes():
        assert node.GetName().startswith("case: ")
        item = tree.GetItemByDataNode(node)
        parents = {item}
        while item not in (folder, tree.GetSceneItemID()):
            item = tree.GetItemParent(item)
            parents.add(item)
        assert folder in parents, node.GetName()


def test_scene_file_comes_back(app, scene, run, tmp_path):
    show_mode(run, 2, Comparing("checkerboard"))
    run.find("target", class_name="vtkMRMLMarkupsFiducialNode").SetNthControlPointPositionWorld(0, 5, 6, 7)
    show_spread(run)
    kinds = sorted(node.GetAttribute("INN.map") for node in run.nodes())
    images = {kind: run.array(kind).copy() for kind in IMAGE_VIEWS.values()}
    samples, surface = run.samples, points_of(run, "spread").copy()
    assert slicer.util.saveScene(str(tmp_path / "Größe.mrb"))
    scene.Clear(False)
    assert pose_runs(scene) == []
    slicer.util.loadScene(str(tmp_path / "Größe.mrb"))
    (back,) = pose_runs(scene)
    assert sorted(node.GetAttribute("INN.map") for node in back.nodes()) == kinds
    assert (back.name, back.shown.number) == ("case", 2)
    np.testing.assert_allclose(to_parent(back.transform), camera(POSES[1]), atol=1e-9)
    for kind, values in images.items():
        np.testing.assert_array_equal(back.array(kind), values)
        assert back.find(kind).GetParentTransformNode() is back.transform
    np.testing.assert_array_equal(back.samples.camera_to_world, samples.camera_to_world)
    np.testing.assert_array_equal(back.samples.mode, samples.mode)
    np.testing.assert_allclose(points_of(back, "spread"), surface, atol=1e-3)
    np.testing.assert_allclose(back.target, [5, 6, 7], atol=1e-4)
    show_mode(back, 1)
    np.testing.assert_array_equal(to_parent(back.transform), camera(POSES[0]))


# Trust.


def test_untrusted_poses_need_a_confirmation(scene, tmp_path):
    run = store_poses(scene, read_poses(write_registration(tmp_path / "bad", is_trusted=False)), "bad")
    with pytest.raises(ValueError, match="only after confirmation"):
        show_mode(run, 1)
    assert run.shown is None
    assert run.find("drr") is None
    assert pose_verdict(run.result)[0] == "untrusted"
    assert pose_verdict(run.result)[1].startswith("NOT TRUSTED. Do not use these poses")
    show_mode(run, 1, is_confirmed=True)
    assert run.shown.number == 1
