"""DICOM series read frame by frame: values, geometry and times, whatever the names of the files."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dce_files import (
    AFFINE,
    ECHO,
    FRAMES,
    SIZE,
    SLOPE,
    STEP_S,
    TIMES_S,
    acquired,
    clock,
    signals,
    stored,
    uid_of,
    write_classic,
    write_enhanced,
)

from monai_inn.applications.perfusion.series.reading import read_series

SIGNALS = signals()


def check(series, times=TIMES_S):
    np.testing.assert_allclose(series.values, SLOPE * stored(SIGNALS), rtol=1e-6)
    np.testing.assert_allclose(series.affine, AFFINE, atol=1e-5)
    assert series.flip_deg == (ECHO.flip_deg,) * FRAMES
    assert series.tr_s == pytest.approx(ECHO.tr_s)
    if times is None:
        assert series.times_s is None
    else:
        np.testing.assert_allclose(series.times_s, times, atol=1e-5)


def triggered(frame, _):
    return acquired(0.0) | {"TriggerTime": f"{1000 * TIMES_S[frame]:.6g}"}


def counted(frame, _):
    return acquired(0.0) | {"TemporalPositionIdentifier": str(frame + 1), "TemporalResolution": 1000 * STEP_S}


@pytest.mark.parametrize(
    "attributes",
    [
        lambda frame, _: acquired(TIMES_S[frame]),  # over midnight
        lambda frame, _: {"AcquisitionDateTime": f"20260101{clock(TIMES_S[frame] - 86310)}"},
        triggered,
        counted,
    ],
    ids=["time", "date-time", "trigger", "position"],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_folder_of_slices_in_no_order(tmp_path, attributes, seed):
    check(read_series(write_classic(tmp_path / "series", SIGNALS, attributes, seed)))


def test_slices_that_were_taken_one_after_the_other_have_their_mean_time(tmp_path):
    def attributes(frame, slice_):
        return acquired(TIMES_S[frame] + 4 * ((slice_ * 2) % SIZE[2]))

    series = read_series(write_classic(tmp_path / "series", SIGNALS, attributes))
    check(series)
    assert "Slices of a frame are up to 8 s apart" in series.notes[1]


def test_frames_without_times_are_in_order(tmp_path):
    check(read_series(write_classic(tmp_path / "series", SIGNALS, lambda *_: {})), None)


@pytest.mark.parametrize(
    ("content", "times"),
    [
        (lambda frame: {"FrameAcquisitionDateTime": f"20260101{clock(TIMES_S[frame] - 86310)}"}, TIMES_S),
        (lambda frame: {"TemporalPositionIndex": frame + 1}, None),
    ],
)
def test_a_file_of_many_frames(tmp_path, content, times):
    path = write_enhanced(tmp_path / "many.dcm", SIGNALS, content)
    check(read_series(path), times)
    check(read_series(tmp_path), times)


def test_each_frame_has_its_scale(tmp_path):
    def attributes(frame, _):
        return acquired(TIMES_S[frame]) | {"RescaleSlope": str(1 + frame), "RescaleIntercept": "-3"}

    values = read_series(write_classic(tmp_path / "series", SIGNALS, attributes)).values
    scale = 1 + np.arange(FRAMES)[:, None, None, None]
    np.testing.assert_allclose(values, scale * stored(SIGNALS).astype(float) - 3, rtol=1e-6)


def test_voxels_lie_where_gdcm_puts_them(tmp_path):
    """Independent code for the geometry of one frame."""
    sitk = pytest.importorskip("SimpleITK")
    folder = write_classic(tmp_path / "series", SIGNALS[:1], lambda *_: {})
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image, series = reader.Execute(), read_series(folder)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image).T, series.values[0], rtol=1e-6)
    for index in ((0, 0, 0), (4, 1, 2), (2, 3, 1)):
        place = series.affine.numpy() @ (*index, 1)
        lps = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(place[:3] * (-1, -1, 1), lps, atol=1e-4)


def usual(frame, _):
    return acquired(TIMES_S[frame])


def changed(folder, number, change):
    """Change one of the files, by its number in the series."""
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        if int(image.InstanceNumber) == number:
            change(path, image)
            return


def two_series(folder):
    write_classic(folder, SIGNALS, lambda f, s: usual(f, s) | {"SeriesDescription": "dynamic"})
    for path in list(folder.iterdir()):
        path.rename(path.with_suffix(".dcm"))
    write_classic(folder, SIGNALS[:2], usual)


def truncated(folder):
    write_classic(folder, SIGNALS, usual)
    changed(folder, 7, lambda path, _: path.write_bytes(path.read_bytes()[:-30]))


def no_header(folder):
    write_classic(folder, SIGNALS, usual)
    changed(folder, 7, lambda path, _: path.write_bytes(path.read_bytes()[:300]))


def one_missing(folder):
    write_classic(folder, SIGNALS, usual)
    changed(folder, 8, lambda path, _: path.unlink())


def other_size(folder):
    def shrink(path, image):
        image.Rows, image.PixelData = 2, bytes(2 * 2 * SIZE[0])
        image.save_as(path)

    write_classic(folder, SIGNALS, usual)
    changed(folder, 9, shrink)


def magnitude_and_phase(folder):
    uid = uid_of("both")
    write_classic(folder, SIGNALS, usual, uid=uid)
    for path in list(folder.iterdir()):
        path.rename(path.with_suffix(".dcm"))
    write_classic(folder, SIGNALS, lambda f, s: usual(f, s) | {"InstanceNumber": str(900 + f)}, uid=uid)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_series, r"holds 2 series: .*\(36 files, 'dynamic'\).* give a folder with one"),
        (truncated, "IM.*truncated.* Copy it again"),
        (no_header, "IM.*copy it again"),
        (one_missing, "slice 2 has 11 images, others 12; some are missing"),
        (other_size, "image of 2 × 5 pixels, expected 4 × 5"),
        (magnitude_and_phase, "have the same time and number, as magnitude and phase"),
        (
            lambda f: write_classic(f, SIGNALS, lambda *_: {"Modality": "CT"}),
            "says Modality 'CT', expected MR images",
        ),
        (
            lambda f: write_classic(f, SIGNALS, lambda *_: {"ScanningSequence": "SE"}),
            r"ScanningSequence \['SE'\], expected MR images of a gradient echo",
        ),
        (
            lambda f: write_classic(
                f, SIGNALS, lambda k, s: usual(k, s) | {"RepetitionTime": "5" if k else "6"}
            ),
            "repetition times from 5 to 6 ms",
        ),
        (
            lambda f: write_classic(f, SIGNALS, lambda k, s: usual(k, s) | {"EchoTime": str(20 + k)}),
            "echo times from 20 to 31 ms",
        ),
        (
            lambda f: write_classic(f, SIGNALS, lambda k, s: usual(k, s) | {"FlipAngle": str(9 + s)}),
            "slices of one frame differ in FlipAngle",
        ),
        (
            lambda f: write_classic(f, SIGNALS, lambda k, s: usual(k, s) | {"ImagePositionPatient": None}),
            "do not say where they lie",
        ),
        (lambda f: f.mkdir(), "holds no DICOM image"),
    ],
)
def test_what_is_not_one_whole_series_is_refused(tmp_path, make, message):
    make(tmp_path / "series")
    with pytest.raises(ValueError, match=message):
        read_series(tmp_path / "series")
