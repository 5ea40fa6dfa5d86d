from __future__ import annotations

import numpy as np
import pytest
import torch
from monte_carlo import simulate

from monai_inn.physics.transport.fluence import fluence
from monai_inn.physics.transport.layers import simulate_layers

WAVELENGTHS = 21


def stacks(spectra: int, layers: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    ripple = np.exp(0.3 * np.sin(np.linspace(0, 6, WAVELENGTHS) + rng.uniform(0, 6, (spectra, 1, 1))))
    mu_a = 10 ** rng.uniform(-1.5, 0.5, (spectra, layers, 1)) * ripple
    mu_s = rng.uniform(50, 300, (spectra, layers, 1)) * np.linspace(1.2, 0.8, WAVELENGTHS)
    thickness = rng.uniform(0.005, 0.3, (spectra, layers))
    thickness[:, -1] = np.linspace(0.0, 1.5, spectra)
    return mu_a, mu_s, thickness


def by_torch(mu_a, mu_s, thickness, directions: int) -> np.ndarray:
    """The fluence at the face where the last layer is cut."""
    mu_a, mu_s = (torch.from_numpy(np.concatenate([v, v[:, -1:]], 1)).transpose(1, 2) for v in (mu_a, mu_s))
    endless = np.concatenate([thickness, np.full((len(thickness), 1), np.inf)], 1)
    g, n = (torch.tensor(v, dtype=torch.float64) for v in (0.9, 1.4))
    solved = simulate_layers(mu_a, mu_s, g, torch.from_numpy(endless)[:, None], n, directions, bottom="black")
    return solved.fluence[..., -2].numpy()


# Another number of directions is compiled anew, for a quarter of a minute.
@pytest.mark.parametrize(
    ("layers", "directions"), [(1, 4), (2, 4), (3, 4), pytest.param(2, 5, marks=pytest.mark.slow)]
)
def test_equals_the_differentiable_solver(layers, directions):
    inputs = stacks(12, layers)
    made = fluence(*inputs, num_directions=directions)
    np.testing.assert_allclose(made, by_torch(*inputs, directions), rtol=1e-8)


def test_equals_it_outside_the_interpolated_albedos():
    mu_a, mu_s, thickness = stacks(4, 2)
    mu_a[:2, -1], mu_a[2:, -1] = 1e-5, 400.0
    thickness[2:, -1] = 0.01
    np.testing.assert_allclose(fluence(mu_a, mu_s, thickness), by_torch(mu_a, mu_s, thickness, 4), rtol=1e-7)


@pytest.mark.parametrize(
    ("mu_a", "reduced", "depth"),
    [
        (1.0, 10.0, 0.3),
        (5.0, 15.0, 0.125),
        # Photons live long where little absorbs them.
        pytest.param(0.2, 10.0, 0.4, marks=pytest.mark.slow),
        pytest.param(0.2, 5.0, 1.0, marks=pytest.mark.slow),
    ],
)
def test_agrees_with_photon_monte_carlo(mu_a, reduced, depth):
    """Within one per cent and three standard errors of photons absorbed in a thin slice around the depth."""
    mu_s, half = reduced / 0.1, 0.025
    layers = ([mu_a] * 3, [mu_s] * 3, [0.9] * 3, [depth - half, 2 * half, np.inf])
    runs = [simulate(*layers, n=1.4, photons=8_000, seed=seed).absorbed[1] for seed in range(10)]
    expected = np.mean(runs) / (2 * half * mu_a)
    error = np.std(runs, ddof=1) / np.sqrt(len(runs)) / (2 * half * mu_a)
    places = depth + half * np.array([-1.0, 0.0, 1.0])
    one = np.ones((3, 1, 1))
    made = fluence(mu_a * one, mu_s * one, places[:, None])[:, 0] @ np.array([1, 4, 1]) / 6
    assert abs(made - expected) < 0.01 * expected + 3 * error
    assert error < 0.02 * expected


def test_one_medium_may_be_cut_anywhere():
    mu_a, mu_s, thickness = stacks(6, 2)
    mu_a[:, 0], mu_s[:, 0] = mu_a[:, 1], mu_s[:, 1]
    whole = fluence(mu_a[:, 1:], mu_s[:, 1:], thickness.sum(1, keepdims=True))
    np.testing.assert_allclose(fluence(mu_a, mu_s, thickness), whole, rtol=1e-8)


def test_result_depends_neither_on_threads_nor_on_neighbours():
    mu_a, mu_s, thickness = stacks(17, 3)
    whole = fluence(mu_a, mu_s, thickness, threads=1)
    np.testing.assert_array_equal(fluence(mu_a, mu_s, thickness, threads=3), whole)
    np.testing.assert_array_equal(fluence(mu_a[5:6], mu_s[5:6], thickness[5:6]), whole[5:6])
    backwards = fluence(mu_a[..., ::-1], mu_s[..., ::-1], thickness)[:, ::-1]
    np.testing.assert_allclose(backwards, whole, rtol=1e-9)


@pytest.mark.parametrize(
    ("position", "value", "words"),
    [
        (0, np.full((2, 3, WAVELENGTHS), -1.0), "not negative"),
        (1, np.full((2, 2, WAVELENGTHS), 1.0), "shape"),
        (2, np.full((2, 3), np.inf), "finite thickness_cm"),
    ],
)
def test_bad_input_is_refused(position, value, words):
    inputs = list(stacks(2, 3))
    inputs[position] = value
    with pytest.raises(ValueError, match=words):
        fluence(*inputs)
