"""Registration straight from a CT: the pose of a realistic X-ray, its width, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from cli_commands import refused, run
from ct_phantom import DETECTOR, POSE, intensity, write_ct, write_xray

from monai_inn.applications.registration.carm import POSE as NAMES
from monai_inn.applications.registration.results.from_ct import register_to_ct

pytest.importorskip("nanodrr")
TARGET = (0.0, 0.0, 0.0)
READING = {"contrast": "intensity", "spacing_mm": DETECTOR.spacing_mm, "target": TARGET}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    return write_ct(folder / "ct.nii.gz"), write_xray(folder / "xray.png", intensity()), folder


@pytest.fixture(scope="module")
def found(files):
    ct, xray, folder = files
    return register_to_ct(ct, xray, folder / "out", **READING), folder / "out"


def error(record: dict) -> torch.Tensor:
    pose = record["modes"][0]["pose"]
    return torch.tensor([pose[name] for name in NAMES]).double() - POSE


def test_all_six_unknowns_are_found(found):
    away = error(found[0])
    assert away[:3].abs().max() < 0.5
    assert away[3:5].abs().max() < 0.5
    assert away[5].abs() < 5


def test_the_truth_is_within_the_claimed_widths(found):
    spread = found[0]["modes"][0]["spread"]
    distance = error(found[0]) / torch.tensor([spread[name] for name in NAMES]).double()
    assert distance.abs().max() < 5


def test_the_folder_holds_what_a_bundle_would_leave(found):
    record, folder = found
    for name in ("overview.png", "xray.nii.gz", "drr_1.nii.gz", "pose_1.tfm", "samples.npz", "samples.csv"):
        assert (folder / name).stat().st_size > 0
    assert (
        json.loads((folder / "registration.json").read_text())["modes"][0]["pose"]
        == record["modes"][0]["pose"]
    )
    samples = np.load(folder / "samples.npz")
    assert samples["pose"].shape == (1000, 6)
    assert record["trust"]["is_trusted"]
    assert record["weights"]["effective"] > 0.3 * record["weights"]["proposals"]


def test_another_exposure_and_a_collimator_change_nothing(files):
    ct, _, folder = files
    image = 0.35 * intensity(seed=1)
    image[:14], image[:, -20:] = 0.004, 0.004
    xray = write_xray(folder / "collimated.png", image)
    away = error(register_to_ct(ct, xray, folder / "collimated", **READING))
    assert away[:3].abs().max() < 1
    assert away[3:5].abs().max() < 1


def test_an_x_ray_of_something_else_is_not_trusted(files):
    ct, _, folder = files
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    ripples = np.exp(-1.5 - np.sin(9 * x + 4 * y) * np.cos(7 * y - 3 * x))
    xray = write_xray(folder / "ripples.png", ripples)
    record = register_to_ct(ct, xray, folder / "ripples", samples=100, **READING)
    assert not record["trust"]["is_trusted"]
    assert "Do not use" in record["trust"]["statement"]


def test_known_parameters_stay(files):
    ct, xray, folder = files
    fixed = {"roll": 3.0, "right": 5.0, "down": -7.0, "away": 12.0}
    free = {"lao": (-180.0, 180.0), "cra": (-30.0, 30.0)}
    record = register_to_ct(ct, xray, folder / "fixed", free=free, fixed=fixed, samples=100, **READING)
    assert {n: record["modes"][0]["pose"][n] for n in fixed} == fixed
    assert error(record)[:2].abs().max() < 0.5


def test_the_command_line_says_the_pose(files, capsys):
    ct, xray, folder = files
    code = run("register", ct, xray, "-o", folder / "cli", "--contrast", "intensity", "--spacing", "1.8",
                "--target", 0, 0, 0, "--range", "lao=0:50", "--samples", 100)  # fmt: skip
    assert code == 0
    assert "24° LAO, 6° CRA" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--reweight"], "--reweight is for a bundle"),
        (["--labels", "labels.nii.gz"], "labels and the numbers to keep come together"),
        (["--fixed", "roll=3", "--range", "roll=0:5"], "roll is free and fixed"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(files, capsys, extra, said):
    ct, xray, folder = files
    reading = ("--contrast", "intensity", "--spacing", 1.8)
    assert said in refused(capsys, "register", ct, xray, "-o", folder / "refused", *reading, *extra)
    assert not (folder / "refused").exists()


def test_an_unknown_spacing_is_asked_for(files, capsys):
    ct, xray, folder = files
    told = refused(capsys, "register", ct, xray, "-o", folder / "refused", "--contrast", "intensity")
    assert "give --spacing" in told


def test_a_small_image_is_refused(files, capsys):
    ct, _, folder = files
    xray = write_xray(folder / "small.png", intensity()[:64, :64])
    reading = ("--contrast", "intensity", "--spacing", 1.8)
    told = refused(capsys, "register", ct, xray, "-o", folder / "refused", *reading)
    assert "64 × 64 pixels; 128 along the longer side are needed" in told


def test_options_of_a_ct_are_refused_with_a_bundle(capsys, tmp_path):
    told = refused(capsys, "register", tmp_path, "x.png", "-o", tmp_path / "o", "--target", 0, 0, 0)
    assert "--target is for a CT" in told
