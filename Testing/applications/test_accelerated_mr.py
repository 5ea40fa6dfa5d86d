"""Accelerated MR: acquisition, Gaussian posterior, the problem and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from mr_cases import discs, fitted_briefly, measured
from torch import Tensor

import monai_inn
from monai_inn.applications.accelerated_mr import acquisition as acquiring
from monai_inn.applications.accelerated_mr import gaussian
from monai_inn.applications.accelerated_mr.acquisition import Acquisition
from monai_inn.applications.accelerated_mr.images import read_slices
from monai_inn.applications.accelerated_mr.problem import AcceleratedMR
from monai_inn.applications.accelerated_mr.reading import low_resolution_observation, observation_of
from monai_inn.networks import ImageFlow
from monai_inn.problems.stationary import filtered

SIZE = (8, 8)


def spectrum(size: tuple[int, int] = SIZE) -> Tensor:
    """Spectrum of real and imaginary part, float64."""
    rows, columns = (torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in size)
    square = rows[:, None].square() + columns.square()
    return torch.stack([(1 + square) ** -1.5, 0.3 * (1 + square / 2) ** -2.0])


def some(size: tuple[int, int] = SIZE, coils: int = 3, number: int = 2, seed: int = 0) -> Acquisition:
    """Acquisitions by lines and by points, float64."""
    generator = torch.Generator().manual_seed(seed)
    is_lines = torch.arange(number) % 2 == 0
    mask = acquiring.cartesian_mask(size, torch.full((number,), 2.0), is_lines, 2, generator)
    sensitivities = acquiring.simulated_sensitivities(number, coils, size, generator)
    noise_sd = 0.05 + 0.1 * torch.rand(number, generator=generator, dtype=torch.float64)
    return Acquisition(mask.double(), sensitivities.to(torch.complex128), noise_sd)


def uniform(size: tuple[int, int], seed: int = 0) -> Acquisition:
    """One coil of sensitivity 1."""
    made = some(size, 1, 2, seed)
    return Acquisition(made.mask, torch.ones_like(made.sensitivities), made.noise_sd)


def noise(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.complex128, generator=generator)


def dense(made: Acquisition, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance of the posterior, and the matrix from measured values to its mean, of the first image."""
    size = made.mask.shape[1:]
    unknown = 2 * math.prod(size)
    images = torch.eye(unknown, dtype=torch.float64).view(unknown, 2, *size)
    first = Acquisition(made.mask[:1], made.sensitivities[:1], made.noise_sd[:1])
    measured = torch.view_as_real(first.forward(gaussian.as_complex(images))).flatten(1).T
    covariance = filtered(images, prior).flatten(1)
    precision = torch.linalg.inv(covariance) + measured.T @ measured / made.noise_sd[0] ** 2
    posterior = torch.linalg.inv(precision)
    return posterior, posterior @ measured.T / made.noise_sd[0] ** 2


def test_adjoint() -> None:
    made = some()
    image, kspace = noise(2, *SIZE), noise(2, 3, *SIZE, seed=2)
    left = (made.forward(image).conj() * kspace).sum()
    right = (image.conj() * made.adjoint(kspace)).sum()
    torch.testing.assert_close(left, right, atol=1e-12, rtol=1e-12)


def test_masks_hold_their_centre_and_the_number_of_samples() -> None:
    generator = torch.Generator().manual_seed(3)
    factor = torch.tensor([2.0, 4.0, 8.0] * 2)
    is_lines = torch.arange(6) < 3
    mask = acquiring.cartesian_mask((64, 48), factor, is_lines, 4, generator)
    assert mask.flatten(1).sum(1).tolist() == [64 * 48 / r for r in (2, 4, 8, 2, 4, 8)]
    shifted = torch.fft.fftshift(mask, dim=(1, 2))
    assert bool((shifted[:3] == shifted[:3, :, :1]).all())
    assert bool((shifted[:, 30:34, 22:26] == 1).all())
    many = acquiring.cartesian_mask((64, 48), torch.full((200,), 4.0), torch.arange(200) < 0, 4, generator)
    share = torch.fft.fftshift(many.mean(0))
    # Density falls: without variable density both were a quarter.
    assert share[16:48, 12:36].mean() > 1.8 * 0.25
    assert share[:8].mean() < 0.8 * 0.25


