"""Resimulation error against its exact law, and how it sees posteriors that are too wide or collapsed."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2, kstest

from monai_inn.metrics.resimulation import resimulation_error, resimulation_test
from monai_inn.testproblems.gaussian import LinearGaussian

SEED = 0
CHANNELS, NOISE = 3, 0.3


def resimulated(cases, size=50, scale=1.0, seed=SEED):
    """Noise-free observations of samples about the exact posterior mean, and the observations."""
    problem = LinearGaussian(num_observations=CHANNELS, noise_sd=NOISE)
    _, y = problem.simulate(cases, seed=seed)
    posterior = problem.reference_posterior(y)
    torch.manual_seed(seed)
    samples = posterior.mean + scale * (posterior.sample((size,)) - posterior.mean)
    return problem.forward(samples), y


def test_error_is_its_definition_for_every_shape_of_noise():
    generator = torch.Generator().manual_seed(SEED)
    s, y = torch.randn(7, 5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    for sd in (0.4, torch.rand(3) + 0.1, torch.rand(5, 3) + 0.1, torch.rand(7, 5, 3) + 0.1):
        expected = ((s - y) / sd).square().mean(-1).double()
        torch.testing.assert_close(resimulation_error(s, y, sd), expected, rtol=1e-5, atol=0)
        mask = torch.tensor([True, False, True, True, False])
        broken = torch.where(mask[:, None], y, torch.nan)
        torch.testing.assert_close(
            resimulation_error(s, broken, sd, mask), expected[:, mask], rtol=1e-5, atol=0
        )


def test_exact_posterior_has_the_law_of_the_noise():
    error = resimulation_error(*resimulated(4000), NOISE)
    result = resimulation_test(error, CHANNELS)
    half = 0.5 * (result.mean_interval[1] - result.mean_interval[0])
    assert abs(result.mean - 1) < 2 * half  # 3.9 standard errors
    assert half == pytest.approx(1.96 * float(error.mean(0).std()) / math.sqrt(4000), rel=0.01)
    assert result.expected_median == pytest.approx(chi2(3).ppf(0.5) / 3)
    assert result.median == pytest.approx(result.expected_median, rel=0.04)
    assert result.median == pytest.approx(float(np.median(error.numpy())))
    assert result.p_value > 0.001


def test_interval_and_law_hold_at_their_rates():
    repeats, cases = 300, 100
    error = resimulation_error(*resimulated(repeats * cases, size=10, seed=1), NOISE)
    results = [resimulation_test(part, CHANNELS, seed=i) for i, part in enumerate(error.split(cases, dim=1))]
    missed = sum(not r.mean_interval[0] < 1 < r.mean_interval[1] for r in results)
    assert missed <= binom.ppf(0.9995, repeats, 0.05)
    assert kstest([r.p_value for r in results], "uniform").pvalue > 0.001


def test_too_wide_is_above_one_and_collapse_below():
    wide = resimulation_test(resimulation_error(*resimulated(2000, scale=1.3), NOISE), CHANNELS)
    narrow = resimulation_test(resimulation_error(*resimulated(2000, scale=0.7), NOISE), CHANNELS)
    mode = resimulation_test(resimulation_error(*resimulated(2000, scale=0.0), NOISE), CHANNELS)
    assert wide.mean_interval[0] > 1 > narrow.mean_interval[1] > mode.mean_interval[1]
    assert max(wide.p_value, narrow.p_value, mode.p_value) < 1e-4
    assert wide.median > wide.expected_median > narrow.median > mode.median

    problem = LinearGaussian(num_observations=CHANNELS, noise_sd=NOISE)
    a = problem.matrix
    # The residual at the posterior mean is H y with H = I − A Σ Aᵀ / σ² and y ~ N(0, A Aᵀ + σ² I).
    cover = a @ a.T + NOISE**2 * torch.eye(CHANNELS)
    hat = NOISE**2 * torch.linalg.inv(cover)
    exact = float((hat @ cover @ hat.T).trace()) / (CHANNELS * NOISE**2)
    assert mode.mean == pytest.approx(exact, abs=2 * (mode.mean_interval[1] - mode.mean))


def test_the_law_needs_a_sample_of_its_own_for_every_case():
    # All samples of index 0 share one latent: their errors move together, and the test would see it.
    error = torch.from_numpy(chi2(2).rvs((20, 2000), random_state=SEED)) / 2
    error[0] = 0.1
    assert resimulation_test(error, 2).p_value > 1e-8
    assert resimulation_test(error[:1], 2).p_value < 1e-12


class Shot(LinearGaussian):
    """Noise that grows with the signal, as that of counted photons."""

    def noise(self, y, generator=None):
        return y + (0.1 + y.abs()).sqrt() * torch.randn(y.shape, generator=generator, dtype=y.dtype)


def test_noise_that_depends_on_the_signal_is_taken_at_the_resimulation():
    problem = Shot()
    truth, y = problem.simulate(4000, seed=SEED)
    s = problem.forward(truth)
    error = resimulation_error(s[None], y, (0.1 + s.abs()).sqrt()[None])
    assert resimulation_test(error, 3).p_value > 0.001


def test_bad_input_is_refused():
    s, y = torch.zeros(4, 5, 3), torch.zeros(5, 3)
    with pytest.raises(ValueError, match=r"\(4, 5, 3\) and observation \(5, 2\)"):
        resimulation_error(s, torch.zeros(5, 2), 1.0)
    with pytest.raises(ValueError, match=r"noise_sd has shape \(5,\), expected a number, \(3,\)"):
        resimulation_error(s, y, torch.ones(5))
    with pytest.raises(ValueError, match="noise_sd holds values that are not positive"):
        resimulation_error(s, y, torch.tensor([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="1 of 5 cases hold NaN"):
        resimulation_error(s.index_fill(1, torch.tensor([2]), torch.nan), y, 1.0)
    with pytest.raises(TypeError, match=r"torch\.float32, expected a boolean"):
        resimulation_error(s, y, 1.0, torch.ones(5))
    with pytest.raises(ValueError, match=r"mask has shape \(4,\)"):
        resimulation_error(s, y, 1.0, torch.ones(4) > 0)
    with pytest.raises(ValueError, match=r"error has shape \(4, 1\)"):
        resimulation_test(torch.ones(4, 1), 3)
    with pytest.raises(ValueError, match="num_channels = 0"):
        resimulation_test(torch.ones(4, 5), 0)
    with pytest.raises(ValueError, match="negative, NaN or infinite"):
        resimulation_test(-torch.ones(4, 5), 3)
