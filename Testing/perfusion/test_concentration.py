"""`concentration` from the command line: from files of a scanner to images that networks take."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch
from dce_files import (
    AFFINE,
    ANGLES_DEG,
    ARTERY,
    BESIDE,
    CONCENTRATION,
    ECHO,
    FRAMES,
    M0,
    SIZE,
    STEP_S,
    T1_S,
    TIMES_S,
    acquired,
    several_angles,
    signals,
    write_artery,
    write_classic,
    write_enhanced,
    write_nifti,
)
from osipi import rows

from monai_inn.applications.perfusion.problem import Perfusion
from monai_inn.applications.perfusion.series.concentrations import baseline_frames
from monai_inn.cli import main
from monai_inn.reports.image_files import read_image

SIGNALS = signals()
RELAXIVITY = ("--relaxivity", ECHO.relaxivity)


def run(*arguments):
    return main(["concentration", *map(str, arguments)])


def read(path):
    """Concentrations ``(T, x, y, z)`` and what the JSON file beside them says."""
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    record = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text(encoding="utf-8"))
    return np.moveaxis(image.get_fdata(), -1, 0), record


def test_signals_become_the_rows_of_the_problem(files):
    options = ("--t1", files["t1"], "--aif", files["aif"], *RELAXIVITY, "--baseline", 4)
    assert run(files["series"], "-o", files["out"], *options) == 0
    values, record = read(files["out"])
    np.testing.assert_allclose(values, CONCENTRATION, atol=1e-5)
    np.testing.assert_allclose(record["artery"], ARTERY, rtol=1e-5)
    assert record["units"] == "mM"
    expected = {"flip_deg": ECHO.flip_deg, "relaxivity_per_mM_s": ECHO.relaxivity, "baseline_frames": 4}
    assert record["acquisition"].items() >= expected.items()
    problem = Perfusion()
    image = read_image(files["out"], problem).as_tensor().movedim(0, -1)
    tissue, artery, times = (part[..., :FRAMES].numpy() for part in problem.curves(image))
    np.testing.assert_allclose(np.moveaxis(tissue, -1, 0), CONCENTRATION, atol=1e-5)
    np.testing.assert_allclose(artery[1, 2, 0], ARTERY, rtol=1e-5)
    np.testing.assert_allclose(times[1, 2, 0], TIMES_S, rtol=1e-5)
    assert bool(problem.is_valid(image).all())


def test_the_baseline_and_the_relaxivity_are_said_if_they_are_not_given(files, capsys):
    assert run(files["series"], "-o", files["out"], "--t1", files["t1"], "--aif", files["aif"]) == 0
    values, record = read(files["out"])
    np.testing.assert_allclose(4.5 * values, ECHO.relaxivity * CONCENTRATION, atol=1e-5)
    notes = capsys.readouterr().out
    assert record["acquisition"]["baseline_frames"] == 4
    for note in ("Baseline: the first 4 images, as none was given.", "Relaxivity 4.5 /mM/s, as none"):
        assert note in notes
        assert any(line.startswith(note) for line in record["acquisition"]["notes"])


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_dicom_with_several_flip_angles(tmp_path, kind):
    if kind == "classic":
        series = write_classic(tmp_path / "dce", SIGNALS, lambda f, _: acquired(TIMES_S[f]))
    else:
        series = write_enhanced(tmp_path / "dce.dcm", SIGNALS, lambda f: {"TemporalPositionIndex": f + 1})
    angles = write_classic(tmp_path / "fa", several_angles(), lambda f, _: {"FlipAngle": str(ANGLES_DEG[f])})
    timing = () if kind == "classic" else ("--interval", STEP_S)
    write_artery(tmp_path / "aif.csv")
    options = ("--flip-angles", angles, "--aif", tmp_path / "aif.csv", *RELAXIVITY, *timing)
    assert run(series, "-o", tmp_path / "out.nii.gz", *options) == 0
    values, record = read(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(record["time"], TIMES_S, atol=1e-5)
    # Stored signals are rounded to .01 of about 80; so are those that tell T1.
    np.testing.assert_allclose(values, CONCENTRATION, atol=2e-3)


def test_flip_angles_in_several_files(files, tmp_path):
    names = [tmp_path / f"fa{k}.nii.gz" for k in range(3)]
    for name, image, angle in zip(names, several_angles(), ANGLES_DEG, strict=True):
        write_nifti(name, image, beside={"FlipAngle": angle})
    one = write_nifti(tmp_path / "fa.nii.gz", several_angles())
    made = []
    for options in ((*names,), (one, "--angles", *ANGLES_DEG)):
        given = ("--aif", files["aif"], "--flip-angles", *options, "-o", files["out"], *RELAXIVITY)
        assert run(files["series"], *given) == 0
        made.append(read(files["out"])[0])
    np.testing.assert_allclose(made[0], CONCENTRATION, atol=1e-4)
    np.testing.assert_array_equal(*made)


def test_osipi_reference(tmp_path):
    """Theirs leaves out the first image."""
    for number, row in enumerate(rows("SI2Conc_data")):
        # More frames than networks take, of which 60 hold the first pass.
        signal, expected = (row[key][:61] for key in ("s", "conc"))
        write_nifti(tmp_path / "s.nii.gz", np.tile(signal.numpy()[:, None, None, None], SIZE))
        write_artery(tmp_path / "aif.csv", 2.0 * np.arange(61), 3.0 * (np.arange(61) > 20))
        given = {"--flip": row["FA"], "--tr": 1000 * row["TR"], "--t1": row["T1base"], "--skip": 1,
                 "--relaxivity": row["r1"], "--baseline": int(row["numbaselinepts"]) - 1}  # fmt: skip
        options = (f"{part:g}" if part is not key else part for key, v in given.items() for part in (key, v))
        out = tmp_path / f"{number}.nii.gz"
        code = run(tmp_path / "s.nii.gz", "-o", out, "--aif", tmp_path / "aif.csv", "--interval", 2, *options)
        assert code == 0
        np.testing.assert_allclose(read(out)[0][:, 0, 0, 0], expected[1:], atol=1e-5)


def test_an_artery_in_the_series(files, tmp_path):
    """Blood flows in two corners; cells take no tracer."""
    mask = np.zeros(SIZE)
    mask[0, 0, 0] = mask[4, 3, 2] = 1
    blood, t1_s = 0.58 * ARTERY, T1_S.copy()
    t1_s[mask > 0] = T1_S[0, 0, 0]
    given = CONCENTRATION.copy()
    given[:, mask > 0] = blood[:, None]
    scale = M0 / np.where(mask > 0, M0[0, 0, 0], M0)
    series = signals(concentration=given)
    series[:, mask > 0] = (series / scale)[:, 0, 0, 0, None]
    write_nifti(files["series"], series, beside=BESIDE)
    write_nifti(files["t1"], t1_s)
    marked = write_nifti(tmp_path / "mask.nii.gz", mask)
    options = ("--artery-mask", marked, "--t1", files["t1"], *RELAXIVITY, "-o", files["out"])
    assert run(files["series"], *options) == 0
    _, record = read(files["out"])
    np.testing.assert_allclose(record["artery"], ARTERY, atol=2e-5)
    assert "Haematocrit 0.42, as none was given." in record["acquisition"]["notes"]
    assert run(files["series"], *options, "--haematocrit", 0.3) == 0
    np.testing.assert_allclose(read(files["out"])[1]["artery"], ARTERY * 0.58 / 0.7, atol=2e-5)


@pytest.mark.parametrize("said", [True, False])
def test_a_series_that_is_concentrations_already(files, tmp_path, said):
    beside = {"time": TIMES_S.tolist()} | ({"units": "mmol/L"} if said else {})
    series = write_nifti(tmp_path / "c.nii.gz", CONCENTRATION, beside=beside)
    options = () if said else ("--already-concentration",)
    assert run(series, "-o", files["out"], "--aif", files["aif"], *options) == 0
    values, record = read(files["out"])
    np.testing.assert_allclose(values, CONCENTRATION, rtol=1e-6)
    np.testing.assert_allclose(record["artery"], ARTERY, rtol=1e-5)


def test_voxels_that_cannot_be_converted_are_counted(files, capsys):
    """Outside the body, without T1, and brighter than any concentration makes them."""
    series, t1_s = SIGNALS.copy(), T1_S.copy()
    series[:, 0, 0, 0], t1_s[1, 0, 0] = 0, 0
    series[6, 2, 0, 0] *= 100
    series[8, 3, 0, 0] = np.nan  # a frame that is missing stays so, and the voxel stays
    write_nifti(files["series"], series, beside=BESIDE)
    write_nifti(files["t1"], t1_s)
    options = ("--t1", files["t1"], "--aif", files["aif"], *RELAXIVITY, "-o", files["out"])
    assert run(files["series"], *options) == 0
    assert "56 of 60 voxels have concentrations" in capsys.readouterr().out
    values, _ = read(files["out"])
    assert np.isnan(values[:, :3, 0, 0]).all()
    assert np.isnan(values[:, 3, 0, 0]).sum() == 1


def test_times_and_skipped_images(files, tmp_path):
    """The artery's clock is that of the first image of all."""
    del (beside := dict(BESIDE))["VolumeTiming"]
    write_nifti(files["series"], SIGNALS, beside=beside)
    uneven = TIMES_S + np.linspace(0, 5, FRAMES)
    write_artery(files["aif"], uneven, ARTERY)
    options = ("--t1", files["t1"], "--aif", files["aif"], "--times", tmp_path / "times.csv", "--skip", 2)
    write_artery(tmp_path / "times.csv", (uneven + 4) / 60, header="Time [min],x")
    assert run(files["series"], "-o", files["out"], *options, *RELAXIVITY) == 0
    values, record = read(files["out"])
    np.testing.assert_allclose(record["time"], uneven[2:] - uneven[2], atol=2e-4)
    np.testing.assert_allclose(record["artery"], ARTERY[2:], atol=2e-4)
    np.testing.assert_allclose(values, CONCENTRATION[2:], atol=1e-5)


