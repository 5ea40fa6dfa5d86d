"""The verbs on many files: results equal those of one file, and bad input is one clear line."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

import monai_inn as mi
from monai_inn.cli import main

BUNDLE = "oximetry_rgb"
RESOURCES = Path(mi.__file__).parents[1] / "Resources"


def run(*arguments):
    return main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    return captured.err


def rows(out):
    with (out / "cohort.csv").open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two images of simulations, and a corrupt one."""
    folder = tmp_path_factory.mktemp("images")
    problem = mi.load(BUNDLE).problem
    for k in range(2):
        _, y = problem.simulate(5 * 6, seed=k)
        np.savez(folder / f"tissue{k}.npz", image=y.T.reshape(-1, 5, 6).numpy())
    (folder / "corrupt.npz").write_bytes((folder / "tissue0.npz").read_bytes()[:300])
    return folder


@pytest.mark.parametrize(
    ("verb", "options", "figures"),
    [
        (
            "infer",
            ("--samples", 8, "--seed", 3, "--below", "sao2=0.6"),
            ["valid", "untrusted", "sao2_median"],
        ),
        ("ood", ("--false-alarm", 0.1), ["valid", "untrusted"]),
    ],
)
def test_maps_of_many_images_are_those_of_each(images, scheduler, tmp_path, capsys, verb, options, figures):
    many, one = tmp_path / "many", tmp_path / "one"
    arguments = (verb, BUNDLE, f"{images}/*.npz", "-o", many, "--scheduler", scheduler, *options)
    assert run(*arguments, "--json") == 1
    counts = json.loads(capsys.readouterr().out)["cohort"]
    assert (counts["done"], counts["failed"], counts["kept"]) == (2, 1, 0)
    assert run(verb, BUNDLE, images / "tissue1.npz", "-o", one, *options) == 0
    files = {path.name for path in one.glob("*.nii.gz")}
    assert {path.name for path in (many / "tissue1").glob("*.nii.gz")} == files
    for name in files:
        values = (nibabel.load(folder / name).get_fdata() for folder in (many / "tissue1", one))
        np.testing.assert_array_equal(*values)
    table = rows(many)
    assert table["corrupt"]["error"] == counts["errors"]["corrupt"]
    record = json.loads((one / "result.json").read_text())["summary"]
    assert list(table["tissue1"])[4 : 4 + len(figures)] == figures
    assert float(table["tissue1"]["valid"]) == record["valid_pixels"] / record["pixels"] == 1
    assert float(table["tissue1"]["untrusted"]) == record["share_untrusted"]
    capsys.readouterr()
    assert run(*arguments) == 1
    text = capsys.readouterr().out
    assert "2 of 3 files done, 2 of them before; 1 failed" in text
    assert "  corrupt: " in text


def test_reports_of_many_sample_files_are_those_of_each(scheduler, tmp_path, capsys):
    generator = np.random.default_rng(0)
    for name, wide in (("right", 1.0), ("narrow", 0.2)):
        truth = generator.normal(size=(200, 1))
        samples = wide * generator.normal(size=(63, 200, 1))
        np.savez(tmp_path / f"{name}.npz", samples=samples, truth=truth)
    out = tmp_path / "out"
    arguments = ("validate", f"{tmp_path}/*.npz", "-o", out, "--scheduler", scheduler)
    assert run(*arguments, "--tolerance-width", 0.2) == 0
    assert run("validate", tmp_path / "right.npz", "-o", tmp_path / "one", "--tolerance-width", 0.2) == 0
    one, same = (json.loads((f / "report.json").read_text()) for f in (tmp_path / "one", out / "right"))
    assert one | {"made": None} == same | {"made": None}
    assert {name: row["calibration"] for name, row in rows(out).items()} == {
        "right": one["status"],
        "narrow": "miscalibrated",
    }
    assert one["status"] != "miscalibrated"
    assert (out / "narrow/report.html").is_file()
    capsys.readouterr()
    assert "tolerance" in refused(capsys, *arguments, "--tolerance-width", 0.3)


def test_poses_of_many_xrays_are_those_of_each(scheduler, tmp_path):
    pytest.importorskip("nanodrr")
    for name in ("one", "two"):
        shutil.copy(RESOURCES / "lumbar_xray.png", tmp_path / f"{name}.png")
    many, single, options = (
        tmp_path / "many",
        tmp_path / "single",
        ("--samples", 100, "--contrast", "intensity"),
    )
    arguments = ("register", "lumbar_spine", f"{tmp_path}/*.png", "-o", many, "--scheduler", scheduler)
    assert run(*arguments, *options) == 0
    assert run("register", "lumbar_spine", tmp_path / "one.png", "-o", single, *options) == 0
    found, same = (json.loads((f / "registration.json").read_text()) for f in (single, many / "one"))
    assert found["modes"] == same["modes"]
    for row in rows(many).values():
        assert row["trusted"] == str(found["trust"]["is_trusted"])
        assert int(row["poses"]) == len(found["modes"])
        assert float(row["first_mass"]) == found["modes"][0]["mass"]


def test_ctrl_c_on_this_machine_loses_nothing_and_leaves_nothing_half_written(images, scheduler, tmp_path):
    out = tmp_path / "out"
    for k in range(12):
        shutil.copy(images / "tissue0.npz", tmp_path / f"n{k}.npz")
    command = [sys.executable, "-W", "ignore", "-m", "monai_inn", "ood", BUNDLE, f"{tmp_path}/*.npz"]
    command += ["-o", str(out), "--workers", "1", "--progress-lines"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers get it, too
        rest = process.stderr.read()
    assert said == "PROGRESS 0.083 ood 1 of 12\n"
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "monai-inn: interrupted; run the same command again to continue."
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    done = [name for name, row in rows(out).items() if row["status"] == "done"]
    assert [name for name in rows(out) if (out / name / "result.json").is_file()] == done
    assert 0 < len(done) < 12
    before = {name: (out / name / "result.json").stat().st_mtime_ns for name in done}
    assert run("ood", BUNDLE, f"{tmp_path}/*.npz", "-o", out, "--scheduler", scheduler) == 0
    assert {name: (out / name / "result.json").stat().st_mtime_ns for name in done} == before
    assert {row["status"] for row in rows(out).values()} == {"done"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ood", BUNDLE, "{images}/*.hdr", "-o", "{out}"], r"\*\.hdr: no file matches"),
        (["infer", BUNDLE, "{images}/*.npz", "-o", "{out}", "--preview", "{out}2"], "is for one image"),
        (["infer", BUNDLE, "{images}/*.npz", "-o", "{out}", "--workers", "0"], "at least 1 process"),
        (["infer", "{images}", "{images}/*.npz", "-o", "{out}"], "is not a bundle"),
        (
            ["ood", BUNDLE, "{images}/tissue0.npz", "-o", "{out}", "--workers", "2"],
            "is one file; --scheduler",
        ),
        (["validate", "{images}/*", "-o", "{out}", "--recalibrate", "{out}2"], "is for one source"),
        (["register", "lumbar_spine", "{images}/*", "a.png", "-o", "{out}"], "a pattern and stands alone"),
        (["ood", BUNDLE, "{images}/*.npz", "-o", "{out}", "--scheduler", "{nobody}"], "no dask scheduler"),
    ],
)
def test_bad_input_is_one_clear_line(images, tmp_path, capsys, nobody, arguments, message):
    names = {"images": images, "out": tmp_path / "out", "nobody": nobody}
    assert re.search(message, refused(capsys, *(argument.format(**names) for argument in arguments)))
    assert list(tmp_path.iterdir()) == []
