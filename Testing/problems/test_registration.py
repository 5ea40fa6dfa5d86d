"""Pose of a patient: parameters, images, and a brute-force posterior that symmetry tells the truth of."""

from __future__ import annotations

import json
import math
import time

import pytest
import torch

from monai_inn.applications.registration.carm import POSE, RANGES, Detector
from monai_inn.applications.registration.image_noise import ImageNoise
from monai_inn.applications.registration.projection import spine_phantom
from monai_inn.metrics import sbc_ranks, sbc_uniformity
from monai_inn.problems import PoseRegistration, create


def small(size: int = 12, sd: float = 0.3, **options) -> PoseRegistration:
    """Few pixels that cover the phantom."""
    beam, asymmetry = options.pop("beam", "cone"), options.pop("asymmetry", 0.0)
    volume = spine_phantom(asymmetry, options.pop("voxel_mm", 5.0))
    return PoseRegistration(
        volume.values,
        volume.affine.tolist(),
        detector={"rows": size, "columns": size, "spacing_mm": 205 / size, "beam": beam},
        noise=options.pop("noise", {"sd": sd}),
        **options,
    )


@pytest.fixture(scope="module")
def problem() -> PoseRegistration:
    return small()


@pytest.fixture(scope="module")
def symmetric():
    """The exact benchmark: two poses that explain every X-ray equally well; and its grid of 4 degrees."""
    made = small(20, 0.12, beam="parallel")
    return made, made.grid((4, 4))


def test_names_shapes_and_units(problem):
    assert problem.space.names == problem.targets == ("lao", "cra")
    assert [p.unit for p in problem.parameters] == ["deg", "deg"]
    assert problem.observation.size == (12, 12)
    assert len(problem.observation) == 144
    theta, y = problem.simulate(5, seed=1)
    assert theta.shape == (5, 2)
    assert y.shape == (5, 144)
    assert problem.poses(theta).shape == (5, 6)
    assert problem.cameras(theta).shape == (5, 4, 4)
    assert problem.render(theta.reshape(5, 1, 2)).shape == (5, 1, 12, 12)
    assert torch.equal(problem.forward(theta), problem.render(theta).flatten(1))
    assert problem.forward(theta.double()).dtype == torch.float64
    assert torch.equal(problem.simulate(3, seed=1)[1], y[:3])
    assert problem.landmarks.shape == (12, 3)
    assert problem.target.abs().max() < 20  # the phantom's middle


def test_images_are_shares_of_the_brightest(problem):
    images = problem.forward(problem.space.sample_prior(500, torch.Generator().manual_seed(3)))
    assert 0.8 < float(images.max()) < 1.1
    assert float(images.min()) >= 0
    absolute = small(brightest=1.0)
    theta = torch.tensor([[30.0, 10.0]])
    torch.testing.assert_close(problem.forward(theta) * problem.brightest, absolute.forward(theta))


def test_noise_and_features_are_those_of_the_noise_model(problem):
    y = problem.forward(torch.zeros(3000, 2))
    noisy = problem.noise(y, torch.Generator().manual_seed(0))
    assert float((noisy - y).std()) == pytest.approx(0.3, rel=5 / math.sqrt(2 * y.numel()))
    torch.testing.assert_close(problem.features(noisy), noisy / 0.3)
    length = small(noise={"sd": 0.1, "mismatch_sd": 0.1, "mismatch_mm": 15.0}).noise_model
    expected = ImageNoise(0.1, 0.1, 15.0).fitted((12, 12), 205 / 12 * 850 / 1020, 1.0)
    torch.testing.assert_close(length.whitened(y[:1]), expected.whitened(y[:1]))


def test_config_and_tensors_make_an_equal_problem():
    volume = spine_phantom(0.7, 4.0)
    made = PoseRegistration(
        volume.values,
        volume.affine.tolist(),
        free={"roll": (-10, 10), "cra": (-5, 20), "away": (0, 40)},
        fixed={"lao": 30.0, "down": -4.0},
        detector=Detector(10, 14, 15.0, 1100.0, 700.0, "cone", "source"),
        noise=ImageNoise(photons=800.0),
    )
    config = json.loads(json.dumps(made.to_config()))
    again = create("registration", **config, **{k: v.clone() for k, v in made.tensors.items()})
    theta, y = made.simulate(6, seed=2)
    assert torch.equal(theta, again.simulate(6, seed=2)[0])
    assert torch.equal(y, again.simulate(6, seed=2)[1])
    assert again.to_config() == made.to_config()
    assert again.space.names == ("roll", "cra", "away")
    assert torch.equal(again.landmarks, made.landmarks)
    assert again.detector.view == "source"


