"""Rigid alignment against what is known: closed forms, grids, tempered Monte Carlo, ITK's own resampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from alignment_phantom import PERIOD, pair
from scipy.ndimage import gaussian_filter
from torch.distributions import MultivariateNormal

from monai_inn.applications.registration.whitening import cosines
from monai_inn.applications.rigid.detail import fine_detail
from monai_inn.applications.rigid.fit import climb, distinct
from monai_inn.applications.rigid.likelihood import Comparison, Curve
from monai_inn.applications.rigid.motion import MOTION, Motions
from monai_inn.applications.rigid.posterior import Alignment, weigh
from monai_inn.applications.rigid.results import LEAST_DETAIL
from monai_inn.applications.rigid.search import Bounds
from monai_inn.applications.rigid.solver import align_volumes
from monai_inn.applications.rigid.volumes import Volume
from monai_inn.problems.exact.tempering import tempered_samples

THETA = torch.tensor([4.0, -3.0, 5.0, 2.0, -4.0, 6.0]).double()


def compared(fixed, moving, noise) -> Comparison:
    """The images as they are, with the noise that was added."""
    sd = 2 * noise / 2 / float(moving.values.std())
    curve = Curve(torch.stack([fixed.values.min(), fixed.values.max()]))
    return Comparison(fixed, moving, on(fixed, curve), moving.centre, torch.full(moving.values.shape, sd**2))


def on(volume, curve) -> torch.Tensor:
    return torch.stack(list(curve.hats(volume.values)))


def test_likelihood_is_that_of_the_normal_distribution():
    fixed, moving = pair(0, THETA, 0.5, shape=(5, 4, 6))
    density = 0.2 + torch.rand(5, 4, 6, generator=torch.Generator().manual_seed(1))
    curve = Curve.of(fixed.values)
    comparison = Comparison(fixed, moving, on(fixed, curve), moving.centre, density)
    theta = torch.stack([THETA, THETA + 1, torch.zeros(6).double()])
    hats, inside, _ = comparison.sampled(theta)
    assert inside.all()
    whole = torch.eye(120).reshape(-1, 5, 4, 6)
    for axis, n in enumerate((5, 4, 6), start=1):
        whole = torch.tensordot(whole, cosines(n), ([axis], [1])).movedim(-1, axis)
    whole = whole.flatten(1).double().T  # from voxels to cosines
    noise = whole.T @ torch.diag(density.flatten().double()) @ whole
    y = ((moving.values - moving.values.mean()) / moving.values.std()).flatten().double()
    expected = []
    for basis in hats.detach().double():
        covariance = noise + 100 * basis.T @ basis
        expected.append(MultivariateNormal(torch.zeros(120).double(), covariance).log_prob(y))
    constant = -60 * torch.log(torch.tensor(2 * torch.pi)) - 0.5 * density.log().sum()
    found = comparison(theta).log_likelihood + constant
    torch.testing.assert_close(found, torch.stack(expected), atol=2e-3, rtol=0)


def test_slopes_are_those_of_the_loss():
    fixed, moving = pair(0, THETA, 0.3)
    comparison = compared(fixed, moving, 0.3)
    start = THETA + 0.4
    match = comparison(start[None], slopes=True)
    slope = (match.slopes @ match.white.unsqueeze(2))[0, :, 0].double()
    steps = 0.05 * torch.eye(6).double()
    around = comparison(torch.cat([start + steps, start - steps])).log_likelihood
    numeric = (around[:6] - around[6:]) / 0.1
    # Slopes lie between those at the voxels, so that they are those of a smoother image.
    assert float((slope - numeric).norm() / numeric.norm()) < 0.1


def test_white_noise_depends_on_nothing():
    found = []
    for seed in range(6):
        fixed, moving = pair(seed, THETA, 0.3)
        comparison = compared(fixed, moving, 0.3)
        found.append(comparison.dependence(climb(comparison, wide(fixed, moving), THETA[None], 10).theta[0]))
    assert sum(found) / len(found) < 1.5


def wide(fixed, moving, degrees=15.0, mm=100.0) -> Bounds:
    edge = torch.tensor([degrees] * 3 + [mm] * 3)
    return Bounds(THETA - edge, THETA + edge, fixed, moving.centre)


def test_masses_of_levels_are_those_of_a_grid():
    """The level alone is unknown; what else there is may move by a hundredth, which changes nothing."""
    doubtful = 0
    for seed in range(4):
        fixed, moving = pair(seed, THETA, 0.7, unlike=0.04, shape=(6, 6, 10))
        comparison = compared(fixed, moving, 0.7)
        edge = torch.tensor([0.01] * 5 + [45.0])
        bounds = Bounds(THETA - edge, THETA + edge, fixed, moving.centre)
        starts = THETA.repeat(7, 1)
        starts[:, 5] += PERIOD / 2 * (torch.arange(7) - 3)
        modes = climb(comparison, bounds, starts, 15)
        modes = modes.at(distinct(modes, (3.0, 4.0), 3))
        found = weigh(comparison, bounds, modes, seed, draws=2000)
        grid = THETA.repeat(361, 1)
        grid[:, 5] += 0.25 * (torch.arange(361) - 180)
        density = comparison(grid).log_likelihood
        inside = bounds.contain(grid)
        exact = torch.where(inside, density, -torch.inf).softmax(0)
        level = ((grid[:, 5] - THETA[5]) / PERIOD).round().long()
        expected = torch.stack([exact[level == k].sum() for k in (-1, 0, 1)])
        own = ((found.mean[:, 5] - THETA[5]) / PERIOD).round().long()
        masses = torch.stack([found.masses[own == k].sum() for k in (-1, 0, 1)])
        assert (masses - expected).abs().max() < 0.02, seed
        doubtful += bool(expected.max() < 0.95)
    assert doubtful >= 2


def test_six_unknowns_agree_with_tempered_monte_carlo():
    fixed, moving = pair(3, THETA, 0.5, shape=(8, 8, 8))
    comparison = compared(fixed, moving, 0.5)
    bounds = wide(fixed, moving, 12.0, 6.0)
    modes = climb(comparison, bounds, THETA[None], 20)
    found = weigh(comparison, bounds, modes, 0, draws=1000)

    def log_likelihood(latent):
        share = torch.special.ndtr(latent)
        return comparison(bounds.low + (bounds.high - bounds.low) * share).log_likelihood

    drawn = tempered_samples(log_likelihood, 6, 500, seed=0)
    theta = bounds.low + (bounds.high - bounds.low) * torch.special.ndtr(drawn.samples)
    sd = theta.std(0)
    assert ((found.mean[0] - theta.mean(0)) / sd).abs().max() < 0.2
    width = found.covariance[0].diagonal().sqrt() / sd
    assert width.min() > 0.85
    assert width.max() < 1.15
    assert abs(found.log_evidence - drawn.log_evidence) < 0.5


def test_a_level_that_is_certain_is_found_from_anywhere():
    fixed, moving = pair(0, THETA, 0.2, unlike=0.4, shape=(14, 14, 20))
    found = align_volumes(fixed, moving)
    assert found.alignment.masses[0] > 0.99
    away = found.alignment.mean[0] - THETA
    assert away[:3].abs().max() < 2
    assert away[3:].abs().max() < 0.7
    assert found.explained[0] > 0.5


def test_a_curve_that_rises_and_falls_across_sharp_edges():
    """The average of the curve is not the curve of the average, which looks like a third tissue at edges."""
    generator = torch.Generator().manual_seed(0)
    noise = Volume(
        torch.randn(44, 44, 44, generator=generator), torch.diag(torch.tensor([2.0, 2, 2, 1])).double()
    )
    smooth = noise.resampled(2.0, 6.0).values
    tissue = torch.bucketize(smooth, smooth.flatten().quantile(torch.tensor([0.4, 0.6])))
    fixed = noise._replace(values=tissue.float() + 0.02 * noise.values)
    other = torch.tensor([0.2, 1.0, 0.0])[tissue] + 0.05 * noise.values.flip(0)
    affine = fixed.affine.clone()
    affine[:3, 3] = 20.0
    moving = Volume(other[8:36, 12:40, 8:36].clone(), affine)
    near = dict(zip(MOTION, [(-5, 5)] * 3 + [(-8, 8)] * 3, strict=True))
    found = align_volumes(fixed, moving, near)
    away = found.alignment.mean[0] - torch.tensor([0.0, 0, 0, -4, 4, -4]).double()
    assert away.abs().max() < 0.06
    assert found.comparison.explained(found.alignment.best[0]) > 0.98


@pytest.fixture(scope="module")
def of_like_levels() -> Alignment:
    return align_volumes(*pair(7, THETA, 0.5, unlike=0.0)).alignment


def test_like_levels_share_the_mass(of_like_levels):
    found = of_like_levels
    steps = (found.mean[:, 5] - THETA[5]) / PERIOD
    assert len(found.masses) >= 3
    assert (steps - steps.round()).abs().max() < 0.15
    assert found.masses[0] < 0.8


def test_the_distribution_is_that_of_the_samples(of_like_levels):
    found = of_like_levels
    drawn, label = found.sample(4000, 1)
    share = torch.bincount(label, minlength=len(found.masses)) / 4000
    assert (share - found.masses).abs().max() < 1e-3
    torch.manual_seed(0)
    theirs = found.distribution.sample((4000,))
    assert ((theirs.mean(0) - drawn.mean(0)).abs() < 5 * drawn.std(0) / 4000**0.5).all()


def test_itk_resamples_by_the_transform_as_we_do(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    from monai_inn.applications.registration.results.files import write_transform
    from monai_inn.transforms.volumes import write_map

    fixed, moving = pair(0, THETA, 0.0)
    for name, volume in (("fixed", fixed), ("moving", moving)):
        write_map(tmp_path / f"{name}.nii.gz", volume.values[None], {"affine": volume.affine})
    write_transform(tmp_path / "it.tfm", Motions.of(THETA[None]).matrix(moving.centre)[0])
    images = [sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("moving", "fixed")]
    transform = sitk.ReadTransform(str(tmp_path / "it.tfm"))
    found = sitk.GetArrayFromImage(sitk.Resample(*images, transform, sitk.sitkLinear, -9.0)).T
    inside = torch.from_numpy(found) > -8
    assert inside.sum() > 500
    away = torch.from_numpy(found)[inside] - (2 * fixed.values - 1)[inside]
    assert away.abs().mean() < 0.05 * float(moving.values.std())


def test_detail_that_only_half_of_the_images_share_is_not_enough():
    """One eighth may differ, as by a tumour, and one without any detail says nothing."""
    one, other = torch.from_numpy(
        gaussian_filter(np.random.default_rng(0).normal(size=(2, 30, 30, 30)), (0, 1, 1, 1))
    ).float()
    affine = torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0], dtype=torch.float64))

    def agreement(fixed, moving) -> float:
        return fine_detail(Volume(fixed, affine), Volume(moving, affine), torch.zeros(6).double())

    changed = {}
    for name, where in (("nothing", np.s_[:0]), ("an eighth", np.s_[:15, :15, :15]), ("half", np.s_[:15])):
        moving = one.clone()
        moving[where] = other[where]
        changed[name] = agreement(one, moving)
    assert changed["nothing"] > 0.98
    assert changed["an eighth"] > LEAST_DETAIL > 0.3 > changed["half"]
    empty = one.clone()
    empty[:15] = 0
    assert agreement(empty, empty + 0.01 * other) > 0.9
