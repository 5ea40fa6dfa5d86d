"""What an X-ray unit does to line integrals, and how the residual is made white."""

from __future__ import annotations

import pytest
import torch
from ct_phantom import DETECTOR, POSE, phantom_ct

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.ct import materials
from monai_inn.applications.registration.occlusion import by_residual, collimated
from monai_inn.applications.registration.radiograph import NUISANCES, Radiograph
from monai_inn.applications.registration.raycasting import RayCaster
from monai_inn.applications.registration.whitening import (
    Whitening,
    assumed_density,
    cosines,
    estimated_density,
    photon_variance,
    pixel_noise,
)

SMALL = Detector(32, 32, 7.2)


@pytest.fixture(scope="module")
def caster():
    ct = phantom_ct()
    return RayCaster(materials(ct, SMALL.spacing_at_isocentre_mm), SMALL, torch.zeros(3))


def nuisance(**changed: float) -> torch.Tensor:
    return torch.tensor([[changed.get(n.name, n.mean) for n in NUISANCES]], dtype=torch.float64)


def test_materials_add_up_to_the_attenuation():
    ct = phantom_ct()
    parts = materials(ct, 0.1).values
    attenuation = (0.0192 * (1 + ct.values / 1000)).clamp_min(0)
    assert parts.min() >= 0
    assert parts.sum(-1).mean() == pytest.approx(float(attenuation.mean()), rel=0.01)


def test_without_scatter_and_hardening_an_image_is_the_line_integral(caster):
    numbers = nuisance(offset=0.3, gain=1.4, hardening=0.0, scatter=-30.0)
    rays = caster(POSE[None], torch.tensor([[1.0, numbers[0, -2], numbers[0, -1]]]))
    found = Radiograph(caster)(POSE[None], numbers)
    assert torch.allclose(found, 0.3 + 1.4 * rays.mixture, atol=1e-4)


def test_scatter_is_a_blurred_share_of_the_primary_beam(caster):
    alone = Radiograph(caster)(POSE[None], nuisance(scatter=-30.0))
    wide = Radiograph(caster)(POSE[None], nuisance(scatter=0.0, scatter_mm=15.0))
    # A blur that is wider than the image adds what its edge would, everywhere the same.
    more = torch.exp(-wide) - torch.exp(-alone)
    assert more.std() < 0.02 * more.mean()


@pytest.mark.parametrize("name", [n.name for n in NUISANCES])
def test_slopes_of_the_unit_are_exact(caster, name):
    radiograph, step = Radiograph(caster), 1e-2
    index = [n.name for n in NUISANCES].index(name)
    _, slopes = radiograph.linearised(POSE[None], nuisance())
    moved = torch.zeros(7, dtype=torch.float64)
    moved[index] = step
    ahead, behind = (radiograph(POSE[None], nuisance() + sign * moved) for sign in (1, -1))
    difference = (ahead - behind) / (2 * step)
    allowed = 0.05 if name == "scatter_mm" else 0.002
    assert (slopes[:, 6 + index] - difference).abs().max() < allowed * difference.abs().max()


