"""The example X-ray comes from its script, and the shipped bundle finds what the exact posterior says."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import monai_inn as mi
from monai_inn.applications.registration import match_detector, read_xray
from monai_inn.applications.registration.demo import XRAY_READING
from monai_inn.applications.registration.poses.inference import infer_pose, pose_space
from monai_inn.applications.registration.results.registering import register_xray
from monai_inn.metrics import find_modes

FOLDER = Path(__file__).resolve().parents[2] / "Resources"
sys.path.insert(0, str(FOLDER))
import make_xray  # noqa: E402

# LAO, CRA and mass of both modes, by the grid of `reference_posterior`, which takes twenty seconds.
EXACT = (-57.52, -6.65, 0.752), (-117.03, 6.39, 0.248)


@pytest.fixture(scope="module")
def fitted():
    return mi.load("lumbar_spine")


@pytest.fixture(scope="module")
def observation(fitted):
    problem = fitted.problem
    xray = read_xray(FOLDER / "lumbar_xray.png")
    return match_detector(xray, problem.detector, problem.brightest, **XRAY_READING)[0]


def test_it_comes_from_its_script(tmp_path):
    made = np.asarray(Image.open(make_xray.write_xray(tmp_path)), int)
    shipped = np.asarray(Image.open(FOLDER / "lumbar_xray.png"), int)
    assert made.shape == (128, 128)
    # Another processor may round a sum the other way.
    assert np.abs(made - shipped).max() <= 2


def test_the_demo_reads_it_as_it_was_made(fitted):
    fine = make_xray.xray_problem(fitted.problem)
    assert XRAY_READING["spacing_mm"] == fine.detector.spacing_mm
    assert XRAY_READING["unattenuated"] == make_xray.UNATTENUATED


def nearest(modes, space, pose):
    return min(modes, key=lambda mode: float(space.distance(mode.parameters, pose)))


@pytest.mark.slow
def test_the_exact_modes_are_those_of_the_posterior_on_a_grid(fitted, observation):
    torch.manual_seed(0)
    space = pose_space(fitted.problem)
    found = find_modes(fitted.problem.reference_posterior(observation).sample((4000,)), space, min_mass=0.05)
    assert len(found) == len(EXACT)
    for *pose, mass in EXACT:
        mode = nearest(found, space, torch.tensor(pose))
        assert float(space.distance(mode.parameters, torch.tensor(pose))) < 0.3
        assert abs(mode.mass - mass) < 0.03


def test_poses_are_those_of_the_exact_posterior(fitted, observation):
    torch.manual_seed(0)
    space = pose_space(fitted.problem)
    found = infer_pose(fitted, observation, 1000).modes
    for *pose, mass in EXACT:
        mode = nearest(found, space, torch.tensor(pose))
        assert float(space.distance(mode.parameters, torch.tensor(pose))) < 1
        assert abs(mode.mass - mass) < 0.15
    truth = torch.tensor(make_xray.POSE)
    assert min(float(space.distance(mode.parameters, truth)) for mode in found) < 1.5


def test_it_is_trusted_and_its_negative_is_not(fitted, tmp_path):
    usual = register_xray("lumbar_spine", FOLDER / "lumbar_xray.png", tmp_path / "a", **XRAY_READING)
    assert usual["trust"]["is_trusted"]
    shown = np.asarray(Image.open(FOLDER / "lumbar_xray.png"))
    Image.fromarray(shown.max() - shown).save(tmp_path / "negative.png")
    wrong = register_xray("lumbar_spine", tmp_path / "negative.png", tmp_path / "b", **XRAY_READING)
    assert not wrong["trust"]["is_trusted"]
