"""Several X-rays of one patient: the product of their posteriors, in closed form."""

from __future__ import annotations

import pytest
import torch

from monai_inn.applications.registration.carm import RANGES, Detector, camera_to_world, gantry_motion, pose_of
from monai_inn.applications.registration.poses.draws import Draws
from monai_inn.applications.registration.poses.fit import Fit, Unknowns
from monai_inn.applications.registration.poses.joint import View, agreeing, joined, most_apart

DETECTOR, TARGET = Detector(32, 32, 7.2), torch.zeros(3).double()
UNKNOWNS = Unknowns.of(RANGES, {})
READING = torch.tensor([1.0, 1.0, 0.5, 2.0, 2.0, 2.0]).double()
TURNS = ((20.0, 5.0), (-60.0, 0.0), (-20.0, -10.0), (65.0, 8.0))
TRUTH = torch.tensor([20.0, 3, 2, 4, -5, 8]).double()
SD = torch.tensor([0.5, 0.5, 0.3, 0.4, 0.4, 4.0]).double()
ONE = torch.ones(1).double()


def view(poses: torch.Tensor, sd: torch.Tensor, masses: torch.Tensor, shown=(0.0, 0.0)) -> View:
    n = len(poses)
    x = torch.cat([poses, UNKNOWNS.mean[6:].expand(n, -1)], 1)
    nothing = torch.zeros(n, 1)
    draws = Draws(poses, masses, torch.arange(n), Fit(x, nothing[:, 0], nothing, nothing), masses,
                  torch.diag(sd.square()).expand(n, 6, 6), 1.0, 1.0, 32, 32.0, 0.0)  # fmt: skip
    return View(draws, DETECTOR, shown)


def seen(number: int, pose: torch.Tensor = TRUTH) -> torch.Tensor:
    """A pose of the first X-ray as one of another."""
    motion = gantry_motion(TURNS[0], TURNS[number], DETECTOR)
    return pose_of(camera_to_world(pose, DETECTOR, TARGET) @ motion, DETECTOR, TARGET)


def drawn_views(count: int, seed: int) -> list[View]:
    """X-rays of a patient at rest: poses off by their widths, the gantry by its readings."""
    generator = torch.Generator().manual_seed(seed)
    views = []
    for number in range(count):
        reading, noise = torch.randn(2, 6, generator=generator, dtype=torch.float64)
        pose = seen(number, TRUTH + READING * reading if number else TRUTH) + SD * noise
        views.append(view(pose[None], SD, ONE, TURNS[number]))
    return views


@pytest.mark.parametrize("count", [2, 3, 5])
def test_normals_multiply(count):
    generator = torch.Generator().manual_seed(count)
    means = TRUTH + torch.randn(count, 6, generator=generator, dtype=torch.float64)
    sd = torch.rand(count, 6, generator=generator, dtype=torch.float64) * 3 + 0.2
    found = joined([view(m[None], s, ONE) for m, s in zip(means, sd, strict=True)], TARGET, UNKNOWNS, 4000, 0)
    precision = (sd.square() + READING.square() * (torch.arange(count) > 0)[:, None]).reciprocal()
    variance = 1 / precision.sum(0)
    mean = variance * (precision * means).sum(0)
    assert torch.allclose(found.draws.fit.x[0, :6], mean, atol=1e-3)
    assert torch.allclose(found.draws.covariance[0].diagonal(), variance, rtol=1e-3)
    distance = (precision * (means - mean).square()).sum()
    assert found.distance == pytest.approx(float(distance), rel=1e-3)
    # Means of 4,000 draws are known to a 63rd of the standard deviation.
    assert ((found.draws.samples.mean(0) - mean) / variance.sqrt()).abs().max() < 5 / 63


