"""The command line on bad input and interrupts: one clear line, nothing half-written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from cli_commands import refused, run
from forked import Forked, command

PYTHON = [sys.executable, "-W", "ignore", "-m", "monai_inn"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: VERB"),
        (["divine"], "invalid choice: 'divine', choose from"),
        (["infre", "{bundle}", "{image}", "-o", "{out}"], r"'infre' \(did you mean 'infer'\?\)"),
        (["infer", "Oximetri", "{image}", "-o", "{out}"], r"no such bundle \(did you mean 'oximetry'\?\)"),
        (["fit", "oximetri", "-o", "{out}"], r"unknown problem 'oximetri' \(did you mean 'oximetry'\?\)"),
        (["fit", "oximetry", "--camera", "tiwita", "-o", "{out}"], r"did you mean 'tivita'\?"),
        (["infer", "{bundle}", "{image}"], "required: -o/--out"),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--samples", "many"], "invalid int value"),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--seed", "-1"], "is negative"),
        (["infer", "{tmp}/none", "{image}", "-o", "{out}"], "no such bundle"),
        (["infer", "{tmp}", "{image}", "-o", "{out}"], "is not a bundle"),
        (["infer", "{bundle}", "{tmp}/none.tif", "-o", "{out}"], "no such file"),
        (
            ["infer", "{bundle}", "{image}", "-o", "{out}", "--below", "oxygen=0.6"],
            "unknown parameter 'oxygen'.*sao2",
        ),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--below", "sao2"], "not NAME=VALUE"),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--below", "sao2=60"], "between 0 and 1"),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--interval", "95"], "interval = 95"),
        (
            ["infer", "{bundle}", "{image}", "-o", "{out}", "--false-alarm", "0.001"],
            "cannot be held with 400",
        ),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--save-samples", "-1"], "save_samples = -1"),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--shrink", "9"], "shrink = 9.*1 to 6"),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--dark", "1"], "give --white too"),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--white", "{tmp}/none.tif"], "no such file"),
        (["infer", "{bundle}", "{image}", "-o", "{out}", "--device", "warp"], "'warp' is unknown"),
        (["infer", "{bundle}", "{image}", "-o", "{image}/out"], "choose a folder that you may write to"),
        (["infer", "{bundle}", "{image}", "-o", "{bundle}"], "is not a result of inference"),
        (["simulate", "tomography", "-n", "10", "-o", "{out}"], "unknown problem 'tomography'"),
        (["simulate", "linear_gaussian", "-n", "0", "-o", "{out}"], "n = 0"),
        (
            ["simulate", "linear_gaussian", "-n", "9", "-o", "{out}", "--camera", "tivita"],
            "unrecognized arguments: --camera",
        ),
        (["simulate", "oximetry", "-n", "9", "-o", "{out}", "--camera", "nikon"], "unknown camera 'nikon'"),
        (["fit", "linear_gaussian", "-o", "{out}", "--minutes", "0"], "positive time budget"),
        (["fit", "linear_gaussian", "-o", "{out}", "--members", "1"], "give at least 2"),
        (["fit", "linear_gaussian", "-o", "{image}/bundle"], "choose a folder that you may write to"),
        (
            ["fit", "accelerated_mr", "-o", "{out}"],
            r"needs images; in Python: .*create\('accelerated_mr', images=…\)",
        ),
        (["fit", "simulated", "-o", "{out}"], r"are fitted in Python: monai_inn.fit\(prior=…, simulator=…"),
    ],
)
def test_bad_input_is_one_clear_line(bundle, image_file, tmp_path, capsys, arguments, message):
    import re

    filled = [
        a.format(bundle=bundle, image=image_file, tmp=tmp_path, out=tmp_path / "out") for a in arguments
    ]
    assert re.search(message, refused(capsys, *filled))
    left = {p.name for p in tmp_path.iterdir()} - {"bundle", "tissue.npz"}
    assert left == set()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
@pytest.mark.parametrize("arguments", [("bundles",), ("infer", "--help")])
def test_a_reader_that_stops_reading_ends_the_command_quietly(arguments):
    ours, theirs = os.pipe()
    os.close(ours)
    process = subprocess.run(
        [*PYTHON, *arguments], stdout=theirs, stderr=subprocess.PIPE, env=ENVIRONMENT, check=False
    )
    os.close(theirs)
    assert (process.returncode, process.stderr) == (141, b"")


def test_wrong_number_of_bands_names_both_counts_and_the_camera(bundle, tmp_path, out, capsys):
    np.savez(tmp_path / "three.npz", image=np.ones((3, 4, 4), np.float32))
    line = refused(capsys, "infer", bundle, tmp_path / "three.npz", "-o", out)
    assert all(part in line for part in ("3 bands", "imec_ssm4x4_470_620", "16"))
    assert not out.exists()


def test_mask_of_another_size_is_refused(bundle, image_file, tmp_path, out, capsys):
    np.savez(tmp_path / "mask.npz", image=np.ones((1, 3, 3), np.float32))
    line = refused(capsys, "infer", bundle, image_file, "-o", out, "--mask", tmp_path / "mask.npz")
    assert "(3, 3), expected (6, 7)" in line


def test_tampered_weights_and_a_newer_format_are_refused(bundle, image_file, out, capsys):
    weights = bundle / "models/model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "weights were changed" in refused(capsys, "infer", bundle, image_file, "-o", out)
    metadata = bundle / "configs/metadata.json"
    metadata.write_text(metadata.read_text().replace('"format_version": 2', '"format_version": 7'))
    assert "format version 7" in refused(capsys, "ood", bundle, image_file, "-o", out)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("verb", ["infer", "ood", "fit"])
def test_cuda_without_a_gpu_is_said(bundle, image_file, out, capsys, verb):
    what = ["linear_gaussian"] if verb == "fit" else [bundle, image_file]
    line = refused(capsys, verb, *what, "-o", out, "--device", "cuda")
    assert "no CUDA GPU" in line
    assert "--device cpu" in line


def test_unwritable_folder(bundle, image_file, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write everywhere but where the kernel lets nobody
        locked = Path("/sys")
    assert "cannot be written" in refused(capsys, "infer", bundle, image_file, "-o", locked / "out")


def test_full_disk_leaves_nothing(bundle, image_file, out, capsys, monkeypatch):
    calls = []

    def full(image, path):
        calls.append(path)
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(nibabel, "save", full)
    assert "No space left on device" in refused(
        capsys, "infer", bundle, image_file, "-o", out, "--samples", 8
    )
    assert calls
    assert {p.name for p in out.parent.iterdir()} == {"bundle", "tissue.npz"}


def test_an_error_of_ours_keeps_its_traceback(bundle, image_file, out, monkeypatch):
    def broken(*args, **kwargs):
        return torch.zeros(2) @ torch.zeros(3)

    monkeypatch.setattr("monai_inn.inferers.posterior.summarise", broken)
    with pytest.raises(RuntimeError, match="size"):
        run("infer", bundle, image_file, "-o", out)
    assert not out.exists()


def interrupted(arguments, folder, ready):
    """Start a command, send Ctrl-C once ``ready(folder)``, and return its exit code and standard error."""
    with Forked(command(*arguments)) as process:
        deadline = time.monotonic() + 300
        while not ready(folder) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None, process.stderr.read()
        os.kill(process.pid, signal.SIGINT)
        return process.wait(), process.stderr.read()


def test_ctrl_c_in_infer_leaves_nothing(camera_fit, bundle, tmp_path, out):
    _, y = camera_fit.problem.simulate(4096, seed=2)
    np.savez(tmp_path / "large.npz", image=y.T.reshape(16, 64, 64).repeat(1, 10, 10).numpy())
    before = {p.name for p in tmp_path.iterdir()}
    code, errors = interrupted(
        ["infer", bundle, tmp_path / "large.npz", "-o", out],
        tmp_path,
        lambda folder: any(p.name.endswith("-out") for p in folder.iterdir()),
    )
    assert code == 130
    assert errors.splitlines() == ["monai-inn: interrupted; nothing half-written is left."]
    assert {p.name for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "interrupt",
    [
        'exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")',
        'raise KeyboardInterrupt("decoding failed (KeyboardInterrupt: )")',  # as Python's codecs raise it
    ],
)
def test_ctrl_c_while_a_library_is_imported_has_the_same_exit_code(tmp_path, interrupt):
    (tmp_path / "torch.py").write_text(interrupt)
    done = subprocess.run(
        [*PYTHON, "infer", "oximetry", "image.npz", "-o", "out"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines() == ["monai-inn: interrupted; nothing half-written is left."]
