"""The C-arm's geometry: what the names of a pose mean, and that points appear where the images show them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pose_problems import project_points
from scipy.spatial.transform import Rotation

from monai_inn.applications.registration.carm import (
    POSE,
    Detector,
    camera_to_world,
    gantry_motion,
    geodesic_degrees,
    itk_matrix,
    mirrored,
    pose_of,
)
from monai_inn.applications.registration.projection import AttenuationVolume, Projector

TARGET = torch.tensor([12.0, -7.0, 130.0], dtype=torch.float64)
RIGHT, LEFT, ANTERIOR, HEAD = (1.0, 0, 0), (-1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)
VIEWS, BEAMS = ("detector", "source"), ("cone", "parallel")


def pose(**values: float) -> torch.Tensor:
    return torch.tensor([values.get(name, 0.0) for name in POSE], dtype=torch.float64)


def random_poses(n: int, seed: int) -> torch.Tensor:
    reach = torch.tensor([180.0, 30, 15, 20, 20, 50], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(n, 6, generator=generator, dtype=torch.float64) - 1) * reach


def beam(**values: float) -> torch.Tensor:
    """Direction from the source to the detector, RAS."""
    return camera_to_world(pose(**values), Detector(), TARGET)[:3, 2]


def as_vector(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def shown_at(point: torch.Tensor, detector: Detector, **values: float) -> torch.Tensor:
    """Column and row of a point, from the middle of the image, in mm on the detector."""
    camera = camera_to_world(pose(**values), detector, TARGET)
    middle = torch.tensor([detector.columns - 1, detector.rows - 1]) / 2
    return (project_points(point[None], camera, detector)[0] - middle) * detector.spacing_mm


angle = st.floats(-720, 720, allow_nan=False)
length = st.floats(-500, 500, allow_nan=False)


@given(st.tuples(angle, angle, angle, length, length, length), st.sampled_from(VIEWS))
@settings(max_examples=60)
def test_every_pose_is_a_rigid_motion(values, view):
    camera = camera_to_world(torch.tensor(values, dtype=torch.float64), Detector(view=view), TARGET)
    rotation = camera[:3, :3]
    assert torch.allclose(rotation.T @ rotation, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-12)
    assert torch.equal(camera[3], torch.tensor([0.0, 0, 0, 1], dtype=torch.float64))


def test_pose_of_zeros_has_the_source_behind_the_patient():
    camera = camera_to_world(pose(), Detector(), TARGET)
    assert torch.allclose(camera[:3, 2], as_vector(ANTERIOR))
    assert torch.allclose(camera[:3, 3], TARGET - 850 * as_vector(ANTERIOR))
    assert torch.allclose(camera[:3, 0], as_vector(RIGHT), atol=1e-12)  # the patient's right, on the right
    assert torch.allclose(camera[:3, 1], -as_vector(HEAD))


@pytest.mark.parametrize("degrees", [10.0, 37.0, 80.0])
def test_angles_turn_the_detector_where_their_names_say(degrees):
    turn = math.radians(degrees)
    ahead = math.cos(turn) * as_vector(ANTERIOR)
    assert torch.allclose(beam(lao=degrees), ahead + math.sin(turn) * as_vector(LEFT))
    assert torch.allclose(beam(lao=-degrees), ahead + math.sin(turn) * as_vector(RIGHT))
    assert torch.allclose(beam(cra=degrees), ahead + math.sin(turn) * as_vector(HEAD))
    assert torch.allclose(beam(cra=-degrees), ahead - math.sin(turn) * as_vector(HEAD))
    assert torch.allclose(beam(roll=degrees), as_vector(ANTERIOR))


@pytest.mark.parametrize("lao", [-150.0, -20.0, 65.0])
@pytest.mark.parametrize("cra", [-25.0, 15.0])
def test_cranial_is_towards_the_head_from_every_side(lao, cra):
    """The elevation of the beam is the cranial angle, its azimuth the orbital one."""
    towards = beam(lao=lao, cra=cra)
    assert math.degrees(math.asin(towards[2])) == pytest.approx(cra)
    assert math.degrees(math.atan2(-towards[0], towards[1])) == pytest.approx(lao)


@pytest.mark.parametrize("name", ["lao", "cra"])
def test_the_source_keeps_its_distance_and_the_target_its_place(name):
    for degrees in (-40.0, 25.0):
        for detector in (Detector(view=view, beam=b) for view in VIEWS for b in BEAMS):
            camera = camera_to_world(pose(**{name: degrees}), detector, TARGET)
            assert float((camera[:3, 3] - TARGET).norm()) == pytest.approx(850)
            assert shown_at(TARGET, detector, **{name: degrees}).abs().max() < 1e-9


def test_roll_is_clockwise_as_the_source_sees_it():
    """The columns' axis turns from right to down; what does not turn goes the other way in the image."""
    camera = camera_to_world(pose(roll=90), Detector(), TARGET)
    assert torch.allclose(camera[:3, 0], -as_vector(HEAD), atol=1e-12)
    head = TARGET + 50 * as_vector(HEAD)
    column, row = shown_at(head, Detector(view="source"), roll=30)
    assert column < 0  # turned counter-clockwise from above the middle
    assert row < 0
    column, row = shown_at(head, Detector(view="detector"), roll=30)
    assert column > 0
    assert row < 0


