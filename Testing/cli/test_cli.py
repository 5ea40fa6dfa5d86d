"""The command line: what each verb leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from cli_commands import refused, run

import monai_inn as mi
from monai_inn import plain
from monai_inn.problems.registry import PROBLEMS


def test_infer_writes_every_map_with_unit_geometry_and_the_values_of_the_api(
    bundle, image_file, image, out, capsys
):
    assert run("infer", bundle, image_file, "-o", out, "--below", "sao2=0.6", "--samples", 16, "--json") == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # no progress bar where there is no terminal
    printed = json.loads(captured.out)
    record = json.loads((out / "result.json").read_text())
    assert printed == {"out": str(out)} | record
    named = {entry["file"] for entry in record["files"]}
    assert {p.name for p in out.iterdir()} == named | {"result.json", "maps.png"}
    maps = mi.load(bundle).maps(image, samples=16, below={"sao2": 0.6})
    names = ("sao2", "vhb", "a_mie", "b_mie")
    expected = {
        f"{k}_{n}": maps[k][d]
        for k in ("median", "interval_width", "mode_count", "uninformative")
        for d, n in enumerate(names)
    }
    expected |= {k: maps[k][0] for k in ("waic", "ood", "p_value", "reason", "valid")}
    expected["probability_below_sao2_0.6"] = maps["probability_below"][0]
    assert named == {f"{stem}.nii.gz" for stem in (*expected, "photo")}
    for stem, value in expected.items():
        written = nibabel.load(out / f"{stem}.nii.gz")
        np.testing.assert_allclose(written.affine, np.diag([0.5, 0.25, 2.0, 1.0]))
        np.testing.assert_allclose(
            written.get_fdata()[..., 0], value.as_tensor().numpy(), rtol=1e-5, err_msg=stem
        )
    units = {entry["file"]: entry["unit"] for entry in record["files"]}
    assert (units["median_a_mie.nii.gz"], units["median_sao2.nii.gz"]) == ("1/cm", "1")
    assert units["waic.nii.gz"] == "nat"


@pytest.mark.usefixtures("quick_picture")
def test_result_says_what_is_needed_to_repeat_it(bundle, image_file, out):
    import hashlib

    run("infer", bundle, image_file, "-o", out, "--samples", 8, "--seed", 3, "--interval", 0.9)
    record = json.loads((out / "result.json").read_text())
    assert record["settings"]["seed"] == 3
    assert record["settings"]["interval"] == 0.9
    assert record["image"]["sha256"] == {"tissue.npz": hashlib.sha256(image_file.read_bytes()).hexdigest()}
    weights = (bundle / "models/model.safetensors").read_bytes()
    assert record["bundle"]["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["summary"]["pixels"] == record["summary"]["valid_pixels"] == 42
    assert set(record["summary"]["trusted_pixels"]) == {"sao2", "vhb", "a_mie", "b_mie"}
    assert [row["name"] for row in record["parameters"]] == ["sao2", "vhb", "a_mie", "b_mie"]
    sao2, vhb = record["parameters"][:2]
    assert (sao2["low"], sao2["high"], sao2["unit"], sao2["scale"]) == (0, 1, "1", "linear")
    assert sao2["width"] == pytest.approx(0.95)
    assert (vhb["low"], vhb["high"], vhb["scale"]) == (0.002, 0.3, "log")
    assert record["bundle"]["camera"] == "imec_ssm4x4_470_620"
    low, high = record["trust"]["waic_scale"]
    assert low < record["trust"]["waic_limit"] < high


@pytest.mark.usefixtures("quick_picture")
def test_same_seed_same_files_and_stale_maps_go(bundle, image_file, tmp_path):
    for name, extra in (("a", ["--save-samples", "3"]), ("b", []), ("a", [])):
        assert run("infer", bundle, image_file, "-o", tmp_path / name, "--samples", 8, *extra) == 0
    (first, second) = ({p.name for p in (tmp_path / n).iterdir()} for n in ("a", "b"))
    assert first == second
    for name in first - {"result.json", "maps.png"}:
        values = [nibabel.load(tmp_path / n / name).get_fdata() for n in ("a", "b")]
        np.testing.assert_array_equal(*values)


@pytest.mark.usefixtures("quick_picture")
def test_a_result_of_another_image_is_not_replaced(bundle, image_file, tmp_path, out, capsys):
    assert run("infer", bundle, image_file, "-o", out) == 0
    before = (out / "result.json").read_bytes()
    capsys.readouterr()
    other = shutil.copy(image_file, tmp_path / "other.npz")
    for verb in ("infer", "ood"):
        line = refused(capsys, verb, bundle, other, "-o", out)
        assert "holds a result of inference of something else than" in line
        assert "choose another folder, or delete it" in line
    assert (out / "result.json").read_bytes() == before
    assert run("infer", bundle, os.path.relpath(image_file), "-o", out) == 0


@pytest.mark.usefixtures("quick_picture")
def test_saved_samples_are_those_of_the_api(bundle, image_file, image, out):
    run("infer", bundle, image_file, "-o", out, "--samples", 8, "--save-samples", 3, "--seed", 5)
    written = nibabel.load(out / "samples_vhb.nii.gz").get_fdata().squeeze(2)
    drawn = torch.stack(list(mi.load(bundle).draw(image, 3, seed=5)))[:, 1]
    np.testing.assert_allclose(np.moveaxis(written, -1, 0), drawn.numpy(), rtol=1e-5)


@pytest.mark.usefixtures("quick_picture")
def test_unusable_and_masked_pixels_are_nan(bundle, image, tmp_path, out):
    image[:, 0, 0] = 0
    image[4, 1, 1] = torch.nan
    mask = np.ones((1, 6, 7), np.float32)
    mask[0, 5] = 0
    np.savez(tmp_path / "image.npz", image=image.numpy())
    np.savez(tmp_path / "mask.npz", image=mask)
    arguments = (
        "infer",
        bundle,
        tmp_path / "image.npz",
        "-o",
        out,
        "--samples",
        8,
        "--mask",
        tmp_path / "mask.npz",
    )
    assert run(*arguments) == 0
    lost = np.zeros((6, 7), bool)
    lost[[0, 1], [0, 1]], lost[5] = True, True
    np.testing.assert_array_equal(
        np.isnan(nibabel.load(out / "median_sao2.nii.gz").get_fdata()[..., 0]), lost
    )
    np.testing.assert_array_equal(nibabel.load(out / "valid.nii.gz").get_fdata()[..., 0] == 0, lost)


@pytest.mark.usefixtures("quick_picture")
def test_saturated_pixels_of_integer_images_are_invalid(bundle, image, tmp_path, out):
    counts = (image / image.max() * 60_000).numpy().astype(np.uint16)
    counts[3, 2, 4] = 65_535
    np.savez(tmp_path / "image.npz", image=counts)
    assert run("infer", bundle, tmp_path / "image.npz", "-o", out, "--samples", 8) == 0
    valid = nibabel.load(out / "valid.nii.gz").get_fdata()[..., 0]
    assert [tuple(int(i) for i in at) for at in np.argwhere(valid == 0)] == [(2, 4)]


@pytest.mark.usefixtures("quick_picture")
def test_white_and_dark_references_undo_the_camera(bundle, image, tmp_path):
    white = np.linspace(500, 900, 16, dtype=np.float32)[:, None, None]
    signal = image.numpy() * (white - 100) + 100
    np.savez(tmp_path / "raw.npz", image=signal)
    np.savez(tmp_path / "plain.npz", image=image.numpy())
    np.savez(tmp_path / "white.npz", image=np.broadcast_to(white, (16, 3, 3)))
    options = ("--samples", 8, "--white", tmp_path / "white.npz", "--dark", 100)
    assert run("infer", bundle, tmp_path / "raw.npz", "-o", tmp_path / "a", *options) == 0
    assert run("infer", bundle, tmp_path / "plain.npz", "-o", tmp_path / "b", "--samples", 8) == 0
    found = [nibabel.load(tmp_path / n / "median_sao2.nii.gz").get_fdata() for n in ("a", "b")]
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("quick_picture")
def test_saturated_pixels_of_a_white_reference_do_not_count(bundle, image, tmp_path, capsys):
    white = np.full((16, 3, 3), 50_000, np.uint16)
    np.savez(tmp_path / "white.npz", image=white)
    np.savez(tmp_path / "raw.npz", image=image.numpy() * 50_000)
    raw = ("infer", bundle, tmp_path / "raw.npz", "--samples", 8, "--white", tmp_path / "white.npz", "-o")
    assert run(*raw, tmp_path / "a") == 0
    white[2, 1] = 65_535
    np.savez(tmp_path / "white.npz", image=white)
    assert run(*raw, tmp_path / "b") == 0
    found = [nibabel.load(tmp_path / n / "median_sao2.nii.gz").get_fdata() for n in ("a", "b")]
    np.testing.assert_allclose(*found, rtol=1e-5)
    white[5:7] = 65_535
    np.savez(tmp_path / "white.npz", image=white)
    capsys.readouterr()
    assert "saturated in 2 of 16 channels, from channel 5" in refused(capsys, *raw, tmp_path / "c")


def test_a_mask_lies_where_the_image_does(tmp_path):
    """Of volumes: a mask with another affine is of other voxels, though its shape is the same."""
    from monai_inn.reports.image_files import _marked
    from monai_inn.transforms import read_multispectral

    def stored(name, values, affine):
        volume = nibabel.Nifti1Image(values, affine)
        volume.set_sform(affine, "scanner")
        nibabel.save(volume, tmp_path / name)
        return tmp_path / name

    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = -10, 20, 30
    values = np.zeros((5, 4, 3), np.float32)
    values[0] = 1
    there = read_multispectral(stored("image.nii", np.ones_like(values), affine))
    assert _marked(stored("mask.nii", values, affine), there).sum() == 12
    affine[0] = -2, 0, 0, -2
    turned = stored("turned.nii", values[::-1], affine)
    with pytest.raises(ValueError, match="the mask lies elsewhere in the patient than the image"):
        _marked(turned, there)


def test_a_result_of_another_image_of_the_same_name_is_not_replaced(
    bundle, image, tmp_path, capsys, monkeypatch
):
    for place, side in (("a", 6), ("b", 5)):
        (tmp_path / place).mkdir()
        np.savez(tmp_path / place / "x.npz", image=image.numpy()[:, :side])
    monkeypatch.chdir(tmp_path / "a")
    assert run("ood", bundle, "x.npz", "-o", "../out") == 0
    assert run("ood", bundle, "x.npz", "-o", "../out") == 0
    monkeypatch.chdir(tmp_path / "b")
    capsys.readouterr()
    assert "of something else than x.npz" in refused(capsys, "ood", bundle, "x.npz", "-o", "../out")


@pytest.mark.usefixtures("quick_picture")
def test_shrink_averages_and_keeps_the_field_of_view(bundle, image_file, out):
    assert run("infer", bundle, image_file, "-o", out, "--samples", 8, "--shrink", 3) == 0
    written = nibabel.load(out / "median_sao2.nii.gz")
    assert written.shape[:2] == (2, 2)
    corner = np.array([-0.5, -0.5, 0, 1])
    np.testing.assert_allclose((written.affine @ corner)[:2], (np.diag([0.5, 0.25, 2, 1]) @ corner)[:2])
    np.testing.assert_allclose(written.header.get_zooms()[:2], (1.5, 0.75))


@pytest.mark.usefixtures("quick_picture")
def test_shrink_leaves_the_one_slice_of_a_volume_as_it_is(bundle, image, tmp_path, out):
    np.savez(tmp_path / "slice.npz", image=image.numpy()[..., None], affine=np.diag([0.5, 0.25, 2.0, 1.0]))
    assert run("ood", bundle, tmp_path / "slice.npz", "-o", out, "--shrink", 3) == 0
    written = nibabel.load(out / "valid.nii.gz")
    assert written.shape == (2, 2, 1)
    np.testing.assert_allclose(written.header.get_zooms(), (1.5, 0.75, 2.0))
    np.testing.assert_allclose(written.affine[:3, 3], (0.5, 0.25, 0.0))


@pytest.mark.usefixtures("quick_picture")
def test_ood_writes_only_trust_and_agrees_with_infer(bundle, image_file, tmp_path):
    assert run("ood", bundle, image_file, "-o", tmp_path / "a", "--false-alarm", 0.1) == 0
    assert run("infer", bundle, image_file, "-o", tmp_path / "b", "--samples", 8, "--false-alarm", 0.1) == 0
    names = {p.name for p in (tmp_path / "a").iterdir()}
    assert names == {
        "waic.nii.gz",
        "ood.nii.gz",
        "p_value.nii.gz",
        "reason.nii.gz",
        "valid.nii.gz",
        "result.json",
    }
    for name in ("waic.nii.gz", "ood.nii.gz"):
        first, second = (nibabel.load(tmp_path / n / name).get_fdata() for n in ("a", "b"))
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-3)


def test_problems_lists_what_can_be_asked(capsys):
    assert run("problems", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed["problems"]) == set(mi.problems.names())
    first = listed["problems"]["oximetry"]["parameters"][0]
    assert (first["name"], first["unit"], first["low"], first["high"], first["target"]) == (
        "sao2",
        "1",
        0,
        1,
        True,
    )
    assert run("problems") == 0
    text = capsys.readouterr().out
    assert "imec_ssm4x4_470_620" in text
    assert "1/cm" in text


def test_problems_that_need_arguments_are_listed_with_them(capsys, monkeypatch):
    class Sized(mi.problems.LinearGaussian):
        """A problem whose size must be given."""

        name = "sized"

        def __init__(self, size, *, sd=0.1):
            super().__init__(size)

    monkeypatch.setitem(PROBLEMS.known, "sized", Sized)
    assert run("problems", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["problems"]
    assert listed["sized"]["description"] == "A problem whose size must be given."
    assert (listed["sized"]["needs"], listed["sized"]["parameters"]) == (["size"], [])
    assert listed["simulated"]["needs"] == ["parameters", "observation_names"]
    assert listed["linear_gaussian"]["needs"] == []
    assert run("problems") == 0
    assert "needs: size" in capsys.readouterr().out


def test_problems_are_listed_with_one_bound_two_or_none():
    rows = [
        {"name": f"x{i}", "unit": "1", "low": low, "high": high, "target": True, "description": ""}
        for i, (low, high) in enumerate([(0.0, 1.0), (2.0, None), (None, None)])
    ]
    entry = {"description": "", "needs": [], "parameters": rows, "choices": {}}
    text = plain.problems({"problems": {"any": entry}, "bundles": []})
    for bounds in ("0 to 1", "above 2", "unbounded"):
        assert bounds in text


@pytest.mark.usefixtures("quick_picture")
def test_simulate_then_fit_then_infer(tmp_path, capsys, monkeypatch):
    from monai_inn.training import Recipe

    store, bundle = tmp_path / "data.zarr", tmp_path / "bundle"
    assert run("simulate", "linear_gaussian", "-n", 3000, "-o", store, "--seed", 4) == 0
    assert run("simulate", "linear_gaussian", "-n", 3000, "-o", store, "--seed", 4) == 0
    capsys.readouterr()
    tiny = Recipe(4096, 20, 20, 20, 64, 128, measured=64, held_out=256, guard=256)
    fit = mi.fit
    small = {
        "recipe": tiny,
        "network": {
            "encoder": {"width": 8},
            "flow": {"hidden_channels": (8,)},
            "density": {"hidden_channels": (8,)},
        },
    }
    monkeypatch.setattr("monai_inn.training.fit", lambda problem, **options: fit(problem, **options, **small))
    assert run("fit", "linear_gaussian", "-o", bundle, "--simulations", store, "--members", 2, "--json") == 0
    assert json.loads(capsys.readouterr().out)["measured"]["training"]["simulations"] == 3000
    assert {p.name for p in tmp_path.iterdir()} == {"data.zarr", "bundle"}
    np.savez(tmp_path / "y.npz", image=np.ones((3, 2, 2), np.float32))
    assert run("infer", bundle, tmp_path / "y.npz", "-o", tmp_path / "out", "--samples", 8) == 0


def test_demo_without_bundles_is_refused(tmp_path, capsys, monkeypatch):
    for place in ("reports", "applications.registration"):
        monkeypatch.setattr(f"monai_inn.{place}.demo.shipped", tuple)
    monkeypatch.setattr("monai_inn.applications.registration.demo._CT", "no.nii.gz")
    assert "no trained bundle" in refused(capsys, "demo", "-o", tmp_path / "demo")


def check_demo(out: Path, said: str, most_bytes: float) -> None:
    """Pictures are there, and what the viewer needs, which takes no more than so many bytes an image."""
    for line in said.partition("Pictures:\n")[2].partition("\n\n")[0].split():
        assert Path(line).stat().st_size > 10_000
    # For the threshold and the posteriors of the viewer.
    below = {
        "organ_mosaic": {"sao2": 0.6},
        "retina_fundus": {"sao2": 0.6},
        "photoacoustic_slice": {"so2": 0.8},
        "breast_dce": {"ktrans": 0.2},
    }
    for image, threshold in below.items():
        folder = out / image
        record = json.loads((folder / "result.json").read_text())
        assert {"quantiles", "samples"} <= {row["map"] for row in record["files"]}
        assert record["settings"]["below"] == threshold
        assert sum(path.stat().st_size for path in folder.iterdir()) < most_bytes


def test_demo_runs_the_bundles_that_are_shipped(demo):
    assert mi.bundles.shipped()
    check_demo(*demo, most_bytes=2e6)


@pytest.mark.slow  # above with a quarter of the pixels
def test_the_whole_demo_is_small(tmp_path, capsys):
    assert run("demo", "-o", tmp_path / "demo") == 0
    check_demo(tmp_path / "demo", capsys.readouterr().out, most_bytes=8e6)


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from monai_inn.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'monai', 'numpy', 'matplotlib', 'tqdm'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
