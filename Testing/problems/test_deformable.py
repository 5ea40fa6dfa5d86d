"""Deformable registration: forward model, the linear case in closed form, the aperture problem, folding."""

from __future__ import annotations

import json
import math

import pytest
import torch

from monai_inn.applications.deformable.displacements import spline_basis
from monai_inn.problems import DeformableRegistration, create

N = 1000


def stripes(size=16):
    """Two soft stripes along axis 1, the same at every column."""
    mm = torch.arange(size) * 2.0
    profile = torch.exp(-0.5 * ((mm - 8) / 2.5) ** 2) + torch.exp(-0.5 * ((mm - 22) / 2.5) ** 2)
    return profile[:, None].expand(size, size)


def blob(shape):
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    return torch.exp(-3 * sum((a - 0.1 * i).square() for i, a in enumerate(axes)))


def coefficients(problem, *shifts):
    """Parameters of a translation by that many mm along each axis."""
    points = math.prod(problem.control_points)
    return torch.tensor([shift for shift in shifts for _ in range(points)])


def test_no_velocity_shows_the_moving_image_and_equal_ones_shift_it():
    problem = DeformableRegistration()
    still = problem.forward(torch.zeros(18)).reshape(20, 20)
    assert torch.allclose(still, problem.moving, atol=1e-6)
    shifted = problem.forward(coefficients(problem, 4.0, -6.0)).reshape(20, 20)
    assert torch.allclose(shifted[:18, 3:], problem.moving[2:, :17], atol=1e-5)
    assert problem.displacement(torch.zeros(3, 5, 18)).shape == (3, 5, 2, 20, 20)
    assert problem.space.names[:2] == ("velocity_0_0_0", "velocity_0_0_1")
    assert problem.space.names[9] == "velocity_1_0_0"
    assert problem.observation.columns[21] == "pixel_1_1"


def test_projection_is_the_line_integral_in_mm():
    volume = blob((6, 8, 7))
    spacing = (2.0, 1.5, 3.0)
    for axis in range(3):
        problem = DeformableRegistration(volume, spacing, 2, 1.0, projection_axis=axis)
        expected = volume.sum(axis) * spacing[axis]
        assert problem.observation_shape == tuple(expected.shape)
        assert torch.allclose(problem.forward(torch.zeros(2, 24))[1], expected.flatten(), atol=1e-4)
        assert problem.noise_sd == pytest.approx(0.05 * float(expected.max()))
    # A shift along the rays of tissue that stays inside is not seen, one across them is.
    across = DeformableRegistration(volume, spacing, 2, 1.0, projection_axis=0)
    shifted = across.forward(coefficients(across, 0.0, 1.5, 0.0)).reshape(8, 7)
    assert torch.allclose(shifted[:7], expected_shift(volume, spacing)[:7], atol=1e-4)
    inside = torch.zeros(10, 8, 7)
    inside[2:8] = volume
    along = DeformableRegistration(inside, spacing, 2, 1.0, projection_axis=0)
    moved, still = along.forward(torch.stack([coefficients(along, 2.0, 0.0, 0.0), torch.zeros(24)]))
    assert torch.allclose(moved, still, atol=1e-4)


def expected_shift(volume, spacing):
    """The projection one voxel further along its first axis."""
    return (volume.sum(0) * spacing[0]).roll(-1, 0)


def test_noise_is_white_and_of_the_stated_share():
    problem = DeformableRegistration(noise_share=0.1)
    sd = 0.1 * float(problem.moving.max())
    white = problem.noise(torch.zeros(500, 400), torch.Generator().manual_seed(0)) / sd
    assert float(white.std()) == pytest.approx(1, abs=5 / math.sqrt(2 * white.numel()))
    assert (white.T.cov() - torch.eye(400)).abs().max() < 6 / math.sqrt(500)
    theta, y = torch.zeros(4, 18), torch.zeros(400)
    normal = torch.distributions.Normal(problem.forward(theta), sd)
    assert torch.allclose(problem.log_likelihood(theta, y), normal.log_prob(y).sum(-1), rtol=1e-5)