def test_free_and_fixed_parameters_make_a_pose():
    made = small(free={"down": (-5, 5), "lao": (-60, 60)}, fixed={"cra": 12.0})
    pose = made.poses(torch.tensor([[2.0, -40.0]]))[0]
    assert dict(zip(POSE, pose.tolist(), strict=True)) == {
        "lao": -40.0,
        "cra": 12.0,
        "roll": 0.0,
        "right": 0.0,
        "down": 2.0,
        "away": 0.0,
    }
    everything = small(free=dict(RANGES))
    theta = everything.space.sample_prior(4, torch.Generator().manual_seed(0))
    assert torch.equal(everything.poses(theta), theta)
    two_of_them = small(fixed={"roll": 5.0})
    same = torch.cat([theta[:, :2], torch.tensor([[5.0, 0, 0, 0]]).expand(4, 4)], 1)
    torch.testing.assert_close(
        two_of_them.forward(theta[:, :2]),
        everything.forward(same) * (everything.brightest / two_of_them.brightest),
    )


@pytest.mark.parametrize("lao", [(-180, 180), (0, 360), (-90, 90)])
def test_parameters_are_read_from_cameras_within_their_range(lao):
    made = small(free={"roll": (-20, 20), "lao": lao, "down": (-9, 9)}, fixed={"cra": 12.0, "away": -30.0})
    theta = made.space.sample_prior(40, torch.Generator().manual_seed(0)).double()
    found = made.parameters_of(made.cameras(theta).reshape(4, 10, 4, 4))
    torch.testing.assert_close(found, theta.reshape(4, 10, 3), rtol=0, atol=1e-6)
    assert made.space.contains(found).all()


@pytest.mark.parametrize(
    ("name", "bounds", "is_periodic"),
    [
        ("lao", (-180, 180), True),
        ("lao", (0.0, 360.0), True),
        ("roll", (-180, 180), True),
        ("lao", (-180, 179), False),
        ("lao", (-90, 90), False),
        ("roll", (-15, 15), False),
        ("cra", (-30, 30), False),
        ("right", (-180, 180), False),
    ],
)
def test_an_angle_is_periodic_if_it_may_take_a_full_turn(name, bounds, is_periodic):
    (parameter,) = PoseRegistration(free={name: bounds}).parameters
    assert parameter.is_periodic == is_periodic
    assert (parameter.low, parameter.high) == bounds


PI = math.pi


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"free": {"tilt": (0, 1)}}, "unknown pose parameter 'tilt'; choose from lao, cra, roll, right"),
        ({"fixed": {"tilt": 1}}, "unknown pose parameter 'tilt'"),
        ({"fixed": {"lao": 10}}, "lao is free and fixed at 10; leave it out of one of them"),
        ({"fixed": {"roll": math.nan}}, "roll is fixed at nan"),
        ({"free": {"lao": (-PI, PI)}}, "lao: the range .* looks like radians; give degrees, -180 to 180"),
        ({"free": {"cra": (-PI / 4, PI / 4)}}, "looks like radians; give degrees, -45 to 45"),
        ({"free": {"lao": (0, 2 * PI)}}, "looks like radians; give degrees, 0 to 360"),
        ({"free": {"lao": (-3.1416, 3.1416)}}, "looks like radians"),
        ({"free": {"lao": (20, 20)}}, r"low = 20\.0 must be below high = 20\.0"),
        ({"free": {"right": (5, -5)}}, r"low = 5\.0 must be below high = -5\.0"),
        ({"free": {"lao": (-180, 200)}}, "lao: the range -180 to 200 is more than a C-arm turns"),
        ({"free": {"cra": (-30, 90)}}, "give degrees within ±89"),
        (
            {"free": {"away": (-math.inf, math.inf)}},
            r"away: its range is \(-inf, inf\); give two finite numbers",
        ),
        ({"free": {"lao": (math.nan, 10)}}, r"lao: its range is \(nan, 10\)"),
        ({"free": {"lao": (10,)}}, r"lao: its range is \(10,\); give two"),
        ({"free": {}}, "at least one"),
        ({"volume": torch.zeros(4, 4, 4)}, "a volume and its affine come together"),
        ({"affine": torch.eye(4).tolist()}, "a volume and its affine come together"),
        ({"volume": torch.zeros(4, 4), "affine": torch.eye(4).tolist()}, r"volume has shape \(4, 4\)"),
        ({"volume": torch.zeros(4, 4, 4), "affine": torch.eye(3).tolist()}, r"affine \(3, 3\)"),
        ({"noise": {"sd": 0.0}}, r"sd = 0\.0"),
        ({"detector": {"rows": 0}}, "rows = 0"),
    ],
)
def test_bad_arguments_are_named_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        PoseRegistration(**options)
    assert "\n" not in str(caught.value)


