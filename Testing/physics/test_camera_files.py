"""Camera files, pass-bands, filters and light sources: equal to integrals by hand, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_inn.physics import cameras
from monai_inn.physics.cameras import Camera
from monai_inn.physics.tables import DATA
from monai_inn.problems import Oximetry

RESPONSES = "wavelength_nm,red,green\n500,0,1\n510,1,0.5\n520,0.5,0\n530,0,0\n"
FILTER = "wavelength_nm;transmission\n490;0\n500;0,2\n520;1\n530;0,9\n540;0\n"
LIGHT = "wavelength_nm\tpower\n480\t2\n540\t8\n"
PEAKS = {"peaks_nm": [511, 502]}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, text in (("responses.csv", RESPONSES), ("filter.csv", FILTER), ("light.tsv", LIGHT)):
        (tmp_path / name).write_text(text)
    return tmp_path


def written(folder: Path, **entries) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps({"responses": "responses.csv"} | entries))
    return path


def test_response_times_filter_times_light_is_the_integral_by_hand(folder):
    path = written(folder, filter="filter.csv", illumination="light.tsv", passband_nm=[502, 528])
    camera = cameras.load(path)
    nm = np.arange(502, 529)
    red = np.where(nm <= 510, (nm - 500) / 10, np.where(nm <= 520, 1 - (nm - 510) / 20, (530 - nm) / 20))
    passed = np.where(nm <= 520, 0.2 + 0.04 * (nm - 500), 1 - 0.01 * (nm - 520))
    light = 2 + (nm - 480) / 10
    seen = red * passed * light
    np.testing.assert_array_equal(camera.axis_nm, nm)
    np.testing.assert_allclose(camera.weights(nm)[0], seen / seen.sum(), rtol=1e-5)
    spectrum = 0.1 + 0.01 * (nm - 500)
    by_hand = (seen * spectrum).sum() / seen.sum()
    observed = camera.observe(torch.from_numpy(spectrum), nm)
    assert float(observed[0]) == pytest.approx(by_hand, rel=1e-5)
    assert camera.centre_nm[0] == pytest.approx((seen * nm).sum() / seen.sum(), rel=1e-6)


@pytest.mark.parametrize("scaled", ["0;0\n500;20\n520;100\n530;90", "0;0%\n500;20%\n520;100%\n530;90,0 %"])
def test_the_scale_of_a_curve_does_not_matter(folder, scaled):
    expected = cameras.load(written(folder, filter="filter.csv")).response
    (folder / "filter.csv").write_text(f"nm;percent\n49{scaled}\n540;0\n")
    np.testing.assert_allclose(
        cameras.load(written(folder, filter="filter.csv")).response, expected, rtol=1e-5
    )


def test_a_camera_file_sets_everything_and_paths_are_relative_to_it(folder, monkeypatch):
    noise = {"white_snr": [40, 150], "read_noise": 0.002, "calibration_sd": 0.03, "glare_max": 0.01}
    path = written(folder, name="lab 3", noise=noise, **PEAKS)
    monkeypatch.chdir("/")
    camera = cameras.load(path)
    assert camera.name == "lab 3"
    assert camera.white_snr == (40, 150)
    assert (camera.read_noise, camera.calibration_sd, camera.glare_max) == (0.002, 0.03, 0.01)
    assert camera.peaks_nm == (511, 502)
    problem = Oximetry(camera=path)
    assert problem.camera.to_config() == camera.to_config()
    np.testing.assert_array_equal(Camera.from_config(problem.to_config()["camera"]).response, camera.response)
    assert cameras.load(written(folder)).name == "mine"


def test_without_filter_and_light_a_camera_file_is_its_table(folder):
    by_table = cameras.load(folder / "responses.csv")
    np.testing.assert_array_equal(cameras.load(written(folder)).response, by_table.response)
    cut = cameras.load(written(folder), passband_nm=(505.0, 520.0))
    np.testing.assert_array_equal(
        cut.response, cameras.load(written(folder, passband_nm=[505, 520])).response
    )


def test_shipped_cameras_are_camera_files():
    files = sorted((DATA / "cameras").glob("*.json"))
    assert [path.stem for path in files] == [name for name in cameras.names() if name != "tivita"]
    for path in files:
        assert cameras.load(path).to_config() == cameras.load(path.stem).to_config()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"responses": 7}, "7 is not of type 'string', at responses"),
        ({"passband": [470, 620]}, "'passband' was unexpected.*Entries are name, responses, passband_nm"),
        ({"passband_nm": [470]}, "at passband_nm"),
        ({"noise": {"snr": 4}}, "'snr' was unexpected"),
        ({"noise": {"read_noise": -1}}, "at noise/read_noise"),
        ({"noise": {"white_snr": [90, 30]}}, "expected 0 < low <= high"),
        ({"noise": {"wavelength_jitter_nm": 1}}, "needs contiguous narrow bands"),
        ({"responses": "none.csv"}, "none.csv: no such file"),
        ({"responses": "a\0b.csv"}, "at responses"),
        ({"filter": "none.csv"}, "none.csv: no such file"),
        ({"filter": "responses.csv"}, "responses.csv has 3 columns; expected wavelength_nm and one column"),
        ({"passband_nm": [620, 470]}, "not a range; give the lower"),
        ({"passband_nm": [505, 700]}, "covers 500 to 530 nm, which does not cover the pass-band 505 to 700"),
        ({"passband_nm": [600, 700]}, "does not cover the pass-band"),
        ({"passband_nm": [505.2, 505.9]}, "fewer than two whole nanometres"),
        ({"passband_nm": [521, 530]}, "band 'green' sees nothing from 521"),
        ({"peaks_nm": [511]}, "at peaks_nm"),
        ({"peaks_nm": [511, 502, 530]}, "'mine' has 2 bands and peaks_nm"),
        ({"peaks_nm": [511, 511]}, "bands 'red' and 'green' are both 511 nm"),
    ],
)
def test_bad_camera_files_are_refused_in_one_line(folder, entries, words):
    with pytest.raises(ValueError, match=words) as caught:
        cameras.load(written(folder, **entries))
    assert "\n" not in str(caught.value)


def test_a_camera_file_whose_table_has_no_wavelengths_is_refused_in_one_line(folder):
    rows = RESPONSES.replace("wavelength_nm", "row").splitlines()
    numbered = [rows[0], *(f"{i},{row.partition(',')[2]}" for i, row in enumerate(rows[1:], 1))]
    (folder / "responses.csv").write_text("\n".join(numbered))
    with pytest.raises(ValueError, match=r"'row', runs from 1 to 4, expected wavelengths in nm") as caught:
        cameras.load(written(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"responses": NaN}', "[" * 5000, '{"name": "x"'])
def test_what_is_not_a_camera_file_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "camera.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"camera\.json: is not a camera file") as caught:
        cameras.load(path)
    assert "\n" not in str(caught.value)


def test_curves_must_be_known_where_the_camera_sees(folder):
    (folder / "filter.csv").write_text("nm,t\n400,0.9\n505,0.9\n")
    with pytest.raises(ValueError, match="the transmission of the filter is given from 400 to 505 nm"):
        cameras.load(written(folder, filter="filter.csv"))
    (folder / "light.tsv").write_text("nm,power\n400,1\n505,1\n")
    with pytest.raises(ValueError, match="the light source is given from 400 to 505 nm"):
        cameras.load(written(folder, illumination="light.tsv"))
    # A filter that has closed where its table ends is known well enough, and so is the light behind it.
    (folder / "filter.csv").write_text("nm,t\n400,0.9\n504,0.9\n505,0\n")
    camera = cameras.load(written(folder, filter="filter.csv", illumination="light.tsv"))
    assert camera.axis_nm[-1] == 504
    (folder / "filter.csv").write_text("nm,t\n400,0.9\n505,-0.2\n")
    with pytest.raises(ValueError, match="negative"):
        cameras.load(written(folder, filter="filter.csv"))


def test_a_table_that_ends_one_step_early_may_have_the_passband_of_its_filter(folder):
    assert cameras.load(folder / "responses.csv", passband_nm=(490.0, 540.0)).axis_nm[0] == 500
    with pytest.raises(ValueError, match="does not cover the pass-band 489 to 540"):
        cameras.load(folder / "responses.csv", passband_nm=(489.0, 540.0))


@pytest.mark.parametrize("passband", [(float("nan"), 520.0), (500.0, float("inf")), (510.0, 510.0)])
def test_a_passband_is_a_finite_range(folder, passband):
    with pytest.raises(ValueError, match="not a range"):
        cameras.load(folder / "responses.csv", passband_nm=passband)


def test_a_passband_belongs_to_one_camera_only(folder):
    for name in cameras.names():
        with pytest.raises(ValueError, match=f"camera '{name}' is shipped with its own pass-band"):
            cameras.load(name, passband_nm=(500.0, 520.0))
    with pytest.raises(ValueError, match="has a passband_nm already"):
        cameras.load(written(folder, passband_nm=[505, 520]), passband_nm=(500.0, 520.0))
