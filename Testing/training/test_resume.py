"""Resuming: the same weights to the bit from wherever a training was killed, one clear line on damage."""

from __future__ import annotations

import functools
import io
import os
import signal

import pytest
import torch

import monai_inn as mi
from monai_inn.bundles.fitting import fit_bundle
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe, run
from monai_inn.training.checkpoint import Checkpoint, HeldSignals

SMALL = {
    "flow": {"hidden_channels": (8,), "num_blocks": 1},
    "encoder": {"width": 16},
    "density": {"hidden_channels": (8,), "num_blocks": 1, "members": 2},
    "num_ood_scores": 64,
}
RECIPE = Recipe(
    2048, 14, 6, 6, 64, 64, rate=0.03, measured=64, held_out=256
)  # its third loss is worse, its fourth better


def train(folder, **options):
    recipe = options.pop("recipe", RECIPE)
    return mi.fit(LinearGaussian(2, 1), recipe=recipe, network=SMALL, checkpoint=folder, **options)


def weights(fitted):
    return torch.cat([v.flatten().double() for v in fitted.network.state_dict().values()])


@pytest.fixture
def impatient(monkeypatch):
    """Stop a stage early: after one evaluation that is no better."""

    module = run
    monkeypatch.setattr(module, "run_stage", functools.partial(module.run_stage, patience=1))


@pytest.mark.slow  # some saves are always tested, in test_training_kills
def test_killed_at_any_save_the_weights_are_those_of_the_whole_run(tmp_path, monkeypatch, impatient):
    """Six of 27 differed: those killed between the last save of a stage stopped early and its closing one."""
    states, write = [], Checkpoint.write

    def record(self, state):
        stored = io.BytesIO()
        torch.save(state, stored)
        states.append(stored.getvalue())

    monkeypatch.setattr(Checkpoint, "write", record)
    whole = train(tmp_path / "whole")
    monkeypatch.setattr(Checkpoint, "write", write)
    steps = [torch.load(io.BytesIO(s), weights_only=True) for s in states]
    assert {s["stage"] for s in steps} == {0, 1, 2, 3, 4}
    assert len(states) < 26  # a stage was stopped early
    for number, state in enumerate(states):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "state.pt").write_bytes(state)
        resumed = train(folder, resume=True)
        assert torch.equal(weights(whole), weights(resumed)), f"killed after save {number}"
        assert resumed.card["training"]["resumed"] is True


class StoppedError(Exception):
    pass


def test_killed_while_saving_the_state_before_is_kept(tmp_path, monkeypatch):
    whole, save = train(tmp_path / "whole"), torch.save
    calls = []

    def break_off(state, path):
        calls.append(path)
        if len(calls) == 5:
            path.write_bytes(b"half a state")
            raise StoppedError
        save(state, path)

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(StoppedError):
        train(tmp_path / "killed")
    monkeypatch.setattr(torch, "save", save)
    assert [p.name for p in (tmp_path / "killed").iterdir()] == ["state.pt"]
    assert torch.equal(weights(whole), weights(train(tmp_path / "killed", resume=True)))


OFTEN = Recipe(2048, 50, 2, 2, 64, 64, measured=64, held_out=256)  # evaluated every second step


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return weights(train(tmp_path_factory.mktemp("whole"), recipe=OFTEN))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_with_a_checkpoint_of_the_interrupted_step(
    tmp_path, monkeypatch, number, uninterrupted
):
    """Between two evaluations, too: no step is done twice."""
    before = signal.signal(number, signal.default_int_handler)
    steps, clip = [], torch.nn.utils.clip_grad_norm_

    def count(*arguments):
        steps.append(None)
        if len(steps) == 7:
            os.kill(os.getpid(), number)
        return clip(*arguments)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", count)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "state", recipe=OFTEN)
    finally:
        signal.signal(number, before)
    state = torch.load(tmp_path / "state" / "state.pt", weights_only=True)
    assert (state["stage"], state["engine"]["step"]) == (0, 7)
    assert torch.equal(uninterrupted, weights(train(tmp_path / "state", recipe=OFTEN, resume=True)))
    assert signal.getsignal(number) is before


