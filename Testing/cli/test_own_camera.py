"""A camera of one's own on the command line: what is doubtful about it is said at its first use and later."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from cli_commands import refused, run

import monai_inn as mi
from monai_inn import plain
from monai_inn.metrics.verdicts import Tolerance, status_of, verdict
from monai_inn.physics import cameras
from monai_inn.physics.cameras import Camera
from monai_inn.physics.tables import DATA
from monai_inn.problems import Oximetry
from monai_inn.reports.image_files import read_image
from monai_inn.training import Recipe

MOSAIC = DATA / "cameras" / "imec_ssm4x4_470_620.csv"
DOUBT = (
    "camera 'leaky': more than 5% of the response lies further from the band's peak than 3 times its width"
)


@pytest.fixture
def leaky(tmp_path):
    """Three bands of 10 nm, each with a second peak at 700 nm that holds a fifth of its response."""
    axis = np.arange(500.0, 721.0)
    bands = [
        np.exp(-(((axis - c) / 6) ** 2)) + 0.25 * np.exp(-(((axis - 700) / 6) ** 2)) for c in (520, 545, 570)
    ]
    path = tmp_path / "leaky.csv"
    np.savetxt(path, np.stack([axis, *bands], 1), delimiter=",", header="wavelength_nm,a,b,c", comments="")
    return path


@pytest.fixture
def quick_fit(monkeypatch):
    """Training of a second."""
    fit = mi.fit
    small = {"num_blocks": 1, "hidden_channels": (8,)}
    recipe = Recipe(1024, 1, 1, 1, 64, 64, measured=100, held_out=64, guard=64)
    options = {"recipe": recipe, "network": {"flow": small, "density": small}}
    monkeypatch.setattr("monai_inn.training.fit", lambda problem, **given: fit(problem, **given, **options))


@pytest.mark.usefixtures("quick_fit", "quick_picture")
def test_a_forgotten_filter_is_said_before_the_training_and_at_every_use(leaky, tmp_path, capsys):
    bundle = tmp_path / "bundle"
    assert run("fit", "oximetry", "--camera", leaky, "-o", bundle, "--members", 2) == 0
    shown = capsys.readouterr()
    first = shown.err.splitlines()[0]
    assert first.startswith(f"monai-inn: WARNING: {DOUBT} in 3 of 3 bands (")
    assert first.endswith("give the range that it covers.")
    doubt = first.removeprefix("monai-inn: WARNING: ")
    assert f"WARNING: {doubt}" in shown.out.splitlines()
    assert "Camera: leaky, 3 bands, 500–720 nm." in shown.out.splitlines()
    fitted = mi.load(bundle)
    assert fitted.warnings[0] == doubt
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert metadata["monai_inn"]["card"]["warnings"] == [doubt]
    assert f"**Warning. {doubt}**" in (bundle / "docs/README.md").read_text()
    fitted.save(tmp_path / "copy")
    assert mi.load(tmp_path / "copy").warnings == fitted.warnings
    np.savez(tmp_path / "image.npz", image=np.full((3, 2, 2), 0.3, np.float32))
    assert run("infer", bundle, tmp_path / "image.npz", "-o", tmp_path / "out", "--samples", 8) == 0
    assert f"WARNING: {doubt}" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/result.json").read_text())["warnings"][0] == doubt
    assert run("bundles", bundle) == 0
    assert f"  WARNING: {doubt}" in capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("quick_fit")
def test_with_the_passband_nothing_is_doubtful(leaky, tmp_path, capsys):
    options = ("--camera", leaky, "--passband", 500, 600)
    assert run("fit", "oximetry", *options, "-o", tmp_path / "bundle", "--members", 2, "--json") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    result = json.loads(shown.out)
    assert "warnings" not in result["measured"]
    assert result["device"] == "Camera: leaky, 3 bands, 500–600 nm."
    assert result["next"] == f"monai-inn infer {tmp_path}/bundle IMAGE -o OUT"
    camera = mi.load(tmp_path / "bundle").problem.camera
    np.testing.assert_array_equal(camera.response, cameras.load(leaky, (500.0, 600.0)).response)


def test_simulate_says_it_too(leaky, tmp_path, capsys):
    store = tmp_path / "my data.zarr"
    assert run("simulate", "oximetry", "--camera", leaky, "-n", 8, "-o", store, "--json") == 0
    shown = capsys.readouterr()
    assert DOUBT in shown.err
    assert json.loads(shown.out)["warnings"] == [shown.err.strip().removeprefix("monai-inn: WARNING: ")]
    assert run("simulate", "oximetry", "--camera", leaky, "-n", 8, "-o", store) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"8 simulations of oximetry, seed 0: {store}", "Camera: leaky, 3 bands, 500–720 nm."]
    assert lines[2].endswith(f"monai-inn fit oximetry --simulations '{store}' -o BUNDLE")
    assert lines[3].startswith(f"WARNING: {DOUBT}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--passband", "470", "620"], "--passband belongs to a camera of yours.*--camera CSV"),
        (
            ["--camera", "tivita", "--passband", "500", "600"],
            "camera 'tivita' is shipped with its own pass-band",
        ),
        (["--camera", MOSAIC, "--passband", "300", "350"], "does not cover the pass-band 300 to 350 nm"),
        (["--camera", MOSAIC, "--passband", "620", "470"], "620 to 470 nm is not a range"),
        (["--camera", MOSAIC.with_suffix(".json"), "--passband", "470", "600"], "has a passband_nm already"),
        (["--camera", MOSAIC, "--passband", "470"], "expected 2 arguments"),
        (["--camera", MOSAIC, "--passband", "470", "red"], "invalid float value: 'red'"),
        (["--camera", "none.json"], "unknown camera 'none.json'"),
    ],
)
def test_a_passband_that_does_not_fit_is_refused_in_one_line(capsys, tmp_path, options, words):
    import re

    for command in (["fit", "oximetry"], ["simulate", "oximetry", "-n", "8"]):
        assert re.search(words, refused(capsys, *command, *options, "-o", tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_an_image_in_the_vendors_order_has_the_maps_of_a_sorted_one(tmp_path):
    """Peaks in any order, with references of the same file order."""
    camera = Camera.from_centres([500.0, 540.0, 600.0], 30.0, peaks_nm=(530.0, 470.0, 650.0))
    problem = Oximetry(camera)
    _, y = problem.simulate(6)
    values, white = y.T.reshape(3, 2, 3).numpy(), np.float32([2, 3, 5])[:, None, None]
    order = [2, 0, 1]
    peaks = [camera.peaks_nm[i] for i in order]
    np.savez(tmp_path / "image.npz", image=(values * white)[order], wavelength_nm=peaks)
    np.savez(tmp_path / "white.npz", image=np.broadcast_to(white, values.shape)[order])
    image = read_image(tmp_path / "image.npz", problem, white=str(tmp_path / "white.npz"))
    np.testing.assert_allclose(image.as_tensor(), values, rtol=1e-6)
    assert image.meta["wavelength_nm"] == camera.peaks_nm
    plain_image = read_image(tmp_path / "image.npz", problem)
    torch.testing.assert_close(plain_image.as_tensor(), torch.as_tensor(values * white))


def a_row(shift: float) -> dict:
    exact = {"value": 1.0, "low": 0.98, "high": 1.02, "p_corrected": 1.0}
    bounds = {"value": shift, "low": shift - 0.04, "high": shift + 0.04}
    row = {"cases": 3000, "width": exact, "shift": bounds | {"p_corrected": float(abs(shift) < 0.05)}}
    status = status_of(row, Tolerance())
    return row | {"status": status, "verdict": verdict(row, status, Tolerance()), "contraction": 0.8641}


def a_card(**shifts: float) -> dict:
    return {
        "measured_on": {"simulations": 3000, "seed": 0, "draws": 255},
        "calibration_noise_floor_95": 0.011,
        "parameters": {name: a_row(shift) for name, shift in shifts.items()},
        "ood": {"false_alarm_nominal": 0.05, "false_alarm_measured": 0.0473},
        "training": {"simulations": 1048576, "minutes": 29.96},
    }


def a_result(card: dict, targets: list[str]) -> dict:
    return {
        "out": "mine",
        "problem": "oximetry",
        "device": "Camera: mine, 16 bands, 470–620 nm.",
        "cases": "simulations",
        "unseen": "fresh simulations",
        "targets": targets,
        "labels": {name: name.upper() for name in card["parameters"]},
        "notes": ["There was no checkpoint."],
        "measured": card,
        "warnings": ["Careful."],
        "next": "monai-inn infer mine IMAGE -o OUT",
    }


def test_fit_ends_with_a_summary_in_words():
    card = a_card(sao2=0.0, vhb=0.2, a_mie=-0.09, water=0.3, fat=0.0, n=-1.0)
    result = a_result(card, ["sao2", "vhb", "a_mie"])
    remaining = "; the data remove 86% of the prior variance"
    assert plain.with_warnings(plain.fit(result), result).splitlines() == [
        "There was no checkpoint.",
        "Problem: oximetry",
        "Camera: mine, 16 bands, 470–620 nm.",
        "Training: 1,048,576 simulations, 30.0 minutes",
        "Calibration on 3,000 fresh simulations, judged as by `monai-inn validate`:",
        "  SAO2 (sao2): calibrated: interval widths −3 to +3 % off, values −0.04 to +0.04 posterior sd off"
        f"{remaining}",
        f"  VHB (vhb): miscalibrated: values 0.20 posterior sd too high{remaining}",
        "  A_MIE (a_mie): small deviation: values 0.09 posterior sd too low (within the tolerance)"
        f"{remaining}",
        "  parameters that maps do not show: 2 miscalibrated, 1 calibrated",
        "False alarms: 4.7% of fresh simulations are called untrusted, 5% were aimed at",
        "Bundle: mine",
        "Next: monai-inn infer mine IMAGE -o OUT",
        "WARNING: Careful.",
    ]


def test_the_summary_of_a_field_stays_readable():
    names = [f"p{i}" for i in range(300)]
    text = plain.fit(a_result(a_card(**dict.fromkeys(names, 0.01)), names) | {"device": "", "notes": []})
    assert "  280 more in the model card" in text.splitlines()
    assert len(text.splitlines()) == 27
    assert "{" not in text


def test_convert_and_view_end_in_words(tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / "cube.npz", image=np.ones((3, 4, 5), np.float32))
    assert run("convert", tmp_path / "cube.npz", "-o", tmp_path / "cube.nrrd") == 0
    assert capsys.readouterr().out == f"3 channels of 4 × 5 pixels: {tmp_path}/cube.nrrd\n"
    monkeypatch.setattr("monai_inn.viewer.serve", lambda *_, **__: None)
    assert run("view", tmp_path) == 0
    assert capsys.readouterr().out == f"{tmp_path} is no longer shown.\n"
