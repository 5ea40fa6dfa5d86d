"""Noise of X-rays: what it is said to be, and the likelihood that belongs to it."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from monai_inn.applications.registration.image_noise import ImageNoise

SIZE, SPACING = (6, 7), 9.0
PIXELS, DRAWS = 42, 20_000
SMOOTH = {"sd": 0.04, "mismatch_sd": 0.1, "mismatch_mm": 20.0}
KINDS = [{"sd": 0.07}, SMOOTH, {"photons": 4000.0}]


def fitted(**options: float) -> ImageNoise:
    return ImageNoise(**options).fitted(SIZE, SPACING, brightest=3.0)


def clean(seed: int = 0, n: int = 1) -> torch.Tensor:
    return torch.rand(n, PIXELS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draws(noise: ImageNoise, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return noise.add(clean().expand(DRAWS, -1).contiguous(), generator)


def correlation() -> torch.Tensor:
    """exp(−r² / 2ℓ²) between all pixels."""
    rows, columns = SIZE
    at = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double() * SPACING
    return torch.exp(-0.5 * torch.cdist(at, at).square() / SMOOTH["mismatch_mm"] ** 2)


@pytest.mark.parametrize("options", KINDS)
def test_whitened_noise_is_white(options):
    noise = fitted(**options)
    covariance = torch.cov(noise.whitened(draws(noise)).T)
    # The largest of 42 variances and 861 covariances, whose standard errors are √(2/n) and 1/√n.
    assert (covariance.diagonal() - 1).abs().max() < 5 * math.sqrt(2 / DRAWS)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 5 / math.sqrt(DRAWS)


@pytest.mark.parametrize("options", KINDS[:2])
def test_gaussian_noise_has_no_mean_and_the_stated_covariance(options):
    noise = fitted(**options)
    errors = draws(noise) - clean()
    variance = options["sd"] ** 2 + options.get("mismatch_sd", 0.0) ** 2
    expected = options["sd"] ** 2 * torch.eye(PIXELS, dtype=torch.float64)
    expected += options.get("mismatch_sd", 0.0) ** 2 * correlation()
    assert errors.mean(0).abs().max() < 5 * math.sqrt(variance / DRAWS)
    # Var of an entry of a sample covariance: (σ₁₁ σ₂₂ + σ₁₂²) / n, at most 2 σ⁴ / n.
    assert (torch.cov(errors.T) - expected).abs().max() < 5 * variance * math.sqrt(2 / DRAWS)


def test_smooth_errors_are_as_wide_as_they_are_said_to_be():
    """Neighbours one length ℓ apart correlate by exp(−1/2), along rows and along columns."""
    noise = ImageNoise(sd=1e-4, mismatch_sd=0.1, mismatch_mm=18.0).fitted(SIZE, SPACING, brightest=1.0)
    image = (draws(noise) - clean()).unflatten(1, SIZE)
    for first, second in ((image[:, 0, 1], image[:, 2, 1]), (image[:, 3, 4], image[:, 3, 6])):
        found = float(torch.corrcoef(torch.stack([first, second]))[0, 1])
        # The standard error of a correlation r is (1 − r²) / √n.
        assert found == pytest.approx(math.exp(-0.5), abs=5 * (1 - math.exp(-1)) / math.sqrt(DRAWS))


@pytest.mark.parametrize("options", KINDS[:2])
def test_gaussian_likelihood_is_that_of_a_dense_covariance(options):
    noise, images = fitted(**options), clean(3, 5)
    covariance = options["sd"] ** 2 * torch.eye(PIXELS, dtype=torch.float64)
    covariance += options.get("mismatch_sd", 0.0) ** 2 * correlation()
    y = noise.add(images[2], torch.Generator().manual_seed(4))
    found = noise.log_likelihood(images, y)
    expected = [stats.multivariate_normal.logpdf(y, image, covariance) for image in images]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found - found[2], expected - expected[2], rtol=1e-8, atol=1e-6)
    single = noise.log_likelihood(images.float(), y.float())
    torch.testing.assert_close(single - single[2], found - found[2], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("photons", [4000.0, 2.0])
def test_photon_likelihood_is_that_of_poisson_counts(photons):
    """Of 2 photons through air hardly one gets through the patient: most pixels count none."""
    noise, images = fitted(photons=photons), clean(3, 5)
    y = noise.add(images[2], torch.Generator().manual_seed(4))
    counts = (photons * torch.exp(-3.0 * y)).round()  # half a photon stands for none
    assert (counts == 0).any() == (photons < 100)
    expected = torch.from_numpy(stats.poisson.logpmf(counts, photons * torch.exp(-3.0 * images))).sum(1)
    found = noise.log_likelihood(images, y)
    torch.testing.assert_close(found - found[2], expected - expected[2], rtol=1e-8, atol=1e-6)


def test_photons_are_counted_behind_the_patient():
    noise = fitted(photons=500.0)
    counts = 500.0 * torch.exp(-3.0 * draws(noise))
    expected = 500.0 * torch.exp(-3.0 * clean()[0])
    assert (counts - counts.round()).abs().max() < 1e-6
    assert ((counts.mean(0) - expected) / (expected / DRAWS).sqrt()).abs().max() < 5
    # Variance = mean; the variance of a sample variance is 2 λ² / n + λ / n.
    error = ((2 * expected.square() + expected) / DRAWS).sqrt()
    assert ((counts.var(0) - expected) / error).abs().max() < 5


def test_no_photon_at_all_makes_no_infinite_image():
    noise = fitted(photons=1.0)
    y = noise.add(torch.full((50, PIXELS), 2.0), torch.Generator().manual_seed(0))
    assert torch.isfinite(y).all()
    assert torch.isfinite(noise.whitened(y)).all()
    assert torch.isfinite(noise.log_likelihood(y, y[0])).all()


@pytest.mark.parametrize("options", KINDS)
def test_shapes_precision_and_seeds(options):
    noise = fitted(**options)
    images = clean(5, 6).float().reshape(2, 3, PIXELS)
    noisy = noise.add(images, torch.Generator().manual_seed(0))
    assert noisy.shape == images.shape
    assert noisy.dtype == torch.float32
    assert torch.equal(noisy, noise.add(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(noisy, noise.add(images, torch.Generator().manual_seed(1)))
    assert noise.whitened(noisy).shape == images.shape
    torch.testing.assert_close(noise.whitened(noisy)[1, 2], noise.whitened(noisy[1, 2]))


@pytest.mark.parametrize("options", KINDS[:2])
def test_whitening_loses_nothing(options):
    noise, images = fitted(**options), clean(6, 50)
    white = noise.whitened(images)
    assert int(torch.linalg.matrix_rank(white)) == PIXELS


@pytest.mark.parametrize("options", [*KINDS, {}])
def test_config_makes_an_equal_noise(options):
    noise = ImageNoise(**options)
    again = ImageNoise(**noise.to_config())
    assert again.to_config() == noise.to_config()
    images = clean(7, 3)
    first, second = (
        n.fitted(SIZE, SPACING, 2.0).add(images, torch.Generator().manual_seed(0)) for n in (noise, again)
    )
    assert torch.equal(first, second)
    assert ImageNoise().sd == 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sd": 0.0}, r"sd = 0\.0; give a positive, finite number"),
        ({"sd": -0.1}, r"sd = -0\.1"),
        ({"sd": math.nan}, "sd = nan"),
        ({"mismatch_sd": -0.1}, r"mismatch_sd = -0\.1; give 0 or a positive number"),
        ({"mismatch_sd": math.inf}, "mismatch_sd = inf"),
        ({"mismatch_sd": 0.1, "mismatch_mm": 0.0}, r"mismatch_mm = 0\.0"),
        ({"photons": 0.0}, r"photons = 0\.0"),
        ({"photons": math.inf}, "photons = inf"),
        ({"photons": 100.0, "sd": 0.1}, "photons are a kind of their own"),
        ({"photons": 100.0, "mismatch_sd": 0.1}, "photons are a kind of their own"),
    ],
)
def test_numbers_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ImageNoise(**options)