def test_a_second_signal_acts_at_once_and_handlers_come_back():
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        held = HeldSignals().__enter__()
        os.kill(os.getpid(), signal.SIGTERM)
        assert held.is_pending
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        held.__exit__(KeyboardInterrupt)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def edited(folder, change):
    state = torch.load(folder / "state.pt", weights_only=True)
    change(state)
    torch.save(state, folder / "state.pt")


def cut(share):
    def damage(folder):
        content = (folder / "state.pt").read_bytes()
        (folder / "state.pt").write_bytes(content[: int(share * len(content))])

    return damage


DAMAGE = {
    "empty": cut(0.0),
    "a tenth": cut(0.1),
    "but the end": cut(0.99),
    "text": lambda folder: (folder / "state.pt").write_text("no state"),
    "a tensor": lambda folder: torch.save(torch.zeros(3), folder / "state.pt"),
    "other content": lambda folder: torch.save({"weights": 1}, folder / "state.pt"),
    "no network": lambda folder: edited(folder, lambda s: s.pop("network")),
    "another network": lambda folder: edited(folder, lambda s: s.update(network={"a": torch.zeros(3)})),
    "wrong types": lambda folder: edited(folder, lambda s: s.update(minutes="3")),
    "another recipe": lambda folder: edited(folder, lambda s: s.update(recipe={"epochs": 3})),
    "a recipe of text": lambda folder: edited(folder, lambda s: s["recipe"].update(batch_size="64")),
    "a recipe below zero": lambda folder: edited(folder, lambda s: s["recipe"].update(batch_size=-1)),
    "no optimiser": lambda folder: edited(folder, lambda s: s["engine"].pop("optimiser")),
    "averages of another": lambda folder: edited(folder, lambda s: s["engine"].update(average=[])),
}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")

    def stop(report):
        if report.stage == "posterior" and report.share > 0.3:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(folder, progress=stop)
    return (folder / "state.pt").read_bytes()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused_in_one_line(damage, interrupted, tmp_path):
    (tmp_path / "state.pt").write_bytes(interrupted)
    DAMAGE[damage](tmp_path)
    with pytest.raises(ValueError, match=r"state.pt is damaged, or .* delete it to start anew") as refusal:
        train(tmp_path, resume=True)
    assert "\n" not in str(refusal.value)


@pytest.fixture
def tiny_recipe(monkeypatch):
    monkeypatch.setattr("monai_inn.training.fit", functools.partial(mi.fit, network=SMALL))
    module = run
    sizes = {"measured": 64, "held_out": 256, "guard": 64, "batch_size": 64, "preview_observations": 64}
    steps = {
        "posterior_steps": 6,
        "density_steps": 2,
        "preview_steps": 2,
        "num_simulations": 2048,
    }
    monkeypatch.setattr(module.Recipe, "__init__", functools.partialmethod(Recipe.__init__, **sizes, **steps))


def test_whatever_state_is_left_the_same_command_goes_on_or_starts_anew(tmp_path, tiny_recipe):
    """A run that was killed before its first checkpoint was a dead end in both directions."""
    out, state = tmp_path / "bundle", tmp_path / "bundle.training"
    state.mkdir()
    (state / f".{'0' * 32}-state.pt").write_text("half")  # as a killed save leaves it
    assert fit_bundle(LinearGaussian(2, 1), out)["notes"] == []
    assert not state.exists()
    found = fit_bundle(LinearGaussian(2, 1), out, resume=True)
    assert found["notes"] == [f"{state} holds no checkpoint, so the training started anew."]

    def stop(share, text):
        if text.startswith("density"):
            raise StoppedError

    with pytest.raises(StoppedError):
        fit_bundle(LinearGaussian(2, 1), out, progress=stop)
    with pytest.raises(ValueError, match=r"continue it with --resume .*, or delete the folder to start anew"):
        fit_bundle(LinearGaussian(2, 1), out)
    found = fit_bundle(LinearGaussian(2, 1), out, resume=True)
    assert found["notes"] == []
    assert found["measured"]["training"]["resumed"] is True
    assert not state.exists()
