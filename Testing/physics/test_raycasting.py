"""Rays through three materials: against other renderers, and their slopes against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from siddon import siddon

from monai_inn.applications.registration.carm import Detector, camera_to_world
from monai_inn.applications.registration.projection import AttenuationVolume, Projector, spine_phantom
from monai_inn.applications.registration.ray_kernel import LEVELS, _first, _second, _third, packed
from monai_inn.applications.registration.raycasting import Materials, RayCaster

DETECTOR = Detector(24, 32, 6.4)
POSES = torch.tensor(
    [[0, 0, 0, 0, 0, 0], [38, 13, 8, -8, 7, 30], [-100, -20, 5, 3, -4, -10], [170, 8, -9, 1, 9, 5]],
    dtype=torch.float64,
)
ONES = torch.ones(4, 3)
PARTS = (0.5, 0.3, 0.2)


def smooth_spine() -> AttenuationVolume:
    """A spine without edges, for differences of a step to stand for slopes."""
    volume = spine_phantom(1.0)
    values = gaussian_filter(torch.nn.functional.pad(volume.values, (6,) * 6).numpy(), 2.5)
    affine = volume.affine.clone()
    affine[:3, 3] -= 6 * 2.5
    return AttenuationVolume(torch.from_numpy(values), affine)


def caster(volume: AttenuationVolume, detector: Detector = DETECTOR, rays: int = 1) -> RayCaster:
    parts = torch.stack([share * volume.values for share in PARTS], -1)
    return RayCaster(Materials(parts, volume.affine[:3, 3], 2.5), detector, torch.zeros(3), rays)


def test_rays_agree_with_exact_sums_over_voxels():
    volume = smooth_spine()
    exact = torch.from_numpy(siddon(volume, camera_to_world(POSES, DETECTOR, torch.zeros(3)), DETECTOR))
    found = caster(volume)(POSES, ONES).mixture
    # Siddon's voxels are boxes, ours are interpolated, which is worth 2.4 % for any trilinear renderer.
    assert (found - exact).square().mean().sqrt() < 0.03 * exact.std()


def test_rays_agree_with_the_differentiable_renderer():
    volume = smooth_spine()
    other = Projector(volume, DETECTOR, 256)(camera_to_world(POSES, DETECTOR, torch.zeros(3)))
    found = caster(volume)(POSES, ONES).mixture
    assert (found - other).abs().max() < 0.004 * other.max()


def test_materials_are_weighed_and_returned_alone():
    # Each is kept to a half of its largest value over 1023 or 2047, in some twenty planes of 2.5 mm.
    volume = smooth_spine()
    rays, off = caster(volume), 5 * 2.5 * float(volume.values.max()) / 1023
    whole = rays(POSES, ONES)
    assert torch.allclose(whole.second, PARTS[1] * whole.mixture, atol=off)
    assert torch.allclose(whole.third, PARTS[2] * whole.mixture, atol=off)
    weights = torch.tensor([[1.0, 2.0, 0.5]]).expand(4, 3)
    alone = [whole.mixture - whole.second - whole.third, whole.second, whole.third]
    weighed = alone[0] + 2 * alone[1] + 0.5 * alone[2]
    assert torch.allclose(rays(POSES, weights).mixture, weighed, atol=1e-5)


def test_voxels_keep_three_numbers():
    levels = np.random.default_rng(0).integers(0, np.array(LEVELS) + 1, (4, 5, 6, 3))
    levels[0, 0, 0] = LEVELS
    found = [np.array([part(v) for v in packed(levels)]) for part in (_first, _second, _third)]
    for k, part in enumerate(found):
        assert np.array_equal(part.reshape(4, 5, 6), levels[..., k])


@pytest.mark.parametrize(("index", "step"), [(0, 0.05), (1, 0.05), (2, 0.05), (3, 0.1), (4, 0.1), (5, 0.2)])
def test_slopes_are_those_of_the_image(index, step):
    rays = caster(smooth_spine())
    moved = torch.zeros(6, dtype=torch.float64)
    moved[index] = step
    difference = (rays(POSES + moved, ONES).mixture - rays(POSES - moved, ONES).mixture) / (2 * step)
    slopes = rays(POSES, ONES, slopes=True).slopes[:, index]
    assert (slopes - difference).square().mean().sqrt() < 0.03 * difference.square().mean().sqrt()


def test_a_source_farther_away_is_another_detector():
    volume = smooth_spine()
    config = DETECTOR.to_config()
    longer = {k: config[k] + 25.0 for k in ("source_detector_mm", "source_isocentre_mm")}
    expected = caster(volume, Detector(**config | longer))(POSES, ONES).mixture
    found = caster(volume)(POSES, ONES, torch.tensor([0.0, 0.0, 25.0]).expand(4, 3)).mixture
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("view", ["detector", "source"])
def test_a_bead_moves_against_the_source(view):
    detector = Detector(64, 64, 2.0, 1000.0, 800.0, view=view)
    parts = torch.zeros(21, 21, 21, 3)
    parts[10, 10, 10, 0] = 1.0
    bead = RayCaster(Materials(parts, torch.full((3,), -30.0), 3.0), detector, torch.zeros(3))
    images = bead(
        POSES[2:3].expand(3, 6), torch.ones(3, 3), torch.diag(torch.tensor([20.0, -12.0, 0.0]))
    ).mixture
    place = torch.arange(64.0) * 2.0
    columns, rows = ((images.sum(over) * place).sum(1) / images.sum((1, 2)) for over in (1, 2))
    # 790 mm of the beam lie before the bead, 210 behind it.
    expected = -210 / 790 * torch.tensor([[20.0, 0.0], [0.0, -12.0]])
    moved = torch.stack([columns[:2] - columns[2], rows[:2] - rows[2]], 1)
    assert torch.allclose(moved, expected, atol=0.2)


@pytest.mark.parametrize(("index", "step"), [(0, 0.05), (3, 0.1), (5, 0.2)])
def test_slopes_are_those_of_the_image_wherever_the_source_is(index, step):
    spine, place = caster(smooth_spine()), torch.tensor([[14.0, -9.0, 20.0]]).expand(4, 3)
    moved = torch.zeros(6, dtype=torch.float64)
    moved[index] = step
    ahead, behind = (spine(POSES + sign * moved, ONES, place).mixture for sign in (1, -1))
    difference = (ahead - behind) / (2 * step)
    slopes = spine(POSES, ONES, place, slopes=True).slopes[:, index]
    assert (slopes - difference).square().mean().sqrt() < 0.03 * difference.square().mean().sqrt()


def test_an_image_does_not_jump_where_the_detector_stands_inside_the_ct():
    block = AttenuationVolume(torch.full((60, 60, 60), 0.02), torch.eye(4, dtype=torch.float64) * 2.5)
    block.affine[:3, 3], block.affine[3, 3] = -29.5 * 2.5, 1.0
    rays = caster(block, Detector(16, 16, 6.4, 900.0, 850.0))
    away = torch.zeros(200, 6, dtype=torch.float64)
    away[:, 5] = torch.linspace(0, 5, 200)
    middle = rays(away, torch.ones(200, 3)).mixture[:, 8, 8]
    # The detector is 50 mm behind the isocentre, the block 75 mm: it moves out by 5 mm, 0.1 in the image.
    assert (middle[0] - middle[-1]) == pytest.approx(0.1, rel=0.05)
    assert middle.diff().abs().max() < 0.003


def test_more_rays_are_averaged():
    volume = smooth_spine()
    fine = caster(volume, Detector(48, 64, 3.2))(POSES, ONES).mixture
    found = caster(volume, rays=2)(POSES, ONES).mixture
    assert torch.allclose(found, torch.nn.functional.avg_pool2d(fine, 2), atol=1e-5)


def test_a_parallel_beam_is_refused():
    with pytest.raises(ValueError, match="parallel"):
        caster(smooth_spine(), Detector(16, 16, beam="parallel"))


def test_rays_along_the_axes_are_numbers():
    level = torch.zeros(3, 6, dtype=torch.float64)
    level[:, 0] = torch.tensor([0.0, 90.0, 180.0])
    odd = Detector(15, 15, 6.4)  # its middle ray runs along an axis
    assert bool(torch.isfinite(caster(smooth_spine(), odd)(level, torch.ones(3, 3)).mixture).all())


def test_rays_that_cut_a_corner_between_two_planes_stay_inside_the_ct():
    """What lies behind the voxels in memory is no number of the CT."""
    around = torch.rand(300, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    pose = around * torch.tensor([360.0, 60, 30, 150, 150, 100])
    rays = caster(smooth_spine(), Detector(40, 40, 7.2))
    voxels, n, images = rays._voxels, rays._voxels.size, []
    for beyond in (0, -1):  # nothing, and all bits
        rays._voxels = np.concatenate([np.full(n, beyond, np.int32), voxels, np.full(n, beyond, np.int32)])[
            n:-n
        ]
        images.append(rays(pose, torch.ones(300, 3), slopes=True))
    assert torch.equal(images[0].mixture, images[1].mixture)
    assert torch.equal(images[0].slopes, images[1].slopes)
    assert images[0].mixture.min() >= 0


def test_rays_that_leave_the_ct_through_tissue_are_known():
    """A cylinder of water that goes on below, as where a scan ended: rays through what follows, no others."""
    x, y, _ = torch.meshgrid(*[torch.arange(40.0) - 19.5] * 3, indexing="ij")
    values = torch.where(x.square() + y.square() < 12**2, 0.0192, 0.0).clone()
    values[:, :, -6:] = 0  # the head ends in air
    affine = torch.eye(4, dtype=torch.float64) * 2.5
    affine[:3, 3], affine[3, 3] = -19.5 * 2.5, 1.0
    rays = caster(AttenuationVolume(values, affine), Detector(48, 48, 3.6))
    within = rays.within(torch.zeros(6).double())
    # The scan ends 48.75 mm below the centre; 30 mm of radius are 3.5 % of the source's distance.
    v = (torch.arange(48) - 23.5) * 3.0
    assert bool((within[v < 40] == 1).all())
    assert bool((within[v > 58][:, 20:28] == 0).all())
    assert bool((within[:, :4] == 1).all())
