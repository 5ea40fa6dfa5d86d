"""What observations are spoilt with, to see whether a network notices."""

from __future__ import annotations

import math

import numpy as np
import torch

from monai_inn.applications.registration.corruptions import spoilt as spoilt_xrays
from monai_inn.problems import LinearGaussian, Oximetry
from monai_inn.problems.application import SHUFFLED


def test_every_problem_is_tried_on_shuffled_channels():
    problem = LinearGaussian()
    y = problem.simulate(5)[1]
    (found,) = problem.application.corruptions(y).values()
    assert not torch.equal(found, y)
    assert torch.equal(found.sort(1).values, y.sort(1).values)


def test_a_camera_sees_an_absorber_and_wrong_bands():
    problem = Oximetry("imec_ssm4x4_470_620")
    y = problem.simulate(5)[1]
    found = problem.application.corruptions(y)
    assert found.keys() == {SHUFFLED, "absorber_in_the_middle", "bands_25_nm_off"}
    ratio = found["absorber_in_the_middle"] / y
    centre = problem.camera.centre_nm
    middle = int(np.abs(centre - centre.mean()).argmin())
    assert ratio.argmin(1).unique().tolist() == [middle]
    assert abs(math.log(float(ratio[0, middle])) + 0.3) < 0.02
    order = np.argsort(centre)
    first = int(order[0])
    expected = np.interp(centre[first] + 25, centre[order], y[0].numpy()[order])
    assert abs(float(found["bands_25_nm_off"][0, first]) - expected) < 1e-6


def test_xrays_are_changed_in_ways_that_happen():
    y = torch.rand(3, 6 * 8, generator=torch.Generator().manual_seed(0))
    found = spoilt_xrays(y, (6, 8))
    assert all(rows.shape == y.shape for rows in found.values())
    torch.testing.assert_close(spoilt_xrays(found["mirrored"], (6, 8))["mirrored"], y)
    torch.testing.assert_close(found["exposure_20_percent_off"], 1.2 * y)
    added = (found["metal_rod"] - y).reshape(3, 6, 8)
    assert ((added < 1e-5) | ((added - 0.8).abs() < 1e-5)).all()
    assert 0 < (added > 0.5).float().mean() < 0.2
    assert (found["collimated"] == 1.2).float().mean() > 0.5
    assert not torch.allclose(found["rotated_by_30_degrees"], y)
