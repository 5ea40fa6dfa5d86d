"""The folders that `register` and `views` leave: what is in them agrees with itself and with the geometry."""

from __future__ import annotations

import csv
import json
import math

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from PIL import Image
from pose_problems import project_points
from safetensors import safe_open

import monai_inn as mi
from monai_inn.applications.registration.carm import POSE
from monai_inn.applications.registration.results.record import direction_in_words
from monai_inn.applications.registration.results.registering import register_xray
from monai_inn.applications.registration.results.view_planning import plan_views
from monai_inn.applications.registration.results.words import poses_in_words

TRUE_POSE = (30.0, 5.0)


@pytest.fixture(scope="module")
def pose_bundle(pose_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("registration") / "bundle"
    pose_fit.save(folder)
    return folder


def write_xray(problem, path, pose=TRUE_POSE, seed=0, change=lambda image: image):
    """A float NIfTI of line integrals with the detector's spacing."""
    theta = torch.tensor([pose])
    y = problem.noise(problem.forward(theta), torch.Generator().manual_seed(seed))[0]
    image = change((y * problem.brightest).reshape(problem.observation.size))
    affine = np.diag([problem.detector.spacing_mm] * 2 + [1, 1])
    nibabel.save(nibabel.Nifti1Image(image.T.unsqueeze(-1).numpy(), affine), path)
    return path


@pytest.fixture(scope="module")
def result(pose_fit, pose_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    xray = write_xray(pose_fit.problem, folder / "xray.nii.gz")
    record = register_xray(
        pose_bundle, xray, folder / "out", samples=400, refined=True, contrast="attenuation"
    )
    return record, folder / "out"


def test_the_bundle_brings_its_ct(pose_fit, pose_bundle):
    loaded = mi.load(pose_bundle)
    theta, y = pose_fit.problem.simulate(3, seed=1)
    assert torch.equal(loaded.problem.volume.values, pose_fit.problem.volume.values)
    assert torch.equal(loaded.problem.forward(theta), pose_fit.problem.forward(theta))
    with torch.no_grad():
        assert torch.equal(loaded.posterior(y).log_prob(theta), pose_fit.posterior(y).log_prob(theta))
    with safe_open(pose_bundle / "models/model.safetensors", "pt") as file:
        assert file.get_tensor("encoder.components.axes").dtype == torch.float16  # half the size


def test_the_record_is_complete_and_agrees_with_itself(result):
    record, folder = result
    assert json.loads((folder / "registration.json").read_text()) == record
    assert sum(mode["mass"] for mode in record["modes"]) == pytest.approx(1, abs=2e-4)
    assert [mode["number"] for mode in record["modes"]] == list(range(1, len(record["modes"]) + 1))
    assert record["ambiguity"]["num_plausible"] == len(record["modes"]) == len(record["differences"]) + 1
    assert [row["name"] for row in record["parameters"]] == list(POSE)
    assert {row["name"] for row in record["parameters"] if row["is_free"]} == {"lao", "cra"}
    listed = {entry["file"] for entry in record["files"]} | set(record["pictures"])
    assert listed | {"registration.json"} == {path.name for path in folder.iterdir()}
    for mode in record["modes"]:
        assert mode["mtre_mm"]["low"] <= mode["mtre_mm"]["median"] <= mode["mtre_mm"]["high"]
        assert {*mode["files"].values(), *mode["refined"]["files"].values()} <= listed


def test_transforms_are_the_poses(result):
    record, folder = result
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    for pose in [*record["modes"], *(mode["refined"] for mode in record["modes"])]:
        camera = np.array(pose["camera_to_world"])
        assert np.linalg.det(camera[:3, :3]) == pytest.approx(1)
        for ending in ("tfm", "h5"):
            stored = sitk.ReadTransform(str(folder / pose["files"][ending]))
            point = np.array([12.0, -7.0, 40.0])
            place = flip @ np.linalg.inv(camera) @ np.append(point, 1.0)
            # ITK's points are in LPS.
            assert stored.TransformPoint((flip[:3, :3] @ point).tolist()) == pytest.approx(place[:3])


def test_images_lie_where_the_detector_was(pose_fit, result):
    """A landmark, its pixel on the detector's plane and the source are on one line."""
    record, folder = result
    detector, mode = pose_fit.problem.detector, record["modes"][0]
    image = nibabel.load(folder / mode["files"]["drr"])
    assert image.shape == (detector.columns, detector.rows, 1)
    camera = torch.tensor(mode["camera_to_world"], dtype=torch.float64)
    points = torch.tensor(record["landmarks_ras_mm"], dtype=torch.float64)
    pixels = project_points(points, camera, detector).numpy()
    to_world = camera.numpy() @ image.affine
    for point, (column, row) in zip(points.numpy(), pixels, strict=True):
        place = (to_world @ [column, row, 0.0, 1.0])[:3]
        source = camera.numpy()[:3, 3]
        beam, ray = place - source, point - source
        assert np.cross(beam, ray) / np.linalg.norm(beam) == pytest.approx(np.zeros(3), abs=1e-3)


def test_difference_is_xray_minus_drr(result):
    _, folder = result
    parts = [nibabel.load(folder / name).get_fdata() for name in ("xray.nii.gz", "drr_1.nii.gz")]
    difference = nibabel.load(folder / "difference_1.nii.gz").get_fdata()
    assert difference == pytest.approx(parts[0] - parts[1], abs=1e-5)


def test_samples_belong_to_their_modes(pose_fit, result):
    record, folder = result
    with np.load(folder / "samples.npz", allow_pickle=False) as stored:
        mode, pose, camera = stored["mode"], stored["pose"], stored["camera_to_world"]
        density = stored["log_density"]
    counts = np.bincount(mode, minlength=len(record["modes"]) + 1)[1:] / len(mode)
    assert counts == pytest.approx([m["mass"] for m in record["modes"]], abs=1e-4)
    expected = pose_fit.problem.cameras(torch.from_numpy(pose[:, :2]))
    assert camera == pytest.approx(expected.numpy(), abs=1e-9)
    with (folder / "samples.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["mode", "log_density [nat]", *(f"{n} [{u}]" for n, (u, _) in POSE.items())]
    assert len(rows) == 401
    assert float(rows[1][1]) == pytest.approx(density[0], abs=1e-3)


def test_the_same_seed_gives_the_same_answer(pose_fit, pose_bundle, result, tmp_path):
    record, _ = result
    xray = write_xray(pose_fit.problem, tmp_path / "xray.nii.gz")
    again = register_xray(
        pose_bundle, xray, tmp_path / "out", samples=400, refined=True, contrast="attenuation"
    )
    for name in ("modes", "trust", "differences", "ambiguity"):
        assert again[name] == record[name]


def test_refined_poses_fit_better(pose_fit, result):
    record, folder = result
    xray = nibabel.load(folder / "xray.nii.gz").get_fdata()
    for mode in record["modes"]:
        found = mode["refined"]
        drrs = [nibabel.load(folder / files["drr"]).get_fdata() for files in (mode["files"], found["files"])]
        before, after = (np.square(xray - drr).sum() for drr in drrs)
        gain = (before - after) / (2 * pose_fit.problem.noise_model.sd**2)
        assert found["log_likelihood_gain"] == pytest.approx(gain, abs=1e-2)
        assert gain > 0
        assert {name for name, sd in found["sd"].items() if sd > 0} == {"lao", "cra"}
    said = poses_in_words(record | {"out": str(folder)})
    assert said.count("refined: ") == len(record["modes"])
    refused = {**record["trust"], "is_trusted": False, "statement": "Do not use these poses."}
    said = poses_in_words(record | {"out": str(folder), "trust": refused})
    assert said.startswith("Do not use these poses.")
    assert record["ambiguity"]["statement"] not in said


@pytest.mark.parametrize(("option", "name"), [("reweighted", "--reweight"), ("refined", "--refine")])
def test_what_works_on_one_xray_refuses_two(pose_fit, pose_bundle, tmp_path, option, name):
    xray = write_xray(pose_fit.problem, tmp_path / "xray.nii.gz")
    with pytest.raises(ValueError, match=f"{name} works on one X-ray"):
        register_xray(pose_bundle, [xray, xray], tmp_path / "no", **{option: True})
    assert not (tmp_path / "no").exists()


def test_weighed_by_the_likelihood(pose_fit, pose_bundle, tmp_path):
    """Log densities are those of the exact posterior, up to the error of its evidence."""
    problem = pose_fit.problem
    xray, out = write_xray(problem, tmp_path / "xray.nii.gz"), tmp_path / "out"
    options = {"samples": 400, "reweighted": True, "contrast": "attenuation"}
    record = register_xray(pose_bundle, xray, out, **options)
    assert record["settings"]["reweighted"]
    weights = record["weights"]
    assert weights["effective"] >= 100
    assert math.isfinite(weights["log_evidence_nats"])
    y = problem.noise(problem.forward(torch.tensor([TRUE_POSE])), torch.Generator().manual_seed(0))[0]
    with np.load(out / "samples.npz") as stored:
        theta, density = torch.from_numpy(stored["pose"][:, :2]), torch.from_numpy(stored["log_density"])
    off = density - problem.reference_posterior(y).log_prob(theta)
    assert float(off.std()) < 1e-2  # of rounding
    error = (1 / weights["effective"] - 1 / weights["proposals"]) ** 0.5
    assert abs(float(off.mean())) < 4 * error + 1e-2


def test_poses_that_cannot_be_weighed_are_kept(pose_fit, pose_bundle, tmp_path):
    """An X-ray that is brighter than any pose casts: a warning in the place of weights."""
    bright = write_xray(pose_fit.problem, tmp_path / "bright.nii.gz", change=lambda image: 1000 * image)
    options = {"samples": 100, "contrast": "attenuation"}
    plain = register_xray(pose_bundle, bright, tmp_path / "plain", **options)
    record = register_xray(pose_bundle, bright, tmp_path / "weighed", reweighted=True, **options)
    assert record["modes"] == plain["modes"]
    assert record["weights"] is None
    assert "were not weighed by the likelihood: the likelihood counts" in record["warnings"][-1]


def test_xrays_that_cannot_be_joined_leave_the_poses_of_the_first(pose_fit, pose_bundle, tmp_path):
    """The patient has tilted by 20° before the second X-ray; then the C-arm has turned out of the prior."""
    poses = (TRUE_POSE, (TRUE_POSE[0], TRUE_POSE[1] - 20))
    paths = [write_xray(pose_fit.problem, tmp_path / f"{n}.nii.gz", pose, n) for n, pose in enumerate(poses)]
    alone = register_xray(pose_bundle, paths[0], tmp_path / "alone", contrast="attenuation")
    for turned, said in ((90, 0), "no pose explains all the X-rays"), ((0, 80), "outside the bundle's prior"):
        out = tmp_path / f"{turned[0]}"
        record = register_xray(pose_bundle, paths, out, gantry=(0, 0, *turned), contrast="attenuation")
        assert record["modes"] == alone["modes"]
        assert not record["trust"]["is_trusted"]
        assert said in record["trust"]["statement"]
        assert record["warnings"][-1].endswith("those of the network for the first X-ray.")


def test_an_inverted_xray_and_another_patient_are_flagged(pose_fit, pose_bundle, tmp_path):
    from monai_inn.applications.registration.projection import spine_phantom
    from monai_inn.problems import PoseRegistration

    inverted = write_xray(pose_fit.problem, tmp_path / "inverted.nii.gz", change=lambda i: i.max() - i)
    volume = spine_phantom()
    other = PoseRegistration(
        volume.values.flip(1) * 1.6,
        volume.affine.tolist(),
        detector=pose_fit.problem.detector,
        noise={"sd": 0.1},
        brightest=pose_fit.problem.brightest,
    )
    stranger = write_xray(other, tmp_path / "stranger.nii.gz")
    for path in (inverted, stranger):
        record = register_xray(pose_bundle, path, tmp_path / path.stem, samples=200, contrast="attenuation")
        assert not record["trust"]["is_trusted"]
        assert record["trust"]["statement"].startswith("Do not use")


def test_several_xrays(pose_fit, pose_bundle, tmp_path):
    from monai_inn.applications.registration.carm import gantry_motion

    problem = pose_fit.problem
    motion = gantry_motion((0.0, 0.0), (40.0, 0.0), problem.detector)
    first = torch.tensor(TRUE_POSE).double()
    second = problem.parameters_of(problem.cameras(first) @ motion).tolist()
    paths = [
        write_xray(problem, tmp_path / "a.nii.gz", TRUE_POSE),
        write_xray(problem, tmp_path / "b.nii.gz", tuple(second), seed=1),
        write_xray(problem, tmp_path / "c.nii.gz", TRUE_POSE, seed=2),
    ]
    with pytest.raises(ValueError, match="gantry's angles are needed"):
        register_xray(pose_bundle, paths, tmp_path / "o", contrast="attenuation")
    with pytest.raises(ValueError, match="--turned is for several X-rays"):
        register_xray(pose_bundle, paths[0], tmp_path / "o", gantry=(0, 0), contrast="attenuation")
    assert not (tmp_path / "o").exists()
    record = register_xray(
        pose_bundle, paths, tmp_path / "o", gantry=(0, 0, 40, 0, 0, 0), contrast="attenuation"
    )
    assert [x["gantry_deg"] for x in (record["xray"], *record["other_xrays"])] == [[0, 0], [40, 0], [0, 0]]


def test_views(pose_bundle, result, tmp_path):
    record = plan_views(pose_bundle, tmp_path / "views", step=60)
    with (tmp_path / "views" / "views.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    with Image.open(tmp_path / "views" / "views.png") as picture:  # one row of views is low
        assert picture.height < 0.6 * picture.width
    best = min(rows, key=lambda row: float(row["error [mm]"]))
    assert float(best["lao [deg]"]) == record["best"]["lao_deg"]
    second = plan_views(pose_bundle, tmp_path / "second", after=result[1], step=45)
    assert second["settings"]["after"] == str(result[1].resolve())
    lao, cra = second["best"]["lao_deg"], second["best"]["cra_deg"]
    assert f"turning the C-arm by {direction_in_words(lao, cra)}: to" in second["statement"]
    assert (tmp_path / "second" / "views.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match=r"no registration\.json in it"):
        plan_views(pose_bundle, tmp_path / "third", after=tmp_path)
    with pytest.raises(ValueError, match="step = 0"):
        plan_views(pose_bundle, tmp_path / "third", step=0)


def test_bad_input_leaves_nothing(pose_fit, pose_bundle, tmp_path):
    empty = write_xray(pose_fit.problem, tmp_path / "empty.nii.gz", change=torch.zeros_like)
    with pytest.raises(ValueError):
        register_xray(pose_bundle, empty, tmp_path / "out", contrast="attenuation")
    with pytest.raises(ValueError, match="at least 100"):
        register_xray(pose_bundle, empty, tmp_path / "out", samples=10)
    assert not (tmp_path / "out").exists()


def test_maps_of_a_registration_are_refused(pose_bundle, image_file, tmp_path):
    from monai_inn.bundles import map_network
    from monai_inn.reports import infer_image

    with pytest.raises(ValueError, match="register"):
        map_network(pose_bundle)
    with pytest.raises(ValueError):
        infer_image(pose_bundle, image_file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
