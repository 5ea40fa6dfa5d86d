"""What programs such as 3D Slicer ask for: quantiles, a photo, progress lines, a list of bundles."""

from __future__ import annotations

import json
import re

import nibabel
import numpy as np
import pytest
import torch
from cli_commands import refused, run

import monai_inn as mi
from monai_inn.inferers.levels import QuantileLevels
from monai_inn.inferers.summaries import stored_levels, summarise


@pytest.mark.usefixtures("quick_picture")
def test_quantiles_are_written_with_their_levels(bundle, image_file, image, out):
    options = ("--samples", 12, "--save-quantiles", 6, "--below", "sao2=0.6", "--interval", 0.5)
    assert run("infer", bundle, image_file, "-o", out, *options) == 0
    record = json.loads((out / "result.json").read_text())
    entries = [entry for entry in record["files"] if entry["map"] == "quantiles"]
    assert [entry["parameter"] for entry in entries] == ["sao2", "vhb", "a_mie", "b_mie"]
    assert entries[2]["unit"] == "1/cm"
    assert entries[0]["levels"] == pytest.approx([1 / 12, 3 / 12, 5 / 12, 1 / 2, 7 / 12, 9 / 12, 11 / 12])
    written = nibabel.load(out / "quantiles_vhb.nii").get_fdata().squeeze(2)
    assert written.shape == (6, 7, 7)
    assert (np.diff(written) >= 0).all()
    width = nibabel.load(out / "interval_width_vhb.nii.gz").get_fdata().squeeze(2)
    np.testing.assert_allclose(written[..., 5] - written[..., 1], width, rtol=1e-4)
    fitted = mi.load(bundle)
    samples = torch.stack(list(fitted.draw(image, 12)))[:, 1].as_tensor().sort(0).values
    # Of twelve samples the level 1/12 lies in the middle of the first two, where the parameter is normal.
    space = fitted.problem.space.subset(["vhb"])
    expected = space.inverse(space.to_latent(samples[:2, ..., None]).mean(0))[..., 0]
    np.testing.assert_allclose(written[..., 0], expected.numpy(), rtol=1e-4)


def test_quantiles_give_the_probability_below_any_threshold(gaussian_fit):
    """With as many quantiles as samples their share below a threshold is that of the samples."""
    image = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    maps = gaussian_fit.maps(image, samples=32, quantiles=32, below={"x2": 0.3})
    assert maps["quantiles"].shape == (1, 4 * 35, 4, 5)
    names = maps["quantiles"].meta["channel_names"]
    assert names[35:37] == ["x2 at 0.01562", "x2 at 0.025"]
    of_samples = [i for i in range(35, 70) if names[i] not in ("x2 at 0.025", "x2 at 0.5", "x2 at 0.975")]
    share = (maps["quantiles"][:, of_samples] < 0.3).float().mean(1)
    np.testing.assert_array_equal(share.numpy(), maps["probability_below"][:, 0].numpy())


def test_quantiles_of_a_recalibrated_network_follow_its_levels(gaussian_fit):
    space = gaussian_fit.problem.space
    samples = torch.randn(200, 3, len(space), generator=torch.Generator().manual_seed(4))
    narrow = QuantileLevels(torch.linspace(0.0, 1.0, 999).sqrt().expand(len(space), -1))
    stored = stored_levels(5, 0.5)
    plain, moved = (summarise(samples, space, 0.5, {}, levels, stored) for levels in (None, narrow))
    assert (moved["quantiles"] > plain["quantiles"]).all()
    np.testing.assert_array_equal(moved["quantiles"][:, 3].numpy(), moved["median"][:, 0].numpy())


def test_more_quantiles_than_samples_are_refused(bundle, image_file, out, capsys):
    options = ("--samples", 8, "--save-quantiles", 9)
    line = refused(capsys, "infer", bundle, image_file, "-o", out, *options)
    assert "quantiles = 9; give a number from 0 to that of the samples, 8" in line
    assert not out.exists()


@pytest.mark.usefixtures("quick_picture")
def test_the_photo_is_red_green_and_blue_in_the_geometry_of_the_image(bundle, image_file, image, out):
    assert run("infer", bundle, image_file, "-o", out, "--samples", 4) == 0
    photo = nibabel.load(out / "photo.nii.gz")
    assert photo.get_data_dtype() == np.uint8
    assert photo.shape == (6, 7, 1, 3)
    np.testing.assert_allclose(photo.affine, np.diag([0.5, 0.25, 2.0, 1.0]))
    centre = mi.load(bundle).problem.camera.centre_nm
    green = image[int(np.abs(centre - 550).argmin())].numpy()
    order = np.argsort(green.ravel())
    assert (np.diff(photo.get_fdata()[:, :, 0, 1].ravel()[order]) >= 0).all()


