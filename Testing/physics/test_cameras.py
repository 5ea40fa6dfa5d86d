from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from monai_inn.applications.oximetry.problem import Oximetry
from monai_inn.physics import cameras
from monai_inn.physics.cameras import Camera

ROWS = 20_000


def quiet(**settings) -> Camera:
    """Ten contiguous bands with all noise off but what is asked for."""
    off = {"read_noise": 0.0, "calibration_sd": 0.0, "glare_max": 0.0, "white_snr": (1e9, 1e9)}
    return Camera.from_centres(np.arange(500.0, 600.0, 10.0), 8.0, **{**off, **settings})


def noisy(camera: Camera, y: torch.Tensor, seed: int = 0, **options) -> torch.Tensor:
    return camera.noise(y, torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("name", cameras.names())
def test_white_is_one_in_every_band(name):
    camera = cameras.load(name)
    grid = camera.simulation_grid()
    assert (np.diff(grid) > 0).all()
    weights = camera.weights(grid)
    assert weights.shape == (camera.num_bands, grid.size)
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-12)
    white = camera.observe(torch.ones(2, grid.size, dtype=torch.float64), grid)
    torch.testing.assert_close(
        white, torch.ones(2, camera.num_bands, dtype=torch.float64), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", cameras.names())
def test_weights_are_the_quadrature_of_the_interpolated_spectrum(name):
    camera = cameras.load(name)
    grid = camera.simulation_grid()
    spectrum = np.sin(grid / 37) + 2
    fine = np.interp(camera.axis_nm, grid, spectrum)
    direct = (camera.response * fine).sum(1) / camera.response.sum(1)
    np.testing.assert_allclose(camera.weights(grid) @ spectrum, direct, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "limit"), [("imec_ssm4x4_470_620", 2e-3), ("imec_ssm5x5_600_875", 2e-3), ("tivita", 4e-3)]
)
def test_simulation_grid_is_fine_enough_for_tissue(name, limit):
    camera = cameras.load(name)
    problem = Oximetry(camera)
    theta = problem.space.sample_prior(40, torch.Generator().manual_seed(1))
    problem_1nm = Oximetry(camera)
    problem_1nm.wavelength_nm = tuple(camera.axis_nm.tolist())
    fine = problem_1nm.layer_properties(theta)
    from monai_inn.physics.transport.layers_kernel import diffuse_reflectance

    def bands(layers, wavelength):
        mu_a, mu_s, depth, n = (v.numpy() for v in layers)
        return diffuse_reflectance(mu_a, mu_s, 0.9, depth, n, bands=camera.weights(wavelength))

    coarse = bands(problem.layer_properties(theta), problem.wavelength_nm)
    exact = bands(fine, camera.axis_nm)
    assert abs(coarse - exact).max() < limit
    assert abs(coarse - exact).mean() < 2e-4


def test_shipped_cameras_see_their_nominal_range():
    peaks = [
        "481",
        "485",
        "481",
        "636",
        "590",
        "600",
        "576",
        "565",
        "633",
        "488",
        "624",
        "614",
        "527",
        "539",
        "512",
        "500",
    ]
    camera = cameras.load("imec_ssm4x4_470_620")
    axis, response = camera.axis_nm, camera.response
    assert axis[0] == 470
    assert axis[-1] == 620
    # Some bands peak a second time behind another order of the filter.
    found = [abs(axis[band.argmax()] - float(peak)) <= 3 for band, peak in zip(response, peaks, strict=True)]
    assert sum(found) >= 11
    tivita = cameras.load("tivita")
    np.testing.assert_allclose(tivita.centre_nm[1:-1], (500 + np.arange(100) * 500 / 99)[1:-1], atol=0.05)
    assert tivita.contiguous
    assert tivita.wavelength_jitter_nm == 2.5


@pytest.mark.parametrize("name", cameras.names())
def test_configuration_holds_the_whole_camera(name):
    camera = cameras.load(name)
    copy = Camera.from_config(json.loads(json.dumps(camera.to_config())))
    np.testing.assert_array_equal(copy.response, camera.response)
    assert copy.to_config() == camera.to_config()
    y = torch.full((5, camera.num_bands), 0.3)
    torch.testing.assert_close(noisy(copy, y), noisy(camera, y), rtol=0, atol=0)


def test_noise_is_off_when_switched_off():
    y = torch.rand(7, 10, dtype=torch.float64)
    torch.testing.assert_close(noisy(quiet(), y), y, rtol=1e-8, atol=1e-8)


def test_glare_is_one_uniform_offset_a_row():
    camera = quiet(glare_max=0.02)
    added = noisy(camera, torch.full((ROWS, 10), 0.4, dtype=torch.float64)) - 0.4
    assert float((added - added[:, :1]).abs().max()) < 1e-8
    assert float(added.min()) > -1e-8
    assert float(added.max()) < 0.02 + 1e-8
    # Five standard errors of the mean of a uniform distribution.
    assert float(added[:, 0].mean()) == pytest.approx(0.01, abs=5 * 0.02 / (12 * ROWS) ** 0.5)


def test_calibration_is_one_gain_a_band():
    gains = noisy(quiet(calibration_sd=0.015), torch.full((ROWS, 10), 0.5, dtype=torch.float64)) / 0.5
    count = gains.numel()
    assert float(gains.mean()) == pytest.approx(1.0, abs=5 * 0.015 / count**0.5)
    assert float(gains.std()) == pytest.approx(0.015, abs=5 * 0.015 / (2 * count) ** 0.5)
    scaled = noisy(quiet(calibration_sd=0.015), torch.full((ROWS, 10), 0.1, dtype=torch.float64)) / 0.1
    torch.testing.assert_close(scaled, gains, rtol=0, atol=1e-7)


