"""What the model of tissue learned: vessels, stray light, a shifted axis, and how real tissue deviates."""

import numpy as np
import pytest
import torch

from monai_inn.applications.oximetry.learning import learn_discrepancy
from monai_inn.physics import cameras, tissue
from monai_inn.physics.discrepancy import Discrepancy, load
from monai_inn.problems import Oximetry
from monai_inn.problems.registry import restored

CAMERA = "imec_ssm4x4_470_620"


def draws(problem, n, **values):
    theta = problem.space.sample_prior(n, torch.Generator().manual_seed(0))
    for name, value in values.items():
        theta[:, problem.space.index(name)] = value
    return theta


def test_blood_in_thin_vessels_absorbs_as_if_spread_out_and_in_wide_ones_less():
    mu = torch.tensor([0.0, 1.0, 50.0, 300.0], dtype=torch.float64)
    thin = tissue.in_vessels(mu, torch.tensor(1e-6))
    torch.testing.assert_close(thin, mu, rtol=1e-6, atol=0)
    # 2 µ R = 1 for µ = 50 / cm and R = 100 µm: (1 - 1/e) of the absorption is left.
    assert float(tissue.in_vessels(mu, torch.tensor(100.0))[2]) == pytest.approx(50 * (1 - np.exp(-1)))
    wide = tissue.in_vessels(mu, torch.tensor(1e4))
    assert float(wide[3]) == pytest.approx(1 / (2 * 1.0), rel=1e-6)  # no more than the vessel's shadow


def test_band_values_change_with_the_axis_as_a_shifted_camera_sees_them():
    camera = cameras.Camera.from_centres([540.0, 560.0, 600.0], 12.0, name="three")
    moved = cameras.Camera.from_centres([542.0, 562.0, 602.0], 12.0, name="moved")
    grid = np.arange(500.0, 650.0, 0.5)
    spectrum = 0.4 + 0.2 * np.sin(grid / 25)
    per_nm = camera.weights(grid, per_nm=True)
    np.testing.assert_allclose(per_nm.sum(1), 0, atol=1e-12)
    shifted = camera.weights(grid) @ spectrum + 2 * per_nm @ spectrum
    np.testing.assert_allclose(shifted, moved.weights(grid) @ spectrum, atol=1e-3)


def test_stray_light_adds_to_all_bands():
    problem = Oximetry(CAMERA)
    without, with_light = (problem.forward(draws(problem, 20, stray_light=v)) for v in (0.0, 0.015))
    torch.testing.assert_close(with_light, without + 0.015, rtol=0, atol=1e-6)


def test_gradients_of_the_nuisances_agree_with_differences():
    problem = Oximetry(CAMERA)
    theta = draws(problem, 4, stray_light=0.01, axis_shift=0.5, vessel_radius=40.0).double()
    theta.requires_grad_()
    problem.forward(theta).sum().backward()
    for name, step in (("axis_shift", 0.1), ("stray_light", 1e-3), ("vessel_radius", 1.0)):
        index = problem.space.index(name)
        ahead, behind = theta.detach().clone(), theta.detach().clone()
        ahead[:, index] += step
        behind[:, index] -= step
        slope = (problem.forward(ahead) - problem.forward(behind)).sum(-1).double() / (2 * step)
        torch.testing.assert_close(theta.grad[:, index], slope, rtol=2e-2, atol=1e-4)


