"""What observations are spoilt with, to see whether a network notices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_inn.applications.registration.corruptions import spoilt as spoilt_xrays
from monai_inn.problems import LinearGaussian, Observation, Oximetry, create
from monai_inn.problems.application import SHUFFLED, shuffled_channels


def test_every_problem_is_tried_on_shuffled_channels():
    problem = LinearGaussian()
    y = problem.simulate(5)[1]
    (found,) = problem.application.corruptions(y).values()
    assert not torch.equal(found, y)
    assert torch.equal(found.sort(1).values, y.sort(1).values)


def test_two_channels_change_places():
    y = torch.tensor([[1.0, 2.0, 30.0]])
    assert shuffled_channels(y, 2).tolist() == [[2.0, 1.0, 30.0]]


def test_what_has_no_order_is_not_shuffled(monkeypatch):
    draws = create("gaussian_mean", most=5)
    assert draws.application.corruptions(draws.simulate(3)[1]) == {}
    one = LinearGaussian()
    monkeypatch.setattr(one, "observation", Observation.pixel("only"))
    assert one.application.corruptions(torch.ones(3, 1)) == {}


@pytest.mark.parametrize("name", ["perfusion", "dsc"])
def test_curves_are_swapped_and_jump_under_a_wrong_clock(name):
    problem = create(name)
    y = problem.simulate(200, seed=1)[1]
    tissue, artery, times = problem.curves(y)
    found = problem.application.corruptions(y)
    assert found.keys() == {SHUFFLED, "artery_for_tissue", "jump_of_the_tissue", "clock_at_half_speed"}
    swapped, jumped, slow = (problem.curves(found[kind]) for kind in [*found][1:])
    torch.testing.assert_close(swapped, (artery, tissue, times), equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(slow, (tissue, artery, times / 2), equal_nan=True, rtol=0, atol=0)
    rise = (jumped[0] - tissue) / tissue.nan_to_num(0.0).amax(1, keepdim=True)
    number = times.isfinite().sum(1, keepdim=True)
    late = torch.arange(times.shape[1]) >= number // 2
    there = tissue.isfinite()
    torch.testing.assert_close(rise[there], 0.5 * late[there].float(), rtol=0, atol=1e-3)


def test_half_of_diffusion_images_have_another_scale():
    problem = create("ivim")
    y = problem.simulate(50, seed=1)[1]
    found = problem.application.corruptions(y)["scale_of_half_the_images"] / y
    number = problem.observation.places
    assert found[:, 0].unique().tolist() == [1.0]
    assert found[:, 1].nanmedian() == 1
    last = y[:, :number].isfinite().sum(1) - 1
    torch.testing.assert_close(found[torch.arange(50), last], torch.full((50,), 1.5))
    assert torch.equal(problem.application.corruptions(y)["scale_of_half_the_images"][:, number:].isnan(),
                       y[:, number:].isnan())  # fmt: skip


def test_contrasts_change_places():
    problem = create("contrast_translation", size=[16, 16])
    y = problem.simulate(3, seed=1)[1]
    found = problem.application.corruptions(y)
    first, second = y.unflatten(1, (-1, 2)).unbind(2)
    assert torch.equal(found["contrasts_swapped"], torch.stack([second, first], 2).flatten(1))
    assert torch.equal(found["first_contrast_again"], torch.stack([first, first], 2).flatten(1))


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
