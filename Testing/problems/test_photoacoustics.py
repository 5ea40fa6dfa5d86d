from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy.integrate import quad

from monai_inn.applications.photoacoustics.likelihood import spectrum_log_likelihood
from monai_inn.applications.photoacoustics.problem import Photoacoustics
from monai_inn.physics import chromophores, tissue


@pytest.fixture(scope="module")
def problem() -> Photoacoustics:
    return Photoacoustics()


def draws(problem: Photoacoustics, n: int, seed: int = 0, **values: float) -> torch.Tensor:
    theta = problem.space.sample_prior(n, torch.Generator().manual_seed(seed)).double()
    for name, value in values.items():
        theta[:, problem.space.index(name)] = value
    return theta


def test_simulates_pressures(problem):
    theta, clean = problem.simulate_clean(500, seed=3)
    assert problem.targets == problem.space.names[:2] == ("so2", "depth")
    assert clean.shape == (500, 21)
    assert float(clean.min()) > 0
    assert problem.features(clean).shape == (500, 20)
    torch.testing.assert_close(problem.shares(problem.noise(clean)).mean(-1), torch.ones(500))
    assert float(problem.is_valid(problem.noise(clean)).float().mean()) > 0.99
    assert theta.shape == (500, 16)


def test_swapping_the_haemoglobins_mirrors_both_saturations(problem, monkeypatch):
    theta = draws(problem, 10)
    mirrored = theta.clone()
    for name in ("so2", "tissue_so2"):
        mirrored[:, problem.space.index(name)] = 1 - theta[:, problem.space.index(name)]
    expected = problem.forward(mirrored)
    assert float((expected / problem.forward(theta) - 1).abs().max()) > 0.01
    names = ("oxyhaemoglobin", "deoxyhaemoglobin")
    swapped = chromophores.CHROMOPHORES | {
        k: chromophores.CHROMOPHORES[v] for k, v in zip(names, names[::-1], strict=True)
    }
    tissue._spectra.cache_clear()
    monkeypatch.setattr(chromophores, "CHROMOPHORES", swapped)
    try:
        found = problem.forward(theta)
    finally:
        tissue._spectra.cache_clear()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_light_decays_as_diffusion_says_far_below_the_surface(problem):
    """In one medium of weak absorption ``d ln p0 / dz = -sqrt(3 µa (µa + µs'))``."""
    same = {"vhb_ratio": 1.0, "a_mie_ratio": 1.0, "vhb": 0.01, "a_mie": 20.0, "fat": 0.0, "upper_fat": 0.0}
    shallow = draws(problem, 8, **same, water=0.5, upper_water=0.5, depth=12.0)
    deep = draws(problem, 8, **same, water=0.5, upper_water=0.5, depth=14.0)
    layers = problem.layer_properties(deep)
    mu_a, mu_s = layers.mu_a_per_cm[:, 0, -1], layers.mu_s_per_cm[:, 0, -1] * (1 - tissue.ANISOTROPY)
    rate = (problem.forward(shallow) / problem.forward(deep)).double().log() / 0.2
    torch.testing.assert_close(rate, (3 * mu_a * (mu_a + mu_s)).sqrt(), rtol=0.015, atol=0)


def test_a_view_differs_by_its_own_depth_alone():
    two = Photoacoustics([700, 760, 850], views=2)
    theta = draws(two, 6, depth=4.0, depth_2=9.0, upper_share=0.3, upper_share_2=0.3)
    swapped = draws(two, 6, depth=9.0, depth_2=4.0, upper_share=0.3, upper_share_2=0.3)
    first, second = two.forward(theta).chunk(2, -1)
    torch.testing.assert_close(two.forward(swapped), torch.cat([second, first], -1), rtol=1e-6, atol=0)
    assert float((first / second).min()) > 1
    assert len(two.observation) == 6
    assert two.features(two.forward(theta)).shape == (6, 4)


def test_brightness_changes_nothing_that_is_asked(problem):
    _, y = problem.simulate(50, seed=1)
    for ask in (problem.features, problem.explained_features, problem.noise_level):
        torch.testing.assert_close(ask(1e4 * y), ask(y), rtol=1e-4, atol=1e-6)
    theta, _ = problem.simulate_clean(20, seed=2)
    one, other = (problem.log_likelihood(theta, scale * y[0]) for scale in (1.0, 300.0))
    torch.testing.assert_close(one - one[0], other - other[0], rtol=1e-4, atol=1e-3)