def test_slopes_in_the_pose_go_through_scatter_and_hardening(caster):
    radiograph = Radiograph(caster)
    _, slopes = radiograph.linearised(POSE[None], nuisance())
    for index, step in enumerate((0.1, 0.1, 0.1, 0.1, 0.1, 0.5)):
        moved = torch.zeros(6, dtype=torch.float64)
        moved[index] = step
        ahead, behind = (radiograph(POSE[None] + sign * moved, nuisance()) for sign in (1, -1))
        pair = torch.stack([((ahead - behind) / (2 * step)).flatten(), slopes[:, index].flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.98


def test_images_and_slopes_are_those_from_where_the_source_is(caster):
    place = torch.tensor([[3.0, -2.0, 8.0], [0.0, 0.0, 0.0]])
    pose, numbers = POSE.expand(2, 6), nuisance().expand(2, 7)
    image, slopes = Radiograph(caster, source=place).linearised(pose, numbers)
    assert torch.allclose(Radiograph(caster, source=place)(pose, numbers), image)
    usual, others = Radiograph(caster).linearised(POSE[None], nuisance())
    assert torch.equal(image[1:], usual)
    assert torch.equal(slopes[1:], others)
    assert (image[0] - usual[0]).abs().max() > 0.01


def test_cosines_are_orthonormal():
    matrix = cosines(17).double()
    assert torch.allclose(matrix @ matrix.T, torch.eye(17).double(), atol=1e-6)


def coloured(density: torch.Tensor, count: int) -> torch.Tensor:
    rows, columns = (cosines(n) for n in density.shape)
    draws = torch.randn(count, *density.shape, generator=torch.Generator().manual_seed(0))
    return rows.T @ (density.sqrt() * draws) @ columns


def density(size: int = 32) -> torch.Tensor:
    image = torch.linspace(0, 1, size).expand(size, size)
    return assumed_density(image, torch.ones(size, size), 2.0, 1.0)


def test_noise_of_the_density_becomes_white():
    white = Whitening(torch.ones(32, 32), density())(coloured(density(), 400))
    # The mean square of 400 numbers has a standard deviation of 0.07.
    assert white.square().mean(0).sub(1).abs().max() < 5 * 0.071
    assert white.square().mean() == pytest.approx(1, abs=0.01)


def test_a_smooth_error_behind_a_window_is_not_mistaken_for_its_edge():
    """What is cut off has edges; the exact covariance knows that they mean nothing."""
    window = torch.zeros(32, 32)
    window[6:28, 4:25] = 1
    smooth = coloured(density(), 400)
    white = Whitening(window, density())(smooth).square().sum(-1)
    counted = float(window.sum())
    assert white.mean() < 1.3 * counted
    plain = (smooth * window).unsqueeze(0)
    rows = cosines(32)
    naive = ((rows @ plain @ rows.T).square() / density()).sum((-2, -1)).mean()
    assert naive > 2 * counted


def test_the_density_is_learned_from_a_residual():
    truth = 4 * density()
    residual = coloured(truth, 1)[0]
    found = estimated_density(residual, Whitening(torch.ones(32, 32), density()), 2.0)
    assert found[4:, 4:].log().mean() == pytest.approx(float(truth[4:, 4:].log().mean()), abs=0.25)


def test_the_noise_of_few_photons_is_seen_where_the_patient_is_thick():
    """Minus log of a count of N photons has the variance 1 / N."""
    generator, path = (
        torch.Generator().manual_seed(0),
        5 * torch.linspace(0, 1, 128).expand(128, 128).square(),
    )
    photons = 20_000 * torch.exp(-path)
    image = -(torch.poisson(photons, generator=generator) / 20_000).clamp_min(1e-4).log()
    ratio = photon_variance(image, torch.ones(128, 128)) * photons
    # The median of 2,000 magnitudes is known to 3 %, of variances to 6 %; a group spans half its brightness.
    assert ratio.quantile(0.05) > 0.6
    assert ratio.quantile(0.95) < 1.6
    assert ratio.median() == pytest.approx(1, abs=0.15)


def test_noise_that_differs_is_made_white():
    generator, across = torch.Generator().manual_seed(0), torch.linspace(-2, 2, 32).exp().expand(32, 32)
    noise, flat = 0.02 * across, torch.full((32, 32), 0.02**2)
    images = noise * torch.randn(400, 32, 32, generator=generator)
    scale = float(noise.reciprocal().square().mean().rsqrt())
    white = Whitening(torch.ones(32, 32), flat * 0 + scale**2, noise)(images)
    assert white.square().mean() == pytest.approx(1, abs=0.01)
    assert white.square().mean(0).sub(1).abs().max() < 5 * 0.071


def test_edges_count_for_less_than_surfaces_are_off():
    image = torch.zeros(32, 32)
    image[:, 16:] = 2.0
    noise = pixel_noise(image, torch.zeros(32, 32), 0.1, 0.5)
    assert noise[:, :10].max() == pytest.approx(0.001)
    assert noise[:, 15:17].min() > 0.1


@pytest.mark.parametrize("sides", [(10, 0, 0, 0), (5, 12, 20, 8), (0, 0, 0, 0)])
def test_blades_of_a_collimator_are_found(sides):
    top, bottom, left, right = sides
    y, x = torch.meshgrid(torch.linspace(-1, 1, DETECTOR.rows), torch.linspace(-1, 1, 128), indexing="ij")
    image = (
        3 - y.square() - x.square() + 0.02 * torch.randn(128, 128, generator=torch.Generator().manual_seed(1))
    )
    closed = torch.ones(128, 128, dtype=torch.bool)
    closed[top : 128 - bottom, left : 128 - right] = False
    field = collimated(torch.where(closed, image + 1.5, image))
    assert not bool((field[closed] > 0).any())
    assert float(field.mean()) > 0.85 * float((~closed).float().mean())


def test_blades_that_leave_little_open_are_found_between_each_other():
    """The edges of two are seen over less than half of the image's width."""
    noise = 0.02 * torch.randn(128, 128, generator=torch.Generator().manual_seed(3))
    image = torch.linspace(0, 2, 128).expand(128, 128) + noise
    is_open = torch.zeros(128, 128, dtype=torch.bool)
    is_open[20:100, 40:90] = True
    field = collimated(torch.where(is_open, image, 3.0 + noise))
    assert not bool((field[~is_open] > 0).any())
    assert float(field.mean()) > 0.75 * float(is_open.float().mean())


def test_pixels_far_from_the_others_are_left_out():
    white = torch.randn(64, 64, generator=torch.Generator().manual_seed(2))
    white[20:24, :40] += 12
    window = by_residual(white, torch.ones(64, 64))
    assert window[20:24, :40].max() == 0
    assert window.mean() > 0.85
