"""A badly trained bundle says so: in Python, in its card, and wherever its answers are shown."""

from __future__ import annotations

import json

import pytest
import torch

import monai_inn as mi
from monai_inn.cli import main
from monai_inn.fitted.metadata import list_bundles
from monai_inn.fitted.reading import shipped
from monai_inn.inferers.trust.card_warnings import TOLERATED_ERROR, card_warnings
from monai_inn.metrics.verdicts import Tolerance, deviations, status_of, verdict
from monai_inn.problems import GaussianField


def card(error, noise=0.011):
    return {
        "measured_on": {"simulations": 3000, "seed": 0, "draws": 255},
        "parameters": {n: {"calibration_error": error} for n in ("sao2", "vhb", "water")},
        "calibration_noise_floor_95": noise,
    }


def row_of(shift: float) -> dict:
    """What a card holds of a parameter whose values are too high by so many posterior standard deviations."""
    z = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (row,) = deviations(torch.special.ndtr((z - z.mean()) / z.std() - shift))
    status = status_of(row, Tolerance())
    judged = {"status": status, "verdict": verdict(row, status, Tolerance())}
    return row | judged | {"calibration_error": 0.001, "contraction": 0.5}


@pytest.mark.parametrize(
    ("error", "noise", "warns"),
    [
        (0.073, 0.011, True),
        (0.011 + TOLERATED_ERROR - 1e-6, 0.011, False),
        (0.011 + TOLERATED_ERROR + 1e-6, 0.011, True),
        (0.04, 0.03, False),  # that may be noise
        (None, 0.011, True),
        (float("nan"), 0.011, True),
    ],
)
def test_an_error_beyond_noise_and_tolerance_is_warned_of(error, noise, warns):
    found = card_warnings(card(error, noise), ["sao2", "vhb"])
    assert len(found) == warns
    assert all("miscalibrated" in text and "vhb" in text and "water" not in text for text in found)


def test_what_validate_calls_miscalibrated_is_warned_of():
    judged = card(0.001)
    judged["parameters"] = {name: row_of(shift=0.2 * (name == "vhb")) for name in judged["parameters"]}
    (found,) = card_warnings(judged, ["sao2", "vhb"])
    assert "vhb: values 0.20 posterior sd too high. Train it longer" in found
    assert card_warnings(judged, ["sao2"]) == []


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        ({"flagged_shuffled_channels": 0.95, "flagged_dye": 0.95}, None),
        ({"false_alarm_measured": 0.05}, None),  # nothing to try it on
        ({"flagged_shuffled_channels": 0.42, "flagged_dye": 0.95}, "noticed too few (shuffled channels 42%;"),
        ({"flagged_shuffled_channels": 1.0, "flagged_dye": 0.5}, "noticed too few (dye 50%;"),
        (
            {"false_alarm_measured": 0.05, "auroc_shuffled_channels": 0.9},
            "from before the test of explanation",
        ),
    ],
)
def test_a_network_that_cannot_tell_says_so(trust, said):
    found = card_warnings(card(0.0) | {"ood": trust}, ["sao2"])
    assert len(found) == (said is not None)
    assert all(said in text for text in found)


def test_what_was_not_measured_is_not_warned_of():
    assert card_warnings({}, ["sao2"]) == []


def test_shipped_bundles_are_well_trained_and_say_what_they_cannot_tell():
    found = {entry["name"]: entry["warnings"] for entry in list_bundles()}
    assert found.keys() == set(shipped())
    quiet = ("blood_cells", "chest_xray", "oximetry", "photoacoustics")
    assert all(found.pop(name) == [] for name in quiet)
    of_images = {"accelerated_mr": "of few people", "contrast_translation": "hold lesions much less often"}
    for name, part in of_images.items():
        (warning,) = found.pop(name)
        assert part in warning
        assert "synthetic" not in warning  # the result says so itself
    for (
        warnings
    ) in found.values():  # three bands; a spine and its mirror image; an odd view; curves that jump
        assert len(warnings) == 1
        assert "cannot tell all that it does not know" in warnings[0]


@pytest.fixture
def bad_bundle(camera_fit, tmp_path):
    fitted = mi.FittedPosterior(camera_fit.problem, camera_fit.network, card(0.073))
    fitted.save(tmp_path / "bad")
    return tmp_path / "bad"


