"""MONAI's own tools on our bundles, offline: run, verify, export, properties."""

from __future__ import annotations

import json
import os

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out

import monai_inn as mi
from monai_inn.bundles import BundleEvaluator, BundleTrainer, TrainingSet, map_network

META, INFERENCE = "configs/metadata.json", "configs/inference.json"


@pytest.fixture
def inside(bundle, monkeypatch):
    """The bundle as working directory, as MONAI's tools expect, without a network."""
    monkeypatch.chdir(bundle)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    return bundle


def workflow(kind, config, **overrides):
    return ConfigWorkflow(
        config_file=f"configs/{config}.json",
        meta_file=META,
        logging_file=False,
        workflow_type=kind,
        **overrides,
    )


def test_run_writes_the_maps_of_the_command_line_in_the_geometry_of_the_image(inside, image_file, image):
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    image[:, 0, 0] = 0
    np.savez(image_file, image=image.numpy(), affine=np.diag([0.5, 0.25, 2.0, 1.0]))
    run = workflow("infer", "inference", dataset_dir=str(image_file), samples=16, device="cpu")
    run.initialize()
    assert run.check_properties() == []
    run.run()
    run.finalize()
    written = nibabel.load(inside / "eval/tissue/tissue_maps.nii.gz")
    np.testing.assert_allclose(written.affine, np.diag([0.5, 0.25, 2.0, 1.0]))
    values = torch.from_numpy(written.get_fdata(dtype=np.float32)).squeeze().movedim(-1, 0)
    maps = mi.load(inside).maps(image, samples=16)
    expected = torch.cat([maps[n].as_tensor() for n in ("median", "interval_width", "waic", "ood")])
    assert values[:, 0, 0].isnan().all()
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-3, equal_nan=True)


def test_train_workflow_has_every_property(inside, tmp_path):
    train = workflow("train", "train", dataset_dir=str(tmp_path / "set.zarr"), device="cpu")
    train.initialize()
    assert train.check_properties() == []
    assert train.max_epochs == 100


def test_network_is_verified(inside):
    verify_net_in_out("network_def", meta_file=META, config_file=INFERENCE, device="cpu", n=2, p=3, any=5)


def test_exported_torchscript_gives_the_same_maps(inside, image):
    ckpt_export(
        "network_def",
        filepath="models/model.ts",
        ckpt_file="models/model.pt",
        meta_file=META,
        config_file=INFERENCE,
        use_trace=True,
        input_shape=[1, 16, 6, 7],
    )
    exported = torch.jit.load("models/model.ts")
    with torch.no_grad():
        torch.testing.assert_close(
            exported(image[None]), map_network(inside)(image[None]), rtol=1e-4, atol=2e-3
        )


def test_export_config_writes_a_program_for_any_size(smallest_camera_fit, image, tmp_path, monkeypatch):
    inside = tmp_path / "smallest"
    smallest_camera_fit.save(inside)
    monkeypatch.chdir(inside)
    run = workflow(None, "export")
    run.initialize()
    run.run()
    program = torch.export.load("models/model.pt2").module()
    image[:, 0, 0] = 0
    for part in (image[None], image[None, :, :3, :5]):
        expected = map_network(inside)(part)
        assert expected.isnan().any()
        # WAIC is a difference of large log densities: its rounding is relative to them.
        torch.testing.assert_close(program(part), expected, rtol=1e-4, atol=2e-3, equal_nan=True)


def test_evaluate_config_measures_and_writes(inside):
    run = workflow(None, "evaluate", device="cpu", **{"evaluator::cases": 200})
    run.initialize()
    run.run()
    result = json.loads((inside / "eval/evaluation.json").read_text())
    assert set(result["parameters"]) == set(mi.load(inside).problem.space.names)
    assert result == BundleEvaluator(inside, inside / "again", cases=200).run()


def test_train_config_fits_a_bundle(gaussian_fit, tmp_path):
    gaussian_fit.save(tmp_path / "b")
    data = TrainingSet(tmp_path / "b", tmp_path / "set.zarr", num_simulations=2048)
    assert len(data) == 2048
    assert {name: tuple(v.shape) for name, v in data[5].items()} == {"parameters": (4,), "observation": (3,)}
    torch.testing.assert_close(
        data[5]["observation"], gaussian_fit.problem.forward(data[5]["parameters"].double()).float()
    )
    small = {
        "batch_size": 256,
        "preview_steps": 20,
        "preview_observations": 256,
        "measured": 200,
    }
    BundleTrainer(data, max_epochs=2, output=tmp_path / "new", members=2, recipe=small).run()
    fitted = mi.load(tmp_path / "new")
    assert fitted.card["training"]["simulations"] == 2048
    assert fitted.network.density.ensemble.members == 2
    assert fitted.network.config["encoder"] == gaussian_fit.network.config["encoder"]
    assert not (tmp_path / "new.training").exists()


def test_no_epochs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="max_epochs = 0"):
        BundleTrainer(None, max_epochs=0, output=tmp_path)