def test_centres_that_are_too_large_are_refused() -> None:
    with pytest.raises(ValueError, match="give a smaller one"):
        acquiring.cartesian_mask((16, 16), torch.tensor([8.0]), torch.tensor([True]), 4)


def test_sensitivities_add_up_to_one() -> None:
    s = acquiring.simulated_sensitivities(3, 4, (16, 16), torch.Generator().manual_seed(4))
    torch.testing.assert_close(s.abs().square().sum(1), torch.ones(3, 16, 16))


def test_density_is_the_diagonal_of_what_is_measured() -> None:
    made = some()
    wave = torch.fft.ifft2(torch.eye(64, dtype=torch.complex128).view(64, *SIZE), norm="ortho")
    first = Acquisition(made.mask[:1], made.sensitivities[:1], made.noise_sd[:1])
    power = first.forward(wave).abs().square().flatten(1).sum(1)
    torch.testing.assert_close(made.density()[0].flatten(), power)
    torch.testing.assert_close(uniform(SIZE).density(), uniform(SIZE).mask)


def test_posterior_mean_is_that_of_dense_matrices() -> None:
    made, prior = some(), spectrum()
    kspace = noise(2, 3, *SIZE) * made.mask.unsqueeze(1)
    _, gain = dense(made, prior)
    exact = gain @ torch.view_as_real(kspace[0]).flatten()
    mean = gaussian.posterior_mean(made, kspace, prior)
    torch.testing.assert_close(mean[0].flatten(), exact, atol=1e-8, rtol=0)


def test_one_step_solves_one_uniform_coil(monkeypatch: pytest.MonkeyPatch) -> None:
    made, prior = uniform(SIZE), spectrum()
    kspace = noise(2, 1, *SIZE) * made.mask.unsqueeze(1)
    whole = gaussian.posterior_mean(made, kspace, prior)
    monkeypatch.setattr(gaussian, "_MOST_STEPS", 1)
    torch.testing.assert_close(gaussian.posterior_mean(made, kspace, prior), whole)


