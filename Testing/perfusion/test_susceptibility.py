"""`concentration --dsc`: from T2*-weighted signals, of one echo or two, to images that networks take."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch
from dce_files import SIZE, acquired, write_artery, write_classic, write_nifti

from monai_inn.applications.perfusion.dsc import BolusPassage
from monai_inn.applications.perfusion.models.signal import relaxation_change
from monai_inn.cli import main
from monai_inn.reports.image_files import read_image

FRAMES, STEP_S, TE_S, SECOND_S = 70, 1.5, 0.03, 0.055
TIMES_S = STEP_S * np.arange(FRAMES)
TISSUE_R, BLOOD_R = 60.0, 6.0
_LATE = (TIMES_S - 15).clip(0)
ARTERY = 6 * (_LATE / 6) ** 2 * np.exp(2 - _LATE / 3)
generator = np.random.default_rng(0)
CONCENTRATION = generator.uniform(0.005, 0.02, SIZE) * ARTERY[:, None, None, None]
MASK = np.zeros(SIZE)
MASK[1, 2, 0] = MASK[4, 0, 1] = 1
_BLOOD = np.where(MASK > 0, BLOOD_R * 0.58 * ARTERY[:, None, None, None], TISSUE_R * CONCENTRATION)
RESTING = generator.uniform(500, 900, SIZE)
# T1 doubles the signal of both echoes on its way, as it does where tracer leaks.
LEAKING = 1 + np.linspace(0, 1, FRAMES)[:, None, None, None]


def signals(te_s=TE_S, leaking=1.0):
    return RESTING * leaking * np.exp(-te_s * (25 + _BLOOD))


def beside(te_s=TE_S, **others):
    return {"EchoTime": te_s, "ScanningSequence": "EP", "VolumeTiming": TIMES_S.tolist()} | others


@pytest.fixture
def dsc(tmp_path):
    """Series, a later echo, artery, mask; and where to write."""
    return {
        "series": write_nifti(tmp_path / "dsc.nii.gz", signals(), beside=beside()),
        "second": write_nifti(tmp_path / "late.nii.gz", signals(SECOND_S), beside=beside(SECOND_S)),
        "aif": write_artery(tmp_path / "aif.csv", TIMES_S, ARTERY),
        "mask": write_nifti(tmp_path / "mask.nii.gz", MASK),
        "out": tmp_path / "conc.nii.gz",
    }


def run(*arguments):
    return main(["concentration", *map(str, arguments)])


def read(path):
    record = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text(encoding="utf-8"))
    return np.moveaxis(nibabel.load(path).get_fdata(), -1, 0), record


def test_the_change_of_r2_star():
    change = torch.tensor([0.0, 12.0, 40.0], dtype=torch.float64)
    for te in (0.02, 0.045):
        signal = 700 * torch.exp(-te * (30 + change))
        torch.testing.assert_close(relaxation_change(signal, signal[0], te), change)
    assert relaxation_change(torch.tensor([5.0, 0.0, -1.0]), torch.tensor(5.0), 0.03).isnan().sum() == 2


def test_one_echo(dsc):
    options = ("--dsc", "--aif", dsc["aif"], "--relaxivity", TISSUE_R, "-o", dsc["out"])
    assert run(dsc["series"], *options) == 0
    values, record = read(dsc["out"])
    inside = MASK == 0
    np.testing.assert_allclose(values[:, inside], CONCENTRATION[:, inside], atol=1e-5)
    np.testing.assert_allclose(record["artery"], ARTERY, atol=1e-4)
    expected = {"te_s": TE_S, "tissue_relaxivity_per_mM_s": TISSUE_R, "baseline_frames": 11}
    assert record["acquisition"].items() >= expected.items()
    problem = BolusPassage()
    image = read_image(dsc["out"], problem).as_tensor().movedim(0, -1)
    assert bool(problem.is_valid(image).all())
    assert run(dsc["series"], *options, "--te", 1000 * TE_S / 2) == 0  # goes before what files say
    np.testing.assert_allclose(read(dsc["out"])[0][:, inside], 2 * CONCENTRATION[:, inside], atol=2e-5)


def test_two_echoes_know_nothing_of_t1(dsc):
    """The change of R2* is ln(S1/S2 · S2(0)/S1(0)) / (TE2 − TE1)."""
    for name, te_s in (("series", TE_S), ("second", SECOND_S)):
        write_nifti(dsc[name], signals(te_s, LEAKING), beside=beside(te_s))
    options = ("--dsc", "--aif", dsc["aif"], "--relaxivity", TISSUE_R, "--second-echo", dsc["second"])
    assert run(dsc["series"], *options, "--skip", 3, "-o", dsc["out"]) == 0
    values, record = read(dsc["out"])
    np.testing.assert_allclose(values[:, MASK == 0], CONCENTRATION[3:, MASK == 0], atol=2e-5)
    assert record["acquisition"]["te_s"] == pytest.approx(SECOND_S - TE_S)
    assert "Ratio of two echoes, 25 ms apart: what T1 does to both cancels." in record["acquisition"]["notes"]


def test_an_artery_in_the_series(dsc):
    """Tracer makes its signal fall; its relaxivity is that of blood."""
    options = (
        "--dsc",
        "--artery-mask",
        dsc["mask"],
        "--artery-relaxivity",
        BLOOD_R,
        "--relaxivity",
        TISSUE_R,
    )
    same = np.where(MASK > 0, 700.0, RESTING) / RESTING
    write_nifti(dsc["series"], same * signals(), beside=beside())
    assert run(dsc["series"], *options, "-o", dsc["out"]) == 0
    _, record = read(dsc["out"])
    np.testing.assert_allclose(record["artery"], ARTERY, atol=1e-4)
    assert record["acquisition"]["artery_relaxivity_per_mM_s"] == BLOOD_R


def test_dicom_says_the_echo_time(dsc, tmp_path):
    def attributes(frame, _):
        return acquired(TIMES_S[frame]) | {"EchoTime": "30", "ScanningSequence": "EP"}

    folder = write_classic(tmp_path / "dicom", 0.1 * signals(), attributes)
    options = ("--dsc", "--aif", dsc["aif"], "--relaxivity", TISSUE_R, "-o", dsc["out"])
    assert run(folder, *options) == 0
    values, record = read(dsc["out"])
    assert record["acquisition"]["te_s"] == TE_S
    # Signals are rounded to .01 of at least 20.
    np.testing.assert_allclose(values[:, MASK == 0], CONCENTRATION[:, MASK == 0], atol=1e-3)


def test_a_voxel_without_signal_is_left_out(dsc, capsys):
    series = signals()
    series[40, 0, 0, 0] = 0
    write_nifti(dsc["series"], series, beside=beside())
    options = ("--dsc", "--aif", dsc["aif"], "--relaxivity", TISSUE_R, "-o", dsc["out"])
    assert run(dsc["series"], *options) == 0
    assert "59 of 60 voxels have concentrations" in capsys.readouterr().out
    assert np.isnan(read(dsc["out"])[0][:, 0, 0, 0]).all()


REFUSED = [
    ("--dsc --aif {aif} --relaxivity 60", {"EchoTime": None}, "do not say the echo time; give --te MS"),
    ("--dsc --aif {aif} --relaxivity 60 --te 0.03", {}, "echo time 0.03 ms, expected 1 to 200 ms; give"),
    ("--dsc --aif {aif} --relaxivity 60", {"EchoTime": 30}, "echo time 30000 ms, expected 1 to 200 ms"),
    ("--dsc --aif {aif}", {}, "do not say the relaxivity of R2* in the tissue; give --relaxivity R"),
    ("--dsc --artery-mask {mask} --relaxivity 60", {}, "R2* in the artery; give --artery-relaxivity R"),
    ("--dsc --aif {aif} --relaxivity 60 --artery-relaxivity 5", {}, "goes with --artery-mask"),
    ("--dsc --relaxivity 60", {}, "one of the arguments --aif --artery-mask is required"),
    ("--dsc --aif {aif} --relaxivity 60 --t1 1", {}, "--t1 is not for T2*-weighted signals; leave"),
    ("--aif {aif} --te 30", {"ScanningSequence": "GR"}, "--te is not for T1-weighted signals; give --dsc"),
    ("--dsc --aif {aif} --relaxivity 60", {"ScanningSequence": "SE_EP"}, "expected MR images of a gradient"),
    ("--dsc --aif {aif} --relaxivity 60 --second-te 50", {}, "--second-te goes with --second-echo"),
    ("--dsc --aif {aif} --relaxivity 60 --second-echo {mask}", {}, "1 images, but .* has 70"),
    ("--dsc --aif {aif} --relaxivity 60 --second-echo {second} --second-te 20", {}, "10 ms before that of"),
    ("--dsc --aif {aif} --relaxivity 60 --average 4", {}, "17 frames, expected 20 to 128"),
    ("--dsc --aif {aif} --already-concentration", {}, "these look like signals; convert them"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "change", "message"), REFUSED)
def test_what_cannot_be_right_is_refused(dsc, capsys, options, change, message):
    described = {k: v for k, v in (beside() | change).items() if v is not None}
    write_nifti(dsc["series"], signals(), beside=described)
    given = options.format(**dsc).split()
    try:
        code = run(dsc["series"], *given, "-o", dsc["out"])
    except SystemExit as stop:  # argparse's own
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    for part in message.split(" .* "):
        assert part in error
    assert not dsc["out"].exists()