def test_what_is_given_goes_before_what_files_say(files):
    beside = BESIDE | {"FlipAngle": 25, "RepetitionTimeExcitation": 0.009, "time": (2 * TIMES_S).tolist()}
    write_nifti(files["series"], SIGNALS, beside=beside)
    options = ("--flip", ECHO.flip_deg, "--tr", 1000 * ECHO.tr_s, "--interval", STEP_S)
    given = ("--t1", files["t1"], "--aif", files["aif"], *RELAXIVITY, *options, "-o", files["out"])
    assert run(files["series"], *given) == 0
    values, record = read(files["out"])
    np.testing.assert_allclose(values, CONCENTRATION, atol=1e-5)
    np.testing.assert_allclose(record["time"], TIMES_S, atol=1e-5)
    notes = "\n".join(record["acquisition"]["notes"])
    assert "The flip angle is 18°, as given; the files say 25°." in notes
    assert "The repetition time is 5.2 ms, as given; the files say 9 ms." in notes


@pytest.mark.parametrize(
    "step", [(STEP_S, "sec"), (1000 * STEP_S, "msec"), (1.0, "sec"), (STEP_S, "unknown")]
)
def test_the_time_between_images_may_stand_in_the_header(files, step, capsys):
    """With its unit; one second is what programs write that do not know it."""
    del (beside := dict(BESIDE))["VolumeTiming"]
    write_nifti(files["series"], SIGNALS, beside=beside, step=step)
    options = ("--t1", files["t1"], "--aif", files["aif"], *RELAXIVITY, "-o", files["out"])
    if step[0] == 1 or step[1] == "unknown":
        assert run(files["series"], *options) == 2
        assert "do not say when the images were taken" in capsys.readouterr().err
    else:
        assert run(files["series"], *options) == 0
        np.testing.assert_allclose(read(files["out"])[1]["time"], TIMES_S, atol=1e-4)


