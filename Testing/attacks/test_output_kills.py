"""Processes that are killed while they write: the old result or the new one, and the next run tidies up."""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

import nibabel
import numpy as np
import pytest
from attacked import attempt, files_in, made_result

from monai_inn.cli import main


class Ended(NamedTuple):
    """How a killed process ended: by an exit code or a signal, and what it complained of."""

    code: int
    errors: str


def killed(monkeypatch, tmp_path, by, function, step, *arguments) -> Ended:
    """Run a verb in a child until the nth call of a function, and send a signal there.

    The child is a fork, which need not import everything again.
    """
    errors = tmp_path.with_name(f"{tmp_path.name}-errors")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _run_until(monkeypatch, errors, writer, function, step, arguments)
    os.close(writer)
    with os.fdopen(reader) as said:
        assert said.readline() == "READY\n", errors.read_text()
    os.kill(child, by)
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), errors.read_text())


def _run_until(monkeypatch, errors, writer, function, step, arguments) -> NoReturn:
    calls = []

    def stopped(*given, **options):
        calls.append(1)
        if len(calls) == step:
            os.write(writer, b"READY\n")
            while True:
                signal.pause()
        return real(*given, **options)

    code = 99
    try:
        with errors.open("w") as sys.stderr, open(os.devnull, "w") as sys.stdout:
            module, _, name = function.rpartition(".")
            real = getattr(importlib.import_module(module), name)
            monkeypatch.setattr(function, stopped)
            sys.argv = ["monai-inn", *map(str, arguments)]
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = main()
    finally:
        os._exit(code)


@pytest.fixture
def kill(monkeypatch, tmp_path):
    return functools.partial(killed, monkeypatch, tmp_path)


def drafts(folder):
    return [path for path in folder.rglob(".*") if len(path.name) > 32]


@pytest.fixture
def result(tmp_path):
    return made_result(tmp_path / "result")


def export(result, out, *formats):
    return ("export", result, "-o", out, *(f"--format={name}" for name in formats))


def complete(out):
    """Whether all files that the record lists are there."""
    record = json.loads((out / "export.json").read_text())
    return all((out / entry["file"]).is_file() for entry in record["files"])


# Calls of `os.replace` in a second export: the draft is finished, the older record goes, files, the record.
@pytest.mark.parametrize("step", [1, 2, 3, 4, 6])
def test_sigkill_at_a_move_leaves_old_or_new_and_the_next_run_tidies_up(result, tmp_path, capsys, kill, step):
    out = tmp_path / "out"
    assert attempt(capsys, *export(result, out, "nifti", "csv"))[0] == 0
    (out / "mine.txt").write_text("mine")
    old = files_in(out)
    kill(signal.SIGKILL, "os.replace", step, *export(result, out, "csv", "html"))
    assert drafts(tmp_path) != []
    if (out / "export.json").exists():
        assert complete(out)
        assert files_in(out) >= old
    else:
        assert step > 2
    assert attempt(capsys, *export(result, out, "html"))[0] == 0
    assert files_in(out) == {"export.json", "record.html", "mine.txt"}
    assert drafts(tmp_path) == []


def test_sigkill_before_a_new_folder_is_there(result, tmp_path, capsys, kill):
    out = tmp_path / "out"
    mine = tmp_path / f".{32 * 'a'}-other"  # of another name
    mine.mkdir()
    kill(signal.SIGKILL, "os.replace", 1, *export(result, out, "csv"))
    assert not out.exists()
    assert len(drafts(tmp_path)) == 2
    assert attempt(capsys, *export(result, out, "csv"))[0] == 0
    assert drafts(tmp_path) == [mine]


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_at_a_move_ends_with_the_new_result(result, tmp_path, capsys, kill, by):
    out = tmp_path / "out"
    assert attempt(capsys, *export(result, out, "csv"))[0] == 0
    done = kill(by, "os.replace", 3, *export(result, out, "html"))
    assert done.code == 130
    assert done.errors.splitlines() == ["monai-inn: interrupted; nothing half-written is left."]
    assert files_in(out) == {"export.json", "record.html"}
    assert drafts(tmp_path) == []


@pytest.mark.usefixtures("quick_picture")
@pytest.mark.parametrize(
    ("by", "function"),
    [
        (signal.SIGKILL, "monai_inn.reports.image_files.write_photo"),
        (signal.SIGKILL, "nibabel.save"),
        (signal.SIGTERM, "nibabel.save"),
        (signal.SIGINT, "monai_inn.reports.results.write_json"),
    ],
)
def test_killed_inference_leaves_the_old_result(bundle, image_file, tmp_path, capsys, kill, by, function):
    out = tmp_path / "out"
    arguments = ("infer", bundle, image_file, "-o", out, "--samples", 4)
    assert attempt(capsys, *arguments, "--save-samples", 1)[0] == 0
    before = {name: (out / name).read_bytes() for name in files_in(out)}
    done = kill(by, function, 1, *arguments)
    left = {name: (out / name).read_bytes() for name in files_in(out) if len(Path(name).parts) == 1}
    assert left == before
    if by != signal.SIGKILL:
        assert done.code == 130
        assert files_in(out) == before.keys()
    assert attempt(capsys, *arguments)[0] == 0
    assert drafts(tmp_path) == []
    assert {name for name in before if not name.startswith("samples_")} == files_in(out)


def test_killed_registration_leaves_the_old_result(pose_fit, tmp_path, capsys, kill):
    pytest.importorskip("nanodrr")
    pose_fit.save(tmp_path / "bundle")
    problem = pose_fit.problem
    _, y = problem.simulate(1, seed=3)
    xray = tmp_path / "xray.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image(y.reshape(problem.observation.size).T[..., None].numpy(), np.eye(4)), xray
    )
    out = tmp_path / "out"
    arguments = (
        "register",
        tmp_path / "bundle",
        xray,
        "-o",
        out,
        "--samples",
        100,
        "--contrast",
        "attenuation",
    )
    code, _, complaint = attempt(capsys, *arguments)
    assert (code, complaint) == (0, "")
    old = files_in(out)
    for by in (signal.SIGKILL, signal.SIGTERM):
        kill(by, "monai_inn.applications.registration.results.registering.write_json", 1, *arguments)
        assert {name for name in files_in(out) if len(Path(name).parts) == 1} == old
    assert attempt(capsys, *arguments)[0] == 0
    assert drafts(tmp_path) == []


def test_a_file_that_a_killed_process_left_is_removed_by_the_next_write(image_file, tmp_path, capsys, kill):
    pytest.importorskip("SimpleITK")
    out = tmp_path / "image.nrrd"
    mine = tmp_path / ".notes-image.nrrd"
    mine.write_text("mine")
    kill(signal.SIGKILL, "os.replace", 1, "convert", image_file, "-o", out)
    assert len(drafts(tmp_path)) == 1
    assert attempt(capsys, "convert", image_file, "-o", out)[0] == 0
    assert drafts(tmp_path) == []
    assert mine.exists()
    assert out.is_file()


def test_drafts_of_the_living_stay(result, tmp_path, capsys):
    from monai_inn.folders import new_folder

    out = tmp_path / "out"
    with new_folder(out, "export.json", "an export") as draft:
        assert attempt(capsys, *export(result, out, "csv"))[0] == 0
        assert draft.is_dir()
        (draft / "export.json").write_text('{"files": []}')
        (draft / "mine").write_text("")
    assert drafts(tmp_path) == []
    assert files_in(out) == {"export.json", "mine"}
