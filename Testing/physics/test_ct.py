"""From a CT file to attenuation: any storage order gives the same X-ray, and what is no CT is refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from siddon import siddon

from monai_inn.applications.registration.carm import Detector, camera_to_world
from monai_inn.applications.registration.ct import (
    attenuation_volume,
    bone_centre,
    landmarks,
    read_ct,
    read_labels,
)
from monai_inn.applications.registration.projection import AttenuationVolume, Projector, spine_phantom

DETECTOR = Detector(24, 28, 7.0)
POSES = torch.tensor([[20.0, 8, 3, 4, -5, 10], [-130, -15, -6, 0, 3, 0]], dtype=torch.float64)
SAMPLES = Path(__file__).parents[2] / "Resources" / "ct"
CT, LABELS = SAMPLES / "lumbar_ct.nii.gz", SAMPLES / "lumbar_vertebrae.nii.gz"


def phantom_in_hu() -> tuple[np.ndarray, np.ndarray]:
    """A body of blobs without any symmetry, int16, on oblique anisotropic voxels."""
    generator = np.random.default_rng(0)
    noise = np.zeros((22, 26, 18))
    noise[5:-5, 5:-5, 5:-5] = generator.random((12, 16, 8)) ** 3
    values = gaussian_filter(noise, 1.5)
    hu = np.round(values / values.max() * 1700 - 1000).astype(np.int16)
    affine = np.eye(4)
    turn = Rotation.from_euler("zxy", [12, -8, 5], degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([3.0, 2.5, 4.0])
    affine[:3, 3] = [-30, 15, 120]
    return hu, affine


def stored(order: tuple[int, int, int], flips: tuple[bool, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels with their axes in another order, some of them running backwards."""
    hu, affine = phantom_in_hu()
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, old in enumerate(order):
        to_old[old, new] = 1
    hu, affine = hu.transpose(order), affine @ to_old
    for axis, is_flipped in enumerate(flips):
        if is_flipped:
            back = np.eye(4)
            back[axis, axis], back[axis, 3] = -1, hu.shape[axis] - 1
            hu, affine = np.flip(hu, axis), affine @ back
    return np.ascontiguousarray(hu), affine


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def write_itk(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


def image_of(ct: AttenuationVolume) -> torch.Tensor:
    target = torch.tensor([0.0, 50.0, 160.0], dtype=torch.float64)
    projector = Projector(attenuation_volume(ct, 6.0), DETECTOR, samples=64)
    return projector(camera_to_world(POSES, DETECTOR, target))


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    hu, affine = phantom_in_hu()
    ct = AttenuationVolume(torch.from_numpy(hu).float(), torch.from_numpy(affine))
    image = image_of(ct)
    assert float(image.max()) > 0.5
    return image


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        ((0, 1, 2), (False, False, False)),
        ((0, 1, 2), (True, True, False)),
        ((2, 0, 1), (False, False, False)),
        ((1, 0, 2), (False, True, True)),
        ((2, 1, 0), (True, True, True)),
    ],
)
@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_any_storage_order_and_format_gives_the_same_image(tmp_path, expected, order, flips, name):
    write = write_nifti if ".nii" in name else write_itk
    ct = read_ct(write(tmp_path / name, *stored(order, flips)))
    assert ct.values.dtype == torch.float32
    assert ct.affine.dtype == torch.float64
    image = image_of(ct)
    # Voxels are resampled along their own axes: from another end, with another rest at the border.
    assert (image - expected).abs().max() < 0.02 * expected.max()
    assert (image - expected).square().mean().sqrt() < 0.005 * expected.std()


def test_voxels_keep_their_world_position_and_value(tmp_path):
    values, affine = stored((2, 0, 1), (True, False, True))
    for write, name in ((write_nifti, "a.nii.gz"), (write_itk, "a.mha")):
        ct = read_ct(write(tmp_path / name, values, affine))
        np.testing.assert_array_equal(ct.values.numpy(), values)
        np.testing.assert_allclose(ct.affine.numpy(), affine, atol=1e-4)