@pytest.mark.usefixtures("quick_picture")
def test_progress_lines_are_for_programs(bundle, image_file, out, capsys):
    assert run("infer", bundle, image_file, "-o", out, "--samples", 4, "--progress-lines", "--json") == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    lines = captured.err.splitlines()
    assert lines[-1] == "PROGRESS 1.000 infer"
    assert all(re.fullmatch(r"PROGRESS [01]\.\d{3} infer", line) for line in lines)


def test_bundles_are_listed_with_what_a_chooser_shows(bundle, tmp_path, capsys):
    (bundle / "models/model.safetensors").unlink()  # the list reads metadata alone
    broken = tmp_path / "broken" / "configs"
    broken.mkdir(parents=True)
    (broken / "metadata.json").write_text("{")
    assert run("bundles", tmp_path, tmp_path / "missing", "--json") == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["bundles"]}
    assert set(listed) == {*mi.bundles.shipped(), "bundle", "broken"}
    shipped = listed["oximetry"]
    assert shipped["shipped"]
    assert (shipped["problem"], shipped["camera"], shipped["bands"]) == ("oximetry", "tivita", 100)
    assert [t["name"] for t in shipped["targets"]] == ["sao2", "vhb", "a_mie", "b_mie"]
    assert shipped["calibration"]["errors"]["sao2"] < 2 * shipped["calibration"]["noise"]
    assert "Not a medical device" in shipped["intended_use"]
    assert listed["bundle"]["calibration"]["errors"] == {}
    assert not listed["bundle"]["shipped"]
    assert "is damaged" in listed["broken"]["error"]
    assert run("bundles", bundle, tmp_path / "broken") == 0
    text = capsys.readouterr().out
    assert "calibration not measured" in text
    assert "cannot be used" in text


@pytest.mark.usefixtures("quick_picture")
def test_a_preview_is_there_first_and_close_to_the_result(bundle, image_file, image, out, tmp_path, capsys):
    early = tmp_path / "early"
    seen = []
    fitted = mi.load(bundle)
    from monai_inn.reports import infer_image

    infer_image(
        bundle, image_file, out, samples=8, preview=early, progress=lambda s: seen.append(early.exists())
    )
    assert all(seen)
    record = json.loads((early / "result.json").read_text())
    assert record["command"] == "preview"
    kinds = {entry["map"] for entry in record["files"]}
    trust = {"waic", "ood", "p_value", "reason", "valid"}
    assert kinds == {"median", "interval_width", "quantiles", "photo", *trust}
    assert record["settings"]["interval"] == pytest.approx(0.95)
    preview = fitted.preview(image)
    written = nibabel.load(early / "quantiles_vhb.nii").get_fdata().squeeze(2)
    levels = next(e["levels"] for e in record["files"] if e["map"] == "quantiles")
    assert levels == list(fitted.preview_levels) == [0.025, 0.16, 0.5, 0.84, 0.975]
    np.testing.assert_allclose(written[..., 2], preview["median"][1].numpy(), rtol=1e-5)
    np.testing.assert_allclose(written[..., 4] - written[..., 0], preview["interval_width"][1], rtol=1e-4)
    for name in ("ood", "valid", "waic"):
        quick, full = (nibabel.load(p).get_fdata() for p in (early / f"{name}.nii", out / f"{name}.nii.gz"))
        np.testing.assert_allclose(quick, full, rtol=1e-3, atol=5e-3)


@pytest.mark.usefixtures("quick_picture")
def test_a_preview_of_an_image_without_a_usable_pixel(bundle, image, out, tmp_path):
    np.savez(tmp_path / "black.npz", image=np.zeros_like(image.numpy()))
    early = tmp_path / "early"
    assert run("infer", bundle, tmp_path / "black.npz", "-o", out, "--samples", 4, "--preview", early) == 0
    assert np.isnan(nibabel.load(early / "quantiles_sao2.nii").get_fdata()).all()


def test_programs_leave_out_the_picture_and_draw_as_needed(bundle, image_file, out, tmp_path):
    words = ("infer", bundle, image_file, "--samples", 64, "--save-samples", 4, "--no-picture")
    assert run(*words, "-o", out) == 0
    assert run(*words, "-o", tmp_path / "adaptive", "--adaptive", "--preview", tmp_path / "early") == 0
    files = [sorted(path.name for path in folder.iterdir()) for folder in (out, tmp_path / "adaptive")]
    assert files[0] == files[1]
    assert "maps.png" not in files[0]
    plain, adaptive = (
        json.loads((folder / "result.json").read_text()) for folder in (out, tmp_path / "adaptive")
    )
    assert (plain["pictures"], plain["settings"]["adaptive"]) == ([], False)
    assert (adaptive["pictures"], adaptive["settings"]["adaptive"]) == ([], True)
    for entry in plain["files"]:  # samples that are stored are drawn either way, and trust has no samples
        if entry["map"] in ("samples", "waic", "ood", "valid", "photo"):
            one, other = (
                nibabel.load(folder / entry["file"]).get_fdata() for folder in (out, tmp_path / "adaptive")
            )
            np.testing.assert_allclose(one, other, rtol=5e-3, atol=1e-3, err_msg=entry["file"])
