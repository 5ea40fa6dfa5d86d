"""Pictures: what is striped, which way is up, scales from the prior alone, no global plotting state."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import LogNorm
from monai.data import MetaTensor
from PIL import Image

from monai_inn.metrics import calibration_curve
from monai_inn.problems import Parameter
from monai_inn.reports import calibration_figure, map_figure
from monai_inn.reports.figures import _norms
from monai_inn.reports.pictures import PATTERNS, colour_rendering, cover, plane
from monai_inn.reports.scales import prior_scale


@pytest.mark.parametrize(("pattern", "share"), [("not explained", 3 / 16), ("not informative", 25 / 256)])
def test_only_the_mask_is_covered_marked_and_outlined(pattern, share):
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    overlay = cover(mask, pattern)
    large = mask.repeat(8, 0).repeat(8, 1)
    assert overlay.shape == (320, 480, 4)
    assert (overlay[~large] == 0).all()
    assert (overlay[large][:, 3] > 0).all()
    colour = np.round(255 * np.array(PATTERNS[pattern][0]))
    marked = (overlay[..., :3] == colour).all(-1) & (overlay[..., 3] == 255)
    assert abs(marked[100:220, 180:380].mean() - share) < 0.01
    assert marked[80:240, 160].all()  # the outline
    assert marked[80, 160:400].all()


def test_rows_stay_rows_and_volumes_with_x_first_are_turned():
    flat = torch.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(plane(flat, {}), flat)
    np.testing.assert_array_equal(plane(flat, {"filename_or_obj": "scan.nii.gz"}), flat.T)
    volume = torch.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(plane(volume, {"filename_or_obj": "scan.nrrd"}), volume[..., 2].T)
    np.testing.assert_array_equal(plane(volume, {}), volume[1])
    assert plane(torch.arange(5.0), {}).shape == (1, 5)


def test_colours_are_those_of_the_nearest_bands():
    image = torch.zeros(4, 2, 2)
    image[3], image[2, 0], image[1] = 1.0, 0.5, torch.nan
    shown = colour_rendering(image, {}, np.array([400.0, 470.0, 550.0, 620.0]))
    assert (shown[..., 0] == 1).all()
    np.testing.assert_allclose(shown[0, :, 1], 0.5 ** (1 / 2.2))
    assert (shown[..., 2] == 0.5).all()  # grey where a band is missing


@pytest.mark.parametrize(
    ("parameter", "bounds", "width"),
    [
        (Parameter("a", "1", 0.0, 2.0), (0.0, 2.0), 1.9),
        (Parameter("b", "1", 0.01, 1.0, scale="log"), (0.01, 1.0), 0.01**0.025 - 0.01**0.975),
        (Parameter("c", "mm", -torch.inf, torch.inf), (-2.94, 2.94), 3.92),
    ],
)
def test_colour_scales_are_those_of_the_prior(parameter, bounds, width):
    norm, width_norm = _norms(parameter, prior_scale(parameter))
    np.testing.assert_allclose((norm.vmin, norm.vmax), bounds, atol=1e-3)
    np.testing.assert_allclose((width_norm.vmin, width_norm.vmax), (0, width), atol=1e-3)
    assert isinstance(norm, LogNorm) == (parameter.scale == "log")


@pytest.mark.parametrize("below", [None, {"sao2": 0.5, "vhb": 0.1}])
def test_map_figure_is_a_picture_also_without_a_valid_pixel(camera_fit, image, tmp_path, below):
    for name, shown in (("all", image), ("none", torch.full_like(image, torch.nan))):
        path = map_figure(
            camera_fit.maps(MetaTensor(shown), samples=8, below=below),
            shown,
            tmp_path / f"{name}.png",
            camera_fit,
        )
        with Image.open(path) as picture:
            assert min(picture.size) > 500
            assert "Research only" in picture.text["Description"]


def test_calibration_figure_wants_a_name_for_each_parameter(tmp_path):
    torch.manual_seed(0)
    curve = calibration_curve(torch.randn(63, 500, 2), torch.randn(500, 2))
    assert calibration_figure(curve, ["a", "b"], 500, tmp_path / "c.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="1 names for 2 parameters"):
        calibration_figure(curve, ["a"], 500, tmp_path / "d.png")


def test_figures_do_not_touch_pyplot():
    code = "import sys, monai_inn.reports.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0