def test_masses_are_those_of_the_product_of_mixtures():
    """Against a sum over a fine grid of the one parameter in which the modes differ."""
    means, masses = [[8.0, 10.0], [8.5, 11.0], [9.0, 10.5]], [[0.7, 0.3], [0.4, 0.6], [0.5, 0.5]]
    sd = torch.tensor([0.5, 0.5, 0.3, 0.4, 0.4, 0.6]).double()
    views = []
    for m, w in zip(means, masses, strict=True):
        poses = TRUTH.repeat(2, 1)
        poses[:, 5] = torch.tensor(m)
        views.append(view(poses, sd, torch.tensor(w).double()))
    found = joined(views, TARGET, UNKNOWNS, 2000, 0).draws
    at = torch.linspace(0, 20, 4001).double()
    density = torch.ones_like(at)
    for k, (m, w) in enumerate(zip(means, masses, strict=True)):
        width = (0.6**2 + (k > 0) * 2.0**2) ** 0.5
        density *= sum(v * torch.exp(-0.5 * ((at - c) / width) ** 2) for c, v in zip(m, w, strict=True))
    density /= density.sum()
    mean = float((density * at).sum())
    variance = float((density * (at - mean).square()).sum())
    ours = float(found.masses @ found.fit.x[:, 5])
    within = found.covariance[:, 5, 5] + (found.fit.x[:, 5] - ours).square()
    assert ours == pytest.approx(mean, abs=0.01)  # combinations of less than 2 % are left out
    assert float(found.masses @ within) == pytest.approx(variance, rel=0.03)


def test_a_second_view_tells_two_poses_apart():
    mirrored = TRUTH * torch.tensor([-1.0, 1, 1, -1, 1, 1])
    wrong = seen(1) + torch.tensor([25.0, 0, 0, 0, 0, 0])
    views = [
        view(torch.stack([mirrored, TRUTH]), SD, torch.tensor([0.7, 0.3]).double(), TURNS[0]),
        view(torch.stack([wrong, seen(1)]), SD, torch.tensor([0.6, 0.4]).double(), TURNS[1]),
    ]
    found = joined(views, TARGET, UNKNOWNS, 1000, 0)
    assert len(found.draws.masses) == 1
    assert torch.allclose(found.draws.fit.x[0, :6], TRUTH, atol=0.1)
    assert found.distance < 0.1


def test_distances_of_a_patient_at_rest_are_those_of_chi_square():
    distances = torch.tensor(
        [joined(drawn_views(3, seed), TARGET, UNKNOWNS, 100, 0).distance for seed in range(200)]
    )
    # Twelve degrees of freedom: mean 12, variance 24; of 200 the mean is known to .346.
    assert abs(float(distances.mean()) - 12) < 5 * 0.346
    assert float((distances < 11.34).float().mean()) == pytest.approx(0.5, abs=5 * 0.035)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("odd", range(3))
def test_the_one_of_three_that_does_not_agree_is_found(seed, odd):
    views = drawn_views(3, seed)
    assert agreeing(views, TARGET, UNKNOWNS) == (0, 1, 2)
    moved = views[odd].draws.fit.x[:, :6] + torch.tensor([0.0, 12, 0, 15, 0, 0])
    views[odd] = view(moved, SD, ONE, TURNS[odd])
    assert agreeing(views, TARGET, UNKNOWNS) == tuple({0, 1, 2} - {odd})


def test_without_a_clear_majority_none_agree():
    views = drawn_views(4, 0)
    away = torch.tensor([0.0, 15, 0, 20, 0, 0])
    for k in (2, 3):  # two and two
        views[k] = view(views[k].draws.fit.x[:, :6] + away, SD, ONE, TURNS[k])
    assert agreeing(views, TARGET, UNKNOWNS) == ()
    assert agreeing(views[:3], TARGET, UNKNOWNS) == (0, 1)
    assert agreeing([views[0], views[2]], TARGET, UNKNOWNS) == ()
    # Between two that do not agree lies a vague one that agrees with either.
    vague = view(seen(1)[None], SD * 20, ONE, TURNS[1])
    far = view(views[0].draws.fit.x[:, :6] + away, SD, ONE, TURNS[0])
    assert agreeing([views[0], vague, far], TARGET, UNKNOWNS) == ()


def test_x_rays_of_two_patients_do_not_agree():
    first, second = torch.tensor([[30.0, 4, 1, 3, -2, 10], [-90, 4.5, 1, 2, -1, 14]]).double()
    views = [view(first[None], SD, ONE, TURNS[0]), view(second[None], SD, ONE, TURNS[1])]
    assert joined(views, TARGET, UNKNOWNS, 100, 0).distance > most_apart(2) == pytest.approx(22.46, abs=0.01)
