"""Line integrals against Siddon's exact ones, a closed form, and the symmetries of a mirrored patient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from siddon import siddon

from monai_inn.applications.registration.carm import POSE, Detector, camera_to_world
from monai_inn.applications.registration.projection import AttenuationVolume, Projector, spine_phantom

VIEWS, BEAMS = ("detector", "source"), ("cone", "parallel")
REACH = torch.tensor([180.0, 30, 15, 20, 20, 50], dtype=torch.float64)
ORIGIN = torch.zeros(3, dtype=torch.float64)


def random_poses(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(n, 6, generator=generator, dtype=torch.float64) - 1) * REACH


def affine_of(kind: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Voxel axes of a kind, the middle of the volume at (40, −30, 200) mm."""
    turn = Rotation.from_euler("zxy", [25, -20, 15], degrees=True).as_matrix()
    axes = {
        "straight": np.eye(3) * 2.5,
        "anisotropic": np.diag([2.0, 2.5, 4.0]),
        "flipped": np.diag([-2.0, -2.5, 4.0]),
        "oblique": turn @ np.diag([2.5, 2.0, 3.0]),
        "permuted": np.eye(3)[:, [2, 0, 1]] @ np.diag([-3.0, 2.5, 2.0]),
    }[kind]
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = torch.from_numpy(axes)
    middle = (torch.tensor(shape, dtype=torch.float64) - 1) / 2
    affine[:3, 3] = torch.tensor([40.0, -30, 200], dtype=torch.float64) - affine[:3, :3] @ middle
    return affine


def smooth_volume(kind: str, seed: int = 0) -> AttenuationVolume:
    """Random blobs wider than voxels, nothing at the border."""
    generator = np.random.default_rng(seed)
    noise = np.zeros((34, 30, 28))
    noise[7:-7, 7:-7, 7:-7] = generator.random((20, 16, 14)) ** 4
    values = torch.from_numpy(gaussian_filter(noise, 2.0)).float() * 0.1
    return AttenuationVolume(values, affine_of(kind, values.shape))


def nrmse(image: torch.Tensor, truth: np.ndarray) -> float:
    difference = image.double().numpy() - truth
    return float(np.sqrt((difference**2).mean()) / truth.std())


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("kind", ["anisotropic", "oblique", "flipped", "permuted"])
def test_images_are_those_of_siddon(kind, beam, view):
    """Voxels are trilinear here and constant there: a difference of h²/24 of the Laplacian across the ray.

    That is 1 or 2 % of the contrast for these blobs, whose sd is twice the voxel's side h.
    """
    volume, detector = smooth_volume(kind), Detector(30, 34, 6.0, beam=beam, view=view)
    cameras = camera_to_world(random_poses(4, 2), detector, volume.centre)
    truth = siddon(volume, cameras, detector)
    image = Projector(volume, detector)(cameras)
    assert nrmse(image, truth) < 0.03
    half_voxel = volume.affine.clone()
    half_voxel[:3, 3] += half_voxel[:3, :3].sum(1) / 2
    assert nrmse(image, siddon(volume._replace(affine=half_voxel), cameras, detector)) > 0.04


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("asymmetry", [0.0, 1.0])
def test_the_phantoms_images_are_those_of_siddon(beam, asymmetry):
    """Its bones have sharp edges, so that voxels of constant attenuation show at 2.5 mm."""
    detector = Detector(32, 32, 6.4, beam=beam)
    volume = spine_phantom(asymmetry, spacing_mm=1.5)
    cameras = camera_to_world(random_poses(6, 1), detector, ORIGIN)
    assert nrmse(Projector(volume, detector)(cameras), siddon(volume, cameras, detector)) < 0.03


