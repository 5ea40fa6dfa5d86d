"""Files as a classifier sees them: the same picture whatever the format, and messages that name no X-ray."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xray_files import write_dicom, write_itk, write_nifti, write_picture

import monai_inn as mi
from monai_inn.applications.classification.classifying import classify
from monai_inn.applications.classification.image_files import read_image

SIZE = (28, 28)


@pytest.fixture(scope="module")
def normal() -> torch.Tensor:
    """A child's chest without pneumonia, ``(28, 28)``."""
    problem = mi.load("chest_xray").problem
    first = int((problem.tensors["labels"] == problem.classes.index("normal")).nonzero()[0])
    return problem.tensors["images"][first].reshape(SIZE).byte()


def test_an_xray_is_of_the_same_class_as_a_picture_and_as_dicom(normal, tmp_path):
    pixels = normal.numpy()
    linear = {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": -1}
    deep = pixels.astype(np.uint16) * 16 + 8
    files = [
        write_picture(tmp_path / "a.png", pixels),
        write_dicom(tmp_path / "lin.dcm", pixels, "DX", bits=8, **linear),
        write_dicom(tmp_path / "deep.dcm", deep, "DX", bits=12, **linear),
        write_dicom(tmp_path / "turned.dcm", 4095 - deep, "CR", bits=12, photometric="MONOCHROME1"),
        write_nifti(tmp_path / "a.nii.gz", pixels),
        write_itk(tmp_path / "a.mha", pixels),
    ]
    record = classify("chest_xray", files, tmp_path / "out")
    images = np.load(tmp_path / "out" / "images.npy").astype(int)
    assert abs(images - images[0]).max() <= 1
    for entry in record["images"]:
        assert entry["class"] == "normal"
        assert not entry["is_of_no_class"]


def test_levels_take_the_place_of_a_window_and_of_what_is_unknown(tmp_path):
    rising = np.tile(np.arange(-1000, 1000, 50, dtype=np.int16), (40, 1))
    path = write_dicom(tmp_path / "ct.dcm", rising, "CT")
    with pytest.raises(ValueError, match="signed numbers and no window; say what is black and white: --lev"):
        read_image(path, (40, 40))
    expected = np.clip((rising + 500.0) / 1000 * 255, 0, 255).round()
    assert np.array_equal(read_image(path, (40, 40), levels=(-500, 500))[..., 0], expected)
    window = {"WindowCenter": "5000", "WindowWidth": "100"}
    path = write_dicom(tmp_path / "dark.dcm", rising, "CT", **window)
    with pytest.raises(ValueError, match="black almost everywhere in its window"):
        read_image(path, (40, 40))
    assert np.array_equal(read_image(path, (40, 40), levels=(-500, 500))[..., 0], expected)


def test_volumes_are_refused_by_a_network_of_pictures_and_no_option_is_named_that_is_not_there(tmp_path):
    stack = np.random.default_rng(0).integers(0, 256, (5, 40, 40)).astype(np.uint8)
    write_picture(tmp_path / "v.tif", stack)
    write_dicom(tmp_path / "v.dcm", stack, bits=8)
    for path in (tmp_path / "v.tif", tmp_path / "v.dcm"):
        with pytest.raises(ValueError, match=r"holds 5 .*; save one of them as a file") as error:
            read_image(path, SIZE)
        assert "--frame" not in str(error.value)
        assert "X-ray" not in str(error.value)
        assert "\n" not in str(error.value)
    write_picture(tmp_path / "c.png", np.stack([stack[0], stack[1], stack[2]], -1))
    with pytest.raises(ValueError, match="a colour image, expected grey") as error:
        read_image(tmp_path / "c.png", SIZE)
    assert "X-ray" not in str(error.value)
    with pytest.raises(ValueError, match="expected one image") as error:
        read_image(tmp_path, SIZE)