@pytest.mark.parametrize("kind", BEAMS)
def test_the_image_from_the_detector_shows_the_patients_left_on_the_right(kind):
    left = TARGET + 30 * as_vector(LEFT)
    for view, side in (("detector", 1), ("source", -1)):
        detector = Detector(view=view, beam=kind)
        assert shown_at(left, detector).tolist() == pytest.approx(
            [side * 30 * detector.magnification, 0.0], abs=1e-9
        )
    above = shown_at(TARGET + 30 * as_vector(HEAD), Detector(beam=kind))
    assert above.tolist() == pytest.approx([0.0, -30 * Detector(beam=kind).magnification], abs=1e-9)


@pytest.mark.parametrize("kind", BEAMS)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("angles", [{}, {"lao": 130.0, "cra": -20.0, "roll": 14.0}])
def test_shifts_move_the_target_in_the_image_as_they_say(kind, view, angles):
    detector = Detector(beam=kind, view=view)
    moved = shown_at(TARGET, detector, right=12, down=-5, **angles)
    assert moved.tolist() == pytest.approx([12 * detector.magnification, -5 * detector.magnification])
    farther = shown_at(TARGET, detector, right=12, down=-5, away=85, **angles)
    smaller = 1 / 1.1 if kind == "cone" else 1.0  # 935 mm from the source in place of 850
    assert torch.allclose(farther, smaller * moved)
    camera = camera_to_world(pose(away=85, **angles), detector, TARGET)
    assert torch.allclose((TARGET - camera[:3, 3]) @ camera[:3, :3], as_vector((0, 0, 935.0)), atol=1e-9)


def test_poses_of_any_batch_shape_and_precision():
    poses = random_poses(6, 0).reshape(2, 3, 6)
    cameras = camera_to_world(poses, Detector(), TARGET)
    assert cameras.shape == (2, 3, 4, 4)
    assert torch.allclose(cameras[1, 2], camera_to_world(poses[1, 2], Detector(), TARGET))
    single = camera_to_world(poses.float(), Detector(), TARGET)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), cameras, atol=1e-3)  # of some 850 mm
    assert project_points(TARGET[None].expand(5, 3), cameras, Detector()).shape == (2, 3, 5, 2)
    with pytest.raises(ValueError, match=r"pose has shape \(5,\), expected \(…, 6\): lao, cra, roll"):
        camera_to_world(torch.zeros(5), Detector(), TARGET)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", BEAMS)