@pytest.mark.parametrize("kind", ["straight", "anisotropic", "flipped"])
def test_a_ray_through_a_box_meets_its_length_times_its_attenuation(kind):
    """The edge of a box is a ramp about its face, so that rays across two opposite faces lose nothing."""
    attenuation, shape = 0.03, (24, 20, 22)
    volume = AttenuationVolume(torch.full(shape, attenuation), affine_of(kind, shape))
    detector = Detector(5, 5, 1.5, beam="parallel")
    pose = torch.tensor([[0, 0, 0.0], [20, 0, 0], [-15, 10, 33], [170, -12, 5]], dtype=torch.float64)
    pose = torch.cat([pose, torch.zeros(4, 3, dtype=torch.float64)], 1)
    cameras = camera_to_world(pose, detector, volume.centre)
    image = Projector(volume, detector, samples=400)(cameras)
    lao, cra = torch.deg2rad(pose[:, 0]), torch.deg2rad(pose[:, 1])
    depth = volume.spacing_mm[1] * shape[1] / (lao.cos() * cra.cos()).abs()
    expected = (attenuation * depth).float()[:, None, None].expand_as(image)
    torch.testing.assert_close(image, expected, rtol=2e-3, atol=0)


def test_a_batch_is_its_images_one_by_one(monkeypatch):
    volume, detector = smooth_volume("oblique"), Detector(12, 14, 14.0)
    projector = Projector(volume, detector)
    cameras = camera_to_world(random_poses(6, 3).reshape(2, 3, 6), detector, volume.centre)
    together = projector(cameras)
    assert together.shape == (2, 3, 12, 14)
    assert together.dtype == torch.float32
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(projector(cameras[i, j]), together[i, j], rtol=0, atol=1e-5)
    monkeypatch.setattr("monai_inn.applications.registration.projection._BYTES", 1)
    torch.testing.assert_close(projector(cameras), together, rtol=0, atol=1e-5)
    assert projector(cameras[:0]).shape == (0, 3, 12, 14)


@pytest.mark.parametrize("beam", BEAMS)
def test_gradient_in_the_pose_is_that_of_central_differences(beam):
    """Steps of 0.2 degrees or mm: rounding (1e-6 of the image) and curvature both stay below 1 %."""
    volume, detector = smooth_volume("oblique"), Detector(20, 20, 9.0, beam=beam)
    projector = Projector(volume, detector, samples=200)
    weight = torch.randn(20, 20, generator=torch.Generator().manual_seed(0)).double()
    weight = torch.from_numpy(gaussian_filter(weight.numpy(), 1.5))

    def score(poses: torch.Tensor) -> torch.Tensor:
        images = projector(camera_to_world(poses, detector, volume.centre))
        return (images.double() * weight).sum((-1, -2))

    for pose in random_poses(4, 5):
        pose.requires_grad_()
        (gradient,) = torch.autograd.grad(score(pose), pose)
        with torch.no_grad():
            step = 0.2 * torch.eye(6, dtype=torch.float64)
            differences = (score(pose + step) - score(pose - step)) / 0.4
        assert (gradient - differences).abs().max() < 0.02 * differences.abs().max()


def test_twice_the_samples_change_little():
    detector = Detector(32, 32, 6.4)
    for volume in (spine_phantom(), spine_phantom(1.0, 4.0), smooth_volume("anisotropic")):
        cameras = camera_to_world(random_poses(4, 6), detector, volume.centre)
        projector = Projector(volume, detector)
        finer = Projector(volume, detector, samples=2 * projector.samples)(cameras)
        assert nrmse(projector(cameras), finer.double().numpy()) < 0.02
    assert Projector(spine_phantom(0, 0.7), detector).samples > projector.samples >= 32


def images_of(poses: torch.Tensor, detector: Detector, asymmetry: float = 0.0) -> torch.Tensor:
    return Projector(spine_phantom(asymmetry), detector)(camera_to_world(poses, detector, ORIGIN))


def assert_same(first: torch.Tensor, second: torch.Tensor) -> None:
    """Up to single precision, which places a ray from 850 mm to 6e-5 mm; edges rise by up to 0.7 a mm."""
    assert (first - second).square().mean().sqrt() < 1e-5 * first.max()
    assert (first - second).abs().max() < 1e-4 * first.max()


def with_angles(poses: torch.Tensor, **values: torch.Tensor) -> torch.Tensor:
    columns = list(poses.unbind(-1))
    for name, value in values.items():
        columns[list(POSE).index(name)] = value
    return torch.stack(columns, -1)


