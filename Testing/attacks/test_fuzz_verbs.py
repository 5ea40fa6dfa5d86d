"""Verbs on damaged input: one clear line or a complete result, and no file left or lost."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import nibabel
import numpy as np
import pytest
from attacked import attempt, files_in, made_result
from fuzz_verbs import Inputs, draw

from monai_inn.applications.registration.results.registering import register_xray
from monai_inn.fitted.writing import save

_SECONDS = 240  # of a case that hangs; the machine may be busy


@pytest.fixture(scope="module")
def inputs(camera_fit, fuzz_minutes, request, tmp_path_factory):
    sys.path.append(str(Path(__file__).parents[1] / "slicer"))
    from made_registrations import write_registration

    home = tmp_path_factory.mktemp("inputs")
    save(camera_fit, home / "bundle", monai_weights=False)
    made_result(home / "result")
    write_registration(home / "poses")
    _, y = camera_fit.problem.simulate(6, seed=5)
    np.savez(home / "image.npz", image=y.T.reshape(-1, 2, 3).numpy())
    rng = np.random.default_rng(3)
    np.savez(home / "samples.npz", samples=rng.normal(size=(19, 120, 2)), truth=rng.normal(size=(120, 2)))
    if fuzz_minutes:  # these train for a while
        fitted = request.getfixturevalue("pose_fit")
        save(fitted, home / "pose_bundle", monai_weights=False)
        xray = write_xray(fitted.problem, home / "xray.nii.gz")
        register_xray(home / "pose_bundle", xray, home / "found", samples=100, contrast="attenuation")
    return Inputs(home)


def write_xray(problem, path):
    """A simulated X-ray of a problem as a file."""
    _, y = problem.simulate(1, seed=3)
    nibabel.save(
        nibabel.Nifti1Image(y.reshape(problem.observation.size).T[..., None].numpy(), np.eye(4)), path
    )
    return path


@pytest.fixture
def closed(monkeypatch):
    """The viewer reads its folder and then finds no port."""

    def taken(port):
        raise OSError("no port")

    monkeypatch.setattr("monai_inn.viewer.serving._check_free", taken)


def test_verbs_survive_what_they_are_given(inputs, closed, attack_numbers, tmp_path, capsys, monkeypatch):
    pytest.importorskip("SimpleITK")
    faults, count = [], 0
    for number in attack_numbers(14, 1.0):
        count += 1
        fault = attacked(number, inputs, tmp_path / "work", capsys, monkeypatch)
        if fault:
            faults.append(fault)
            print(fault, flush=True)
    print(count, "commands", flush=True)
    assert not faults, f"{len(faults)} of {count}:\n" + "\n\n".join(faults)


def attacked(number, inputs, place, capsys, monkeypatch):
    """What is wrong with the answer to one command, or nothing."""
    place.mkdir()
    inputs.copy(place)
    arguments = draw(number, place)
    (place / "here").mkdir()
    monkeypatch.chdir(place / "here")
    before = files_in(place)

    def too_slow(*_):
        raise AssertionError("hangs")

    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(_SECONDS)
    try:
        code, out, complaint = attempt(capsys, *arguments)
        wrong = wrong_answer(code, out, complaint, before, files_in(place))
    except BaseException:
        wrong = traceback.format_exc(limit=-6)
    finally:
        signal.alarm(0)
        os.chdir(place.parent)
        shutil.rmtree(place)
    return f"seed {number}: {[a[:200] for a in arguments]}\n{wrong}" if wrong else ""


def wrong_answer(code, out, complaint, before, after):
    said = ("monai-inn: WARNING: ", "Opening ")  # beside the one line of an error
    lines = [line for line in complaint.splitlines() if not line.startswith(said)]
    if code not in (0, 2):
        return f"exit code {code}"
    if code == 2 and (len(lines) != 1 or out):
        return f"{len(lines)} lines: {complaint[:2000]}"
    if code == 2 and len(complaint) > 9000:
        return f"a line of {len(complaint)} characters: {complaint[:300]}"
    if not before <= after:
        return f"lost {before - after}"
    if code == 2 and after != before:
        return f"left {after - before} after: {complaint}"
    if hidden := [name for name in after - before if "/." in f"/{name}"]:
        return f"hidden {hidden}"
    return ""
