from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_inn.physics.transport.compiled import cache_folder
from monai_inn.physics.transport.layers import simulate_layers
from monai_inn.physics.transport.layers_kernel import diffuse_reflectance

WAVELENGTH = np.linspace(450.0, 1000.0, 40)


def stacks(spectra: int, layers: int, infinite: bool, seed: int = 0):
    rng = np.random.default_rng(seed)
    ripple = np.exp(rng.normal(size=(spectra, 1, 1)) * np.sin(WAVELENGTH / 40))
    mu_a = 10 ** rng.uniform(-1.5, 2, (spectra, layers, 1)) * ripple
    power = rng.uniform(0.3, 3, (spectra, 1, 1))
    mu_s = rng.uniform(50, 500, (spectra, layers, 1)) * (WAVELENGTH / 500) ** -power
    thickness = rng.uniform(0.002, 0.2, (spectra, layers))
    if infinite:
        thickness[:, -1] = np.inf
    return mu_a, mu_s, rng.uniform(0.7, 0.95, (spectra, layers)), thickness, rng.uniform(1.33, 1.54, spectra)


def by_torch(mu_a, mu_s, g, thickness, n):
    columns = [torch.from_numpy(v).transpose(-1, -2) for v in (mu_a, mu_s)]
    shared = [torch.from_numpy(v)[:, None] for v in (g, thickness, n)]
    return simulate_layers(*columns, *shared, 5, bottom="black").diffuse.numpy()


@pytest.mark.parametrize(("layers", "infinite"), [(1, True), (2, False), (3, True)])
def test_equals_the_differentiable_solver(layers, infinite):
    inputs = stacks(12, layers, infinite)
    np.testing.assert_allclose(diffuse_reflectance(*inputs), by_torch(*inputs), rtol=0, atol=5e-10)


def test_few_wavelengths_take_the_direct_path():
    mu_a, mu_s, *rest = stacks(6, 3, True)
    direct = diffuse_reflectance(mu_a[..., :7], mu_s[..., :7], *rest)
    interpolated = diffuse_reflectance(mu_a, mu_s, *rest)[:, :7]
    np.testing.assert_allclose(direct, interpolated, rtol=0, atol=5e-10)


def test_wavelengths_do_not_disturb_each_other():
    mu_a, mu_s, *rest = stacks(4, 3, True)
    reversed_ = diffuse_reflectance(mu_a[..., ::-1], mu_s[..., ::-1], *rest)
    np.testing.assert_allclose(reversed_[:, ::-1], diffuse_reflectance(mu_a, mu_s, *rest), rtol=0, atol=1e-11)


def test_result_depends_neither_on_threads_nor_on_batching():
    inputs = stacks(33, 3, True)
    whole = diffuse_reflectance(*inputs, threads=1)
    np.testing.assert_array_equal(diffuse_reflectance(*inputs, threads=3), whole)
    # Torch prepares the tables and may round another batch shape otherwise, in the last bits only.
    np.testing.assert_allclose(diffuse_reflectance(*(v[7:9] for v in inputs)), whole[7:9], rtol=1e-12)


def test_bands_are_weighted_means():
    inputs = stacks(5, 3, True)
    weights = np.zeros((3, WAVELENGTH.size))
    weights[0, 4:9], weights[1, 0], weights[2, 10:40] = 0.2, 1.0, 1 / 30
    expected = diffuse_reflectance(*inputs) @ weights.T
    np.testing.assert_allclose(diffuse_reflectance(*inputs, bands=weights), expected, rtol=1e-12)


def test_a_second_process_loads_compiled_code():
    # Compiled by the tests above or here; then nothing may be left to compile.
    diffuse_reflectance(*stacks(1, 1, True))
    script = (
        "import sys, numpy as np\n"
        "from monai_inn.physics.transport.layers_kernel import diffuse_reflectance, kernel_source\n"
        "from monai_inn.physics.transport.compiled import compiled\n"
        "one = np.ones((1, 1, 40))\n"
        "diffuse_reflectance(one, 100 * one, 0.9, np.inf, 1.4)\n"
        "stats = compiled('layers_5', kernel_source(5)).stats\n"
        "print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == ["1", "0"]


def test_cache_folder_follows_the_environment_and_survives_an_unwritable_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MONAI_INN_CACHE", str(tmp_path / "kernels"))
    assert cache_folder() == tmp_path / "kernels"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MONAI_INN_CACHE", str(tmp_path / "file" / "below"))
    fallback = cache_folder()
    assert tmp_path not in fallback.parents
    assert os.access(fallback, os.W_OK)
    assert isinstance(fallback, Path)


@pytest.mark.parametrize(
    ("position", "value", "words"),
    [
        (0, np.full((2, 3, 40), np.nan), "finite"),
        (1, np.full((2, 3, 39), 1.0), "shape"),
        (4, np.full(2, 1.0), "n > 1.001"),
        (3, np.full((2, 3), -1.0), "thickness_cm >= 0"),
    ],
)
def test_bad_input_is_refused(position, value, words):
    inputs = list(stacks(2, 3, True))
    inputs[position] = value
    with pytest.raises(ValueError, match=words):
        diffuse_reflectance(*inputs)
