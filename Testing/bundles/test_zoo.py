"""Every shipped bundle as MONAI's model zoo wants it, checked by MONAI's own tools, offline."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
from PIL import Image

import monai_inn as mi
from monai_inn.bundles import sample_network, shipped
from monai_inn.fitted import configs
from monai_inn.fitted.layout import PRETRAINED

LARGEST_BYTES = 25 * 2**20  # beyond, the zoo wants the file elsewhere and named in large_files.yml
TEXT = {"type": "string", "minLength": 1}
TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data"],
    "properties": {
        "type": TEXT,
        "format": TEXT,
        "modality": TEXT,
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "dtype": TEXT,
        "value_range": {"type": "array"},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
# What MONAI's bundle specification says; continuous integration asks its own schema, which is on the network.
SCHEMA = {
    "type": "object",
    "required": [
        "version", "changelog", "monai_version", "pytorch_version", "numpy_version",
        "required_packages_version", "task", "description", "authors", "copyright", "network_data_format",
    ],
    "properties": {
        **dict.fromkeys(("name", "task", "description", "authors", "copyright", "intended_use"), TEXT),
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "changelog": {"type": "object", "additionalProperties": TEXT},
        "required_packages_version": {"type": "object", "additionalProperties": TEXT},
        "eval_metrics": {"type": "object"},
        "references": {"type": "array", "items": TEXT},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {
                "inputs": {"type": "object", "required": ["image"], "properties": {"image": TENSOR}},
                "outputs": {"type": "object", "required": ["pred"], "properties": {"pred": TENSOR}},
            },
        },
    },
}  # fmt: skip
META = "configs/metadata.json"


@pytest.fixture(params=shipped())
def inside(request, monkeypatch):
    """A bundle as working directory."""
    folder = PRETRAINED / request.param
    monkeypatch.chdir(folder)
    return folder


def test_metadata_is_verified(inside, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA), encoding="utf-8")
    verify_metadata(meta_file=META, filepath=str(schema))
    described = json.loads((inside / META).read_text(encoding="utf-8"))
    assert described["version"] in described["changelog"]


def test_the_schema_notices_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(PRETRAINED / "ivim")
    described = json.loads((PRETRAINED / "ivim" / META).read_text(encoding="utf-8"))
    del described["network_data_format"]["outputs"]["pred"]["dtype"]
    for name, content in (("meta", described), ("schema", SCHEMA)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="dtype"):
        verify_metadata(meta_file=str(tmp_path / "meta.json"), filepath=str(tmp_path / "schema.json"))


def test_files_are_those_of_the_zoo(inside):
    files = [path for path in inside.rglob("*") if path.is_file()]
    assert all(path.stat().st_size <= LARGEST_BYTES for path in files)
    names = {str(path.relative_to(inside)) for path in files}
    assert names >= {"LICENSE", META, "configs/train.json", "docs/README.md"}
    for config in (inside / "configs").iterdir():
        assert not re.search(r"/(home|root|work|tmp|Users)/", config.read_text(encoding="utf-8"))


def test_configs_are_those_that_are_written_today(inside):
    for name, content in configs.of(mi.load(inside)).items():
        assert json.loads((inside / f"configs/{name}.json").read_text(encoding="utf-8")) == content, name


def has(inside, config):
    """Whether a bundle has a config; docs/with_monai.md says which have not, and why."""
    return (inside / f"configs/{config}.json").exists()


def test_network_takes_and_gives_what_the_metadata_say(inside):
    observation = mi.load(inside).problem.observation
    if observation.kind == "image" and observation.context:
        pytest.skip("k-space comes with its mask and coils, which MONAI's one tensor cannot hold")
    verify_net_in_out(
        "network_def", meta_file=META, config_file="configs/inference.json", device="cpu", n=1, p=1, any=2
    )


@pytest.mark.parametrize("kind", ["infer", "train"])
def test_workflow_has_every_property(inside, kind, tmp_path):
    if kind == "train" and "PatientTrainer" in (inside / "configs/train.json").read_text(encoding="utf-8"):
        pytest.skip("is trained for the CT of a patient and for a time, not for epochs")
    if kind == "infer":
        pytest.importorskip("ignite", reason="ignite is missing: install the extra `bundle`")
    (tmp_path / "image.npz").touch()
    name = {"infer": "inference", "train": "train"}[kind]
    run = ConfigWorkflow(
        config_file=f"configs/{name}.json", meta_file=META, logging_file=False, workflow_type=kind,
        dataset_dir=str(tmp_path / ("image.npz" if kind == "infer" else "set.zarr")), device="cpu",
    )  # fmt: skip
    run.initialize()
    assert run.check_properties() == []


def test_a_bundle_of_whole_images_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(PRETRAINED / "chest_xray")
    (tmp_path / "images").mkdir()
    for number, name in enumerate(("a.png", "b.png")):
        grey = np.full((80, 60), 100 + 50 * number, np.uint8)
        Image.fromarray(grey).save(tmp_path / "images" / name)
    run = ConfigWorkflow(
        config_file="configs/inference.json", meta_file=META, logging_file=False, workflow_type="infer",
        dataset_dir=str(tmp_path / "images"), output_dir=str(tmp_path / "out"), device="cpu",
    )  # fmt: skip
    run.initialize()
    run.run()
    written = json.loads((tmp_path / "out" / "classification.json").read_text(encoding="utf-8"))
    assert [Path(entry["image"]).name for entry in written["images"]] == ["a.png", "b.png"]


@pytest.mark.parametrize("name", ["chest_xray", pytest.param("contrast_translation", marks=pytest.mark.slow)])
def test_a_bundle_of_whole_images_is_exported_as_torchscript(name, tmp_path, monkeypatch):
    """MONAI records the network twice and compares; samples have fixed latents, so the answers are equal."""
    fitted = mi.load(name)
    fitted.save(tmp_path / name)
    monkeypatch.chdir(tmp_path / name)
    observation = fitted.problem.observation
    shape = [1, len(observation.names), *observation.size]
    ckpt_export(
        "network_def", filepath="model.ts", ckpt_file="models/model.pt", meta_file=META,
        config_file="configs/inference.json", use_trace=True, input_shape=shape,
    )  # fmt: skip
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = torch.jit.load("model.ts")(image), sample_network(tmp_path / name)(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
