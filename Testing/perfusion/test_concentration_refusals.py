"""`concentration` on what cannot be right: one clear line, exit code 2, nothing written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dce_files import (
    AFFINE,
    ARTERY,
    BESIDE,
    CONCENTRATION,
    SIZE,
    T1_S,
    TIMES_S,
    several_angles,
    signals,
    write_artery,
    write_nifti,
)

from monai_inn.cli import main


def refused(capsys, *arguments):
    """The one line of a command that must fail on its input."""
    try:
        code = main(["concentration", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    (line,) = captured.err.splitlines()
    return line


def check(capsys, files, message, *options):
    """Run the command of these files, and see that it leaves nothing behind."""
    folder = files["out"].parent
    before = sorted(folder.iterdir())
    line = refused(capsys, files["series"], "-o", files["out"], *options)
    assert message in line
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--aif {aif}", "T1 is needed; give --flip-angles FILES, or --t1"),
        ("--t1 {t1}", "one of the arguments --aif --artery-mask is required"),
        ("--t1 {t1} --aif {aif} --artery-mask {t1}", "not allowed with argument"),
        ("--t1 {t1} --aif {aif} --flip-angles {t1}", "not allowed with argument"),
        ("--t1 {t1} --aif {none}", "no such file; check the path"),
        ("--t1 {none} --aif {aif}", "no such file; check the path"),
        ("--t1 1400 --aif {aif}", "T1 1400 s, expected 0.05 to 10 s; give --t1 in s"),
        ("--t1 {t1} --aif {aif} --tr 0.0052", "repetition time 0.0052 ms, expected 0.5 to 200 ms"),
        ("--t1 {t1} --aif {aif} --flip 0.3", "flip angle 0.3°, expected 1 to 90°; give --flip DEG"),
        ("--t1 {t1} --aif {aif} --relaxivity 0.0045", "relaxivity 0.0045 /mM/s, expected 1 to 30"),
        ("--t1 {t1} --aif {aif} --baseline 0", "0 images before the bolus, expected one at least"),
        ("--t1 {t1} --aif {aif} --baseline 12", "12 images before the bolus, expected"),
        ("--t1 {t1} --aif {aif} --haematocrit 0.42", "its header says plasma, so that --haematocrit is not"),
        ("--t1 {t1} --artery-mask {t1} --haematocrit 42", "--haematocrit 42, expected a share from 0 to 0.7"),
        ("--t1 {t1} --aif {aif} --interval -2", "--interval -2, expected a positive number of s"),
        ("--t1 {t1} --aif {aif} --interval 0.2", "last 2.2 s in all, which looks like minutes"),
        ("--t1 {t1} --aif {aif} --skip 5", "7 frames, expected 8 to 60; give the whole series"),
        ("--t1 {t1} --aif {aif} --skip 50", "--skip 50: {series} has 12 images; give fewer"),
        ("--t1 {t1} --aif {aif} --skip -1", "--skip -1"),
        ("--t1 {t1} --aif {aif} --interval 20", "the curve runs from 0 to 150.7 s, but the frames from 0 to"),
        ("--t1 {t1} --aif {aif} --angles 3 5", "--angles goes with --flip-angles"),
        ("--t1 {t1} --aif {aif} --artery-t1 1.6", "--artery-t1 goes with --artery-mask"),
        ("--t1 0.3 --artery-mask {t1}", "T1 of 0.3 s in the artery, expected 0.5 to 3 s for blood"),
        ("--aif {aif} --already-concentration --tr 5", "--tr is not for a series of concentrations"),
        ("--aif {aif} --already-concentration", "these look like signals"),
    ],
)
def test_options(files, tmp_path, capsys, options, message):
    places = {**files, "none": tmp_path / "none"}
    check(capsys, files, message.format(**places), *options.format(**places).split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"VolumeTiming": None},
            "do not say when the images were taken; give --interval SECONDS, --times CSV",
        ),
        (
            {"VolumeTiming": None, "times": TIMES_S.tolist()},
            "'times' (did you mean 'time'?) of its JSON is not read",
        ),
        ({"VolumeTiming": [0, 1]}, "2 entries of VolumeTiming, but 12 images"),
        ({"VolumeTiming": "x"}, "VolumeTiming is 'x', expected numbers"),
        ({"VolumeTiming": TIMES_S[::-1].tolist()}, "frame 2 is -13.7 s, not later than the 0 s"),
        ({"VolumeTiming": (1000 * TIMES_S).tolist()}, "which looks like milliseconds, expected 60 to 1200 s"),
        ({"FlipAngle": None}, "its files do not say the flip angle; give --flip DEG"),
        ({"FlipAngle": [2.0] * 6 + [9.0] * 6}, "flip angles from 2 to 9°, expected one; give the dynamic"),
        ({"FlipAngle": [2, 9]}, "2 entries of FlipAngle, but 12 images"),
        ({"RepetitionTime": None}, "its files do not say the repetition time; give --tr MS"),
        ({"RepetitionTime": 5.2}, "repetition time 5200 ms, expected 0.5 to 200 ms; give --tr MS"),
        (
            {"ScanningSequence": "IR_GR"},
            "says ScanningSequence ['GR', 'IR'], expected MR images of a gradient",
        ),
        ({"Modality": "PT"}, "says Modality 'PT', expected MR images"),
    ],
)
def test_what_the_json_says(files, capsys, change, message):
    beside = {k: v for k, v in (BESIDE | change).items() if v is not None}
    files["series"].with_name("dce.json").write_text(json.dumps(beside))
    check(capsys, files, message, "--t1", files["t1"], "--aif", files["aif"])


MOVED = AFFINE + np.eye(4)[:, [0, 1, 3, 2]] * [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("option", "values", "affine", "beside", "message"),
    [
        ("--t1", 1000 * T1_S, AFFINE, None, "expected 0.05 to 10 s; divide a map in ms by 1000, or write"),
        ("--t1", T1_S[1:], AFFINE, None, "the map of T1 has (4, 4, 3) voxels, not (5, 4, 3) as"),
        ("--t1", T1_S, MOVED, None, "the map of T1 has voxels elsewhere as"),
        ("--t1", several_angles(), AFFINE, None, "3 images, expected one map of T1"),
        ("--flip-angles", several_angles(), AFFINE, None, "do not say the flip angle; give --angles DEG"),
        ("--flip-angles", several_angles(), AFFINE, {"FlipAngle": 9}, "all images have a flip angle of 9°"),
        ("--flip-angles", several_angles(), AFFINE, {"FlipAngle": [3, 8]}, "2 entries of FlipAngle, but 3"),
        ("--flip-angles", several_angles(), AFFINE, {"FlipAngle": [3, 8, 150]}, "flip angle 150°, expected"),
        ("--flip-angles", several_angles()[:, :4], AFFINE, None, "(4, 4, 3) voxels, not (5, 4, 3)"),
        ("--flip-angles", np.zeros((3, *SIZE)), AFFINE, {"FlipAngle": [3, 8, 15]}, "T1 is usually nan"),
        ("--artery-mask", np.zeros(SIZE), AFFINE, None, "no voxel is marked"),
        ("--artery-mask", np.ones((2, *SIZE[1:])), AFFINE, None, "mask of the artery has (2, 4, 3) voxels"),
    ],
)  # fmt: skip
def test_images_that_do_not_fit(files, tmp_path, capsys, option, values, affine, beside, message):
    path = write_nifti(tmp_path / "other.nii.gz", values, affine, beside)
    others = ("--t1", files["t1"]) if option == "--artery-mask" else ("--aif", files["aif"])
    check(capsys, files, message, option, path, *others)


@pytest.mark.parametrize(
    ("header", "values", "message"),
    [
        ("time_s,concentration_mM", ARTERY, "does not say whether it is of plasma or of whole blood"),
        ("time,plasma_mM", ARTERY, "the unit of the column 'time' is not given"),
        ("time_s,plasma_mM", 100 * ARTERY, "the peak of the artery is 677.6"),
        ("time_s,plasma_mM", 0 * ARTERY, "the artery has no tracer at all"),
        ("time_s,plasma_mM", -ARTERY, "expected concentrations above zero"),
    ],
)
def test_arteries(files, capsys, header, values, message):
    write_artery(files["aif"], TIMES_S, values, header)
    check(capsys, files, message, "--t1", files["t1"], "--aif", files["aif"], "--baseline", 3)


def test_an_artery_that_is_too_bright(files, tmp_path, capsys):
    series, mask = signals(), np.zeros(SIZE)
    series[6, 0, 0, 0], mask[0, 0, 0] = 1e5, 1
    write_nifti(files["series"], series, beside=BESIDE)
    write_nifti(tmp_path / "mask.nii.gz", mask)
    message = "frame 7 is brighter than any concentration gives"
    check(capsys, files, message, "--t1", files["t1"], "--artery-mask", tmp_path / "mask.nii.gz")


def test_files(files, tmp_path, capsys):
    options = ("--t1", files["t1"], "--aif", files["aif"])
    assert "no such file" in refused(capsys, tmp_path / "none", "-o", files["out"], *options)
    assert "change the ending" in refused(capsys, files["series"], "-o", tmp_path / "out.nrrd", *options)
    line = refused(capsys, files["series"], "-o", files["series"], *options)
    assert "is the series itself, which would be lost" in line
    line = refused(capsys, files["series"], "-o", files["t1"], *options)
    assert "which is read, and would be lost" in line
    beside = files["series"].with_name("dce.json")
    line = refused(capsys, files["series"], "-o", files["series"].with_name("dce.nii"), *options)
    assert f"{beside}: belongs to" in line
    assert "does not exist" in refused(capsys, files["series"], "-o", tmp_path / "no" / "a.nii", *options)
    short = write_nifti(tmp_path / "short.nii.gz", CONCENTRATION[:2], beside={"units": "mM", "time": [0, 9]})
    assert "2 frames, expected 8" in refused(capsys, short, "-o", files["out"], "--aif", files["aif"])
    micro = write_nifti(
        tmp_path / "m.nii.gz", CONCENTRATION, beside={"units": "uM", "VolumeTiming": [*TIMES_S]}
    )
    line = refused(capsys, micro, "-o", files["out"], "--aif", files["aif"], "--already-concentration")
    assert "its values are in uM, expected mM" in line
    assert not list(tmp_path.glob("conc*"))
