from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_inn import problems
from monai_inn.applications.oximetry.problem import Oximetry
from monai_inn.physics import chromophores, tissue
from monai_inn.physics.cameras import Camera

CAMERA = "imec_ssm4x4_470_620"


@pytest.fixture(scope="module")
def problem() -> Oximetry:
    return Oximetry(CAMERA)


def draws(problem: Oximetry, count: int, seed: int = 0) -> torch.Tensor:
    return problem.space.sample_prior(count, torch.Generator().manual_seed(seed)).double()


def changed(problem: Oximetry, theta: torch.Tensor, **values: float | torch.Tensor) -> torch.Tensor:
    theta = theta.clone()
    for name, value in values.items():
        theta[:, problem.space.index(name)] = value
    return theta


@pytest.mark.parametrize("tissue_name", ["organ", "skin"])
@pytest.mark.parametrize("camera", ["tivita", "rgb_nikon_d5100"])
def test_simulates_reflectances(camera, tissue_name):
    problem = Oximetry(camera, tissue=tissue_name)
    theta, clean = problem.simulate_clean(300, seed=4)
    assert theta.shape == (300, 16)
    assert problem.targets == problem.space.names[:4] == ("sao2", "vhb", "a_mie", "b_mie")
    assert clean.shape == (300, len(problem.observation))
    assert clean.dtype == torch.float32
    assert bool(problem.space.contains(theta).all())
    assert float(clean.min()) > 0
    assert float(clean.max()) < 1
    assert problem.features(clean).shape == (300, clean.shape[1] - 1)


def test_the_two_solvers_give_the_same_bands(problem):
    theta = draws(problem, 20)
    compiled = problem.forward(theta)
    by_torch = problem.forward(theta.requires_grad_())
    assert by_torch.requires_grad
    torch.testing.assert_close(by_torch.detach(), compiled, rtol=0, atol=1e-7)


@pytest.mark.parametrize("tissue_name", ["organ", "skin"])
def test_gradient_matches_finite_differences(tissue_name):
    problem = Oximetry(Camera.from_centres([520.0, 560.0], 4.0), tissue=tissue_name, num_directions=4)
    theta = draws(problem, 2, seed=1)
    # A layer face at the edge of the top millimetre is a kink.
    theta = changed(problem, theta, d_2=0.03)

    def forward(rows: torch.Tensor) -> torch.Tensor:
        return problem._differentiable(rows)

    assert torch.autograd.gradcheck(forward, theta.requires_grad_(), eps=1e-6, atol=1e-6, rtol=1e-4)


def test_swapping_the_haemoglobins_mirrors_saturation(problem, monkeypatch):
    theta = draws(problem, 10)
    mirrored = changed(problem, theta, sao2=1 - theta[:, 0])
    expected = problem.layer_properties(mirrored).mu_a_per_cm
    assert float((problem.forward(mirrored) - problem.forward(theta)).abs().max()) > 1e-3
    swapped = dict(chromophores.CHROMOPHORES)
    names = ("oxyhaemoglobin", "deoxyhaemoglobin")
    swapped[names[0]], swapped[names[1]] = (chromophores.CHROMOPHORES[k] for k in reversed(names))
    tissue._spectra.cache_clear()
    monkeypatch.setattr(chromophores, "CHROMOPHORES", swapped)
    try:
        found = problem.layer_properties(theta).mu_a_per_cm
    finally:
        tissue._spectra.cache_clear()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_blood_and_scattering_of_a_bloody_half_space_scale_invisibly(problem):
    """Only vhb / a_mie is identifiable where nothing but blood absorbs and no depth sets a length."""
    theta = draws(problem, 10, seed=2)
    pure = dict.fromkeys(("water", "fat", "bilirubin"), 0.0) | dict.fromkeys(
        ("vhb_ratio_2", "vhb_ratio_3", "a_mie_ratio"), 1.0
    )
    theta = changed(problem, theta, **pure)
    theta = changed(problem, theta, vhb=0.02, a_mie=10.0)
    scaled = changed(problem, theta, vhb=0.02 * 3, a_mie=10.0 * 3)
    torch.testing.assert_close(problem.forward(scaled), problem.forward(theta), rtol=0, atol=1e-7)
    watery = changed(problem, theta, fat=1.0), changed(problem, scaled, fat=1.0)
    assert float((problem.forward(watery[0]) - problem.forward(watery[1])).abs().max()) > 1e-5


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_targets_are_means_over_the_top_millimetre(seed):
    problem = Oximetry(CAMERA)
    theta = changed(problem, draws(problem, 8, seed), water=0.0, fat=0.0, bilirubin=0.0)
    layers = problem.layer_properties(theta)
    shares = tissue.top_shares(layers.thickness_cm)
    torch.testing.assert_close(shares.sum(-1), torch.ones(8).double(), rtol=0, atol=1e-12)
    k = problem.wavelength_nm.index(500.0)
    scatter = (layers.mu_s_per_cm[:, :, k] * (1 - tissue.ANISOTROPY) * shares).sum(-1)
    torch.testing.assert_close(scatter, theta[:, problem.space.index("a_mie")], rtol=1e-10, atol=0)
    one = changed(problem, theta, vhb=0.01)
    absorbed = (problem.layer_properties(one).mu_a_per_cm[:, :, k] * shares).sum(-1)
    per_blood = [float(chromophores.absorption_per_cm(f"{c}haemoglobin", 500.0)) for c in ("oxy", "deoxy")]
    whole = theta[:, 0] * per_blood[0] + (1 - theta[:, 0]) * per_blood[1]
    expected = 0.01 * tissue.in_vessels(whole, theta[:, problem.space.index("vessel_radius")])
    torch.testing.assert_close(absorbed, expected, rtol=1e-10, atol=0)