@pytest.mark.parametrize(
    "problem",
    [
        DeformableRegistration(prior_sd_mm=0.4 * 19),
        DeformableRegistration(control_points=4, prior_sd_mm=0.4 * 38 / 3),
        DeformableRegistration(torch.ones(9, 16), (3.0, 1.0), (2, 5), 0.4 * 3.75),
        DeformableRegistration(torch.ones(8, 9, 10), (2.0, 2.0, 2.0), 2, 0.4 * 14, projection_axis=1),
    ],
    ids=["3 points", "4 points", "anisotropic", "volume"],
)
def test_no_prior_draw_folds_at_the_widest_prior(problem):
    """1,000 draws, by central differences at every voxel."""
    theta = problem.simulate_clean(1000, seed=0)[0]
    assert problem.jacobian_determinant(theta).min() > 0
    with pytest.raises(ValueError, match=r"would let tissue fold; .* at most"):
        DeformableRegistration(**problem.to_config() | {"prior_sd_mm": problem.prior_sd_mm * 1.001})


RAMP_SD_MM = 0.005


def ramp(size, points):
    """A ramp along axis 0 whose border tissue was pushed inwards, so that no part of it leaves the image.

    With so small an sd the exponential of the velocity is the velocity to 0.03 %.
    """
    moving = (torch.arange(size) * 2.0)[:, None].expand(size, size)
    share = 0.4 * RAMP_SD_MM / float(moving.max())
    problem = DeformableRegistration(moving, (2.0, 2.0), points, RAMP_SD_MM, noise_share=share)
    theta = torch.randn(2 * points**2, generator=torch.Generator().manual_seed(3))
    theta[:points], theta[points**2 - points : points**2] = 2.0, -2.0
    y = problem.noise(problem.forward(RAMP_SD_MM * theta[None]), torch.Generator().manual_seed(4))
    return problem, y


def ramp_posterior(problem, y):
    """Mean and precision (float64) of the linear model: unit slope, weights of the B-splines."""
    size, points = problem.moving.shape[0], problem.control_points[0]
    basis = spline_basis(size, points)
    design = torch.zeros(size**2, 2 * points**2, dtype=torch.float64)
    design[:, : points**2] = torch.einsum("ik,jl->ijkl", basis, basis).reshape(size**2, points**2)
    prior = torch.eye(2 * points**2).double() / RAMP_SD_MM**2
    precision = prior + design.T @ design / problem.noise_sd**2
    residual = y[0].double() - problem.moving.flatten().double()
    return torch.linalg.solve(precision, design.T @ residual / problem.noise_sd**2), precision


def test_posterior_of_a_ramp_is_the_gaussian_in_closed_form():
    problem, y = ramp(16, 3)
    mean, precision = ramp_posterior(problem, y)
    torch.manual_seed(0)
    samples = problem.reference_posterior(y).sample((N,))[:, 0].double()
    white = (samples - mean) @ torch.linalg.cholesky(precision)
    assert white.mean(0).abs().max() < 5 / math.sqrt(N)
    assert (white.T.cov() - torch.eye(18)).abs().max() < 5 * math.sqrt(2 / N)
    spread = samples.std(0) / RAMP_SD_MM
    assert (spread[9:] - 1).abs().max() < 5 / math.sqrt(2 * N)
    assert spread[:9].max() < 0.5


def test_density_of_a_ramp_is_the_gaussian_in_closed_form():
    """The only error is that of the evidence, the same for every sample.

    In ten runs its root mean square was 0.04 nats.
    """
    problem, y = ramp(8, 2)
    mean, precision = ramp_posterior(problem, y)
    torch.manual_seed(0)
    posterior = problem.reference_posterior(y)
    exact = torch.distributions.MultivariateNormal(mean, precision_matrix=precision)
    samples = exact.sample((50,)).float()
    gap = posterior.log_prob(samples[:, None])[:, 0] - exact.log_prob(samples.double())
    assert abs(float(gap.mean())) < 5 * 0.04
    assert float(gap.std()) < 0.02


def test_shift_along_a_stripe_is_as_uncertain_as_before():
    """Aperture problem: undeformed stripes tell nothing of the shift along them, at any voxel."""
    problem = DeformableRegistration(stripes(), (2.0, 2.0))
    torch.manual_seed(0)
    y = problem.noise(problem.forward(torch.zeros(1, 18)))
    samples = problem.reference_posterior(y).sample((N,))[:, 0]
    across, along = (samples.std(0) / problem.prior_sd_mm).split(9)
    assert (along - 1).abs().max() < 5 / math.sqrt(2 * N)
    assert across.max() < 0.25
    maps = problem.displacement_maps(samples)
    ratio = maps["sd"] / problem.displacement_maps(problem.prior.sample((10 * N,)))["sd"]
    assert (ratio[1] - 1).abs().max() < 5 / math.sqrt(2 * N)
    # Between the stripes the shift across is known from the smoothness, on their flanks from the image.
    assert ratio[0].max() < 0.2
    assert ratio[0][[3, 5, 10, 12]].max() < 0.08
    assert maps["jacobian_determinant_minimum"].min() > 0


