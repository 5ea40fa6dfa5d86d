"""`fit registration`, `register` and `views` from the command line."""

from __future__ import annotations

import functools
import gzip
import json

import nibabel
import numpy as np
import pytest
import torch
from cli_commands import refused, run

import monai_inn as mi
from monai_inn.training import Recipe

QUICK = ("--size", "12", "--field", "150", "--noise", "0.1")
RECIPE = Recipe(4096, 80, 20, batch_size=256, measured=300, held_out=512, guard=400, templates=512)


def test_from_a_ct_to_poses(ct_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("monai_inn.training.fit", functools.partial(mi.fit, recipe=RECIPE))
    bundle, out = tmp_path / "bundle", tmp_path / "poses"
    assert run("fit", "registration", "--ct", ct_file, "-o", bundle, *QUICK, "--range", "lao=-90:90") == 0
    problem = mi.load(bundle).problem
    assert [(p.name, p.low, p.high) for p in problem.parameters] == [("lao", -90, 90)]
    y = problem.noise(problem.forward(torch.tensor([[20.0]])), torch.Generator().manual_seed(0))[0]
    image = (y * problem.brightest).reshape(12, 12)
    xray = tmp_path / "xray.nii.gz"
    affine = np.diag([problem.detector.spacing_mm] * 2 + [1, 1])
    nibabel.save(nibabel.Nifti1Image(image.T.unsqueeze(-1).numpy(), affine), xray)
    capsys.readouterr()
    assert run("register", bundle, xray, "-o", out, "--contrast", "attenuation", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["modes"][0]["pose"]["lao"] == pytest.approx(20, abs=25)
    assert run("register", bundle, xray, "-o", out, "--contrast", "attenuation", "--reweight") == 0
    text = capsys.readouterr().out
    assert "explain" in text
    assert "poses counted" in text
    assert "LAO" in text
    assert "cra" in refused(capsys, "views", bundle, "-o", tmp_path / "views")
    assert "whole" in refused(capsys, "infer", bundle, xray, "-o", tmp_path / "maps")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the CT: --ct"),
        (["--ct", "{tmp}/none.nii.gz"], "no such file"),
        (["--ct", "{broken}"], "truncated"),
        (["--ct", "{raw}"], "not Hounsfield units"),
        (["--ct", "{ct}", "--free", "yaw"], "'yaw' is not a pose parameter"),
        (["--ct", "{ct}", "--range", "lao=5"], "not NAME=LOW:HIGH"),
        (["--ct", "{ct}", "--range", "lao=5:5"], "must be below"),
        (["--ct", "{ct}", "--range", "lao=-3.1416:3.1416"], "looks like radians"),
        (["--ct", "{ct}", "--range", "lao=-300:300"], "full turn at most"),
        (["--ct", "{ct}", "--fixed", "lao=5"], "free and fixed"),
        (["--ct", "{ct}", "--keep", "28"], "come together"),
        (["--ct", "{ct}", "--size", "4"], "size = 4"),
        (["--ct", "{ct}", "--source-isocentre", "2000"], "farther away"),
        (["--ct", "{ct}", "--photons", "1000", "--noise", "0.1"], "a kind of their own"),
        (["--ct", "{ct}", "--noise", "-1"], "noise: sd"),
        (["--ct", "{ct}", "--minutes", "0"], "positive time budget"),
    ],
)
def test_bad_arguments_of_a_fit(ct_file, arguments, message, capsys, tmp_path):
    broken, raw = tmp_path / "broken.nii.gz", tmp_path / "raw.nii.gz"
    broken.write_bytes(gzip.compress(gzip.decompress(ct_file.read_bytes())[:5000]))
    nibabel.save(nibabel.Nifti1Image(np.full((6, 6, 6), 1024, np.int16), np.eye(4)), raw)
    places = {"tmp": tmp_path, "ct": ct_file, "broken": broken, "raw": raw}
    given = [a.format(**places) for a in arguments]
    line = refused(capsys, "fit", "registration", "-o", tmp_path / "bundle", *given)
    assert message in line
    assert not (tmp_path / "bundle").exists()


def test_bundles_of_other_problems_are_refused(bundle, image_file, out, capsys):
    assert "not for registration" in refused(capsys, "register", bundle, image_file, "-o", out)