def test_a_volume_that_no_ray_meets_is_refused():
    volume = spine_phantom(0.0, 6.0)
    aside = volume.affine.clone()
    aside[0, 3] += 5000
    with pytest.raises(ValueError, match="no ray of any pose of the prior meets the volume"):
        PoseRegistration(
            volume.values,
            aside.tolist(),
            target=[0.0, 0.0, 0.0],
            detector={"rows": 8, "columns": 8, "spacing_mm": 25.0},
        ).forward(torch.zeros(1, 2))


def test_degrees_that_are_small_are_no_radians():
    for bounds in ((-1, 1), (-2.0, 2.0), (0, 3), (-5, 1.0)):
        assert PoseRegistration(free={"cra": bounds}).parameters[0].high == bounds[1]


def test_an_image_that_shows_nothing_is_not_valid(problem):
    _, y = problem.simulate(4, seed=0)
    y[1] = 0.0
    y[2, 5] = torch.nan
    assert problem.is_valid(y).tolist() == [True, False, False, True]


@pytest.mark.parametrize("noise", [{"sd": 0.1}, {"sd": 0.05, "mismatch_sd": 0.1}, {"photons": 2000.0}])
def test_likelihood_is_that_of_the_noise_and_differentiable(noise):
    made = small(noise=noise, free=dict(RANGES))
    theta, y = made.simulate(4, seed=3)
    values = made.log_likelihood(theta, y[1])
    torch.testing.assert_close(values, made.noise_model.log_likelihood(made.forward(theta), y[1]))
    # Of another X-ray than its own, so that the slope is large.
    pose, other = theta[1].double().requires_grad_(), y[0].double()
    (gradient,) = torch.autograd.grad(made.log_likelihood(pose[None], other).sum(), pose)
    with torch.no_grad():
        step = 0.005 * torch.eye(6, dtype=torch.float64)
        rise = made.log_likelihood(pose + step, other) - made.log_likelihood(pose - step, other)
    # The single ray of a pixel has kinks where it passes from voxel to voxel; a step is 0.2 % of a voxel.
    assert (gradient - rise / 0.01).abs().max() < 0.1 * gradient.abs().max()


def partner_table(values: torch.Tensor, grid) -> torch.Tensor:
    """A table over (lao, cra) read at (180 − lao, −cra)."""
    half = grid.shape[0] // 2
    return values.reshape(grid.shape).flip(0, 1).roll(half, 0).flatten()


def test_partner_of_every_cell_is_a_cell(symmetric):
    _, grid = symmetric
    partner = torch.stack([180 - grid.centre[:, 0], -grid.centre[:, 1]], 1)
    partner[:, 0] = (partner[:, 0] + 180) % 360 - 180
    found = torch.stack([partner_table(grid.centre[:, i], grid) for i in (0, 1)], 1)
    torch.testing.assert_close(found, partner)


def test_a_mirrored_patient_in_parallel_beams_has_two_poses_of_equal_mass(symmetric):
    """p(lao, cra) = p(180 − lao, −cra) for every X-ray, noise or not."""
    made, grid = symmetric
    truth = torch.tensor([[35.0, 10.0], [-160.0, 22.0], [70.0, -5.0]])
    y = made.noise(made.forward(truth), torch.Generator().manual_seed(0))
    log_mass = grid.log_mass(y)
    for theta, row in zip(truth, log_mass, strict=True):
        difference = (row - partner_table(row, grid)).abs()
        assert float((row.exp() * difference).sum()) < 0.01
        front = grid.centre[:, 0].abs() < 90
        assert float(row[front].exp().sum()) == pytest.approx(0.5, abs=0.005)
        best = grid.centre[row.argmax()]
        other = grid.centre[partner_table(row, grid).argmax()]
        nearest = min((best - theta).abs().max(), (other - theta).abs().max())
        assert nearest < 6