@pytest.mark.parametrize("level", [0.0, 0.04, 0.64])
def test_variance_is_shot_plus_read_noise(level):
    camera = quiet(white_snr=(50.0, 50.0), read_noise=2e-3)
    y = noisy(camera, torch.full((ROWS, 10), level, dtype=torch.float64))
    variance = level / 50**2 + 2e-3**2
    count = y.numel()
    assert float(y.mean()) == pytest.approx(level, abs=5 * (variance / count) ** 0.5)
    assert float(y.var()) == pytest.approx(variance, rel=5 * (2 / count) ** 0.5)


def test_signal_to_noise_is_log_uniform():
    camera = quiet(white_snr=(25.0, 200.0))
    residual = noisy(camera, torch.ones(ROWS, 10, dtype=torch.float64)) - 1
    # E[1 / SNR²] over a log-uniform range; ten bands share one draw, so a bound from the spread of the rows.
    expected = (25.0**-2 - 200.0**-2) / (2 * np.log(8))
    rows = residual.square().mean(1)
    assert float(rows.mean()) == pytest.approx(expected, abs=5 * float(rows.std()) / ROWS**0.5)


def test_jitter_shifts_the_wavelength_axis():
    camera = quiet(wavelength_jitter_nm=2.0)
    slope = 1e-3
    line = torch.from_numpy(0.2 + slope * (camera.centre_nm - 500)).expand(2000, 10)
    shift = (noisy(camera, line) - line) / slope
    assert float((shift - shift[:, :1]).abs().max()) < 1e-4
    assert float(shift.abs().max()) <= 2.0 + 1e-4
    assert float(shift[:, 0].std()) == pytest.approx(2 / 3**0.5, rel=0.1)


def test_an_image_shares_one_draw_but_not_its_pixel_noise():
    camera = quiet(glare_max=0.02, calibration_sd=0.015)
    image = noisy(camera, torch.full((3, 10, 6, 5), 0.5, dtype=torch.float64), per_image=True)
    assert image.shape == (3, 10, 6, 5)
    assert float((image - image[..., :1, :1]).abs().max()) < 1e-8
    assert float((image[0] - image[1]).abs().max()) > 1e-3
    pixels = noisy(
        quiet(read_noise=0.01), torch.full((1, 10, 60, 50), 0.5, dtype=torch.float64), per_image=True
    )
    assert float(pixels.std()) == pytest.approx(0.01, rel=5 * (2 * 30_000) ** -0.5)


def test_wrong_band_count_is_refused():
    with pytest.raises(ValueError, match="expected 10 bands"):
        quiet().noise(torch.zeros(4, 9))


def test_light_source_weighs_the_response():
    flat = Camera.from_centres([500.0, 540.0, 600.0], 40.0)
    red = Camera.from_centres([500.0, 540.0, 600.0], 40.0, illuminant=([400.0, 700.0], [0.0, 1.0]))
    assert (red.centre_nm > flat.centre_nm + 1).all()


CSV = "# made by hand\nwavelength_nm,red,green\n500,0.1,0.9\n510,0.5,0.5\n520,0.9,0.1\n"


def test_reads_a_table(tmp_path):
    path = tmp_path / "hand.csv"
    path.write_text(CSV)
    camera = cameras.load(path)
    assert camera.name == "hand"
    assert camera.band_names == ("red", "green")
    np.testing.assert_array_equal(camera.axis_nm, np.arange(500.0, 521.0))
    np.testing.assert_allclose(camera.response[0], (0.1 + 0.04 * np.arange(21)) / 0.9, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("500,0.1,0.9\n510,0.5,0.5\n", "no header line"),
        (CSV.replace("0.5,0.5", "0.5,much"), "data row 2, column 'green': 'much'"),
        (CSV.replace("0.5,0.5", "0.5,-0.1"), "negative response -0.1"),
        (CSV.replace("510", "530"), "wavelengths must ascend"),
        (
            "band,red,green\n1,0.1,0.9\n2,0.5,0.5\n3,0.9,0.1\n",
            "'band', runs from 1 to 3, expected wavelengths",
        ),
        ("red,green,blue\n0.1,0.9,0.2\n0.9,0.5,0.5\n0.5,0.1,0.4\n", "'red', runs from 0.1 to 0.9, expected"),
        (
            "um,red,green\n0.50,0.1,0.9\n0.51,0.5,0.5\n",
            "'um', runs from 0.5 to 0.51, expected wavelengths in nm",
        ),
        (CSV.replace("0.5,0.5", "0.5"), "has 2 cells"),
        (
            CSV.replace("0.9\n", "0\n").replace(",0.5\n", ",0\n").replace(",0.1\n", ",0\n"),
            "band 'green' sees nothing",
        ),
        ("wavelength_nm,red\n500,1\n510,1\n", "at least two bands"),
        ("wavelength_nm,red,green\n", "is empty"),
        (CSV.replace("500", "nan"), "not a number"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        cameras.load(path)
    assert "\n" not in str(caught.value)


def test_empty_pass_band_is_refused(tmp_path):
    path = tmp_path / "hand.csv"
    path.write_text(CSV)
    with pytest.raises(ValueError, match="does not cover the pass-band"):
        Camera.from_csv(path, passband_nm=(600.0, 700.0))


def test_unknown_camera_is_refused():
    with pytest.raises(ValueError, match="tivita"):
        cameras.load("kodak")
