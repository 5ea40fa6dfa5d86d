"""Pictures: what is striped, which way is up, scales from the prior alone, no global plotting state."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from matplotlib.colors import LogNorm
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from PIL import Image

from monai_inn.problems import Parameter
from monai_inn.reports import map_figure
from monai_inn.reports.figures import _norms
from monai_inn.reports.pictures import PATTERNS, colour_rendering, colours_in_words, cover, plane, view_of
from monai_inn.reports.scales import prior_scale
from monai_inn.transforms import read_multispectral, write_map


@pytest.mark.parametrize(("pattern", "share"), [("not explained", 3 / 16), ("not informative", 25 / 256)])
def test_only_the_mask_is_covered_marked_and_outlined(pattern, share):
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    overlay = cover(mask, pattern)
    large = mask.repeat(8, 0).repeat(8, 1)
    assert overlay.shape == (320, 480, 4)
    assert (overlay[~large] == 0).all()
    assert (overlay[large][:, 3] > 0).all()
    colour = np.round(255 * np.array(PATTERNS[pattern][0]))
    marked = (overlay[..., :3] == colour).all(-1) & (overlay[..., 3] == 255)
    assert abs(marked[100:220, 180:380].mean() - share) < 0.01
    assert marked[80:240, 160].all()  # the outline
    assert marked[80, 160:400].all()


def head(storage: str, spacing: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> MetaTensor:
    """A head with a nose in front, an ear on its right and a neck, stored along axes such as LPS or IAR."""
    ras = np.zeros((1, 9, 8, 7))
    ras[0, :, :, 3:], ras[0, 6:, 3, :], ras[0, 4, 6:, :], ras[0, 4, 4, 0] = 1, 2, 3, 4
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = 5.0, -6.0, 7.0
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(storage))
    stored = apply_orientation(ras[0], turn)
    to_ras = affine @ inv_ornt_aff(turn, ras[0].shape)
    meta = {"filename_or_obj": "head.nii.gz", "is_oriented": True}
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(stored))[None], affine=to_ras, meta=meta)


@pytest.mark.parametrize("storage", ["RAS", "LPS", "LAS", "SRP", "IAR", "ALI"])
def test_a_head_is_drawn_alike_however_its_axes_are_stored(storage):
    image = head(storage)
    view = view_of(image)
    assert (view.letters, view.pixel_mm) == ("RLAP", (2.0, 1.0))
    drawn = plane(image[0], view)
    np.testing.assert_array_equal(drawn, plane(head("RAS")[0], view_of(head("RAS"))))
    assert drawn.shape == (8, 9)
    assert (drawn[4, :3] == 2).all()  # the patient's right ear on the left
    assert (drawn[:2, 4] == 3).all()  # the nose on top


@pytest.mark.parametrize(
    ("spacing", "letters", "shape"),
    [((6, 1, 1), "APSI", (7, 8)), ((1, 6, 1), "RLSI", (7, 9)), ((1, 1, 1.2), "RLAP", (8, 9))],
)
def test_thick_slices_are_drawn_as_they_were_measured(spacing, letters, shape):
    for storage in ("RAS", "PIL"):
        image = head(storage, spacing)
        assert view_of(image).letters == letters
        assert plane(image[0], view_of(image)).shape == shape


def test_a_tilted_and_a_lone_slice_keep_their_sides():
    image = head("LPS")
    tilt = np.array([[1, 0, 0, 0], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, 0], [0, 0, 0, 1.0]])
    tilted = image.clone()
    tilted.affine = torch.from_numpy(tilt @ image.affine.numpy())
    np.testing.assert_array_equal(plane(tilted[0], view_of(tilted)), plane(image[0], view_of(image)))
    lone = MetaTensor(image.as_tensor()[:, 4:5], affine=image.affine, meta=image.meta)
    assert view_of(lone).letters == "APSI"  # however thin its neighbours would be


def test_images_without_geometry_are_drawn_as_stored_and_without_letters(tmp_path):
    flat = torch.arange(6.0).reshape(2, 3)
    stack = torch.arange(36.0).reshape(3, 3, 4)
    for array in (flat, stack):
        shown = array if array.ndim == 2 else array[1]
        for image in (array[None], MetaTensor(array[None])):
            view = view_of(image)
            assert view.letters == ""
            np.testing.assert_array_equal(plane(array, view), shown)
        np.savez(tmp_path / "image.npz", image=array[None])
        image = read_multispectral(tmp_path / "image.npz")
        assert view_of(image).letters == ""
        np.testing.assert_array_equal(plane(image[0], view_of(image)), shown)
        again = read_multispectral(write_map(tmp_path / "map.nii", array[None]))
        np.testing.assert_array_equal(plane(again[0], view_of(again)), shown)  # what Slicer shows
    assert plane(torch.arange(5.0), view_of(torch.zeros(1, 5))).shape == (1, 5)


MOVED, CUT = np.eye(4), np.eye(4)  # a place in the scanner; a part of an image whose place is not known
MOVED[:3, 3], CUT[:2, 3] = (-90, -126, -72), (80, 68)


@pytest.mark.parametrize(
    ("affine", "code", "letters"),
    [(np.eye(4), 1, ""), (np.diag([-0.9, -0.9, 3, 1]), 1, ""), (CUT, 1, ""), (MOVED, 1, "RLAP"),
     (MOVED, 0, "")],
)  # fmt: skip
def test_letters_need_a_file_that_says_how_the_patient_lies(tmp_path, affine, code, letters):
    stored = nibabel.Nifti1Image(np.zeros((4, 5, 3), np.float32), affine)
    stored.set_sform(affine, code)
    stored.set_qform(affine, code)
    nibabel.save(stored, tmp_path / "scan.nii")
    assert view_of(read_multispectral(tmp_path / "scan.nii")).letters == letters


def test_colours_are_those_of_the_nearest_bands():
    image = torch.zeros(4, 2, 2)
    image[3], image[2, 0], image[1] = 1.0, 0.5, torch.nan
    shown = colour_rendering(image, view_of(image), np.array([400.0, 470.0, 550.0, 620.0]))
    assert (shown[..., 0] == 1).all()
    np.testing.assert_allclose(shown[0, :, 1], 0.5 ** (1 / 2.2))
    assert (shown[..., 2] == 0.5).all()  # grey where a band is missing


@pytest.mark.parametrize(
    ("nm", "words"),
    [
        (None, "mean of the channels"),
        ((500.0, 600.0), "mean of the channels"),
        ((400.0, 470.0, 550.0, 620.0), "colours of the bands"),
        ((700.0, 750.0, 900.0), "700 nm in grey"),
    ],
)
def test_a_picture_says_what_its_colours_are(nm, words):
    assert colours_in_words(None if nm is None else np.array(nm)) == words


@pytest.mark.parametrize(
    ("parameter", "bounds", "width"),
    [
        (Parameter("a", "1", 0.0, 2.0), (0.0, 2.0), 1.9),
        (Parameter("b", "1", 0.01, 1.0, scale="log"), (0.01, 1.0), 0.01**0.025 - 0.01**0.975),
        (Parameter("c", "mm", -torch.inf, torch.inf), (-2.94, 2.94), 3.92),
    ],
)
def test_colour_scales_are_those_of_the_prior(parameter, bounds, width):
    norm, width_norm = _norms(parameter, prior_scale(parameter))
    np.testing.assert_allclose((norm.vmin, norm.vmax), bounds, atol=1e-3)
    np.testing.assert_allclose((width_norm.vmin, width_norm.vmax), (0, width), atol=1e-3)
    assert isinstance(norm, LogNorm) == (parameter.scale == "log")


@pytest.mark.parametrize("below", [None, {"sao2": 0.5, "vhb": 0.1}])
def test_map_figure_is_a_picture_also_without_a_valid_pixel(camera_fit, image, tmp_path, below):
    for name, shown in (("all", image), ("none", torch.full_like(image, torch.nan))):
        path = map_figure(
            camera_fit.maps(MetaTensor(shown), samples=8, below=below),
            shown,
            tmp_path / f"{name}.png",
            camera_fit,
        )
        with Image.open(path) as picture:
            assert min(picture.size) > 500
            assert "Research only" in picture.text["Description"]