def test_likelihood_equals_a_numerical_integral():
    """Over brightness on all scales and over the logarithm of the noise."""
    clean = torch.tensor([[1.0, 1.5, 0.8], [1.2, 1.1, 0.9], [1.0, 1.0, 1.0]]).double()
    y = torch.tensor([2.1, 2.9, 1.8]).double()
    low, high = 0.02, 0.1

    def density(m: np.ndarray, log_level: float) -> float:
        variance = (0.01 * m) ** 2 + math.exp(log_level) ** 2

        def under(log_gain: float) -> float:
            gain = math.exp(log_gain)
            left = (y.numpy() / gain - m) ** 2 / variance
            return math.exp(-0.5 * left.sum() - 0.5 * np.log(variance).sum() - 3 * log_gain)

        return quad(under, math.log(1.0), math.log(4.0), epsabs=0, limit=200, points=[math.log(2.05)])[0]

    exact = []
    for row in clean.numpy():
        m = row / row.mean()
        exact.append(quad(lambda level, m=m: density(m, level), math.log(low), math.log(high))[0])
    found = spectrum_log_likelihood(clean, y, (low, high), 0.01)
    expected = torch.tensor(exact).double().log()
    # Steps between noise levels leave some hundredths of a nat where a row does not fit.
    torch.testing.assert_close(found - found[0], expected - expected[0], rtol=0, atol=0.03)


def test_exact_posterior_equals_weighed_draws_of_the_prior():
    few = Photoacoustics([700, 760, 850], noise=(0.2, 0.2))
    _, y = few.simulate(2, seed=5)
    prior, _ = few.simulate_clean(20_000, seed=9)
    weight = few.log_likelihood(prior, y[0]).softmax(0)
    effective = 1 / float(weight.square().sum())
    assert effective > 1000
    drawn = few.space.inverse(few.exact_samples(y[0], 1000, seed=1).samples.float())
    for name in ("so2", "depth"):
        k = few.space.index(name)
        mean = float((weight * prior[:, k]).sum())
        sd = float((weight * (prior[:, k] - mean).square()).sum().sqrt())
        tolerance = 4 * sd * math.sqrt(1 / effective + 4 / 1000)  # resampling leaves copies
        assert abs(float(drawn[:, k].mean()) - mean) < tolerance


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wavelengths_nm": [800]}, "at least 2"),
        ({"wavelengths_nm": [850, 750]}, "do not ascend"),
        ({"wavelengths_nm": [750, math.nan, 850]}, "do not ascend; give numbers"),
        ({"wavelengths_nm": [800, 1064]}, "known from 250 to 1000 nm"),
        ({"noise": (0.0, 0.1)}, "0 < least <= largest"),
        ({"noise": (0.2, 0.1)}, "0 < least <= largest"),
        ({"views": 0}, "views = 0"),
    ],
)
def test_unusable_devices_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Photoacoustics(**options)


def test_devices_are_sets_of_wavelengths():
    device = Photoacoustics.of_device
    assert device("700:900:10").to_config() == Photoacoustics().to_config()
    assert device("750,800,850").wavelengths_nm == (750.0, 800.0, 850.0)
    half = device("750,850@views=2,light=0.5")
    assert (half.views, half.noise_range) == (2, (0.01, 0.1))
    for spec in ("750;850", "700:900", "700:900:0", "900:700:-10", "700:nan:10", "700:900:1e-12", "750"):
        with pytest.raises(ValueError, match=r"give wavelengths|at least 2"):
            device(spec)
    with pytest.raises(ValueError, match=r"light = 0.01 makes noise as large as the signal; give over 0.05"):
        device("750,850@light=0.01")
    with pytest.raises(ValueError, match="light = 0; give a positive share"):
        device("750,850@light=0")
    for views in ("0.5", "2.7"):
        with pytest.raises(ValueError, match="give a whole number"):
            device(f"750,850@views={views}")


def test_images_of_other_wavelengths_are_refused(problem):
    image = MetaTensor(torch.rand(21, 2, 2), meta={"wavelength_nm": tuple(range(650, 860, 10))})
    with pytest.raises(ValueError, match="650"):
        problem.application.match(image, "image.nrrd")
    with pytest.raises(ValueError, match=r"5 bands.*21"):
        problem.application.match(MetaTensor(torch.rand(5, 2, 2)), "image.nrrd")
    fitting = MetaTensor(torch.rand(21, 2, 2), meta={"wavelength_nm": tuple(range(700, 901, 10))})
    assert problem.application.match(fitting, "image.nrrd").shape == (21, 2, 2)


def test_pixels_without_a_usable_spectrum_are_not_inferred(problem):
    _, y = problem.simulate(5, seed=1)
    y[0, 3], y[1], y[2], y[3, ::3] = math.nan, 0.0, -y[2], -0.1
    assert problem.is_valid(y).tolist() == [False, False, False, False, True]
