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
from monai_inn.applications.registration.poses import infer_pose, pose_space
from monai_inn.applications.registration.results.registering import register_xray
from monai_inn.metrics import find_modes

FOLDER = Path(__file__).resolve().parents[2] / "Resources"
sys.path.insert(0, str(FOLDER))
import make_xray  # noqa: E402


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


def test_poses_are_those_of_the_exact_posterior(fitted, observation):
    torch.manual_seed(0)
    problem = fitted.problem
    space = pose_space(problem)
    exact = find_modes(problem.reference_posterior(observation).sample((1000,)), space, min_mass=0.05)
    found = infer_pose(fitted, observation, 1000).modes
    assert len(exact) == 2
    for mode in exact:
        nearest = min(
            found, key=lambda other, at=mode.parameters: float(space.distance(other.parameters, at))
        )
        assert float(space.distance(nearest.parameters, mode.parameters)) < 1
        assert abs(nearest.mass - mode.mass) < 0.15
    truth = torch.tensor(make_xray.POSE)
    assert min(float(space.distance(mode.parameters, truth)) for mode in found) < 1.5


def test_it_is_trusted_and_its_negative_is_not(fitted, tmp_path):
    usual = register_xray("lumbar_spine", FOLDER / "lumbar_xray.png", tmp_path / "a", **XRAY_READING)
    assert usual["trust"]["is_trusted"]
    shown = np.asarray(Image.open(FOLDER / "lumbar_xray.png"))
    Image.fromarray(shown.max() - shown).save(tmp_path / "negative.png")
    wrong = register_xray("lumbar_spine", tmp_path / "negative.png", tmp_path / "b", **XRAY_READING)
    assert not wrong["trust"]["is_trusted"]
