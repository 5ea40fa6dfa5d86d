"""Images of acquisitions that networks do not know are refused when they are read, with a way to mend it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from dce_files import ARTERY, CONCENTRATION, TIMES_S, signals, write_nifti

from monai_inn.applications.perfusion.checks import (
    FEWEST_WEIGHTINGS,
    LARGEST_WEIGHTING,
    check_arrival,
    check_artery,
    check_times,
    check_tissue,
)
from monai_inn.applications.perfusion.ivim import IntravoxelMotion
from monai_inn.applications.perfusion.models.acquisition import (
    ARTERY_NOISE,
    DYNAMIC,
    artery_scale,
    draw_times,
)
from monai_inn.applications.perfusion.problem import Perfusion
from monai_inn.reports.image_files import read_image

PERFUSION, IVIM = Perfusion(), IntravoxelMotion()
B = [0, 10, 20, 50, 100, 200, 400, 800]
SETTINGS = {"time": TIMES_S, "artery": ARTERY}


def curves(path, values=CONCENTRATION, **beside):
    """An image of concentrations with its JSON file, read for the problem."""
    settings = {k: np.asarray(v).tolist() for k, v in (SETTINGS | beside).items() if v is not None}
    return read_image(write_nifti(path / "scan.nii.gz", values, beside=settings), PERFUSION)


def weighted(path, b, **beside):
    """Diffusion-weighted images at b-values, read for the problem."""
    values = 90 * np.exp(-np.asarray(b, float) / 1000)[:, None, None, None] * np.ones((1, 3, 2, 2))
    return read_image(write_nifti(path / "dwi.nii.gz", values, beside={"b": list(b)} | beside), IVIM)


def test_acquisitions_that_networks_know_are_read(tmp_path):
    image = curves(tmp_path, units="mM")
    assert bool(PERFUSION.is_valid(image.as_tensor().movedim(0, -1)).all())
    assert bool(IVIM.is_valid(weighted(tmp_path, B).as_tensor().movedim(0, -1)).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": None}, "12 channels without 'time' .*; give one number a channel"),
        ({"artery": None}, "12 channels without 'artery' .* or convert .* with `monai-inn concentration`"),
        ({"time": TIMES_S[:-1]}, "12 channels, but 11 entries of 'time'"),
        ({"artery": ARTERY[:-1]}, "12 channels, but 11 entries of 'artery'"),
        ({"time": TIMES_S / 60}, "last 2.51167 s in all, which looks like minutes, .* give times in s"),
        ({"time": 1000 * TIMES_S}, "last 150700 s in all, which looks like milliseconds"),
        ({"time": TIMES_S / 4}, "last 37.675 s in all, expected 60 to 1200 s"),
        ({"time": 10 * TIMES_S}, "last 1507 s in all, expected 60 to 1200 s; the network knows none"),
        ({"time": TIMES_S[::-1]}, "frame 2 is 137 s, not later than the 150.7 s of the frame before"),
        ({"time": np.r_[TIMES_S[:5], TIMES_S[4], TIMES_S[6:]]}, "frame 6 is 54.8 s, not later than"),
        ({"artery": 0 * ARTERY}, "the artery has no tracer at all"),
        ({"artery": -ARTERY}, "the artery goes from -6.*to 0 mM, expected concentrations above zero"),
        ({"artery": ARTERY - 5}, "the artery goes from -5 to"),
        ({"artery": 100 * ARTERY}, "the peak of the artery is 677.*: it looks like a signal, or like µM"),
        ({"artery": ARTERY / 1000}, "the peak of the artery is 0.0067.*: it looks like mol/L"),
        ({"artery": np.roll(ARTERY, -5)}, "the artery begins at 6.* mM, expected none before the bolus"),
        ({"artery": np.r_[np.zeros(11), 5]}, "later than 137 s after the first frame, .* the first 1 frames"),
        ({"units": "a.u."}, "its values are in a.u., expected mM"),
        ({"values": signals()}, "expected concentrations in mM, .* these look like signals; convert them"),
        ({"values": np.tile(signals() / 1000, (1, 2, 2, 1))}, "these look like signals"),
        ({"values": signals() / signals()[:1]}, "these look like signals"),
        ({"values": 100 * (signals() / signals()[:1] - 1)}, "these look like signals"),
    ],
)  # fmt: skip
def test_other_series_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        curves(tmp_path, **change)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (0, r"announces the shape \(5, 4, 3, 0\); the file is damaged"),
        (1, "1 frames, expected 8 to 60"),
        (2, "2 frames, expected 8 to 60"),
        (7, "7 frames, expected 8"),
    ],
)
def test_short_series_are_refused(tmp_path, number, message):
    cut = {"time": TIMES_S[:number], "artery": ARTERY[:number]}
    with pytest.raises(ValueError, match=message):
        curves(tmp_path, CONCENTRATION[:number], **cut)


def test_an_artery_of_another_time_is_refused(tmp_path):
    """Shifted arteries; one within what the simulations allow is read."""
    for later, message in ((30, "s before the artery, expected a median delay of -10 to 10 s"),
                           (-30, "s after the artery")):  # fmt: skip
        shifted = np.interp(TIMES_S - later, TIMES_S, ARTERY)
        with pytest.raises(ValueError, match=message):
            curves(tmp_path, artery=shifted)
    curves(tmp_path, artery=np.interp(TIMES_S - 6, TIMES_S, ARTERY))


def test_arteries_and_tissues_that_are_simulated_together_are_not_refused():
    for seed in range(4):
        theta, y = PERFUSION.simulate(60, seed)
        theta[:, len(PERFUSION.targets) :], y[:, 2 * DYNAMIC.most :] = (
            theta[0, len(PERFUSION.targets) :],
            y[0, 2 * DYNAMIC.most :],
        )
        made = PERFUSION.noise(PERFUSION.simulate_again(theta, y), torch.Generator().manual_seed(seed))
        tissue, artery, times = (part.double() for part in PERFUSION.curves(made))
        there = times[0].isfinite() & artery[0].isfinite()
        check_arrival(
            tissue[:, there].T.numpy(), artery[0, there].numpy(), times[0, there].numpy(), (-10, 10), ""
        )


def test_long_series_are_refused(tmp_path):
    number = DYNAMIC.most + 1
    values = np.repeat(CONCENTRATION[:1], number, 0)
    with pytest.raises(ValueError, match="61 channels, but the network takes 60 at most"):
        curves(tmp_path, values, time=np.arange(number) * 5.0, artery=np.ones(number))


def test_a_series_with_the_time_last_is_refused(tmp_path):
    np.savez(tmp_path / "scan.npz", image=np.moveaxis(CONCENTRATION[..., 0], 0, -1))
    (tmp_path / "scan.json").write_text(json.dumps({k: v.tolist() for k, v in SETTINGS.items()}))
    with pytest.raises(
        ValueError, match=r"5 channels, but 12 entries of 'artery'.*move that axis to the front"
    ):
        read_image(tmp_path / "scan.npz", PERFUSION)


@pytest.mark.parametrize(
    ("name", "problem", "settings"),
    [("cube.npz", PERFUSION, {k: v.tolist() for k, v in SETTINGS.items()}), ("cube.npz", IVIM, {"b": B})],
)
def test_a_cube_is_refused_where_the_file_does_not_name_its_axes(tmp_path, name, problem, settings):
    """As many frames as pixels along the last axis: a NIfTI says which is which, an NPZ does not."""
    number = len(next(iter(settings.values())))
    curve = CONCENTRATION[:, 0, 0, 0] if problem is PERFUSION else 90 * np.exp(-np.array(B) / 1000)
    cube = np.broadcast_to(curve, (number, number, number)).copy()
    np.savez(tmp_path / name, image=cube)
    (tmp_path / "cube.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=rf"first and its last axis have {number} entries.*save it as NIfTI"):
        read_image(tmp_path / name, problem)
    path = write_nifti(tmp_path / "cube.nii.gz", np.moveaxis(cube, -1, 0)[..., None], beside=settings)
    assert read_image(path, problem).shape[1:3] == (number, number)


def test_frames_without_values_do_not_matter(tmp_path):
    values = CONCENTRATION.copy()
    values[3] = values[7, 2] = np.nan
    values[:, 0, 0] = 0
    image = curves(tmp_path, values)
    valid = PERFUSION.is_valid(image.as_tensor().movedim(0, -1))
    assert valid.sum() == CONCENTRATION[0].size


def test_what_is_simulated_is_not_refused():
    """But for a few arteries whose peak was not measured, or is hardly above their noise.

    They go below zero by half of what they reach: the peak that was measured is then less than twice that
    noise, for which four standard deviations of the largest noise are enough.
    """
    clean, y = (simulate(1000, seed=1)[1] for simulate in (PERFUSION.simulate_clean, PERFUSION.simulate))
    usable = PERFUSION.is_valid(y)
    assert float((~usable).float().mean()) < 0.08  # 4.9 % of 10,000 have a bolus after the last frame
    true = PERFUSION.curves(clean[usable])[1]
    measured = torch.where(PERFUSION.curves(y[usable])[1].isfinite(), true, 0.0).amax(1)
    may_be_refused = measured < 2 * 4 * ARTERY_NOISE[1] * artery_scale(true)
    refused = torch.zeros_like(may_be_refused)
    for i, row in enumerate(y[usable]):
        voxel, curve, clock = (part.double().numpy() for part in PERFUSION.curves(row))
        there = np.isfinite(clock)
        try:
            check_times(clock[there], "")
            check_artery(curve[there], clock[there], "")
            check_tissue(voxel[:, None], "")
        except ValueError:
            refused[i] = True
    assert not bool((refused & ~may_be_refused).any())
    assert int(refused.sum()) < 10  # 16 of 10,000


def test_voxels_of_nothing_but_noise_are_not_signals():
    generator = np.random.default_rng(0)
    for _ in range(1000):
        check_tissue(0.1 * generator.normal(size=(8, int(generator.integers(1, 400)))), "")


def test_rows_of_voxels_with_an_acquisition_each_are_checked_alike(tmp_path):
    """Images may have all channels of the problem themselves."""
    image = curves(tmp_path).as_tensor()
    np.savez(tmp_path / "rows.npz", image=image[..., 0].numpy())
    read = read_image(tmp_path / "rows.npz", PERFUSION)
    assert torch.equal(read.nan_to_num(-1.0), image[..., 0].nan_to_num(-1.0))
    image[2 * DYNAMIC.most :, 1, 2] /= 60
    np.savez(tmp_path / "rows.npz", image=image[..., 0].numpy())
    with pytest.raises(ValueError, match="looks like minutes"):
        read_image(tmp_path / "rows.npz", PERFUSION)


@pytest.mark.parametrize(
    ("b", "message"),
    [
        ([5, *B[1:]], "the least b-value is 5 s/mm², expected an image at 0"),
        (np.divide(B, 1000), "b-values up to 0.8, which looks like ms/µm².*multiply by 1000"),
        ([*B, 2000], "b-values up to 2000 s/mm², expected up to a largest of 300 to 1500; leave out"),
        (B[:5], "b-values up to 100 s/mm², expected up to a largest of 300"),
        ([*B[:-1], -800], "a b-value is -800 s/mm², expected none below 0"),
        ([0, 400, 800], "3 images, expected 4 at least"),
        ([0, 400], "2 images, expected 4 at least"),
        ([0], "1 images, expected 4 at least"),
        ([], r"announces the shape \(3, 2, 2, 0\); the file is damaged"),
    ],
)
def test_other_weightings_are_refused(tmp_path, b, message):
    with pytest.raises(ValueError, match=message):
        weighted(tmp_path, b)


def test_weightings_may_come_from_the_tools_of_fsl(tmp_path):
    path = write_nifti(tmp_path / "dwi.nii.gz", np.ones((8, 3, 2, 2)))
    with pytest.raises(ValueError, match="8 channels without 'b'"):
        read_image(path, IVIM)
    (tmp_path / "dwi.bval").write_text("0 10 20 50 1e2 200 400 800\n")
    assert read_image(path, IVIM)[32:40, 0, 0, 0].tolist() == B
    (tmp_path / "dwi.json").write_text(json.dumps({"b": B}))
    assert read_image(path, IVIM)[32:40, 0, 0, 0].tolist() == B
    (tmp_path / "dwi.json").write_text(json.dumps({"b": B[::-1]}))
    with pytest.raises(ValueError, match=r"dwi\.bval: its b-values are not those of the JSON file"):
        read_image(path, IVIM)
    (tmp_path / "dwi.json").unlink()
    for text in ("", "0 10 x", "0 10 nan"):
        (tmp_path / "dwi.bval").write_text(text)
        with pytest.raises(ValueError, match=r"dwi\.bval: expected b-values in s/mm²"):
            read_image(path, IVIM)


def test_limits_are_those_of_the_simulations():
    generator = torch.Generator().manual_seed(0)
    times = draw_times(4000, generator)
    last = times.nan_to_num(0.0).amax(1)
    assert (float(last.min()), float(last.max())) == pytest.approx(DYNAMIC.lasting_s, rel=0.05)
    assert last.min() >= DYNAMIC.lasting_s[0] - 1e-3
    assert last.max() <= DYNAMIC.lasting_s[1] + 1e-3
    assert {DYNAMIC.fewest, DYNAMIC.most} <= {*times.isfinite().sum(1).tolist()}
    b = IVIM.draw_context(4000, generator)
    largest, number = b.nan_to_num(0.0).amax(1), b.isfinite().sum(1)
    assert (float(largest.min()), float(largest.max())) == pytest.approx(LARGEST_WEIGHTING, rel=0.02)
    assert largest.min() >= LARGEST_WEIGHTING[0] - 0.1
    assert largest.max() <= LARGEST_WEIGHTING[1] + 0.1
    assert int(number.min()) == FEWEST_WEIGHTINGS


def test_the_bundle_of_monai_refuses_them_as_well(tmp_path):
    from monai.bundle import ConfigParser

    config = {
        "network_def": {
            "_target_": "types.SimpleNamespace",
            "problem": {"_target_": "monai_inn.applications.perfusion.problem.Perfusion"},
        },
        "load": {"_target_": "monai.transforms.Compose", "transforms": PERFUSION.application.loading()},
    }
    image = curves(tmp_path)
    load = ConfigParser(config).get_parsed_content("load")
    loaded = load({"image": str(tmp_path / "scan.nii.gz")})["image"]
    assert torch.equal(loaded.nan_to_num(-1.0), image.nan_to_num(-1.0))
    beside = {"time": (TIMES_S / 60).tolist(), "artery": ARTERY.tolist()}
    write_nifti(tmp_path / "scan.nii.gz", CONCENTRATION, beside=beside)
    with pytest.raises(RuntimeError) as refusal:
        load({"image": str(tmp_path / "scan.nii.gz")})
    assert "looks like minutes" in str(refusal.value.__cause__)