def test_poses_are_read_from_their_matrices(view, kind):
    detector = Detector(view=view, beam=kind)
    poses = random_poses(50, 6).reshape(5, 10, 6) * torch.tensor([1.0, 2.9, 12, 1, 1, 1])
    found = pose_of(camera_to_world(poses, detector, TARGET), detector, TARGET)
    torch.testing.assert_close(found, poses, rtol=0, atol=1e-6)
    single = pose_of(camera_to_world(poses.float(), detector, TARGET), detector, TARGET)
    torch.testing.assert_close(single, poses.float(), rtol=0, atol=5e-3)  # of 850 mm and half a turn
    turned = camera_to_world(poses + torch.tensor([360.0, 0, -360, 0, 0, 0]), detector, TARGET)
    torch.testing.assert_close(pose_of(turned, detector, TARGET), poses, rtol=0, atol=1e-6)


def test_the_gantry_turns_about_its_isocentre_whatever_the_patients_pose():
    first, second = (20.0, -10.0), (-70.0, 25.0)
    motion = gantry_motion(first, second, Detector())
    before, after = (
        camera_to_world(pose(lao=lao, cra=cra), Detector(), TARGET) for lao, cra in (first, second)
    )
    torch.testing.assert_close(before @ motion, after)
    isocentre = as_vector((0, 0, 850.0))
    torch.testing.assert_close(motion[:3, :3] @ isocentre + motion[:3, 3], isocentre)
    # A patient who lies turned and elsewhere sees another camera move in the same way.
    patient = camera_to_world(random_poses(1, 8)[0], Detector(), -TARGET)
    torch.testing.assert_close(torch.linalg.inv(patient @ before) @ (patient @ after), motion)
    torch.testing.assert_close(gantry_motion(first, first, Detector()), torch.eye(4).double())


def oblique() -> torch.Tensor:
    affine = torch.eye(4, dtype=torch.float64)
    turn = Rotation.from_euler("zxy", [20, -15, 10], degrees=True).as_matrix()
    affine[:3, :3] = torch.from_numpy(turn) * torch.tensor([3.0, 2.5, 4.0])
    return affine