def test_refined_cells_keep_both_poses_and_the_evidence():
    made = small(16, 0.18, beam="parallel", free={"lao": (20, 160), "cra": (-24, 24)})
    y = made.noise(made.forward(torch.tensor([[40.0, 12.0]])), torch.Generator().manual_seed(1))[0].double()
    coarse, fine = made.grid((4, 4)), made.grid((2, 2))
    cells = coarse.refined(y)
    assert float(cells.log_mass.exp().sum()) == pytest.approx(1)
    assert float(cells.log_mass.max()) < math.log(0.02)
    assert (cells.step < coarse.step).all()
    side = cells.centre[:, 0] < 90
    assert float(cells.log_mass[side].exp().sum()) == pytest.approx(0.5, abs=0.005)
    again = fine.refined(y)
    assert cells.evidence == pytest.approx(again.evidence, abs=0.02)
    means = [(c.log_mass.exp()[:, None] * c.centre).sum(0) for c in (cells, again)]
    torch.testing.assert_close(*means, rtol=0, atol=0.2)


def test_reference_posterior_is_a_distribution():
    made = small(sd=0.5)
    torch.manual_seed(0)
    y = made.simulate(3, seed=4)[1]
    posterior = made.reference_posterior(y)
    samples = posterior.sample((1000,))
    assert samples.shape == (1000, 3, 2)
    assert made.space.contains(samples).all()
    assert posterior.batch_shape == (3,)
    grid = made.grid((5, 5))
    density = posterior.log_prob(grid.centre[:, None].expand(-1, 3, -1)).exp()
    assert (density.sum(0) * grid.step.prod()).tolist() == pytest.approx([1.0] * 3, rel=0.03)
    # Samples follow it: the mean of p over samples of p is the integral of its square.
    expected = density.square().sum(0) * grid.step.prod()
    found = posterior.log_prob(samples).exp()
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - expected).abs() < 4 * error + 0.03 * expected).all()
    assert posterior.log_prob(torch.tensor([0.0, 31.0]).expand(3, 2)).isneginf().all()


def test_ranks_of_the_truth_are_uniform():
    made = small(sd=0.5)
    torch.manual_seed(1)
    theta, y = made.simulate(300, seed=5)
    samples = made.reference_posterior(y).sample((99,))
    assert sbc_uniformity(sbc_ranks(samples, theta), 99).p_value.min() > 1e-3


def test_ranks_of_the_truth_are_uniform_with_a_shift():
    free = {"lao": (-30, 30), "cra": (-12, 12), "right": (-10, 10)}
    made = small(sd=0.35, free=free, asymmetry=1.0, voxel_mm=3.0)
    grid = made.grid((2, 2, 1.25))
    torch.manual_seed(2)
    theta, y = made.simulate(300, seed=6)
    samples = torch.stack([grid.sample(row, 99) for row in y.double()], 1)
    assert sbc_uniformity(sbc_ranks(samples, theta.double()), 99).p_value.min() > 1e-3
    # Narrower than the prior, so that the ranks say something.
    assert float((samples[..., 2].std(0)).median()) < 0.6 * 20 / math.sqrt(12)


def test_sharp_posteriors_have_the_width_of_the_likelihood():
    """Laplace: the inverse of J Jᵀ / sd², J by central differences; 4,000 samples give 1.1 % of an sd."""
    made = small(24, 0.01, free={"lao": (-40, 40), "cra": (-20, 20)}, asymmetry=1.0)
    theta = torch.tensor([[11.0, -6.0], [-20.0, 4.0]], dtype=torch.float64)
    torch.manual_seed(3)
    clean = made.forward(theta)
    samples = made.reference_posterior(clean).sample((4000,))
    for i, pose in enumerate(theta):
        step = 0.1 * torch.eye(2, dtype=torch.float64)
        jacobian = (made.forward(pose + step) - made.forward(pose - step)) / 0.2
        covariance = torch.linalg.inv(jacobian @ jacobian.T / 0.01**2)
        assert covariance.diagonal().max().sqrt() < 0.5  # far below the grid's 2 degrees
        found = torch.cov(samples[:, i].T)
        ratio = (found.diagonal() / covariance.diagonal()).sqrt()
        assert (ratio - 1).abs().max() < 0.15
        assert (samples[:, i].mean(0) - pose).abs().max() < 0.5 * found.diagonal().sqrt().max()


