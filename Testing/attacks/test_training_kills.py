"""Killed commands: whatever state is left, the same command says what to do, goes on, or starts anew.

Children are forks of this process, which need not import everything again. Each stops at a line that it
prints and waits there until the signal is sent, so nothing depends on time.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import multiprocessing
import os
import signal
import sys

import numpy as np
import pytest
from forked import IMPORTED

import monai_inn.training as training
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe, open_simulations

SIZES = {"num_simulations": 2048, "held_out": 256, "guard": 64, "measured": 64}
STEPS = {
    "posterior_steps": 10,
    "density_steps": 3,
    "preview_steps": 3,
    "batch_size": 64,
}
NETWORK = {
    "flow": {"num_blocks": 1, "hidden_channels": (8,)},
    "density": {"num_blocks": 1, "hidden_channels": (8,), "members": 2},
}
FORKS = multiprocessing.get_context("fork")
KILLED, TERMINATED, CTRL_C = signal.SIGKILL, signal.SIGTERM, signal.SIGINT


class Gate:
    """Standard error of a child: sends texts to the parent, and waits after the n-th with a word in it."""

    def __init__(self, texts, answers, word, number) -> None:
        self.texts, self.answers, self.word, self.left = texts, answers, word, number

    def write(self, text) -> None:
        self.left -= self.word in text
        is_gate = self.word in text and self.left == 0
        self.texts.send((text, is_gate))
        if is_gate:
            self.answers.recv()

    def flush(self) -> None:
        pass


def child(texts, answers, arguments, word, number):
    """Run a command with small sizes in a process of its own."""
    from monai_inn.cli import main

    sizes = SIZES | STEPS | {"preview_observations": 64}
    sys.modules[training.fit.__module__].Recipe = functools.partial(Recipe, **sizes)
    sys.modules[training.fit.__module__].Recipe.from_config = Recipe.from_config
    training.fit = functools.partial(training.fit, network=NETWORK)
    sys.stderr, sys.stdout = Gate(texts, answers, word, number), open(os.devnull, "w")  # noqa: SIM115 - ends with the process
    sys.argv = ["monai-inn", *arguments]
    sys.exit(main())


def run(*arguments, at="nothing", number=1, sent=None):
    """Run a command, send a signal at a line if wanted; return its exit code and its lines of errors."""
    received, sender = FORKS.Pipe(duplex=False)
    answers, answer = FORKS.Pipe(duplex=False)
    words = [str(argument) for argument in arguments]
    process = FORKS.Process(target=child, args=(sender, answers, words, at, number))
    process.start()
    sender.close()
    texts = []
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            text, is_gate = received.recv()
            texts.append(text)
            if is_gate:
                os.kill(process.pid, sent)
                answer.send("go on")
    process.join()
    return process.exitcode, [text for text in texts if text.strip() and "PROGRESS" not in text]


def fit(out, *options, **when):
    return run("fit", "linear_gaussian", "-o", out, "--members", 2, "--progress-lines", *options, **when)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    for name in IMPORTED:
        importlib.import_module(name)
    out = tmp_path_factory.mktemp("whole") / "bundle"
    assert fit(out) == (0, [])
    return (out / "models/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("at", "number", "sent"),
    [
        ("simulate", 1, KILLED),
        pytest.param("simulate", 1, TERMINATED, marks=pytest.mark.slow),
        ("posterior", 3, KILLED),
        ("posterior", 1, CTRL_C),
    ],
)
def test_a_killed_fit_goes_on_to_the_same_bytes(whole, tmp_path, at, number, sent):
    out, state = tmp_path / "bundle", tmp_path / "bundle.training"
    code, lines = fit(out, at=at, number=number, sent=sent)
    if sent is KILLED:
        assert (code, lines) == (-KILLED, [])
    else:
        assert code == 130
        assert lines == ["monai-inn: interrupted; run the same command with --resume to continue."]
    assert not out.exists()
    assert (state / "state.pt").exists() == (at == "posterior")
    if at == "posterior":
        code, lines = fit(out)
        assert code == 2
        assert len(lines) == 1
        assert "continue it with --resume" in lines[0]
    assert fit(out, "--resume") == (0, [])
    assert (out / "models/model.safetensors").read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_fit_that_was_killed_before_its_first_step_starts_anew_without_resume(whole, tmp_path):
    out = tmp_path / "bundle"
    fit(out, at="simulate", sent=KILLED)
    assert fit(out) == (0, [])
    assert (out / "models/model.safetensors").read_bytes() == whole


@pytest.mark.parametrize(("number", "sent"), [(1, KILLED), (3, KILLED), (2, TERMINATED)])
def test_a_killed_simulation_goes_on(tmp_path, number, sent):
    out = tmp_path / "set.zarr"
    command = ("simulate", "linear_gaussian", "-n", 40_000, "-o", out, "--progress-lines")
    code, lines = run(*command, at="PROGRESS", number=number, sent=sent)
    if sent is KILLED:
        assert (code, lines) == (-KILLED, [])
    else:
        assert (code, lines) == (130, ["monai-inn: interrupted; run the same command again to continue."])
    with pytest.raises(RuntimeError, match=r"of 5 chunks are missing. Run the same simulation again"):
        open_simulations(out)
    assert run(*command) == (0, [])
    theta, y = LinearGaussian().simulate_clean(40_000)
    stored = open_simulations(out)
    np.testing.assert_array_equal(stored.theta[:], theta.numpy())
    np.testing.assert_array_equal(stored.y[:], y.numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["set.zarr"]
