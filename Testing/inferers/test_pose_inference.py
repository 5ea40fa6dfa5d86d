"""From an X-ray to poses: samples, modes, refinement, views."""

from __future__ import annotations

import pytest
import torch
from pose_problems import SMALL, xray

from monai_inn.applications.registration.carm import geodesic_degrees
from monai_inn.applications.registration.poses.inference import infer_pose, pose_space, refine
from monai_inn.applications.registration.views import NetworkForecast, next_views, view_map
from monai_inn.problems import LinearGaussian, PoseRegistration


def test_the_mirror_pose_is_the_other_mode(symmetric):
    torch.manual_seed(0)
    answer = infer_pose(symmetric, xray(symmetric.problem, 35.0, 10.0), samples=2000)
    first, second = answer.modes
    # Two draws of a binomial of 2,000 with p = .5 agree within four standard deviations.
    assert abs(first.mass - 0.5) < 4 * 0.5 / 2000**0.5
    assert first.mass + second.mass == pytest.approx(1)
    places = sorted([first.parameters.tolist(), second.parameters.tolist()])
    assert places[0] == pytest.approx([35, 10], abs=4)
    assert places[1] == pytest.approx([145, -10], abs=4)
    members = torch.cat([first.members, second.members])
    assert members.sort().values.tolist() == list(range(2000))
    distance = pose_space(symmetric.problem).distance(answer.samples[first.members], first.parameters)
    assert float(distance.median()) < 1


def test_refining_finds_the_maximum_of_the_likelihood():
    problem = PoseRegistration(
        detector=SMALL, noise={"sd": 0.02}, free={"lao": (-90, 90), "cra": (-30, 30), "roll": (-15, 15)}
    )
    truth = torch.tensor([20.0, 5.0, -3.0])
    image = xray(problem, *truth.tolist())
    found = refine(problem, image, truth + torch.tensor([3.0, -2.0, 2.0]))
    assert found.gain > 0
    # Within four standard deviations of the Laplace width.
    assert ((found.parameters - truth) / found.sd).abs().max() < 4
    around = found.parameters + torch.eye(3).repeat(2, 1) * torch.tensor([0.5] * 3 + [-0.5] * 3)[:, None]
    with torch.no_grad():
        assert (
            problem.log_likelihood(around, image)
            <= problem.log_likelihood(found.parameters[None], image) + 1e-3
        ).all()


def test_bad_input(symmetric, gaussian_fit):
    with pytest.raises(ValueError, match="not for registration"):
        infer_pose(gaussian_fit, torch.zeros(3))
    assert isinstance(gaussian_fit.problem, LinearGaussian)
    with pytest.raises(ValueError, match="one X-ray is expected"):
        infer_pose(symmetric, torch.rand(2, 256))
    with pytest.raises(ValueError, match="empty"):
        infer_pose(symmetric, torch.zeros(256))


def test_views(pose_fit):
    forecast = NetworkForecast(pose_fit)
    lao, cra = torch.tensor([-135.0, -45.0, 45.0, 135.0]), torch.tensor([-10.0, 10.0])
    found = view_map(forecast, lao, cra)
    assert found.error_mm.shape == found.num_modes.shape == found.wrong_mass.shape == (4, 2)
    assert bool((found.error_mm > 0).all() and (found.num_modes >= 1).all())
    assert bool(((found.wrong_mass >= 0) & (found.wrong_mass <= 1)).all())
    again = view_map(forecast, lao, cra)
    assert torch.equal(found.error_mm, again.error_mm)
    with pytest.raises(ValueError, match="outside the prior"):
        view_map(forecast, lao, torch.tensor([40.0]))
    answer = infer_pose(pose_fit, xray(pose_fit.problem, 30.0, 0.0), samples=400)
    second = next_views(forecast, answer, torch.tensor([-60.0, 0.0, 60.0]), torch.tensor([0.0, 80.0]))
    assert bool(second.error_mm[:, 0].isfinite().all())
    assert bool(second.error_mm[:, 1].isnan().all())  # 80 degrees cranial are outside the prior


def test_geodesic_distance_of_a_mirror_pair(symmetric):
    """35 and 145 degrees differ by far more than anybody would miss."""
    cameras = symmetric.problem.cameras(torch.tensor([[35.0, 10.0], [145.0, -10.0]]).double())
    assert float(geodesic_degrees(*cameras)) > 90