@pytest.mark.parametrize("view", VIEWS)
def test_a_mirrored_patient_looks_the_same_from_behind_in_parallel_beams(view):
    """I(180 − lao, −cra) = I(lao, cra), roll and shifts unchanged: mirror and reversal of the beam."""
    poses = random_poses(10, 7)
    lao, cra = poses[:, 0], poses[:, 1]
    partner = with_angles(poses, lao=180 - lao, cra=-cra)
    parallel = Detector(32, 32, 6.4, beam="parallel", view=view)
    image, other = images_of(poses, parallel), images_of(partner, parallel)
    scale = float(image.max())
    assert_same(image, other)
    # What breaks it: an asymmetric patient, cra not negated, a source at a finite distance.
    assert (images_of(poses, parallel, 1.0) - images_of(partner, parallel, 1.0)).abs().max() > 0.05 * scale
    same_side = with_angles(poses, lao=180 - lao)
    assert (image - images_of(same_side, parallel)).flatten(1).abs().max(1).values.median() > 0.05 * scale
    cone = Detector(32, 32, 6.4, view=view)
    difference = (images_of(poses, cone) - images_of(partner, cone)).flatten(1).abs().max(1).values
    assert difference.min() > 1e-3 * scale


@pytest.mark.parametrize("beam", BEAMS)
def test_a_mirrored_patient_has_mirrored_images(beam):
    """I(−lao, cra, −roll, −right)(−u, v) = I(lao, cra, roll, right)(u, v), for either beam."""
    poses, detector = random_poses(10, 8), Detector(32, 32, 6.4, beam=beam)
    mirrored = poses * torch.tensor([-1.0, 1, -1, -1, 1, 1])
    image, other = images_of(poses, detector), images_of(mirrored, detector).flip(-1)
    assert_same(image, other)


@pytest.mark.parametrize("beam", BEAMS)
def test_the_views_are_mirror_images_of_each_other(beam):
    poses = random_poses(3, 9) * torch.tensor([1.0, 1, 1, 0, 1, 1])
    seen = [images_of(poses, Detector(24, 30, 8.0, beam=beam, view=view), 1.0) for view in VIEWS]
    torch.testing.assert_close(seen[0], seen[1].flip(-1), rtol=0, atol=1e-5)


def test_depth_does_not_show_in_parallel_beams():
    poses = random_poses(3, 10)
    detector = Detector(32, 32, 6.4, beam="parallel")
    near, far = (images_of(with_angles(poses, away=poses[:, 5] * 0 + d), detector) for d in (-50, 50))
    assert_same(near, far)


def test_the_phantom_is_its_own_mirror_image_but_for_the_spur():
    volume = spine_phantom()
    assert torch.equal(volume.values, volume.values.flip(0))
    assert torch.allclose(volume.centre, ORIGIN, atol=1e-9)
    spur = spine_phantom(1.0).values - volume.values
    right = torch.arange(len(spur)) * 2.5 + float(volume.affine[0, 3]) > 0
    assert spur[right].max() > 0.04
    assert spur[~right].abs().max() < 1e-3
    for wrong in ({"asymmetry": -1.0}, {"spacing_mm": 0.0}):
        with pytest.raises(ValueError, match="give one ≥ 0 and one above 0"):
            spine_phantom(**wrong)


def test_moving_to_a_device():
    projector = Projector(spine_phantom(), Detector(8, 8, 20.0))
    assert projector.to("cpu") is projector
    assert projector.to(torch.device("cpu")).device == torch.device("cpu")
    assert projector(camera_to_world(torch.zeros(6), projector.detector, ORIGIN)).shape == (8, 8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            torch.full((4, 4, 4), -0.1),
            r"shape \(4, 4, 4\) with values from -0\.1 to -0\.1 is not an attenuation",
        ),
        (torch.full((4, 4, 4), torch.nan), "values from nan"),
        (torch.full((4, 4, 4), torch.inf), "to inf is not an attenuation"),
        (torch.zeros(4, 4), r"shape \(4, 4\)"),
        (torch.zeros(1, 4, 4, 4), "give three axes of finite numbers"),
    ],
)
def test_what_is_no_attenuation_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Projector(AttenuationVolume(values, torch.eye(4, dtype=torch.float64)), Detector())
