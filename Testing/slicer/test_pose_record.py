"""A registration in words, and folders of one that are damaged or mean harm."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_registrations import write_registration
from shim import missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)

import slicer
import slicer.util
from INNDisplayLib import (
    ResultError,
    pose_header,
    pose_row,
    pose_sentence,
    pose_verdict,
    read_poses,
    store_poses,
)


@pytest.fixture
def folder(tmp_path):
    return write_registration(tmp_path / "case")


@pytest.mark.parametrize(("number", "state"), [(1, "certain"), (2, "ambiguous")])
def test_verdict_says_how_many_poses_there_are(tmp_path, number, state):
    result = read_poses(write_registration(tmp_path / "case", number))
    said = pose_verdict(result)
    assert said[0] == state
    assert ("Two poses explain" in said[1]) == (number == 2)
    assert "does not prove the poses right" in said[1]


def test_table_has_units(folder):
    result = read_poses(folder)
    assert [text for text, _ in pose_header(result)] == [
        "#", "Mass [%]", "LAO/RAO [°]", "CRA/CAU [°]", "Roll [°]", "Right [mm]", "Down [mm]", "Away [mm]",
        "NCC",
    ]  # fmt: skip
    first = pose_row(result, result.poses[0])
    assert first[:8] == ["1", "58", "70.0 LAO", "6.0 CRA", "2.0", "3.0", "-5.0", "20.0"]
    text = pose_sentence(result, result.poses[1])
    assert text.startswith(
        "Pose 2, 42 %: 114.0° LAO ± 2.0°, 6.0° CAU ± 1.0°, roll -1.0° ± 0.7°, right -2.0 mm"
    )
    assert "Mean distance of bone landmarks" in text
    assert "Refined" not in text


def test_a_refined_pose_is_told(tmp_path):
    result = read_poses(write_registration(tmp_path / "case", is_refined=True))
    assert pose_sentence(result, result.poses[1]).endswith(
        "Refined: 114.0° LAO ± 0.7°, 6.0° CAU ± 0.3°, roll -1.0° ± 0.2°, right -2.0 mm ± 0.3 mm, "
        "down 4.0 mm ± 0.8 mm, away 0.0 mm ± 1.3 mm; log likelihood + 3.2 nats."
    )


def test_poses_are_told_in_the_language_of_the_application(folder, scene, monkeypatch):
    monkeypatch.setattr(slicer.i18n, "translate", lambda context, text: f"<{context}> {text}")
    result = read_poses(folder)
    assert pose_sentence(result, result.poses[0]).startswith("<words> Pose 1, 58 %: 70.0° LAO")
    assert "<words> roll" in pose_sentence(result, result.poses[0])
    assert pose_header(result)[1] == (
        "<words> Mass [%]",
        "<words> probability of the pose, given the X-ray",
    )
    assert store_poses(scene, result, "case").find("xray").GetName() == "case: <run> X-ray"
    (folder / "samples.npz").unlink()
    with pytest.raises(ResultError, match=r"^<result> .*samples.npz is missing; copy the folder as a whole"):
        read_poses(folder)
    (folder / "registration.json").write_text("{broken")
    with pytest.raises(ResultError, match=r"^<result> .*cannot be read .* <result> Find the poses"):
        read_poses(folder)


# Damage.


def change(folder, edit):
    path = folder / "registration.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


MIRRORED = np.diag([-1.0, 1, 1, 1]).tolist()
DAMAGES = {
    "no registration.json": lambda folder: (folder / "registration.json").unlink(),
    "cannot be read": lambda folder: (folder / "registration.json").write_text("{broken"),
    "lacks": lambda folder: (folder / "registration.json").write_text("[]"),
    "lacks modes": lambda folder: change(folder, lambda r: r.pop("modes")),
    "has format 2": lambda folder: change(folder, lambda r: r.update(format_version=2)),
    "holds no pose": lambda folder: change(folder, lambda r: r.update(modes=[])),
    "not a rigid motion": lambda folder: change(
        folder, lambda r: r["modes"][0].update(camera_to_world=MIRRORED)
    ),
    "is not a matrix": lambda folder: change(folder, lambda r: r["modes"][1].update(camera_to_world=[1, 2])),
    "is damaged": lambda folder: change(folder, lambda r: r["modes"][0].pop("pose")),
    "damaged .'pose'": lambda folder: change(folder, lambda r: r["modes"][0].update(refined={"sd": {}})),
    "incomplete": lambda folder: change(folder, lambda r: r["modes"][0].update(mass=float("nan"))),
    "not a point": lambda folder: change(folder, lambda r: r.update(target_ras_mm=[1])),
    "drr_2.nii.gz is missing": lambda folder: (folder / "drr_2.nii.gz").unlink(),
    "samples.npz is missing": lambda folder: (folder / "samples.npz").unlink(),
    "truncated": lambda folder: (folder / "xray.nii.gz").write_bytes(b"no image"),
    "samples.npz: cannot be read": lambda folder: (folder / "samples.npz").write_bytes(b"no zip"),
    "has 64 x 48 pixels, the detector 64 x 47": lambda folder: change(
        folder, lambda r: r["detector"].update(rows=47)
    ),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_damaged_folders_give_one_line_and_leave_the_scene(scene, folder, said):
    DAMAGES[said](folder)
    before = len(slicer.util.getNodesByClass("vtkMRMLNode"))
    with pytest.raises(ResultError, match=said) as caught:
        store_poses(scene, read_poses(folder), "case")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert len(slicer.util.getNodesByClass("vtkMRMLNode")) == before


def test_names_in_a_record_do_not_leave_the_folder(folder):
    change(folder, lambda r: r["modes"][0]["files"].update(drr="../../other/drr_1.nii.gz"))
    assert read_poses(folder).drr(read_poses(folder).poses[0]).values.shape == (1, 48, 64)


@pytest.mark.parametrize("part", [slice(0, 300), slice(0, 0)])
def test_truncated_samples_are_damaged(folder, part):
    path = folder / "samples.npz"
    path.write_bytes(path.read_bytes()[part])
    with pytest.raises(ResultError, match="damaged"):
        read_poses(folder).samples()


def test_pickles_are_not_read(folder):
    np.savez(folder / "samples.npz", camera_to_world=np.array([{}], object), mode=np.array([1]))
    with pytest.raises(ResultError, match="damaged"):
        read_poses(folder).samples()
