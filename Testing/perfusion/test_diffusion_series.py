"""Diffusion-weighted DICOM series give what a NIfTI of the same images with its b-values gives."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dce_files import AFFINE, SIZE, SLOPE, stored, write_classic, write_enhanced, write_nifti
from pydicom.dataset import Dataset

from monai_inn.transforms import read_multispectral

B = (0.0, 400.0, 50.0, 800.0, 50.0)  # in the order of acquisition
SIGNALS = np.random.default_rng(0).uniform(1, 600, (len(B), *SIZE))
VENDORS = {
    "siemens": (0x0019, "SIEMENS MR HEADER", 0x0C, "IS", lambda b: f"{b:.0f}"),
    "ge": (0x0043, "GEMS_PARM_01", 0x39, "IS", lambda b: [f"{b + 1e9 * (b > 0):.0f}", "8", "0", "0"]),
    "philips": (0x2001, "Philips Imaging DD 001", 0x03, "FL", float),
}


def weighted(frame, _):
    return {"DiffusionBValue": B[frame], "ImageType": ["ORIGINAL", "PRIMARY", "M"]}


def changed(folder, change):
    """A series whose images have gone through ``change``, which may remove one by returning ``False``."""
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        if change(image) is False:
            path.unlink()
        else:
            image.save_as(path)
    return folder


def frame_of(image):
    return (int(image.InstanceNumber) - 1) // SIZE[2]


def check(found, tmp_path):
    order = np.argsort(B, kind="stable")
    whole = write_nifti(tmp_path / "dwi.nii.gz", SLOPE * stored(SIGNALS)[order].astype(np.float32))
    (tmp_path / "dwi.bval").write_text(" ".join(f"{B[k]:g}" for k in order))
    expected = read_multispectral(whole)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-4)
    assert found.meta["settings"] == expected.meta["settings"]
    assert found.meta["is_oriented"]


def test_a_folder_of_slices_in_no_order(tmp_path):
    check(read_multispectral(write_classic(tmp_path / "series", SIGNALS, weighted)), tmp_path)


def test_a_file_of_many_frames(tmp_path):
    path = tmp_path / "many.dcm"
    write_enhanced(path, SIGNALS, lambda frame: {"TemporalPositionIndex": frame + 1})
    image = pydicom.dcmread(path)
    for own in image.PerFrameFunctionalGroupsSequence:
        own.MRDiffusionSequence = [Dataset()]
        own.MRDiffusionSequence[0].DiffusionBValue = B[own.FrameContentSequence[0].TemporalPositionIndex - 1]
    image.save_as(path)
    found = read_multispectral(path)
    assert found.meta["settings"] == {"b": tuple(sorted(B))}
    values = SLOPE * stored(SIGNALS)
    np.testing.assert_allclose(found[[0, 3, 4]], values[[0, 1, 3]], rtol=1e-6)
    # Frames of one b-value come as they lie in the file.
    np.testing.assert_allclose(found[1] + found[2], values[2] + values[4], rtol=1e-6)


@pytest.mark.parametrize("vendor", VENDORS)
def test_b_values_of_vendors(tmp_path, vendor):
    group, creator, element, kind, written = VENDORS[vendor]

    def change(image):
        image.private_block(group, creator, create=True).add_new(element, kind, written(B[frame_of(image)]))

    series = write_classic(tmp_path / "series", SIGNALS, lambda *_: {})
    check(read_multispectral(changed(series, change)), tmp_path)


def without_b(image):
    if frame_of(image) == 3:
        del image.DiffusionBValue


def another_b(image):
    if image.InstanceNumber == 1 + 3 * SIZE[2]:
        image.DiffusionBValue = 900.0


def with_phases(image):
    if frame_of(image) == 3:
        image.ImageType = ["ORIGINAL", "PRIMARY", "P"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_b, r"IM\d+ does not say its b-value \(DiffusionBValue\)\. Of DICOM only diffusion-weighted"),
        (another_b, "slices have different b-values, 800 and 900 s/mm² in one image; some are missing"),
        (with_phases, "holds magnitude and phase images, expected magnitudes; give a folder"),
        (lambda image: image.InstanceNumber != 5, "slice 2 has 4 images, others 5"),
    ],
)
def test_series_that_are_refused(tmp_path, change, message):
    series = changed(write_classic(tmp_path / "series", SIGNALS, weighted), change)
    with pytest.raises(ValueError, match=message):
        read_multispectral(series)


def test_a_folder_without_dicom_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder, expected an image file .* or a folder of diffusion"):
        read_multispectral(tmp_path)