def flipped() -> torch.Tensor:
    """Voxel axes to the left, posterior and superior, as scanners store them."""
    return torch.diag(torch.tensor([-3.0, -2.5, 4.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("make", [oblique, flipped])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", BEAMS)
def test_a_bright_spot_appears_where_its_projection_is(make, view, kind):
    """Centroid of the shadow of one voxel, whose trilinear shape is symmetric and wider than pixels."""
    affine, spot = make(), torch.tensor([15, 6, 11])
    values = torch.zeros(22, 25, 18)
    values[tuple(spot)] = 1.0
    affine[:3, 3] = TARGET - affine[:3, :3] @ torch.tensor([10.5, 12, 8.5], dtype=torch.float64)
    point = affine[:3, :3] @ spot.double() + affine[:3, 3]
    detector = Detector(rows=60, columns=64, spacing_mm=2, beam=kind, view=view)
    cameras = camera_to_world(random_poses(12, 1), detector, TARGET)
    image = Projector(AttenuationVolume(values, affine), detector, samples=300)(cameras).double()
    assert (image.flatten(1).max(1).values > 0).all()
    rows, columns = torch.arange(60.0).double()[:, None], torch.arange(64.0).double()
    total = image.sum((1, 2))
    centroid = torch.stack([(image * columns).sum((1, 2)), (image * rows).sum((1, 2))], 1) / total[:, None]
    expected = project_points(point[None], cameras, detector)[:, 0]
    assert (centroid - expected).abs().max() < 0.1  # of a pixel


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
def test_transform_files_place_the_c_arm(tmp_path, suffix):
    """Read by ITK a file maps points of the CT to camera coordinates, both in LPS."""
    lps = np.array([-1.0, -1.0, 1.0])
    camera = camera_to_world(random_poses(1, 4)[0], Detector(), TARGET)
    matrix = itk_matrix(camera).numpy()
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    sitk.WriteTransform(transform, str(tmp_path / f"pose{suffix}"))
    read = sitk.ReadTransform(str(tmp_path / f"pose{suffix}"))
    for in_camera in ([0.0, 0.0, 0.0], [10.0, -20.0, 850.0], [0.0, 0.0, 1020.0]):
        world = (camera @ torch.tensor([*in_camera, 1.0], dtype=torch.float64))[:3].numpy()
        assert read.TransformPoint((lps * world).tolist()) == pytest.approx(lps * in_camera, abs=1e-6)


def test_what_is_no_rigid_motion_is_refused():
    cameras = camera_to_world(random_poses(3, 5), Detector(), TARGET)
    assert itk_matrix(cameras).shape == (3, 4, 4)
    mirrored = cameras.clone()
    mirrored[1, :3, 0] *= -1
    stretched = cameras.clone()
    stretched[2, :3, :3] *= 1.01
    for wrong in (mirrored, stretched):
        with pytest.raises(ValueError, match=r"not a rigid motion .* use view="):
            itk_matrix(wrong)


@pytest.mark.parametrize("degrees", [1e-4, 0.3, 20.0, 90.0, 179.0, 179.999])
def test_geodesic_angle_is_that_of_the_relative_rotation(degrees):
    generator = np.random.default_rng(3)
    first = Rotation.random(20, rng=generator)
    axes = generator.normal(size=(20, 3))
    second = first * Rotation.from_rotvec(np.radians(degrees) * axes / np.linalg.norm(axes, axis=1)[:, None])
    expected = np.degrees((first.inv() * second).magnitude())
    a, b = torch.from_numpy(first.as_matrix()), torch.from_numpy(second.as_matrix())
    # A sine that is one to rounding leaves √ε of an angle near half a turn.
    assert geodesic_degrees(a, b).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-5)
    assert geodesic_degrees(a, a).abs().max() < 1e-6


def test_geodesic_angle_of_poses_sees_their_rotations_alone():
    first, second = (
        camera_to_world(pose(lao=lao, right=right), Detector(), TARGET)
        for lao, right in ((170, 3), (-175, 9))
    )
    assert float(geodesic_degrees(first, second)) == pytest.approx(15)
    assert geodesic_degrees(first.expand(4, 4, 4), second).shape == (4,)


def test_detector_sizes():
    detector = Detector(spacing_mm=2.4, source_detector_mm=1200, source_isocentre_mm=800)
    assert detector.magnification == pytest.approx(1.5)
    assert detector.spacing_at_isocentre_mm == pytest.approx(1.6)
    assert Detector(beam="parallel", spacing_mm=2.4).spacing_at_isocentre_mm == 2.4
    assert Detector(**detector.to_config()) == detector


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "rows = 0; give a positive number"),
        ({"columns": -4}, "columns = -4"),
        ({"spacing_mm": math.nan}, "spacing_mm = nan"),
        ({"spacing_mm": math.inf}, "spacing_mm = inf"),
        ({"source_detector_mm": 0.0}, r"source_detector_mm = 0\.0"),
        ({"source_isocentre_mm": 1020.0}, "isocentre is 1020 mm from the source, the detector 1020 mm"),
        ({"beam": "fan"}, 'beam is \'fan\', expected "cone" or "parallel"'),
        ({"view": "front"}, 'view is \'front\', expected "detector" or "source"'),
    ],
)
def test_detectors_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Detector(**options)


@pytest.mark.parametrize("view", VIEWS)
def test_a_mirrored_patient_looks_alike_in_a_parallel_beam(view):
    detector, centre = Detector(rows=8, columns=8, view=view), torch.zeros(3)
    poses = random_poses(20, seed=4)
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def in_the_image(pose, points):
        camera = torch.linalg.inv(camera_to_world(pose, detector, centre))
        return torch.einsum("nij,kj->nki", camera[:, :2, :3], points) + camera[:, None, :2, 3]

    again = mirrored(poses, detector)
    other = points * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(in_the_image(again, other), in_the_image(poses, points))
    twice = camera_to_world(mirrored(again, detector), detector, centre)
    torch.testing.assert_close(twice, camera_to_world(poses, detector, centre))
    torch.testing.assert_close(
        mirrored(pose(lao=-20, cra=3, right=5), detector), pose(lao=-160, cra=-3, right=5)
    )
