"""Bundles of former releases load to the numbers that they had."""

from __future__ import annotations

import pytest
import torch

import monai_inn as mi
from monai_inn.fitted.layout import PRETRAINED, WEIGHTS
from monai_inn.fitted.older import upgraded
from monai_inn.fitted.reading import describe

# Of the only shipped bundle from before networks were made of parts: log densities of the truth of four
# simulations (seed 3), and their WAIC.
DENSITY, WAIC = [-2.5642, -5.9738, -3.6251, -4.9553], [37.7319, 37.7309, 36.5154, 37.8855]


def test_a_bundle_of_before_has_the_numbers_of_before():
    pytest.importorskip("nanodrr", reason="X-rays are simulated by nanodrr")
    fitted = mi.load("lumbar_spine")
    theta, y = fitted.problem.simulate(32, seed=3)
    with torch.no_grad():
        density, waic = fitted.posterior(y[:4]).log_prob(theta[:4]), fitted.waic(y[:4])
    assert torch.allclose(density, torch.tensor(DENSITY), atol=2e-3)
    assert torch.allclose(waic, torch.tensor(WAIC), atol=2e-3)


def test_what_is_written_today_needs_no_change(gaussian_fit, tmp_path):
    from monai_inn.fitted.reading import read_weights

    gaussian_fit.save(tmp_path / "bundle")
    header, tensors = read_weights(tmp_path / "bundle", describe(tmp_path / "bundle"))
    again = upgraded(header, tensors)
    assert again[0] is header
    assert again[1] is tensors


def test_a_bundle_of_before_is_written_in_the_form_of_today(tmp_path):
    pytest.importorskip("nanodrr", reason="X-rays are simulated by nanodrr")
    fitted = mi.load("lumbar_spine")
    fitted.save(tmp_path / "bundle")
    again = mi.load(tmp_path / "bundle")
    assert again.network.config == fitted.network.config
    state = fitted.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.network.state_dict().items())
    assert (PRETRAINED / "lumbar_spine" / WEIGHTS).is_file()


def test_knots_of_a_recalibration_have_become_a_base(gaussian_fit):
    network = {**gaussian_fit.network.config, "recalibration_knots": 3}
    header, _ = upgraded({"network": network}, {})
    groups = network["flow"]["groups"]
    assert header["network"]["base"] == {"kind": "adjusted_normal", "groups": groups, "knots": 3}
    assert "base" not in upgraded({"network": {**network, "recalibration_knots": 0}}, {})[0]["network"]