def test_agreeing_makes_draws_of_the_posterior_and_keeps_them() -> None:
    """Along random directions the variance of draws is that of dense matrices."""
    made, prior = some(), spectrum()
    number = 2000
    whole = Acquisition(
        made.mask[:1].expand(number, -1, -1),
        made.sensitivities[:1].expand(number, -1, -1, -1),
        made.noise_sd[:1].expand(number),
    )
    generator = torch.Generator().manual_seed(5)
    white = torch.randn(number, 2, *SIZE, dtype=torch.float64, generator=generator)
    first = gaussian.agreeing(whole, filtered(white, prior.sqrt()), prior, generator)
    covariance, _ = dense(made, prior)
    root = torch.linalg.cholesky((covariance + covariance.T) / 2)
    exact_draws = (torch.randn(number, 128, dtype=torch.float64, generator=generator) @ root.T).view_as(white)
    kept = gaussian.agreeing(whole, exact_draws, 2 * prior, generator)
    directions = torch.randn(128, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    exact = (directions * (covariance @ directions)).sum(0)
    for draws in (first, kept):
        along = draws.flatten(1) @ directions
        assert float((along.square().mean(0) / exact - 1).abs().max()) < 5 * math.sqrt(2 / number)
        assert float((along.mean(0) / exact.sqrt()).abs().max()) < 5 / math.sqrt(number)


@torch.no_grad()
def test_a_given_start_of_one_uniform_coil_is_exact() -> None:
    size = (16, 16)
    made, prior = uniform(size, seed=7), spectrum(size)
    kspace = noise(2, 1, *size) * made.mask.unsqueeze(1)
    mean = gaussian.posterior_mean(made, kspace, prior)
    given = torch.cat([mean, gaussian.posterior_spectrum(made, prior)], 1)
    flow = ImageFlow(2, 2, 6, size, levels=2, num_blocks=1, features=(4,) * 5, start="given").double()
    covariance, _ = dense(made, prior)
    exact = torch.distributions.MultivariateNormal(mean[0].flatten(), (covariance + covariance.T) / 2)
    points = mean + 0.1 * torch.randn(5, 2, 2, *size, dtype=torch.float64)
    density = flow(given).log_prob(points)
    torch.testing.assert_close(density[:, 0], exact.log_prob(points[:, 0].flatten(1)))
    latent = flow(given).latent(points)
    torch.testing.assert_close(flow(given).push(latent), points, atol=1e-9, rtol=0)


@pytest.fixture(scope="module")
def problem() -> AcceleratedMR:
    return discs()


@pytest.fixture(scope="module")
def simulated(problem: AcceleratedMR) -> tuple[Tensor, Tensor]:
    return problem.simulate(64, 0)


def test_noise_has_the_level_of_the_context(problem: AcceleratedMR, simulated: tuple[Tensor, Tensor]) -> None:
    theta, y = simulated
    acquisition, kspace = problem.acquisition(y[:, problem.observation.num_values :]), problem.kspace(y)
    made = acquisition.forward(gaussian.as_complex(problem.image_of(theta)))
    white = (kspace - made) / acquisition.noise_sd.view(-1, 1, 1, 1)
    points = 2 * problem.coils * float(acquisition.mask.sum())
    assert abs(float(white.abs().square().sum()) / points - 1) < 5 * math.sqrt(2 / points)
    assert bool(problem.is_valid(y).all())


def test_rows_hold_acquisition_and_kspace(problem: AcceleratedMR, simulated: tuple[Tensor, Tensor]) -> None:
    y = simulated[1][:3]
    again = problem.row(problem.acquisition(y[:, problem.observation.num_values :]), problem.kspace(y))
    torch.testing.assert_close(again, y, equal_nan=True)
    assert bool((y[:, : problem.observation.num_values].isnan().float().mean(1) > 0.4).all())


@pytest.mark.parametrize("what", ["centre", "coil", "nan", "sensitivities"])
def test_damaged_observations_are_not_valid(
    problem: AcceleratedMR, simulated: tuple[Tensor, Tensor], what: str
) -> None:
    y = simulated[1][:2].clone()
    places, number = 256, problem.observation.num_values
    if what == "centre":
        y[0, number] = 0
    elif what == "coil":
        values = y[0, :number].view(places, -1)
        values[:, 2:4] = torch.where(values[:, 2:4].isnan(), torch.nan, 0.0)
    elif what == "nan":
        y[0, 0] = torch.nan
    else:
        y[0, -2] = torch.nan
    assert problem.is_valid(y).tolist() == [False, True]


def test_a_problem_of_a_bundle_needs_no_images(problem: AcceleratedMR) -> None:
    again = AcceleratedMR.from_config({**problem.to_config(), **problem.tensors})
    assert again.identity == problem.identity
    with pytest.raises(ValueError, match="holds no patient's images"):
        again.simulate(2, 1)
    stationary = AcceleratedMR(None, problem.spectrum, factors=(2.0, 3.0))
    theta, y = stationary.simulate(200, 1)
    # Power of draws of the stationary prior, all frequencies together.
    images = again.image_of(theta)
    power = torch.fft.fft2(images, norm="ortho").abs().square() / again.spectrum
    assert abs(float(power.mean()) - 1) < 5 * math.sqrt(2 / images.numel())
    assert again.features(y[:3]).shape == (3, 10 * 256)


def test_a_fitted_problem_comes_back_from_its_bundle(problem: AcceleratedMR, tmp_path: Path) -> None:
    fitted = fitted_briefly(problem)
    fitted.save(tmp_path / "bundle")
    loaded = monai_inn.load(tmp_path / "bundle")
    theta, y = problem.simulate(2, 5)
    torch.testing.assert_close(loaded.posterior(y).log_prob(theta), fitted.posterior(y).log_prob(theta))


def test_measured_kspace_becomes_an_observation(problem: AcceleratedMR) -> None:
    kspace, mask = measured(problem)
    y, scale = observation_of(kspace, mask, problem)
    assert bool(problem.is_valid(y).all())
    acquisition = problem.acquisition(y[:, problem.observation.num_values :])
    torch.testing.assert_close(
        acquisition.sensitivities.abs().square().sum(1), torch.ones(1, 16, 16), atol=1e-4, rtol=0
    )
    mean = gaussian.posterior_mean(acquisition, problem.kspace(y), problem.spectrum)[0]
    # The disc is in the middle, about one bright, and its phase went into the sensitivities.
    assert 0.8 < float(mean[0, 6:10, 6:10].mean()) < 1.2
    assert float(mean[0, :2].abs().max()) < 0.3
    assert float(mean[1].square().mean()) < 0.02 * float(mean[0].square().mean())
    doubled, twice = observation_of(2 * kspace, mask, problem)
    torch.testing.assert_close(doubled, y, equal_nan=True, atol=1e-4, rtol=1e-4)
    assert twice == pytest.approx(2 * scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k, m: (k, torch.where(torch.ones_like(m).cumsum(0) > 12, m, False)), "measure the centre"),
        (lambda k, m: (k[:3], m), "3 coils, this problem 4"),
        (lambda k, m: (k[:, :23], m[:23]), "even sizes"),
        (lambda k, m: (k[:, :, :12], m[:, :12]), "even sizes of at least"),
        (lambda k, m: (k * torch.nan, m), "holds NaN"),
        (lambda k, m: (k * (torch.arange(6) > 1).view(-1, 1, 1), m), r"coils \[1, 2\] measured only zeros"),
        (lambda k, m: (k, m[:-2]), r"a mask of \(22, 20\)"),
    ],
)
def test_kspace_that_cannot_be_used_is_refused(problem: AcceleratedMR, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        observation_of(*change(*measured(problem)), problem)


def test_a_share_of_masks_is_of_low_resolution(problem: AcceleratedMR) -> None:
    mixed = AcceleratedMR(problem.images, factors=(2.0, 3.0), low_resolution=0.5)
    number = problem.observation.num_values
    theta, y = problem.simulate(64, 3)
    same, other = mixed.simulate(64, 3)
    torch.testing.assert_close(same, theta)
    masks, before = (rows[:, number : number + 256].view(-1, 16, 16) for rows in (other, y))
    is_changed = (masks != before).any(2).any(1)
    assert 16 < int(is_changed.sum()) < 48
    # All else of a seed stays; the others are the complete middle, from 9 × 9 to 11 × 11 frequencies.
    torch.testing.assert_close(other[:, number + 256 :], y[:, number + 256 :])
    assert {int(m.sum()) for m in masks[is_changed]} <= {81, 121}
    assert bool((masks[is_changed] == masks[is_changed].flip(1, 2).roll((1, 1), (1, 2))).all())
    assert bool(mixed.is_valid(other).all())
    assert "low_resolution" not in problem.to_config()
    assert AcceleratedMR.from_config({**mixed.to_config(), **mixed.tensors}).low_resolution == 0.5


def test_masks_of_the_centre_alone_are_told_from_others() -> None:
    size = (16, 12)
    low = acquiring.central_mask(size, torch.tensor([[8, 6], [7, 12], [16, 5]]))
    lines = torch.zeros(2, *size)
    lines[0, :2], lines[0, -2:], lines[0, 5], lines[0, 8] = 1, 1, 1, 1
    lines[1, ::2, ::2] = 1
    lopsided = torch.zeros(2, *size)
    lopsided[0, -4:], lopsided[0, :4] = 1, 1  # a box with one more row on one side
    lopsided[1, 2:9] = 1
    assert acquiring.is_central(torch.cat([low, lines, torch.ones(1, *size), lopsided])).tolist() == [
        True, True, True, False, False, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("coils", [1, 3])
def test_a_low_resolution_image_has_the_posterior_of_dense_matrices(coils: int) -> None:
    """The scan as a matrix from fine pixels to its own, and white noise."""
    size, low, sd = (16, 16), (8, 10), 0.2
    prior = spectrum(size).float()
    problem = AcceleratedMR(None, prior, coils)
    generator = torch.Generator().manual_seed(11)
    fine = filtered(torch.randn(1, 2, *size, generator=generator), prior.sqrt())[0, 0] + 5.0
    pixels = torch.eye(256, dtype=torch.float64).view(-1, *size)
    spectra = torch.fft.fft2(pixels)
    inside = [torch.fft.fftfreq(n, 1 / n).abs() < m / 2 for n, m in zip(size, low, strict=True)]
    there = [torch.fft.fftfreq(m, 1 / m).abs() < m / 2 for m in low]
    kept = torch.zeros(256, *low, dtype=torch.complex128)
    kept[:, there[0][:, None] & there[1]] = spectra[:, inside[0][:, None] & inside[1]]
    scan = torch.fft.ifft2(kept).real.flatten(1).T * math.prod(low) / 256
    white = torch.randn(math.prod(low), generator=generator, dtype=torch.float64)
    image = scan @ fine.double().flatten() + sd * white
    y, scale = low_resolution_observation(image.view(low), sd, problem)
    assert bool(problem.is_valid(y).all())
    acquisition = problem.acquisition(y[:, problem.observation.num_values :])
    mean = gaussian.posterior_mean(acquisition, problem.kspace(y), prior)[0, 0] * scale

    def dense(times: float) -> tuple[Tensor, Tensor]:
        """Mean and covariance for a prior of so many times the power."""
        covariance = times * filtered(pixels.unsqueeze(1), prior[:1].double()).flatten(1) * scale**2
        # Along the frequency that is left out, half of a pixel's, the scan says nothing.
        said = scan @ torch.linalg.pinv(scan)
        seen = scan @ covariance @ scan.T + sd**2 * torch.eye(len(scan), dtype=torch.float64)
        gain = covariance @ scan.T @ torch.linalg.inv(seen)
        return gain @ said @ image, covariance - gain @ scan @ covariance

    expected, left = dense(1.0)
    torch.testing.assert_close(mean.flatten().double(), expected, atol=2e-4, rtol=0)
    variance = gaussian.posterior_spectrum(acquisition, prior)[0, 0].mean() * scale**2
    assert float(variance) == pytest.approx(float(left.diagonal().mean()), rel=1e-4)
    # What `reconstruct` draws: three times the power, as the inside of a brain has.
    number = 2000
    expected, left = dense(3.0)
    drawn = problem.image_of(problem.gaussian_samples(number, y, generator))[:, 0, 0].flatten(1) * scale
    error = (drawn.mean(0) - expected) / (left.diagonal() / number).sqrt()
    assert float(error.abs().max()) < 5
    found = torch.cov(drawn.T.double())
    spread = (left.square() + left.diagonal().outer(left.diagonal())).div(number).sqrt()
    assert float(((found - left) / spread).abs().max()) < 6


@pytest.mark.parametrize(
    ("image", "noise_sd", "message"),
    [
        (torch.ones(20, 8), 0.1, r"shape \(20, 8\).*up to \(16, 16\)"),
        (torch.ones(2, 8), 0.1, "from 4 each"),
        (torch.full((8, 8), torch.nan), 0.1, "with NaN"),
        (torch.zeros(8, 8), 0.1, "zeros alone"),
        (torch.ones(8, 8), 0.0, "noise_sd = 0"),
    ],
)
def test_low_resolution_images_that_cannot_be_used_are_refused(
    problem: AcceleratedMR, image: Tensor, noise_sd: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        low_resolution_observation(image, noise_sd, problem)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": torch.ones(2, 16, 16), "low_resolution": 1.5}, "low_resolution = 1.5"),
        ({"images": None}, "needs images"),
        ({"images": torch.ones(2, 16, 15)}, "even sizes"),
        ({"images": torch.ones(2, 16, 16), "factors": (0.5, 2)}, "factors"),
        ({"images": torch.ones(2, 16, 16), "noise_sd": (0.1, 0.01)}, "noise_sd"),
    ],
)
def test_problems_that_make_no_sense_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AcceleratedMR(**arguments)  # type: ignore[arg-type]


def test_slices_are_read(tmp_path: Path) -> None:
    volume = np.zeros((20, 24, 5), np.uint8)
    volume[4:16, 4:20, 1:4] = 100
    path = tmp_path / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    slices = read_slices([path], (16, 16), 2)
    assert slices.shape == (3, 16, 16)
    assert float(slices.max()) == pytest.approx(1)
    torch.testing.assert_close(slices.sum((1, 2)), torch.full((3,), 6 * 8.0))
    with pytest.raises(ValueError, match="do not fit in"):
        read_slices([path], (16, 16))