def test_skin_keeps_blood_out_of_the_epidermis():
    problem = Oximetry(CAMERA, tissue="skin")
    theta = changed(problem, draws(problem, 5), melanin=0.003, water=0.0, fat=0.0, bilirubin=1.0)
    epidermis = problem.layer_properties(theta).mu_a_per_cm[:, 0]
    melanin = 0.003 * chromophores.absorption_per_cm("melanin", np.array(problem.wavelength_nm))
    torch.testing.assert_close(epidermis, torch.from_numpy(melanin).expand_as(epidermis), rtol=1e-12, atol=0)


def test_shape_and_batching_do_not_matter(problem):
    theta = draws(problem, 200)
    whole = problem.forward(theta)
    assert problem.forward(theta.reshape(10, 20, 16)).shape == (10, 20, 16)
    torch.testing.assert_close(
        problem.forward(theta.reshape(10, 20, 16)).reshape(200, 16), whole, rtol=0, atol=0
    )
    torch.testing.assert_close(problem.forward(theta[3]), whole[3], rtol=0, atol=1e-7)


def test_simulation_is_the_same_whatever_is_asked_for(problem):
    theta, y = problem.simulate_clean(1500, seed=3)
    few = problem.simulate_clean(300, seed=3)
    block = problem.simulate_clean(400, seed=3, first_block=1)
    assert torch.equal(few[0], theta[:300])
    assert torch.equal(few[1], y[:300])
    assert torch.equal(block[1], y[1024:1424])
    assert not torch.equal(problem.simulate(300, seed=4)[1], problem.simulate(300, seed=3)[1])
    assert torch.equal(problem.simulate(300, seed=3)[1], problem.simulate(1100, seed=3)[1][:300])


def test_number_of_threads_does_not_matter(problem, monkeypatch):
    theta = draws(problem, 500)
    monkeypatch.setenv("MONAI_INN_THREADS", "1")
    one = problem.forward(theta)
    monkeypatch.setenv("MONAI_INN_THREADS", "4")
    assert torch.equal(problem.forward(theta), one)


@pytest.mark.parametrize("tissue_name", ["organ", "skin"])
def test_configuration_makes_an_equal_problem(tissue_name):
    problem = Oximetry(CAMERA, tissue=tissue_name)
    copy = problems.create("oximetry", **json.loads(json.dumps(problem.to_config())))
    assert copy.to_config() == problem.to_config()
    assert copy.space.to_config() == problem.space.to_config()
    theta = draws(problem, 4)
    assert torch.equal(copy.forward(theta), problem.forward(theta))


def test_invalid_pixels_are_found(problem):
    y = torch.full((7, 16), 0.3)
    y[1, 0] = torch.nan
    y[2] = 0.0
    y[3, :5] = -0.01
    y[4, :4] = 0.0
    y[5, 3] = torch.inf
    y[6] = -0.1
    assert problem.is_valid(y).tolist() == [True, False, False, False, True, False, False]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"camera": "kodak"}, "unknown camera"), ({"tissue": "bone"}, "organ, skin")],
)
def test_unknown_names_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Oximetry(**arguments)


def test_wrong_parameter_count_is_refused(problem):
    with pytest.raises(ValueError, match="expected \\(…, 16\\)"):
        problem.forward(torch.zeros(4, 12))
