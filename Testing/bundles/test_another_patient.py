"""`train.json` of a registration bundle: another patient's CT before the same C-arm."""

from __future__ import annotations

import json

import monai.bundle
import pytest
import torch

import monai_inn as mi
from monai_inn.applications.registration import PatientTrainer
from monai_inn.applications.registration.bundle import another_patient
from monai_inn.applications.registration.carm import Detector
from monai_inn.problems import PoseRegistration

RECIPE = {
    "num_simulations": 2048,
    "posterior_steps": 30,
    "density_steps": 20,
    "measured": 300,
    "held_out": 512,
    "batch_size": 256,
    "templates": 512,
}


@pytest.mark.slow  # what `train` and `fit` do are always tested
def test_monai_fits_the_ct_of_another_patient(pose_fit, ct_file, tmp_path):
    pose_fit.save(tmp_path / "bundle")
    config = tmp_path / "bundle/configs/train.json"
    content = json.loads(config.read_text())
    content["trainer"]["recipe"] = RECIPE
    config.write_text(json.dumps(content))
    folders = {"bundle_root": tmp_path / "bundle", "dataset_dir": ct_file, "output_dir": tmp_path / "new"}
    monai.bundle.run(config_file=str(config), **{name: str(path) for name, path in folders.items()})
    made, donor = mi.load(tmp_path / "new").problem, pose_fit.problem
    assert made.space.to_config() == donor.space.to_config()
    assert made.noise_model.to_config() == donor.noise_model.to_config()
    assert made.detector.spacing_mm == pytest.approx(donor.detector.spacing_mm)
    assert made.volume.values.shape != donor.volume.values.shape
    # Twenty steps and a warm start beat the prior, whose density is 1 / (360 * 60).
    theta, y = made.simulate(300, seed=1)
    with torch.no_grad():
        log_prob = mi.load(tmp_path / "new").posterior(y).log_prob(theta)
    assert float(log_prob.mean()) > -9.98 + 1


def test_bad_input(pose_fit, ct_file, tmp_path):
    with pytest.raises(ValueError, match="dataset_dir is empty"):
        PatientTrainer(tmp_path, "", tmp_path / "out")
    wide = PoseRegistration(detector=Detector(rows=8, columns=16, spacing_mm=10.0))
    with pytest.raises(ValueError, match="8 x 16 pixels; only square"):
        another_patient(wide, ct_file)