def test_scaled_integers_become_hounsfield_units(tmp_path):
    hu, affine = phantom_in_hu()
    image = nib.Nifti1Image(((hu + 1024) // 2).astype(np.int16), affine)
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "scaled.nii.gz")
    assert nib.load(tmp_path / "scaled.nii.gz").dataobj.inter == -1024
    np.testing.assert_allclose(read_ct(tmp_path / "scaled.nii.gz").values, hu, atol=1)


def test_a_fourth_axis_of_one_is_no_axis(tmp_path):
    hu, affine = phantom_in_hu()
    ct = read_ct(write_nifti(tmp_path / "one.nii", hu[..., None], affine))
    np.testing.assert_array_equal(ct.values.numpy(), hu)


def spoilt(kind: str) -> tuple[np.ndarray, np.ndarray]:
    hu, affine = phantom_in_hu()
    values = hu.astype(np.float32)
    if kind == "counts":
        values += 1024
    if kind == "nan":
        values[3, 4, 5] = np.nan
    if kind == "infinite":
        values[3, 4, 5] = -np.inf
    if kind == "four axes":
        values = np.stack([values, values], -1)
    if kind == "flat":
        values = values[:, :, :1]
    if kind == "shares":
        values /= 2000
    return values, affine


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("counts", r"values from 24 to 1724 are not Hounsfield units, .* rescale slope and intercept"),
        ("shares", "are not Hounsfield units"),
        ("nan", "holds NaN or infinite values; fill them, with −1000 HU"),
        ("infinite", "holds NaN or infinite values"),
        ("four axes", r"has the shape \(22, 26, 18, 2\), expected one volume of three axes"),
        ("flat", "expected one volume of three axes"),
    ],
)
def test_what_is_no_ct_is_refused_in_one_line(tmp_path, kind, message):
    path = write_nifti(tmp_path / "wrong.nii.gz", *spoilt(kind))
    with pytest.raises(ValueError, match=message) as caught:
        read_ct(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_truncated_files_are_refused_in_one_line(tmp_path, name):
    write = write_nifti if ".nii" in name else write_itk
    path = write(tmp_path / name, *phantom_in_hu())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"truncated.*[Cc]opy (it|the file) again") as caught:
        read_ct(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_something_else_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file; check the path"):
        read_ct(tmp_path / "none.nii.gz")
    (tmp_path / "notes.txt").write_text("no CT")
    with pytest.raises(ValueError, match="cannot be read as a volume"):
        read_ct(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match="no such file; check the path"):
        read_labels(tmp_path / "none.nii.gz", [1], read_ct(CT))


def test_labels_keep_their_voxels_and_one_around_them(tmp_path):
    hu, affine = phantom_in_hu()
    labels = np.zeros(hu.shape, np.uint8)
    labels[8:10, 9, 7], labels[15, 15, 12] = 3, 9
    ct = read_ct(write_nifti(tmp_path / "ct.nii", hu, affine))
    path = write_nifti(tmp_path / "labels.nii.gz", labels, affine)
    kept = read_labels(path, [3], ct)
    assert kept.dtype == torch.bool
    assert int(kept.sum()) == 2 + 2 * 4 + 2  # a star about each of two neighbours
    assert bool(kept[7:11, 9, 7].all())
    assert int(read_labels(path, [9], ct).sum()) == 7
    assert int(read_labels(path, [3, 9], ct).sum()) == 19
    with pytest.raises(ValueError, match=r"none of the labels \[4, 5\] is in it; it has 3, 9\."):
        read_labels(path, [4, 5], ct)


def test_labels_on_other_voxels_are_refused(tmp_path):
    hu, affine = phantom_in_hu()
    ct = read_ct(write_nifti(tmp_path / "ct.nii", hu, affine))
    labels = np.ones(hu.shape, np.uint8)
    moved = affine.copy()
    moved[0, 3] += 1.0
    cases = {
        "moved": (labels, moved),
        "cut": (labels[:-1], affine),
        "turned": (labels, affine * [-1, 1, 1, 1]),
    }
    for name, case in cases.items():
        with pytest.raises(
            ValueError, match=r"do not lie on the voxels of the CT, .* resample them"
        ) as caught:
            read_labels(write_nifti(tmp_path / f"{name}.nii.gz", *case), [1], ct)
        assert "\n" not in str(caught.value)


def bright_block() -> tuple[AttenuationVolume, torch.Tensor, torch.Tensor]:
    """Air around a block of bone on anisotropic voxels, its mask, and its middle in mm."""
    values = torch.full((40, 36, 30), -1000.0)
    keep = torch.zeros(values.shape, dtype=torch.bool)
    keep[22:30, 10:16, 12:20] = True
    values[keep] = 700.0
    affine = torch.from_numpy(phantom_in_hu()[1])
    middle = torch.tensor([25.5, 12.5, 15.5], dtype=torch.float64)
    return AttenuationVolume(values, affine), keep, affine[:3, :3] @ middle + affine[:3, 3]


@pytest.mark.parametrize("pixel_mm", [2.0, 6.0, 14.0])
@pytest.mark.parametrize("is_cut", [False, True])
def test_blur_and_cut_keep_the_mass_and_its_place(pixel_mm, is_cut):
    ct, keep, middle = bright_block()
    volume = attenuation_volume(ct, pixel_mm, keep if is_cut else None)
    before = float(ct.affine[:3, :3].det().abs()) * int(keep.sum()) * (0.0192 + 0.7 * (0.0573 - 0.0192))
    after = float(volume.affine[:3, :3].det().abs()) * float(volume.values.sum())
    # Resampling by at most 2.5 voxels to a pixel is a sum on another grid: exact for what is this smooth.
    assert after == pytest.approx(before, rel=0.02)
    index = torch.nonzero(volume.values > -1).double()
    weight = volume.values.double().flatten()[:, None]
    centre = (weight * (index @ volume.affine[:3, :3].T + volume.affine[:3, 3])).sum(0) / weight.sum()
    assert (centre - middle).abs().max() < 0.02 * pixel_mm + 0.02
    assert float(volume.spacing_mm.min()) >= pixel_mm / 2.5 - 1e-6
    if is_cut:
        assert volume.values.numel() < 0.4 * attenuation_volume(ct, pixel_mm).values.numel()
        edges = [volume.values.select(axis, at).max() for axis in range(3) for at in (0, -1)]
        assert max(edges) < 0.02 * volume.values.max()  # nothing of the blur is cut off


def test_a_mask_that_keeps_nothing_is_refused():
    ct, keep, _ = bright_block()
    for wrong in (torch.zeros_like(keep), keep[1:]):
        with pytest.raises(ValueError, match=r"the mask has the shape .* give one of the CT's shape"):
            attenuation_volume(ct, 3.0, wrong)


def test_attenuation_of_air_water_and_bone():
    ct = AttenuationVolume(
        torch.tensor([-2000.0, -1000, 0, 1000]).reshape(-1, 1, 1).expand(4, 4, 4), torch.eye(4).double()
    )
    values = attenuation_volume(ct, 0.01).values[:, 0, 0]
    # To half precision, in which volumes are kept.
    torch.testing.assert_close(values, torch.tensor([0.0, 0.0, 0.0192, 0.0573]), rtol=2**-11, atol=1e-9)


def test_landmarks_are_bone_far_apart_and_always_the_same():
    volume = spine_phantom(1.0)
    points = landmarks(volume, 10)
    assert points.shape == (10, 3)
    assert torch.equal(points, landmarks(volume, 10))
    assert torch.equal(points[:4], landmarks(volume, 4))
    index = torch.linalg.solve(volume.affine[:3, :3], (points - volume.affine[:3, 3]).T).round().long()
    assert float(volume.values[tuple(index)].min()) > 0.0225
    distance = torch.pdist(points)
    assert float(distance.min()) > 20
    assert float(distance.max()) > 80
    faint = AttenuationVolume(volume.values * 0.1, volume.affine)
    assert landmarks(faint, 5).shape == (5, 3)


def test_centre_of_the_bone_is_that_of_what_attenuates_like_it():
    ct, _, middle = bright_block()
    ct.values[:15] = 40.0  # soft tissue, more of it than of bone
    volume = attenuation_volume(ct, 3.0)
    assert (bone_centre(volume) - middle).abs().max() < 0.5
    symmetric = bone_centre(spine_phantom())
    assert symmetric[0].abs() < 1e-6
    assert symmetric[2].abs() < 2
    assert bone_centre(spine_phantom(1.0))[0] > 0.5  # the spur is on the right


def test_vertebrae_of_a_real_ct_are_where_its_bone_is():
    ct = read_ct(CT)
    kept = read_labels(LABELS, [21, 22, 23], ct)
    assert ct.values.shape == kept.shape == (73, 73, 47)
    assert float(ct.values[kept].mean()) > 150
    ring = torch.nn.functional.max_pool3d(kept[None].float(), 9, 1, 4)[0].bool() & ~kept
    assert float(ct.values[ring].mean()) < 60
    for axis in (0, 1, 2):
        assert float(ct.values[kept.roll(9, axis)].mean()) < 0.75 * float(ct.values[kept].mean())
    # L2 is above L3 is above L4.
    height = []
    for label in (21, 22, 23):
        index = torch.nonzero(read_labels(LABELS, [label], ct)).double().mean(0)
        height.append(float((ct.affine[:3, :3] @ index + ct.affine[:3, 3])[2]))
    assert height == sorted(height, reverse=True)
    with pytest.raises(ValueError, match=r"it has 21, 22, 23\."):
        read_labels(LABELS, [28], ct)


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_images_of_a_real_spine_are_those_of_siddon(beam):
    """Of the masked and blurred volume, whose edges are wider than its voxels."""
    ct = read_ct(CT)
    detector = Detector(32, 32, 5.0, beam=beam)
    volume = attenuation_volume(ct, detector.spacing_at_isocentre_mm, read_labels(LABELS, [21, 22, 23], ct))
    target = bone_centre(volume)
    assert (volume.centre - target).abs().max() < 25
    cameras = camera_to_world(POSES, detector, target)
    truth = siddon(volume, cameras, detector)
    image = Projector(volume, detector)(cameras).double().numpy()
    assert truth.max() > 1.0
    assert np.sqrt(((image - truth) ** 2).mean()) / truth.std() < 0.03
    points = landmarks(volume)
    assert float(torch.pdist(points).min()) > 8
