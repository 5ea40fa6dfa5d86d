"""Two X-rays of one patient: the product of their posteriors, in closed form."""

from __future__ import annotations

import pytest
import torch

from monai_inn.applications.registration.carm import Detector, camera_to_world, gantry_motion, pose_of
from monai_inn.applications.registration.pose_draws import Draws
from monai_inn.applications.registration.pose_fit import Fit, Unknowns
from monai_inn.applications.registration.pose_joint import joined
from monai_inn.applications.registration.problem import RANGES

DETECTOR, TARGET = Detector(32, 32, 7.2), torch.zeros(3).double()
UNKNOWNS = Unknowns.of(RANGES, {})
READING = torch.tensor([1.0, 1.0, 0.5, 2.0, 2.0, 2.0]).double().square()
TURN = ((20.0, 5.0), (-60.0, 0.0))


def posterior(poses: torch.Tensor, sd: torch.Tensor, masses: torch.Tensor) -> Draws:
    n = len(poses)
    x = torch.cat([poses, UNKNOWNS.mean[6:].expand(n, -1)], 1)
    nothing = torch.zeros(n, 1)
    return Draws(poses, masses, torch.arange(n), Fit(x, nothing[:, 0], nothing, nothing), masses,
                 torch.diag(sd.square()).expand(n, 6, 6), 1.0, 1.0, 32)  # fmt: skip


def test_two_normals_multiply():
    first, second = torch.tensor([[30.0, 4, 1, 3, -2, 10], [31, 4.5, 1, 2, -1, 14]]).double()
    sd = torch.tensor([[0.4, 0.6, 0.2, 0.3, 0.3, 8.0], [0.5, 0.2, 0.3, 4.0, 0.4, 0.6]]).double()
    one = torch.ones(1).double()
    found = joined(posterior(first[None], sd[0], one), posterior(second[None], sd[1], one),
                   torch.eye(4).double(), (DETECTOR, DETECTOR), TARGET, UNKNOWNS, 4000, 0)  # fmt: skip
    own, other = sd[0].square().reciprocal(), (sd[1].square() + READING).reciprocal()
    variance = 1 / (own + other)
    mean = variance * (own * first + other * second)
    assert torch.allclose(found.draws.fit.x[0, :6], mean, atol=1e-4)
    assert torch.allclose(found.draws.covariance[0].diagonal(), variance, rtol=1e-4)
    distance = ((first - second).square() / (1 / own + 1 / other)).sum()
    assert found.distance == pytest.approx(float(distance), rel=1e-4)
    # Means of 4,000 draws are known to a 63rd of the standard deviation.
    assert ((found.draws.samples.mean(0) - mean) / variance.sqrt()).abs().max() < 5 / 63


def test_a_second_view_tells_two_poses_apart():
    truth = torch.tensor([20.0, 3, 2, 4, -5, 8]).double()
    motion = gantry_motion(*TURN, DETECTOR)
    second = pose_of(camera_to_world(truth, DETECTOR, TARGET) @ motion, DETECTOR, TARGET)
    mirrored, wrong = (
        truth * torch.tensor([-1.0, 1, 1, -1, 1, 1]),
        second + torch.tensor([25.0, 0, 0, 0, 0, 0]),
    )
    sd = torch.tensor([0.5, 0.5, 0.3, 0.4, 0.4, 4.0]).double()
    found = joined(
        posterior(torch.stack([mirrored, truth]), sd, torch.tensor([0.7, 0.3]).double()),
        posterior(torch.stack([wrong, second]), sd, torch.tensor([0.6, 0.4]).double()),
        motion, (DETECTOR, DETECTOR), TARGET, UNKNOWNS, 1000, 0,
    )  # fmt: skip
    assert len(found.draws.masses) == 1
    assert torch.allclose(found.draws.fit.x[0, :6], truth, atol=0.1)
    assert found.partner.tolist() == [1]
    assert found.distance < 0.1


def test_x_rays_of_two_patients_do_not_agree():
    first, second = torch.tensor([[30.0, 4, 1, 3, -2, 10], [-90, 4.5, 1, 2, -1, 14]]).double()
    sd, one = torch.full((6,), 0.5).double(), torch.ones(1).double()
    found = joined(posterior(first[None], sd, one), posterior(second[None], sd, one),
                   gantry_motion(*TURN, DETECTOR), (DETECTOR,) * 2, TARGET, UNKNOWNS, 100, 0)  # fmt: skip
    assert found.distance > 22.46
