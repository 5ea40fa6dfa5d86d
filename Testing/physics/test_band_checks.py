"""Cameras whose table lacks a filter, or whose columns are mixed up, are warned of; sound ones are not."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from monai_inn.physics import cameras
from monai_inn.physics.band_checks import band_warnings
from monai_inn.physics.cameras import Camera
from monai_inn.physics.tables import DATA
from monai_inn.problems import Oximetry

MOSAIC = DATA / "cameras" / "imec_ssm4x4_470_620.csv"
AXIS = np.arange(400.0, 901.0)


def gaussian(centre: float, fwhm: float = 20.0) -> np.ndarray:
    return np.exp(-4 * np.log(2) * ((AXIS - centre) / fwhm) ** 2)


def doubts(names, *bands: np.ndarray, has_filter: bool = False, has_peaks: bool = False) -> list[str]:
    return band_warnings(names, AXIS[0], np.stack(bands), has_filter=has_filter, has_peaks=has_peaks)


def leaky(share: float, centre: float = 520.0, second: float = 800.0) -> np.ndarray:
    """A band with this share of its response in a second peak of the same width."""
    return (1 - share) * gaussian(centre) + share * gaussian(second)


def test_a_mosaic_sensor_without_its_passband_is_warned_of_and_with_it_is_not():
    with pytest.warns(UserWarning, match=r"14 of 16 bands \(band12 93%, .* --passband LOW HIGH") as caught:
        bare = cameras.load(MOSAIC)
    assert bare.warnings == tuple(str(w.message) for w in caught)
    assert len(bare.warnings) == 1
    assert bare.warnings[0].startswith("camera 'imec_ssm4x4_470_620': ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        behind = cameras.load(MOSAIC, passband_nm=(470.0, 620.0))
    assert behind.warnings == ()
    assert (behind.axis_nm[0], behind.axis_nm[-1]) == (470, 620)
    np.testing.assert_array_equal(behind.response, cameras.load("imec_ssm4x4_470_620").response)


@pytest.mark.parametrize("name", cameras.names())
def test_shipped_cameras_are_sound(name):
    assert cameras.load(name).warnings == ()


@pytest.mark.parametrize("share", [0.04, 0.06])
@pytest.mark.parametrize("names", [("a", "b"), ("520", "560"), ("520 nm", "band 560nm"), ("520,0", "560,0")])
def test_five_per_cent_of_a_band_far_away_are_too_many(names, share):
    # The range of names ends one width, 2.35 standard deviations, beyond the first band: 0.9 % are outside.
    percent = "6%" if names == ("a", "b") else "7%"
    found = doubts(names, leaky(share), gaussian(560.0), has_peaks=True)
    assert len(found) == (share > 0.05)
    for text in found:
        assert f"1 of 2 bands ({names[0]} {percent})" in text
        assert ("further from the band's peak" in text) == (names == ("a", "b"))
        assert ("outside 500 to 580 nm" in text) == (names != ("a", "b"))
    assert doubts(names, leaky(share), gaussian(560.0), has_filter=True, has_peaks=True) == []


def test_a_leak_between_the_names_is_found_by_the_centre_of_mass():
    found = doubts(("520", "800"), leaky(0.1), gaussian(800.0))
    assert len(found) == 1
    assert "1 of 2 bands (520 28 nm)" in found[0]  # 0.1 × 280 nm
    assert doubts(("520", "800"), leaky(0.1), gaussian(800.0), has_peaks=True) == []


def test_columns_in_another_order_than_their_names_are_found():
    found = doubts(("520", "560"), gaussian(560.0), gaussian(520.0))
    assert len(found) == 1
    assert "2 of 2 bands (" in found[0]
    assert "520 40 nm" in found[0]
    assert "560 40 nm" in found[0]
    assert "order of the columns" in found[0]
    assert doubts(("560", "520"), gaussian(560.0), gaussian(520.0)) == []


def test_numbers_that_count_bands_are_not_wavelengths():
    counted = [str(i) for i in range(300)]
    assert doubts(counted, *[gaussian(450 + i) for i in range(300)]) == []
    assert doubts(("1", "2"), gaussian(520.0), gaussian(560.0)) == []
    assert doubts(("band01", "band02"), gaussian(520.0), gaussian(560.0)) == []


def test_broad_and_even_bands_are_sound():
    assert doubts(("r", "g"), gaussian(600.0, 120.0), np.ones_like(AXIS)) == []


def test_many_bands_are_counted_and_the_worst_are_named():
    bands = [leaky(0.06 + 0.04 * i) for i in range(10)]
    (text,) = doubts([f"b{i}" for i in range(10)], *bands)
    named = "b9 42%, b8 38%, b7 34%, b6 30%, b5 26%, b4 22%, b3 18%, b2 14%"
    assert f"10 of 10 bands ({named} and 2 more)" in text


def test_a_filter_counts_as_declared_only_if_it_blocks_light():
    lens = ([400.0, 1000.0], [0.8, 0.9])
    with pytest.warns(UserWarning, match="band-pass filter"):
        assert len(Camera.from_csv(MOSAIC, transmission=lens).warnings) == 1
    passed = ([400.0, 465.0, 470.0, 620.0, 625.0, 1000.0], [0.0, 0.0, 0.9, 0.9, 0.0, 0.0])
    assert Camera.from_csv(MOSAIC, transmission=passed).warnings == ()


def test_warnings_and_peaks_travel_with_the_camera_and_are_left_out_where_there_are_none():
    with pytest.warns(UserWarning, match="band-pass filter"):
        camera = Camera.from_csv(MOSAIC, peaks_nm=[500 + 3 * i for i in range(16)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy = Camera.from_config(json.loads(json.dumps(camera.to_config())))
    assert (copy.warnings, copy.peaks_nm) == (camera.warnings, camera.peaks_nm)
    assert Oximetry(copy).application.warnings == camera.warnings
    assert not {"warnings", "peaks_nm"} & set(cameras.load("tivita").to_config())


def table(tmp_path, last: float, beyond: float):
    """A table up to ``last`` nm with two bands; a share ``beyond`` of band ``b`` lies beyond 1000 nm."""
    axis = np.arange(600.0, last + 1)
    a = np.where(axis <= 700, 1.0, 0.0)
    b = np.where(axis <= 1000, (1 - beyond) / (axis <= 1000).sum(), 0.0)
    b[axis > 1000] = beyond / (axis > 1000).sum()
    path = tmp_path / "camera.csv"
    lines = [f"{w:g},{x!r},{y!r}" for w, x, y in zip(axis, a.tolist(), b.tolist(), strict=True)]
    path.write_text("\n".join(["wavelength_nm,a,b", *lines]))
    return path


def test_little_light_beyond_the_tables_of_tissue_is_cut_and_said(tmp_path):
    path = table(tmp_path, 1100, 0.04)
    with pytest.warns(UserWarning, match=r"band 'b' has 4.0% of its response outside 250 to 1000") as caught:
        camera = cameras.load(path)
    assert camera.warnings == (str(caught[0].message),)
    assert camera.axis_nm[-1] == 1000
    Oximetry(camera)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cameras.load(path, passband_nm=(600.0, 1000.0)).warnings == ()
        assert cameras.load(table(tmp_path, 1100, 0.0)).axis_nm[-1] == 1000


def test_much_light_beyond_the_tables_of_tissue_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'b' has 6.0% .* outside .* Give a pass-band") as caught:
        cameras.load(table(tmp_path, 1100, 0.06))
    assert "\n" not in str(caught.value)
