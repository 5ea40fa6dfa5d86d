"""Bundles: what is written, read back to the last bit."""

from __future__ import annotations

import errno
import importlib
import json
import os
import stat

import pytest
import torch

import monai_inn as mi
from monai_inn.bundles import image_items, map_network, save
from monai_inn.fitted import configs
from monai_inn.folders import check_target, new_folder

FILES = {
    "LICENSE",
    "configs/evaluate.json",
    "configs/export.json",
    "configs/inference.json",
    "configs/metadata.json",
    "configs/multi_gpu_train.json",
    "configs/train.json",
    "docs/README.md",
    "models/model.pt",
    "models/model.safetensors",
}


def files_in(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_round_trip_is_exact(camera_fit, bundle, image):
    loaded = mi.load(bundle)
    assert files_in(bundle) == FILES
    assert loaded.problem.to_config() == camera_fit.problem.to_config()
    assert loaded.network.config == camera_fit.network.config
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, camera_fit.network.state_dict()[name]), name
    for name, value in camera_fit.maps(image, samples=8).items():
        assert torch.equal(loaded.maps(image, samples=8)[name], value), name


def test_the_card_is_kept_and_written_out(gaussian_fit, tmp_path):
    card = {
        "measured_on": {"simulations": 1000, "seed": 3, "draws": 255},
        "nll": 4.25,
        "parameters": {"x1": {"calibration_error": 0.0123, "sbc_p": 0.5, "contraction": 0.75}},
        "calibration_noise_floor_95": 0.019,
        "ood": {
            "false_alarm_nominal": 0.05,
            "false_alarm_measured": 0.0487,
            "auroc_shuffled_channels": 0.9,
        },
        "training": {
            "seed": 0,
            "minutes": 2.0,
            "simulations": 5000,
            "held_out_loss": {"preview": float("nan")},
        },
    }
    fitted = mi.FittedPosterior(gaussian_fit.problem, gaussian_fit.network, card)
    fitted.save(tmp_path / "b")
    text = (tmp_path / "b/docs/README.md").read_text()
    for part in ("Research only", "| x1 | 0.0123 | 0.5 | 0.75 |", "4.25 nat", "0.0487", "5000", "-inf | inf"):
        assert part in text
    kept = mi.load(tmp_path / "b").card
    assert kept["training"]["held_out_loss"]["preview"] is None
    assert kept["parameters"] == card["parameters"]


def test_every_channel_has_a_unit_and_the_network_gives_as_many(bundle, image):
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    spec = metadata["network_data_format"]
    inputs, outputs = spec["inputs"]["image"], spec["outputs"]["pred"]
    out = map_network(bundle)(image[None])
    assert (inputs["num_channels"], outputs["num_channels"]) == (16, out.shape[1])
    assert len(outputs["channel_def"]) == out.shape[1]
    assert outputs["channel_def"]["2"].endswith(", 1/cm")
    assert all(", " in text for text in outputs["channel_def"].values())


def test_the_plain_state_dict_fits_the_map_network(bundle):
    state = torch.load(bundle / "models/model.pt", weights_only=True)
    network = map_network(bundle)
    assert set(state) == set(network.state_dict())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())


def test_without_monai_weights(camera_fit, tmp_path):
    save(camera_fit, tmp_path / "b", monai_weights=False)
    assert files_in(tmp_path / "b") == FILES - {"models/model.pt"}
    mi.load(tmp_path / "b")


def targets_of(value):
    if isinstance(value, dict):
        if "_target_" in value:
            yield value["_target_"]
        for entry in value.values():
            yield from targets_of(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from targets_of(entry)


@pytest.mark.parametrize("name", ["camera_fit", "gaussian_fit"])
def test_every_target_resolves_by_its_full_path(name, request):
    fitted = request.getfixturevalue(name)
    found = [*targets_of(list(configs.of(fitted).values()))]
    assert len(found) > 11
    for target in found:
        module, _, attribute = target.rpartition(".")
        assert callable(getattr(importlib.import_module(module), attribute)), target


def test_replacing_keeps_what_is_not_part_of_a_bundle(camera_fit, gaussian_fit, bundle):
    (bundle / "eval").mkdir()
    (bundle / "eval/notes.txt").write_text("mine")
    gaussian_fit.save(bundle)
    assert mi.load(bundle).problem.name == "linear_gaussian"
    assert (bundle / "eval/notes.txt").read_text() == "mine"
    assert files_in(bundle) == FILES | {"eval/notes.txt"}
    assert [p.name for p in bundle.parent.iterdir()] == ["bundle"]


def test_files_are_readable_by_others_as_the_umask_allows(bundle):
    mask = os.umask(0)
    os.umask(mask)
    for path in bundle.rglob("*"):
        allowed = (0o777 if path.is_dir() else 0o666) & ~mask
        assert stat.S_IMODE(path.stat().st_mode) == allowed, path


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_bundle_as_it_was(camera_fit, gaussian_fit, bundle, monkeypatch, error):
    before = {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()}

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("monai_inn.fitted.writing.model_card", fail)
    with pytest.raises(type(error)):
        gaussian_fit.save(bundle)
    assert {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()} == before
    assert [p.name for p in bundle.parent.iterdir()] == ["bundle"]


def test_a_folder_that_is_no_bundle_is_not_touched(camera_fit, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("years of work")
    with pytest.raises(ValueError, match="exists and is not a bundle"):
        camera_fit.save(tmp_path / "thesis")
    assert files_in(tmp_path) == {"thesis/chapter.txt"}


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="choose a folder that you may write to"):
        check_target(tmp_path / "file" / "bundle", "x", "a bundle")


def test_new_folder_drops_what_is_stale(tmp_path):
    for name in ("old.nii", "mine.txt"):
        with new_folder(tmp_path / "out", "marker", "a result", ("old.nii",)) as draft:
            (draft / "marker").write_text("")
            (draft / name).write_text("")
    assert files_in(tmp_path / "out") == {"marker", "mine.txt"}


def test_shipped_bundles_load_and_are_small():
    from monai_inn.fitted.layout import PRETRAINED

    for name in mi.bundles.shipped():
        mi.load(name)
        assert sum(p.stat().st_size for p in (PRETRAINED / name).rglob("*") if p.is_file()) < 5_000_000


def test_images_of_a_folder_are_listed_once_each(tmp_path):
    for name in ("b.tif", "a.hdr", "a.dat", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [os.path.basename(item["image"]) for item in image_items(tmp_path)] == ["a.hdr", "b.tif"]
    assert image_items(tmp_path / "b.tif") == [{"image": str(tmp_path / "b.tif")}]
    (tmp_path / "empty").mkdir()
    for path, kind, message in (
        (tmp_path / "empty", ValueError, "holds no image"),
        (tmp_path / "none", FileNotFoundError, "no such file"),
        ("", ValueError, "dataset_dir is empty"),
    ):
        with pytest.raises(kind, match=message):
            image_items(path)
