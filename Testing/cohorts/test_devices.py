"""Devices trained by the workers of a cluster."""

from __future__ import annotations

import pytest

from monai_inn.devices import compare_devices
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe

FLOW = {"hidden_channels": (8,), "num_blocks": 1}
TINY = {
    "recipe": Recipe(2048, 10, 3, 3, 64, 64, measured=64, held_out=256, guard=256),
    "network": {"flow": FLOW, "encoder": {"width": 16}, "density": {**FLOW, "members": 2}},
    "cases": 150,
}


def without_times(record):
    devices = [{**device, "training": {}} for device in record["devices"]]
    return {**record, "made": "", "devices": devices}


def test_workers_give_what_one_process_gives(scheduler, tmp_path):
    devices = {spec: LinearGaussian.of_device(spec) for spec in ("1", "2")}
    here = compare_devices(devices, tmp_path / "here", **TINY)
    spread = compare_devices(devices, tmp_path / "spread", scheduler=scheduler, **TINY)
    assert without_times(spread) == without_times(here)


def test_a_device_that_fails_does_not_stop_the_others(scheduler, tmp_path):
    devices = {spec: LinearGaussian.of_device(spec) for spec in ("1", "2")}
    compare_devices(devices, tmp_path / "out", **TINY)
    (tmp_path / "out" / "3").mkdir()
    (tmp_path / "out" / "3" / "mine.txt").write_text("not a bundle")
    more = devices | {spec: LinearGaussian.of_device(spec) for spec in ("3", "1@noise_sd=0.2")}
    with pytest.raises(ValueError, match=r"1 device\(s\) could not be trained \(3: .*the others are kept"):
        compare_devices(more, tmp_path / "out", scheduler=scheduler, **TINY)
    assert (tmp_path / "out" / "1@noise_sd=0.2" / "configs" / "metadata.json").is_file()
    assert (tmp_path / "out" / "3" / "mine.txt").is_file()
