"""The example X-rays of a torso come from their script, and its CT explains them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_inn.applications.registration.results.aiming import aim
from monai_inn.cli import main

FOLDER = Path(__file__).resolve().parents[2] / "Resources"
sys.path.insert(0, str(FOLDER))
import make_torso_xray  # noqa: E402


@pytest.mark.parametrize("write", [make_torso_xray.write_xray, make_torso_xray.write_symmetric])
@pytest.mark.parametrize("pixels", [128, pytest.param(256, marks=pytest.mark.slow)])
def test_it_comes_from_its_script(tmp_path, monkeypatch, pixels, write):
    monkeypatch.setattr(make_torso_xray, "PIXELS", pixels)
    path = write(tmp_path)
    made, shipped = (
        np.asarray(Image.open(path), float).reshape(32, side // 32, 32, side // 32).mean((1, 3))
        for path, side in ((path, pixels), (FOLDER / path.name, 256))
    )
    # Another processor may round a sum, and with it a draw of photons, the other way; then all that follow
    # differ. The mean of 16 or 64 pixels does not depend on it. The brightest pixel, which is the unit, is a
    # brighter one among more.
    ratio = made / shipped
    unit = 1 if pixels == 256 else np.median(ratio)
    assert np.abs(ratio / unit - 1).max() < 0.08


@pytest.fixture
def registered(demo):
    """What the demo made of it."""
    return demo[0] / "torso_xray"


def test_its_pose_is_found(registered):
    record = json.loads((registered / "registration.json").read_text())
    (mode,) = record["modes"]
    lao, cra, roll = make_torso_xray.POSE[:3]
    assert mode["pose"]["lao"] == pytest.approx(lao, abs=0.2)
    assert mode["pose"]["cra"] == pytest.approx(cra, abs=0.2)
    assert mode["pose"]["roll"] == pytest.approx(roll, abs=0.1)
    assert record["trust"]["is_trusted"]
    assert record["trust"]["explained"] > 0.8


def test_two_poses_explain_the_symmetric_torso_and_both_look_right(demo):
    record = json.loads((demo[0] / "symmetric_xray" / "registration.json").read_text())
    lao, cra = make_torso_xray.SYMMETRIC_POSE[:2]
    for mode, expected in zip(record["modes"], ((lao, cra), (180 - lao, -cra)), strict=True):
        assert mode["mass"] > 0.2
        assert [mode["pose"][name] for name in ("lao", "cra")] == pytest.approx(expected, abs=0.2)
        assert mode["similarity"]["ncc"] > 0.98
    assert record["trust"]["is_trusted"]


def test_the_command_line_aims(registered, tmp_path, capsys):
    code = main(["aim", str(registered), "--target", "-4", "135", "297", "-o", str(tmp_path / "aim")])
    assert code == 0
    assert "of the plan" in capsys.readouterr().out
    assert (tmp_path / "aim" / "aim.png").is_file()


def test_a_line_between_two_vertebrae_is_carried_along(registered, tmp_path):
    record = aim(
        registered, tmp_path / "aim", target=(-4, 135, 297), entry=(-52, 75, 300),
        labels=FOLDER / "ct" / "torso_vertebrae.nii.gz", avoid=[28, 29], radius_mm=1.0,
    )  # fmt: skip
    assert record["target"]["error_mm"]["high"] < 2
    assert [row["label"] for row in record["line"]["breaches"]] == [28, 29]
