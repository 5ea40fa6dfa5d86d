"""A run written as a result folder is what inference wrote, and other readers agree."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from made_results import AFFINE, UNUSABLE, write_result
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

from INNDisplayLib import ResultError, read_result, save_result, store


@pytest.fixture
def run(scene, tmp_path):
    return store(scene, read_result(write_result(tmp_path / "result")), "case")


def test_files_are_those_of_the_inference(run, tmp_path):
    save_result(run, tmp_path / "saved ü")
    before, after = tmp_path / "result", tmp_path / "saved ü"
    assert {p.name for p in before.iterdir()} == {p.name for p in after.iterdir()}
    for path in before.glob("*.nii.gz"):
        old, new = nibabel.load(path), nibabel.load(after / path.name)
        np.testing.assert_allclose(new.affine, AFFINE, atol=1e-6)
        np.testing.assert_array_equal(new.get_fdata(), old.get_fdata(), err_msg=path.name)
    i, j, k = 15, 11, 0
    assert np.isnan(nibabel.load(after / "median_sao2.nii.gz").get_fdata()[i, j, k])
    assert UNUSABLE[1:] == (j, i)


def test_what_was_saved_can_be_shown_again(scene, run, tmp_path):
    save_result(run, tmp_path / "saved")
    again = store(scene, read_result(tmp_path / "saved"), "again")
    for name in ("sao2", "a_mie"):
        np.testing.assert_array_equal(again.quantiles(name)[0], run.quantiles(name)[0])
        np.testing.assert_array_equal(again.array("interval_width", name), run.array("interval_width", name))
    np.testing.assert_array_equal(again.untrusted(), run.untrusted())


def test_deleted_maps_are_left_out(scene, run, tmp_path):
    scene.RemoveNode(run.find("waic"))
    scene.RemoveNode(run.find("samples", "vhb", "vtkMRMLSequenceNode"))
    save_result(run, tmp_path / "saved")
    names = {entry["file"] for entry in json.loads((tmp_path / "saved/result.json").read_text())["files"]}
    assert names.isdisjoint({"waic.nii.gz", "samples_vhb.nii.gz"})
    assert {p.name for p in (tmp_path / "saved").iterdir()} == names | {"result.json"}
    read_result(tmp_path / "saved")


def test_nothing_is_overwritten_and_nothing_half_written_is_left(run, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    with pytest.raises(ResultError, match="exists already; choose another name"):
        save_result(run, tmp_path / "there")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="cannot be written"):
        save_result(run, tmp_path / "file" / "saved")
    before = {*tmp_path.iterdir()}

    def full(*arguments):
        raise RuntimeError("No space left on device")

    monkeypatch.setattr("INNDisplayLib.maps.storing.sitk.WriteImage", full)
    with pytest.raises(ResultError, match="space left"):
        save_result(run, tmp_path / "new")
    assert {*tmp_path.iterdir()} == before
