"""`torchrun -m monai.bundle run` with `multi_gpu_train.json`: the processes train one bundle together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import monai_inn as mi
from monai_inn.bundles import TrainingSet

SMALL = {
    "train::dataset::_target_": "test_several_gpus.ToldSet",
    "train::dataset::num_simulations": 1024,
    "train::trainer::max_epochs": 1,
    "train::trainer::members": 2,
    "train::trainer::recipe": {
        "batch_size": 256,
        "measured": 64,
        "held_out": 256,
        "preview_observations": 64,
    },
}


class ToldSet(TrainingSet):
    """A training set that leaves a file that says which process has made it."""

    def make(self):
        self.folder.with_name(f"made by {os.environ['RANK']} of {os.environ['WORLD_SIZE']}").touch()
        return super().make()


@pytest.mark.slow  # starting MONAI three times takes half a minute of processor time
def test_two_processes_write_one_bundle(gaussian_fit, tmp_path):
    """On a machine without GPUs, where the config takes the processor."""
    bundle = tmp_path / "bundle"
    gaussian_fit.save(bundle)
    (bundle / "small.json").write_text(json.dumps(SMALL))
    configs = ["configs/train.json", "configs/multi_gpu_train.json", "small.json"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    paths = os.pathsep.join([str(Path(mi.__file__).parents[1]), str(Path(__file__).parent)])
    ran = subprocess.run(
        [sys.executable, "-m", *torchrun, "-m", "monai.bundle", "run", "--config_file", str(configs)],
        cwd=bundle,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert [path.name for path in bundle.glob("made by *")] == ["made by 0 of 2"]
    fitted = mi.load(bundle / "retrained")
    assert fitted.card["training"]["simulations"] == 1024
    assert fitted.network.config["encoder"] == gaussian_fit.network.config["encoder"]
    assert not (bundle / "retrained.training").exists()