def test_a_configuration_of_a_former_release_makes_the_former_problem():
    config = Oximetry(CAMERA).to_config()
    assert restored("oximetry", config).space.names == Oximetry(CAMERA).space.names
    former = restored("oximetry", {k: v for k, v in config.items() if k != "nuisances"})
    assert len(former.parameters) == 13
    assert former.discrepancy is None
    # What that release simulated.
    config = Oximetry("imec_ssm4x4_470_620").to_config()
    former = restored("oximetry", {k: v for k, v in config.items() if k != "nuisances"})
    found = former.simulate(2, seed=3)[1][:, :3]
    expected = torch.tensor([[0.116531, 0.12389, 0.184339], [0.093074, 0.080083, 0.165168]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_shipped_discrepancy_survives_its_tensor():
    shipped = load("organ")
    again = Discrepancy.from_tensor(shipped.to_tensor())
    for mine, theirs in zip(shipped, again, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert load("bone") is None
    assert Oximetry(CAMERA, tissue="skin").discrepancy is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (torch.zeros(4), "finite rows"),
        (torch.full((3, 2), torch.nan), "finite rows"),
        (torch.zeros(3, 2), "must ascend"),
    ],
)
def test_rows_that_are_no_discrepancy_are_refused(rows, words):
    with pytest.raises(ValueError, match=words):
        Oximetry(CAMERA, discrepancy=rows)


def test_the_forward_model_holds_what_tissues_share():
    centre = np.linspace(450, 650, 60)
    shared = 0.1 * np.exp(-0.5 * ((centre - 560) / 30) ** 2)
    rows = Discrepancy(centre, shared, np.empty((0, 60))).to_tensor()
    scanner = cameras.Camera.from_centres(np.arange(500.0, 620.0, 5.0), 4.0, name="narrow")
    plain, learned = Oximetry(scanner, discrepancy=None), Oximetry(scanner, discrepancy=rows)
    theta = draws(plain, 30, stray_light=0.0, axis_shift=0.0)
    ratio = (learned.forward(theta) / plain.forward(theta)).log()
    expected = torch.from_numpy(np.interp(scanner.centre_nm, centre, shared)).float()
    torch.testing.assert_close(ratio, expected.expand_as(ratio), rtol=0, atol=4e-3)


def test_what_tissues_share_is_learned_from_their_spectra():
    problem = Oximetry(CAMERA, discrepancy=None)
    theta = draws(problem, 4, stray_light=0.005, axis_shift=0.0)
    order = np.argsort(problem.camera.centre_nm)
    bump = torch.zeros(16)
    bump[order[5]], bump[order[11]] = 0.08, -0.08  # of single bands, which no parameters make
    spectra = dict(zip("abcd", problem.forward(theta) * bump.exp(), strict=True))
    learned = learn_discrepancy(problem, spectra)
    found = torch.from_numpy(learned.mean).float()
    assert float(torch.corrcoef(torch.stack([found, bump - bump.mean()]))[0, 1]) > 0.9
    assert float(np.abs(learned.modes).max()) < 0.03


def test_a_discrepancy_of_few_tissues_or_of_one_that_has_it_is_refused():
    spectra = dict.fromkeys("abc", torch.ones(16))
    with pytest.raises(ValueError, match=r"learned from 3 tissue\(s\)"):
        learn_discrepancy(Oximetry(CAMERA, discrepancy=None), spectra)
    with pytest.raises(ValueError, match=r"learned from 1 tissue\(s\)"):
        learn_discrepancy(Oximetry(CAMERA, discrepancy=None), spectra, dict.fromkeys("abc", "a"))
    with pytest.raises(ValueError, match="has a discrepancy already"):
        learn_discrepancy(Oximetry(CAMERA), dict.fromkeys("abcd", torch.ones(16)))


def test_a_scanner_tells_how_noisy_it_is():
    problem = Oximetry("tivita")
    smooth = problem.forward(draws(problem, 400, a_mie=20.0, stray_light=0.0))
    noisy = smooth * (1 + 0.02 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0)))
    assert float(problem.noise_level(noisy).median().sqrt()) == pytest.approx(0.02, rel=0.1)
    assert float(problem.noise_level(smooth).median().sqrt()) < 0.006
    assert bool((Oximetry(CAMERA).noise_level(torch.rand(5, 16)) == 1).all())


def test_deviations_have_labels_of_their_own_and_dyes_only_where_they_absorb():
    families = Oximetry("tivita").application.deviations()
    assert list(families) == ["absorption", "transparency", "dye"]
    assert list(families["dye"]) == [
        "absorption like that of indocyanine green",
        "absorption like that of methylene blue",
    ]
    labels = [label for family in families.values() for label in family]
    assert len(set(labels)) == len(labels)
    for more, less in zip(families["absorption"].values(), families["transparency"].values(), strict=True):
        torch.testing.assert_close(more, -less)
        assert float(more.min()) < 0


def test_measured_organs_are_seen_by_cameras_within_the_measured_range_only():
    seen = Oximetry("tivita").application.measured(320, 0)
    assert len(seen) == 16
    assert {rows.shape for rows in seen.values()} == {torch.Size([20, 100])}
    assert Oximetry("rgb_nikon_d5100").application.measured(320, 0) == {}
    assert Oximetry("tivita", tissue="skin").application.measured(320, 0) == {}
