"""Devices trained by the workers of a cluster."""

from __future__ import annotations

import shutil

import dask
import pytest

from monai_inn import plain
from monai_inn.devices import compare_devices, training
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe

DEVICES = {spec: LinearGaussian.of_device(spec) for spec in ("1", "2")}
FLOW = {"hidden_channels": (8,), "num_blocks": 1}
TINY = {
    "recipe": Recipe(2048, 10, 3, 3, 64, 64, measured=64, held_out=256, guard=256),
    "network": {"flow": FLOW, "encoder": {"width": 16}, "density": {**FLOW, "members": 2}},
    "cases": 150,
}


def without_times(record):
    devices = [{**device, "training": {}} for device in record["devices"]]
    return {**record, "made": "", "devices": devices}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Two devices trained in this process: the record, and its folder."""
    out = tmp_path_factory.mktemp("devices") / "here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monai_inn.validation.plots.svg", lambda figure: "<svg></svg>")  # looked at by nobody
        return compare_devices(DEVICES, out, **TINY), out


@pytest.mark.slow  # two trainings; workers are always tested with one that fails
def test_workers_give_what_one_process_gives(here, scheduler, tmp_path):
    spread = compare_devices(DEVICES, tmp_path / "spread", scheduler=scheduler, **TINY)
    assert without_times(spread) == without_times(here[0])


@pytest.mark.usefixtures("quick_drawings")
@pytest.mark.parametrize("is_here", [True, False])
def test_a_device_that_fails_does_not_stop_the_others(here, scheduler, tmp_path, is_here):
    shutil.copytree(here[1], tmp_path / "out")
    (tmp_path / "out" / "3").mkdir()
    (tmp_path / "out" / "3" / "mine.txt").write_text("not a bundle")
    more = DEVICES | {spec: LinearGaussian.of_device(spec) for spec in ("3", "1@noise_sd=0.2")}
    where = {} if is_here else {"scheduler": scheduler}
    made = compare_devices(more, tmp_path / "out", **where, **TINY)
    assert [device["name"] for device in made["devices"]] == ["1", "2", "1@noise_sd=0.2"]
    assert list(made["failures"]) == ["3"]
    assert "is not a bundle" in made["failures"]["3"]
    assert "3 could not be trained" in plain.compared({"out": "out"} | made)
    assert "could not be trained." in (tmp_path / "out" / "index.html").read_text()
    assert (tmp_path / "out" / "3" / "mine.txt").is_file()


def test_a_scheduler_that_does_not_answer_is_noticed_before_any_training(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit_bundle", lambda *_, **__: pytest.fail("was trained"))
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ConnectionError, match="no dask scheduler answers there"),
    ):
        compare_devices(DEVICES, tmp_path / "out", minutes=1.0, scheduler="tcp://127.0.0.1:9")
