"""Bundles of former releases load to the numbers that they had."""

from __future__ import annotations

import pytest
import torch

import monai_inn as mi
from monai_inn.bundles.layout import PRETRAINED, WEIGHTS
from monai_inn.bundles.older import upgraded
from monai_inn.bundles.reading import describe

# Log densities of the truth of four simulations (seed 3), and their WAIC, before networks were made of parts.
KNOWN = {
    "oximetry": ([16.9067, 11.6693, 9.6158, 10.1638], [-45.2546, -45.648, -42.3267, -47.1015]),
    "oximetry_rgb": ([8.5617, 1.2992, 2.9674, 4.5707], [-1.5607, -2.4059, -1.0645, -1.9382]),
    "lumbar_spine": ([-2.5642, -5.9738, -3.6251, -4.9553], [37.7319, 37.7309, 36.5154, 37.8855]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_shipped_bundles_have_the_numbers_of_before(name):
    if name == "lumbar_spine":
        pytest.importorskip("nanodrr", reason="X-rays are simulated by nanodrr")
    fitted = mi.load(name)
    theta, y = fitted.problem.simulate(32, seed=3)
    with torch.no_grad():
        density, waic = fitted.posterior(y[:4]).log_prob(theta[:4]), fitted.waic(y[:4])
    assert torch.allclose(density, torch.tensor(KNOWN[name][0]), atol=2e-3)
    assert torch.allclose(waic, torch.tensor(KNOWN[name][1]), atol=2e-3)


def test_what_is_written_today_needs_no_change(gaussian_fit, tmp_path):
    from monai_inn.bundles.reading import read_weights

    gaussian_fit.save(tmp_path / "bundle")
    header, tensors = read_weights(tmp_path / "bundle", describe(tmp_path / "bundle"))
    again = upgraded(header, tensors)
    assert again[0] is header
    assert again[1] is tensors


def test_a_bundle_of_before_is_written_in_the_form_of_today(tmp_path):
    fitted = mi.load("oximetry_rgb")
    fitted.save(tmp_path / "bundle")
    again = mi.load(tmp_path / "bundle")
    assert again.network.config == fitted.network.config
    state = fitted.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.network.state_dict().items())
    assert (PRETRAINED / "oximetry_rgb" / WEIGHTS).is_file()


def test_knots_of_a_recalibration_have_become_a_base(gaussian_fit):
    network = {**gaussian_fit.network.config, "recalibration_knots": 3}
    header, _ = upgraded({"network": network}, {})
    groups = network["flow"]["groups"]
    assert header["network"]["base"] == {"kind": "adjusted_normal", "groups": groups, "knots": 3}
    assert "base" not in upgraded({"network": {**network, "recalibration_knots": 0}}, {})[0]["network"]