def test_asymmetry_tips_the_odds_as_the_images_differ():
    """Log odds of the two sides, over patients of growing asymmetry, against D² / 2σ².

    Of the true pose and its partner: the mean over noise is exactly that, its variance D² / σ². Of all the
    mass around them: D is then the distance to the best pose of the other side, and the slope is one as long
    as the peaks are narrow.
    """
    sd, true, partner = 0.06, torch.tensor([[38.5, 10.5]]), torch.tensor([[141.5, -10.5]])
    expected, found = [], []
    for asymmetry in (0.0, 0.15, 0.3, 0.45):
        sides = [
            small(16, sd, beam="parallel", asymmetry=asymmetry, free={"lao": lao, "cra": cra}, brightest=2.3)
            for lao, cra in (((26, 50), (-2, 22)), ((130, 154), (-22, 2)))
        ]
        image = sides[0].forward(true)
        y = sides[0].noise(image.expand(400, -1), torch.Generator().manual_seed(7))
        difference = sides[0].forward(partner) - image
        distance = float(difference.square().sum())
        odds = ((y - sides[0].forward(partner)).square() - (y - image).square()).sum(1) / (2 * sd**2)
        error = math.sqrt(distance / sd**2 / 400)
        assert float(odds.mean()) == pytest.approx(distance / (2 * sd**2), abs=4 * error + 1e-3)
        evidence = []
        for side in sides:
            images = side.grid((1, 1)).images
            evidence.append((-0.5 * torch.cdist(side.features(y), images).square()).logsumexp(1))
        expected.append(float((images * sd - image).square().sum(1).min()) / (2 * sd**2))
        found.append(float((evidence[0] - evidence[1]).mean()))
    x, line = torch.tensor(expected), torch.tensor(found)
    assert abs(line[0]) < 1e-2
    assert x[-1] > 2
    assert float((x * line).sum() / x.square().sum()) == pytest.approx(1, abs=0.1)


def test_the_prior_range_decides_whether_there_is_a_second_pose():
    """The partner of a cranial view is caudal: where only cranial ones are possible there is but one pose."""
    made = small(16, 0.2, beam="parallel", free={"lao": (-180, 180), "cra": (5, 30)})
    y = made.noise(made.forward(torch.tensor([[35.0, 22.0]])), torch.Generator().manual_seed(1))
    grid = made.grid((4, 2.5))
    assert grid.centre[:, 1].min() > 5
    assert grid.centre[:, 1].max() < 30
    front = grid.centre[:, 0].abs() < 90
    assert float(grid.log_mass(y)[0, front].exp().sum()) > 0.9
    blurred = small(sd=0.6, free={"lao": (-20, 40), "cra": (5, 30)})
    samples = blurred.reference_posterior(blurred.simulate(5, seed=1)[1]).sample((500,))
    assert blurred.space.contains(samples).all()
    assert float(samples[..., 1].min()) < 6  # noise this large leaves no part of the range out
    assert float(samples[..., 1].max()) > 29


def test_photons_have_a_posterior_on_a_grid():
    made = small(noise={"photons": 500.0}, free={"lao": (-40, 40)})
    y = made.noise(made.forward(torch.tensor([[12.0]])), torch.Generator().manual_seed(0))
    grid = made.grid()
    expected = made.log_likelihood(grid.centre.float(), y[0].double()).log_softmax(0)
    torch.testing.assert_close(grid.log_mass(y)[0], expected, rtol=1e-4, atol=1e-3)
    samples = grid.sample(y[0].double(), 500)
    assert samples.shape == (500, 1)
    assert float((samples.mean() - 12).abs()) < 5


def test_grids_of_many_parameters_are_refused():
    made = small(free=dict(RANGES))
    with pytest.raises(ValueError, match="a grid of 6 parameters is too large to render; it works up to 3"):
        made.grid()
    with pytest.raises(NotImplementedError, match="samples but no density"):
        _ = made.reference_posterior(torch.zeros(1, 144)).log_evidence


def test_default_problem_is_built_at_once():
    began = time.process_time()
    PoseRegistration()
    assert time.process_time() - began < 0.3
