"""The nodes of a result in a real scene: geometry, values, refresh in place, what users do to them, files."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from made_results import AFFINE, LEVELS, SHAPE, UNTRUSTED, UNUSABLE, write_result
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

import slicer
import slicer.util
import vtk
from INNDisplayLib import ResultError, Run, number_of_samples, read_at, read_result, runs, show_sample, store


@pytest.fixture
def folder(tmp_path):
    return write_result(tmp_path / "result")


@pytest.fixture
def run(scene, folder):
    return store(scene, read_result(folder), "case 1")


def world(k, j, i):
    return tuple(float(v) for v in (AFFINE @ [i, j, k, 1])[:3])


def node_ids(run):
    return {(n.GetAttribute("INN.map"), n.GetAttribute("INN.parameter")): n.GetID() for n in run.nodes()}


def test_every_map_is_there_with_unit_geometry_and_values(run, folder):
    result = read_result(folder)
    for file in result.files:
        if file.kind in ("quantiles", "samples"):
            continue
        node = run.find(file.kind, file.parameter)
        usable = run.usable()
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(node)[usable], file.read()[usable])
        assert node.GetAttribute("INN.unit") == file.unit
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), AFFINE)
        if file.read().dtype.kind == "f":  # ITK reads NaN as 0
            assert np.isnan(slicer.util.arrayFromVolume(node)[UNUSABLE]).all()
    assert np.isnan(run.quantiles("vhb")[0][UNUSABLE]).all()
    assert np.isnan(slicer.util.arrayFromVolume(show_sample(run, "vhb", 1))[UNUSABLE]).all()
    stack, levels = run.quantiles("a_mie")
    assert stack.shape == (*SHAPE, len(LEVELS))
    stored = result.find("quantiles", "a_mie").read()
    np.testing.assert_array_equal(stack[run.usable()], stored[run.usable()])
    np.testing.assert_allclose(levels, LEVELS)
    assert run.untrusted()[UNTRUSTED].all()
    assert run.untrusted().sum() == 2 * 3 * 4
    assert not run.usable()[UNUSABLE].any()
    assert run.withheld().sum() == 2 * 3 * 4 + 2


def test_all_nodes_lie_in_one_folder_and_internal_ones_are_not_offered(run):
    tree, folder = run.folder()
    assert tree.GetItemName(folder) == "case 1"
    for node in run.nodes():
        assert tree.GetItemParent(tree.GetItemByDataNode(node)) == folder
        kind = node.GetAttribute("INN.map")
        assert bool(node.GetHideFromEditors()) == (
            kind in ("quantiles", "valid", "ood", "uninformative", "reason")
        )
    assert run.find("median", "sao2").GetName() == "case 1: Oxygen saturation of the blood, median"
    assert (
        run.find("interval_width", "sao2").GetName()
        == "case 1: Oxygen saturation of the blood, 95% interval width"
    )


def test_undo_keeps_away_from_results(scene, run):
    """Every undo state of volumes of this size would cost as much memory again."""
    scene.SetUndoOn()
    scene.SaveStateForUndo()
    before = node_ids(run)
    scene.Undo()
    assert node_ids(run) == before
    assert not any(node.GetUndoEnabled() for node in run.nodes())
    scene.SetUndoOff()


def test_a_new_result_takes_the_place_of_the_old_one(scene, run, tmp_path):
    before, first = node_ids(run), slicer.util.arrayFromVolume(run.find("median", "vhb")).copy()
    quantiles = run.quantiles("vhb")[0].copy()
    same = store(scene, read_result(write_result(tmp_path / "second", seed=1)), "case 1 again", run=run)
    assert same == run
    assert runs(scene) == [run]
    assert node_ids(run) == before
    assert run.name == "case 1 again"
    changed = slicer.util.arrayFromVolume(run.find("median", "vhb")) != first
    assert changed[np.isfinite(first)].mean() > 0.9
    assert (run.quantiles("vhb")[0] != quantiles)[np.isfinite(quantiles)].any()


def test_what_a_new_result_does_not_have_goes(scene, run, tmp_path):
    without = read_result(write_result(tmp_path / "second", samples=0))
    store(scene, without, "case 1", run=run)
    assert number_of_samples(run, "sao2") == 0
    assert show_sample(run, "sao2", 0) is None
    assert {kind for kind, _ in node_ids(run)}.isdisjoint({"samples", "sample", "browser"})


def test_users_may_rename_move_and_delete(scene, run, folder):
    run.find("median", "sao2").SetName("my map")
    tree, _ = run.folder()
    tree.SetItemParent(tree.GetItemByDataNode(run.find("waic")), tree.GetSceneItemID())
    scene.RemoveNode(run.find("interval_width", "sao2"))
    scene.RemoveNode(run.find("quantiles", "sao2", "vtkMRMLSequenceNode"))
    kept = run.find("median", "sao2").GetID()
    assert run.quantiles("sao2") is None
    assert "no posterior stored" in read_at(run, world(1, 6, 6), "sao2").text
    store(scene, read_result(folder), "case 1", run=run)
    assert run.find("median", "sao2").GetID() == kept
    assert run.find("interval_width", "sao2") is not None
    assert run.quantiles("sao2") is not None


def test_two_runs_live_side_by_side_and_one_is_removed_alone(scene, run, folder):
    other = store(scene, read_result(folder), "case 2")
    assert runs(scene) == [run, other]
    assert set(node_ids(run).values()).isdisjoint(node_ids(other).values())
    run.remove()
    assert runs(scene) == [other]
    assert not [*run.nodes()]
    assert len(node_ids(other)) > 10


def test_maps_follow_the_transform_of_the_image(scene, folder):
    image = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "image")
    slicer.util.updateVolumeFromArray(image, np.zeros(SHAPE, np.float32))
    moved = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    matrix = np.eye(4)
    matrix[:3, 3] = (100, -50, 7)
    slicer.util.updateTransformMatrixFromArray(moved, matrix)
    image.SetAndObserveTransformNodeID(moved.GetID())
    run = store(scene, read_result(folder), "moved", image)
    assert run.image is image
    assert run.background is image
    there = tuple(np.add(world(1, 6, 6), (100, -50, 7)))
    assert read_at(run, there, "sao2").voxel == (1, 6, 6)
    assert read_at(run, world(1, 6, 6), "sao2").state == "outside"
    scene.RemoveNode(image)
    assert run.background is run.find("photo")


def test_samples_turn_together_and_are_never_called_the_image(run):
    assert number_of_samples(run, "vhb") == 3
    volume = show_sample(run, "vhb", 2)
    sequence = run.find("samples", "vhb", "vtkMRMLSequenceNode")
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(volume), slicer.util.arrayFromVolume(sequence.GetNthDataNode(2))
    )
    assert "sample 3 of 3" in volume.GetName()
    browser = run.find("browser", class_name="vtkMRMLSequenceBrowserNode")
    assert browser.GetSelectedItemNumber() == 2
    assert browser.GetProxyNode(sequence) is volume
    assert show_sample(run, "vhb", 3) is None
    # Turning back must not have written one sample over another.
    kept = [slicer.util.arrayFromVolume(sequence.GetNthDataNode(n)).copy() for n in range(3)]
    for index in (0, 1, 2, 0):
        show_sample(run, "vhb", index)
    for n, array in enumerate(kept):
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(sequence.GetNthDataNode(n)), array)


def test_a_scene_file_brings_everything_back(app, scene, run, tmp_path):
    expected = {
        key: slicer.util.arrayFromVolume(scene.GetNodeByID(node_id)).copy()
        for key, node_id in node_ids(run).items()
        if scene.GetNodeByID(node_id).IsA("vtkMRMLVolumeNode")
    }
    stacks = {name: run.quantiles(name)[0].copy() for name in ("sao2", "vhb", "a_mie")}
    path = tmp_path / "häus lich.mrb"
    assert slicer.util.saveScene(str(path))
    number = len(node_ids(run))
    scene.Clear(False)
    assert runs(scene) == []
    slicer.util.loadScene(str(path))
    (back,) = runs(scene)
    assert (back.key, back.name, len(node_ids(back))) == (run.key, "case 1", number)
    for (kind, parameter), array in expected.items():
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(back.find(kind, parameter)), array)
    for name, stack in stacks.items():
        np.testing.assert_array_equal(back.quantiles(name)[0], stack)
    assert number_of_samples(back, "a_mie") == 3
    assert [p.name for p in back.parameters] == ["sao2", "vhb", "a_mie"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "result.json").unlink(), "no result.json in it; give the folder"),
        (lambda f: (f / "result.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "result.json").write_text("[]"), "lacks bundle"),
        (lambda f: (f / "median_vhb.nii.gz").unlink(), "median_vhb.nii.gz is missing"),
        (lambda f: change(f, format_version=9), "has format 9, this module shows 1"),
        (lambda f: change(f, parameters=[{"name": "x"}]), "is damaged"),
    ],
)
def test_damaged_results_are_refused_in_one_line(folder, damage, message):
    damage(folder)
    with pytest.raises(ResultError, match=message) as raised:
        read_result(folder)
    assert "\n" not in str(raised.value)


def change(folder, **values):
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_truncated_map_leaves_the_scene_as_it_was(scene, run, tmp_path):
    broken = write_result(tmp_path / "broken", seed=1)
    path = broken / "samples_a_mie.nii.gz"
    path.write_bytes(path.read_bytes()[:100])
    before, values = node_ids(run), slicer.util.arrayFromVolume(run.find("median", "sao2")).copy()
    with pytest.raises(ResultError, match="the file is truncated"):
        store(scene, read_result(broken), "case 1", run=run)
    assert node_ids(run) == before
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(run.find("median", "sao2")), values)
    with pytest.raises(ResultError):
        store(scene, read_result(broken), "case 2")
    assert runs(scene) == [run]


def test_maps_of_different_size_are_refused(scene, folder, tmp_path):
    path = folder / "median_vhb.nii.gz"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(image.get_fdata()[:-1], image.affine), path)
    with pytest.raises(ResultError, match="differ in size"):
        store(scene, read_result(folder), "case")
    assert runs(scene) == []


def test_what_inference_writes_is_what_is_read(scene, bundle, image_file, tmp_path):
    from monai_inn.reports import infer_image

    infer_image(bundle, image_file, tmp_path / "out", samples=8, save_quantiles=4, save_samples=2)
    run = store(scene, read_result(tmp_path / "out"), "real")
    assert [p.name for p in run.parameters] == ["sao2", "vhb", "a_mie", "b_mie"]
    assert run.shape == (1, 7, 6)
    assert run.quantiles("vhb")[1].tolist() == [0.025, 0.125, 0.375, 0.5, 0.625, 0.875, 0.975]
    assert number_of_samples(run, "vhb") == 2
    assert isinstance(run, Run)
    text = read_at(run, (0.5, 0.25, 0.0), "a_mie").text
    assert text.startswith("Reduced scattering coefficient at 500 nm ")
    assert "1/cm" in text
