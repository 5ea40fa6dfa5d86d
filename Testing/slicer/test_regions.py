"""Regions of decision in the scene: voxels, surfaces, what follows the threshold, is saved and exported."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import slicer
import slicer.util
from INNDisplayLib import (
    Division,
    ThresholdStep,
    contour_meshes,
    find_regions,
    hide_contours,
    label_regions,
    probability_below,
    read_regions,
    read_result,
    region_labels,
    regions_text,
    runs,
    save_result,
    show_regions_in_3d,
    store,
    thresholds,
)
from made_results import AFFINE, SHAPE, UNTRUSTED, UNUSABLE, write_image_result, write_result
from scipy.ndimage import label

THRESHOLD, VOXEL_MM3 = 0.5, 12.0


@pytest.fixture
def run(scene, tmp_path):
    return store(scene, read_result(write_result(tmp_path / "result")), "case")


def divide(run, threshold=THRESHOLD, **division):
    step = ThresholdStep(run, "sao2", threshold, division=Division(**division))
    step.place()
    return find_regions(run)


def expected(run, threshold=THRESHOLD, **division):
    p = Division(**division).event(probability_below(*run.quantiles("sao2"), threshold))
    return label_regions(p, run.withheld(), Division(**division))


def test_segments_are_the_regions_of_the_map(run):
    node = divide(run)
    labels = expected(run)
    assert set(labels.ravel()) == {0, 1, 2, 3}
    like = run.find("median", "sao2")
    for value, key in enumerate(("certain", "possible", "unknown"), start=1):
        drawn = slicer.util.arrayFromSegmentBinaryLabelmap(node, key, like)
        np.testing.assert_array_equal(drawn > 0, labels == value)
    np.testing.assert_array_equal(region_labels(run), labels)
    assert (labels[UNTRUSTED] == 3).all()
    assert (labels[UNUSABLE] == 3).all()
    names = [node.GetSegmentation().GetNthSegment(n).GetName() for n in range(3)]
    assert names == [
        "certain: Oxygen saturation of the blood < 0.5 (P ≥ 0.95)",
        "possible: Oxygen saturation of the blood < 0.5 (P 0.05 to 0.95)",
        "unknown / not trusted",
    ]
    assert node.GetSegmentation().GetNumberOfLayers("Binary labelmap") == 1


def test_volume_is_stated_with_both_intervals(run):
    divide(run)
    p = probability_below(*run.quantiles("sao2"), THRESHOLD)[~run.withheld()]
    volume = read_regions(run)["volume"]
    assert volume["expected"] == pytest.approx(VOXEL_MM3 * p.sum(dtype=float))
    assert volume["unit"] == "mm³"
    assert volume["shared"] == [VOXEL_MM3 * (p > level).sum() for level in (0.975, 0.5, 0.025)]
    low, _, high = volume["independent"]
    assert volume["shared"][0] < low < volume["expected"] < high < volume["shared"][2]
    assert volume["unknown"] == VOXEL_MM3 * run.withheld().sum()
    assert regions_text(run, read_regions(run)).startswith("Oxygen saturation of the blood < 0.5. Volume: ")


def test_above_is_the_other_side(run):
    divide(run)
    below = region_labels(run)
    divide(run, is_above=True)
    above = region_labels(run)
    np.testing.assert_array_equal(above == 2, below == 2)
    np.testing.assert_array_equal(above == 3, below == 3)
    np.testing.assert_array_equal(above == 1, below == 0)


def test_another_threshold_keeps_node_segments_and_what_people_set(run):
    node = divide(run)
    node.GetDisplayNode().SetSegmentVisibility("possible", False)
    labelmap = node.GetSegmentation().GetSegment("certain").GetRepresentation("Binary labelmap")
    assert divide(run, 0.7) is node
    np.testing.assert_array_equal(region_labels(run), expected(run, 0.7))
    assert node.GetSegmentation().GetSegment("certain").GetRepresentation("Binary labelmap") is labelmap
    assert not node.GetDisplayNode().GetSegmentVisibility("possible")
    assert (
        node.GetSegmentation().GetNthSegment(0).GetName()
        == "certain: Oxygen saturation of the blood < 0.7 (P ≥ 0.95)"
    )
    node.GetSegmentation().RemoveSegment("possible")
    divide(run, 0.4)
    np.testing.assert_array_equal(region_labels(run), expected(run, 0.4))


def test_only_what_has_changed_is_computed(run):
    first = ThresholdStep(run, "sao2", THRESHOLD, True, Division())
    assert first.is_needed
    first.place()
    again = ThresholdStep(run, "sao2", THRESHOLD, True, Division())
    assert not again.is_needed
    finer = ThresholdStep(run, "sao2", THRESHOLD, True, Division(certain=0.99))
    assert (finer.is_needed, finer.has_contours) == (True, False)
    assert ThresholdStep(run, "sao2", 0.51, True, Division()).is_needed


def test_islands_are_dissolved_by_their_size_in_mm3(run):
    rough = expected(run)
    largest = np.bincount(label(rough == 1)[0].ravel())[1:].max()
    for extra, is_kept in ((0.0, True), (0.01, False)):
        divide(run, smallest=(largest + extra) * VOXEL_MM3)
        smooth = region_labels(run)
        assert (smooth == 1).any() == is_kept
        assert set(rough[smooth != rough]) <= {0, 1}
        assert set(smooth[smooth != rough]) <= {2, 3}


def test_surfaces_are_closed_and_follow(run):
    node = divide(run)
    show_regions_in_3d(run, True)
    volumes = []
    for threshold in (0.5, 0.7):
        divide(run, threshold)
        surface = node.GetSegmentation().GetSegment("certain").GetRepresentation("Closed surface")
        assert surface.GetNumberOfPolys() > 20
        volumes.append(surface.GetLength())
    assert volumes[1] > volumes[0]  # more lies below a higher threshold
    assert node.GetDisplayNode().GetVisibility3D()
    show_regions_in_3d(run, False)
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_regions_follow_the_transform_of_the_image(scene, tmp_path):
    image = slicer.util.addVolumeFromArray(np.zeros(SHAPE, np.float32))
    image.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(AFFINE))
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    image.SetAndObserveTransformNodeID(transform.GetID())
    run = store(scene, read_result(write_result(tmp_path / "result")), "case", image)
    assert divide(run).GetTransformNodeID() == transform.GetID()


def test_scene_file_brings_regions_and_their_volume_back(run, tmp_path):
    node = divide(run, smallest=30.0)
    show_regions_in_3d(run, True)
    labels, record = region_labels(run), read_regions(run)
    key = run.key
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    (back,) = runs(slicer.mrmlScene)
    assert back.key == key
    np.testing.assert_array_equal(region_labels(back), labels)
    assert read_regions(back) == record
    segment = find_regions(back).GetSegmentation().GetSegment("certain")
    assert segment.GetRepresentation("Closed surface") is not None
    assert find_regions(back) is not node
    np.testing.assert_array_equal(region_labels(back), labels)
    divide(back, 0.6)
    np.testing.assert_array_equal(region_labels(back), expected(back, 0.6))


def test_saved_result_has_the_regions_and_is_exported_as_dicom(run, tmp_path):
    hd = pytest.importorskip("highdicom")
    divide(run, smallest=30.0)
    save_result(run, tmp_path / "saved")
    stored = nibabel.load(tmp_path / "saved" / "regions.nii.gz")
    np.testing.assert_array_equal(np.asarray(stored.dataobj).transpose(2, 1, 0), region_labels(run))
    np.testing.assert_allclose(stored.affine, AFFINE, atol=1e-5)
    record = json.loads((tmp_path / "saved" / "result.json").read_text())
    assert record["regions"] == read_regions(run)
    read_result(tmp_path / "saved")
    from monai_inn.cli import main

    command = ["export", str(tmp_path / "saved"), "-o", str(tmp_path / "out"), "--format", "dicom", "--json"]
    assert main(command) == 0
    made = hd.seg.segread(tmp_path / "out" / "dicom" / "regions.dcm")
    assert [d.SegmentLabel.split(":")[0] for d in made.SegmentSequence] == [
        "certain",
        "possible",
        "unknown / not trusted",
    ]
    labels = region_labels(run)
    volume = made.get_volume(combine_segments=True)
    found = np.bincount(volume.array.ravel(), minlength=4)
    np.testing.assert_array_equal(found[1:], np.bincount(labels.ravel(), minlength=4)[1:])


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_threshold_that_is_no_number_is_refused(run, threshold):
    with pytest.raises(ValueError, match="give a number, in the unit of Oxygen saturation"):
        divide(run, threshold)


def test_a_run_without_quantiles_says_so(scene, tmp_path):
    run = store(scene, read_result(write_image_result(tmp_path / "image")), "image")
    with pytest.raises(
        ValueError, match="no quantiles of Flair image are stored, from which regions are made"
    ):
        ThresholdStep(run, "flair", 100.0, division=Division())


def test_lines_end_at_what_is_missing_and_do_not_run_along_its_edge():
    """A ramp with a hole: the line of one half crosses it straight, and stops at both edges of the hole."""
    levels = np.array([0.02, 0.5, 0.98])
    ramp = np.broadcast_to(np.arange(41, dtype=np.float32), (3, 9, 41))
    layers = [np.float32(10 + 20 * level) - ramp for level in levels]
    for layer in layers:
        layer[:, 2:5, 16:26] = np.nan
    for level, mesh in zip((0.05, 0.5, 0.95), contour_meshes(layers, levels, 0.0), strict=True):
        points = np.array([mesh.GetPoint(n) for n in range(mesh.GetNumberOfPoints())])
        np.testing.assert_allclose(points[:, 0], 10 + 20 * level, atol=1e-4)
        centers = [mesh.GetCell(n).GetBounds() for n in range(mesh.GetNumberOfCells())]
        in_hole = [b for b in centers if 1.5 < (b[2] + b[3]) / 2 < 4.5]
        assert (len(in_hole) == 0) == (level == 0.5)
    nothing = [np.full((1, 4, 4), np.nan, np.float32)] * 3
    assert all(mesh.GetNumberOfCells() == 0 for mesh in contour_meshes(nothing, levels, 0.5))


def test_smoothed_lines_of_a_sharp_border_stay_together_and_lose_single_voxels():
    levels = np.array([0.025, 0.5, 0.975])
    side = np.where(np.arange(30) < 15, 0.2, 0.8).astype(np.float32)
    maps = np.broadcast_to(side, (1, 30, 30)).copy()
    maps[0, 7, 5] = maps[0, 20, 25] = 0.5  # noise: across the threshold by a little
    layers = [maps + np.float32(spread) for spread in (-0.02, 0.0, 0.02)]
    lines = contour_meshes(layers, levels, 0.49)
    for mesh in lines:
        points = np.array([mesh.GetPoint(n) for n in range(mesh.GetNumberOfPoints())])
        assert np.abs(points[:, 0] - 14.5).max() < 0.15  # all three along the border, none around a voxel


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_of_a_single_slice_are_the_same_in_every_plane(axis):
    """A disk: its lines are circles of the radii at which quantiles cross, as ribbons across the slice."""
    levels = np.array([0.05, 0.5, 0.95])
    far = np.linalg.norm(np.mgrid[:41, :41] - 20.0, axis=0).astype(np.float32)
    layers = [np.expand_dims(far + np.float32(shift), axis) for shift in (-3, 0, 3)]
    in_plane = [each for each in range(3) if each != 2 - axis]
    for radius, mesh in zip((13, 10, 7), contour_meshes(layers, levels, 10.0), strict=True):
        points = np.array([mesh.GetPoint(n) for n in range(mesh.GetNumberOfPoints())])
        np.testing.assert_allclose(np.linalg.norm(points[:, in_plane] - 20, axis=1), radius, atol=0.15)
        assert {*points[:, 2 - axis]} == {-0.5, 0.5}


def test_lines_have_their_names_beside_them_in_every_slice(run):
    ThresholdStep(run, "sao2", 0.5, has_contours=True).place()
    meshes = [n for n in run.nodes() if n.GetAttribute("INN.map") == "contour"]
    (labels,) = [n for n in run.nodes() if n.GetAttribute("INN.map") == "contour labels"]
    points = [labels.GetNthControlPointPosition(n) for n in range(labels.GetNumberOfControlPoints())]
    names = [labels.GetNthControlPointLabel(n) for n in range(len(points))]
    assert names == [name for name in ("5 %", "50 %", "95 %") for _ in range(run.shape[0])]
    assert labels.GetLocked()
    for mesh, own in zip(meshes, np.array(points).reshape(3, -1, 3), strict=True):
        on_line = slicer.util.arrayFromModelPoints(mesh)
        for point in own:
            assert np.linalg.norm(on_line - point, axis=1).min() < 1e-3
    hide_contours(run)
    assert not [n for n in run.nodes() if n.GetAttribute("INN.map") == "contour labels"]


@pytest.mark.parametrize(
    ("point", "normal"),
    [
        ((4, 4, 0), (0, 0, 1)),
        ((4, 4, 6), (0, 0, 1)),
        ((4, 2.5, 3), (0, -1, 0)),
        ((20, 4, 3), (0.1, 0, 0.9949874371066199)),
    ],
)
def test_lines_in_a_plane_are_those_of_the_surface(point, normal):
    point, normal = np.array(point, float), np.array(normal, float)
    levels = np.array([0.02, 0.5, 0.98])
    ramp = np.broadcast_to(np.arange(41, dtype=np.float32), (7, 9, 41))
    layers = [np.float32(10 + 20 * level) - ramp for level in levels]
    is_oblique = normal[0] > 0
    if is_oblique:
        for layer in layers:
            layer[:, 6:] = np.nan
    meshes = contour_meshes(layers, levels, 0.0, [(point, normal)])
    for level, mesh in zip((0.05, 0.5, 0.95), meshes, strict=True):
        points = np.array([mesh.GetPoint(n) for n in range(mesh.GetNumberOfPoints())])
        assert len(points) > 4
        off = (points - point) @ normal  # ribbons are one voxel thick, half of it to either side
        np.testing.assert_allclose(np.abs(off), 0.5, atol=1e-4)
        middle = points - off[:, None] * normal
        np.testing.assert_allclose(middle[:, 0], 10 + 20 * level, atol=1e-3)
        assert not is_oblique or 4.9 < middle[:, 1].max() < 6.1


def test_lines_of_a_large_volume_are_made_for_the_visible_slices(run, app, monkeypatch):
    monkeypatch.setattr(thresholds, "LARGE", 10)
    for name in ("Red", "Green", "Yellow"):
        app.slice_view(name).node.JumpSliceByOffsetting(*(float(v) for v in AFFINE[:3] @ [7, 5, 1, 1]))
    step = ThresholdStep(run, "sao2", THRESHOLD, has_contours=True)
    step.place()
    lines = [node for node in run.nodes() if node.GetAttribute("INN.map") == "contour"]
    assert len(lines) == 3
    assert all(line.GetMesh().GetNumberOfCells() for line in lines)
    assert not ThresholdStep(run, "sao2", THRESHOLD, has_contours=True).is_needed
    app.slice_view("Red").node.JumpSliceByOffsetting(*(float(v) for v in AFFINE[:3] @ [7, 5, 0, 1]))
    assert ThresholdStep(run, "sao2", THRESHOLD, has_contours=True).is_needed