@pytest.mark.slow  # a stripe is always tested
def test_default_image_is_ambiguous_along_the_rod_only():
    problem = DeformableRegistration()
    torch.manual_seed(1)
    y = problem.noise(problem.forward(torch.zeros(1, 18)))
    sd = problem.displacement_maps(problem.reference_posterior(y).sample((1000,))[:, 0])["sd"]
    body, rod = (6, 6), (15, 10)
    assert sd[:, body[0], body[1]].max() < 0.5
    assert sd[0][rod] < 0.3
    assert sd[1][rod] > 4 * sd[0][rod]


def test_maps_of_translations():
    problem = DeformableRegistration()
    shifts = torch.tensor([[1.0, 0.0], [2.0, -3.0], [0.0, 0.5]])
    theta = torch.stack([coefficients(problem, *row) for row in shifts.tolist()])
    maps = problem.displacement_maps(theta[:, None])
    ones = torch.ones(1, 1, 20, 20)
    assert torch.allclose(maps["mean"], shifts.mean(0)[:, None, None] * ones, atol=1e-5)
    assert torch.allclose(maps["sd"], shifts.std(0)[:, None, None] * ones, atol=1e-5)
    assert torch.allclose(maps["sd_total"], shifts.var(0).sum().sqrt() * ones[0], atol=1e-5)
    assert torch.allclose(maps["jacobian_determinant_minimum"], ones[0], atol=1e-5)


def test_samples_of_many_observations_keep_their_places():
    problem = DeformableRegistration(stripes(8), (4.0, 4.0), 2, 2.0)
    shifts = torch.stack([coefficients(problem, shift, 0.0) for shift in (-1.5, 0.0, 1.5)])
    torch.manual_seed(0)
    samples = problem.reference_posterior(problem.forward(shifts)[None]).sample((500,))
    assert samples.shape == (500, 1, 3, 8)
    assert samples.dtype == torch.float32
    assert torch.allclose(samples.mean(0)[0, :, :4], shifts[:, :4], atol=0.3)
    fields = problem.displacement_maps(samples)
    assert fields["sd"].shape == (1, 3, 2, 8, 8)


def test_configuration_is_json_and_makes_an_equal_problem():
    problem = DeformableRegistration(blob((5, 6, 4)), (2.0, 1.0, 3.0), (2, 3, 2), 0.5, 0.1, projection_axis=2)
    same = create("deformable_registration", **json.loads(json.dumps(problem.to_config())))
    assert torch.equal(same.moving, problem.moving)
    assert same.to_config() == problem.to_config()
    assert same.parameters == problem.parameters
    theta, y = problem.simulate(5, seed=0)
    assert torch.equal(same.simulate(5, seed=0)[1], y)
    assert problem.density_features(y).shape == (5, 16)
    line = DeformableRegistration(projection_axis=0)
    assert line.density_features(line.simulate(5)[1]).shape == (5, 4)
    assert theta.shape == (5, 36)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"moving": torch.ones(8)}, r"moving has shape \(8,\)"),
        ({"moving": [[1.0, math.nan], [0.0, 1.0]], "spacing_mm": (1.0, 1.0)}, "give a finite image"),
        ({"moving": torch.zeros(8, 8), "spacing_mm": (1.0, 1.0)}, "no voxel brighter than 0"),
        ({"moving": torch.ones(8, 8)}, "spacing_mm = None; give the distance"),
        ({"moving": torch.ones(8, 8), "spacing_mm": (1.0, -1.0)}, "spacing_mm = -1"),
        ({"control_points": (3, 1)}, "at least 2 for each of 2 axes"),
        ({"control_points": (3, 3, 3)}, "at least 2 for each of 2 axes"),
        ({"prior_sd_mm": 8.0}, r"would let tissue fold; give at most 7\.6 mm"),
        ({"noise_share": 0.0}, "noise_share = 0"),
        ({"projection_axis": 2}, "projection_axis = 2; give one of 0 to 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        DeformableRegistration(**arguments)


def test_bad_parameters_are_named():
    problem = DeformableRegistration()
    with pytest.raises(ValueError, match=r"theta has shape \(5, 17\), expected \(…, 18\)"):
        problem.forward(torch.zeros(5, 17))
    with pytest.raises(ValueError, match=r"expected \(S, …, D\) with S ≥ 2"):
        problem.displacement_maps(torch.zeros(1, 18))