@pytest.mark.usefixtures("quick_picture", "quick_drawings")
def test_card_record_and_text_of_maps_say_so(bad_bundle, image_file, tmp_path, capsys):
    fitted = mi.load(bad_bundle)
    assert "sao2: calibration error 0.073, where 0.031 is tolerated" in fitted.warnings[0]
    assert f"**Warning. {fitted.warnings[0]}**" in (bad_bundle / "docs/README.md").read_text()
    for verb, options in (("infer", ["--samples", "8"]), ("ood", [])):
        assert main([verb, str(bad_bundle), str(image_file), "-o", str(tmp_path / verb), *options]) == 0
        assert f"WARNING: {fitted.warnings[0]}" in capsys.readouterr().out
        assert json.loads((tmp_path / verb / "result.json").read_text())["warnings"] == fitted.warnings
    assert main(["bundles", str(bad_bundle)]) == 0
    assert f"WARNING: {fitted.warnings[0]}" in capsys.readouterr().out
    arguments = ["validate", str(bad_bundle), "-o", str(tmp_path / "report"), "-n", "200", "--samples", "15"]
    assert main(arguments) == 0
    assert f"WARNING: {fitted.warnings[0]}" in capsys.readouterr().out


def test_record_and_text_of_poses_say_so(pose_fit, tmp_path, capsys):
    import numpy as np
    from PIL import Image

    targets = pose_fit.problem.targets
    bad = card(0.073) | {"parameters": {n: {"calibration_error": 0.073} for n in targets}}
    fitted = mi.FittedPosterior(pose_fit.problem, pose_fit.network, bad)
    fitted.save(tmp_path / "bad")
    grey = np.exp(-fitted.problem.render(fitted.problem.simulate(1)[0][0]).numpy())
    Image.fromarray((grey * 60_000).astype(np.uint16)).save(tmp_path / "xray.png")
    arguments = ["register", str(tmp_path / "bad"), str(tmp_path / "xray.png"), "-o", str(tmp_path / "out")]
    assert main([*arguments, "--samples", "100", "--contrast", "intensity"]) == 0
    assert f"WARNING: {fitted.warnings[0]}" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/registration.json").read_text())["warnings"] == fitted.warnings


def test_an_unknown_image_has_one_name_for_all_its_pixels(fit_without_training, tmp_path, monkeypatch):
    from monai_inn.bundles.fitting import fit_bundle

    fitted = fit_without_training(GaussianField(side=8))
    fitted.card = {"parameters": {"field": row_of(shift=0.2)}, "training": {}}
    monkeypatch.setattr("monai_inn.training.fit", lambda *_, **__: fitted)
    made = fit_bundle(fitted.problem, tmp_path / "bundle")
    assert (made["targets"], list(made["labels"])) == (["field"], ["field"])
    (warning,) = made["warnings"]
    assert "field: values 0.20 posterior sd too high" in warning
    (entry,) = [entry for entry in list_bundles([tmp_path]) if entry["name"] == "bundle"]
    assert [target["name"] for target in entry["targets"]] == ["field"]
    assert entry["warnings"] == [warning]


def test_fit_says_so_at_its_end(tmp_path, capsys, monkeypatch):
    import monai_inn.bundles.fitting as commands
    from monai_inn.problems import LinearGaussian
    from monai_inn.training import Recipe, fit

    recipe = Recipe(2048, 1, 1, 1, 64, 64, measured=200, held_out=64, guard=64)
    small = {part: {"num_blocks": 1, "hidden_channels": (8,)} for part in ("flow", "density")}
    fitted = fit(LinearGaussian(), recipe=recipe, members=2, network=small)
    for row in fitted.card["parameters"].values():
        row |= row_of(shift=0.2)
    monkeypatch.setattr("monai_inn.training.fit", lambda *_, **__: fitted)
    assert main(["fit", "linear_gaussian", "-o", str(tmp_path / "bundle")]) == 0
    printed = capsys.readouterr().out
    assert "(x1): miscalibrated: values 0.20 posterior sd too high; the data remove 50%" in printed
    assert f"WARNING: {fitted.warnings[0]}" in printed
    assert commands.fit_bundle(LinearGaussian(), tmp_path / "bundle")["warnings"] == fitted.warnings