def test_the_baseline_ends_where_the_images_change():
    """Images of noise differ by about as much from the first; later ones by far more."""
    generator = torch.Generator().manual_seed(0)
    quiet = 100 + torch.rand(30, 30, 1, generator=generator)
    images = quiet + torch.randn(8, 30, 30, 1, generator=generator)
    images[5:] += 20 * torch.rand(30, 30, 1, generator=generator)
    assert baseline_frames(images, 7) == 5
    assert baseline_frames(images, 4) == 4
    assert baseline_frames(images, 1) == 1
    assert baseline_frames(torch.zeros(8, 3, 3, 1), 3) == 3


def test_many_images_become_fewer_frames(files):
    """By means of concentrations, of the artery and of times, not of signals."""
    number = 3 * 2 * FRAMES + 2
    times, place = 4.0 * np.arange(number), (np.arange(number) * FRAMES) // number
    series = write_nifti(files["series"], SIGNALS[place], beside=BESIDE | {"VolumeTiming": times.tolist()})
    write_artery(files["aif"], times, ARTERY[place])
    options = ("--t1", files["t1"], "--aif", files["aif"], *RELAXIVITY, "--baseline", 10, "--average", 3)
    assert run(series, "-o", files["out"], *options) == 0
    values, record = read(files["out"])
    groups = np.arange(number - 2).reshape(-1, 3)
    np.testing.assert_allclose(record["time"], 12.0 * np.arange(24))
    np.testing.assert_allclose(record["artery"], ARTERY[place][groups].mean(1), rtol=1e-5)
    np.testing.assert_allclose(values, CONCENTRATION[place][groups].mean(1), atol=1e-5)


def test_two_commands_make_maps(files, curve_fit, quick_picture, capsys):
    """But for those of another acquisition, as of signals where concentrations are expected."""
    bundle = files["out"].parent / "bundle"
    curve_fit.save(bundle)
    options = ("--t1", files["t1"], "--aif", files["aif"], *RELAXIVITY)
    assert run(files["series"], "-o", files["out"], *options) == 0
    maps = files["out"].parent / "maps"
    assert main(["infer", str(bundle), str(files["out"]), "-o", str(maps), "--samples", "4"]) == 0
    image = nibabel.load(maps / "median_ktrans.nii.gz")
    assert image.shape == SIZE
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    assert np.isfinite(image.get_fdata()).all()
    beside = {"time": TIMES_S.tolist(), "artery": ARTERY.tolist()}
    series = write_nifti(files["series"], SIGNALS, beside=beside)
    capsys.readouterr()
    assert main(["infer", str(bundle), str(series), "-o", str(maps.with_name("none"))]) == 2
    assert "these look like signals" in capsys.readouterr().err
    assert not maps.with_name("none").exists()
