"""Reading X-rays of every format, and files that are damaged, coloured or no X-ray."""

import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
import torch
from PIL import Image
from xray_files import (
    intensity,
    write_all,
    write_dicom,
    write_itk,
    write_nifti,
    write_picture,
    write_xa,
)

from monai_inn.applications.registration import READABLE_XRAYS, read_xray

GREY = np.random.default_rng(0).integers(100, 60000, (6, 9)).astype(np.uint16)
LINE_INTEGRALS = np.random.default_rng(1).uniform(0, 5, (48, 40))


def assert_one_line(error, path):
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message.strip()


def assert_grey(xray, expected=GREY):
    assert xray.values.dtype == torch.float32
    np.testing.assert_array_equal(xray.values.numpy(), np.asarray(expected, np.float32))


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.TIFF"])
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_pictures(tmp_path, name, bits):
    grey = GREY if bits == 16 else (GREY >> 8).astype(np.uint8)
    xray = read_xray(write_picture(tmp_path / name, grey))
    assert_grey(xray, grey)
    assert (xray.contrast, xray.spacing_mm, xray.geometry, xray.is_scaled) == (None, None, None, False)
    assert len(xray.notes) == 1


def test_eight_bits_are_noted(tmp_path):
    eight = read_xray(write_picture(tmp_path / "x.png", (GREY >> 8).astype(np.uint8)))
    sixteen = read_xray(write_picture(tmp_path / "y.png", GREY))
    assert "256 grey levels" in eight.notes[0]
    assert "256" not in sixteen.notes[0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L"])
def test_colour_with_equal_channels_is_grey(tmp_path, mode):
    grey = (GREY >> 8).astype(np.uint8)
    Image.fromarray(grey).convert(mode).save(tmp_path / "x.png")
    assert_grey(read_xray(tmp_path / "x.png"), grey)


def test_grey_in_colour_tiff_and_nrrd(tmp_path):
    grey = (GREY >> 8).astype(np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", np.stack([grey] * 3, -1), photometric="rgb")
    assert_grey(read_xray(tmp_path / "x.tif"), grey)
    for shape in (grey.shape, (1, *grey.shape)):
        colour = np.stack([grey.reshape(shape)] * 3, -1)
        sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "x.nrrd"))
        assert_grey(read_xray(tmp_path / "x.nrrd"), grey)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg"])
def test_colour_is_refused(tmp_path, name):
    grey = (GREY >> 8).astype(np.uint8)
    write_picture(tmp_path / name, np.stack([grey, grey, 255 - grey], -1))
    with pytest.raises(ValueError, match="a colour image, expected grey values") as error:
        read_xray(tmp_path / name)
    assert_one_line(error, tmp_path / name)


def test_transparency_and_other_colour_modes_are_refused(tmp_path):
    grey = (GREY >> 8).astype(np.uint8)
    Image.fromarray(np.stack([grey, grey, grey, grey], -1)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match="transparent pixels"):
        read_xray(tmp_path / "x.png")
    Image.fromarray(np.stack([grey, grey, grey, grey], -1), "CMYK").save(tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="colour mode CMYK"):
        read_xray(tmp_path / "x.jpg")


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha", "x.mhd"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.dtype(">i2")])
def test_volumes_of_one_slice(tmp_path, name, dtype):
    grey = (GREY // 2).astype(dtype)
    native = grey.astype(grey.dtype.newbyteorder("="))
    write = write_nifti if ".nii" in name else write_itk
    xray = read_xray(write(tmp_path / name, grey if ".nii" in name else native, spacing=(0.3, 0.25)))
    assert_grey(xray, native)
    assert xray.spacing_mm == pytest.approx((0.3, 0.25))
    assert xray.is_scaled == (native.dtype.kind == "f")


def test_nifti_of_two_axes_of_scaled_integers_and_without_affine(tmp_path):
    nibabel.save(nibabel.Nifti1Image(GREY.T.astype(np.int32), np.diag([0.5, 0.4, 1, 1])), tmp_path / "x.nii")
    xray = read_xray(tmp_path / "x.nii")
    assert_grey(xray)
    assert xray.spacing_mm == pytest.approx((0.4, 0.5))
    image = nibabel.Nifti1Image(GREY.T.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "y.nii")
    scaled = nibabel.load(tmp_path / "y.nii")
    xray = read_xray(tmp_path / "y.nii")
    np.testing.assert_allclose(xray.values, np.asarray(scaled.dataobj).T, rtol=1e-6)
    assert xray.is_scaled
    assert xray.spacing_mm is None
    assert "counts as unknown" in xray.notes[-1]


@pytest.mark.parametrize("name", ["x.nii", "x.nrrd", "x.tif", "x.dcm", "t.nii"])
def test_frames(tmp_path, name):
    stack, path = np.stack([GREY, GREY[::-1], 2 * GREY.astype(int) // 3]).astype(np.uint16), tmp_path / name
    if name == "x.nii":
        nibabel.save(nibabel.Nifti1Image(stack.transpose(2, 1, 0), np.eye(4)), path)
    elif name == "t.nii":
        nibabel.save(nibabel.Nifti1Image(stack.transpose(2, 1, 0)[:, :, None], np.eye(4)), path)
    elif name == "x.nrrd":
        sitk.WriteImage(sitk.GetImageFromArray(stack), str(path))
    elif name == "x.tif":
        tifffile.imwrite(path, stack, photometric="minisblack")
    else:
        write_dicom(path, stack)
    with pytest.raises(ValueError, match=r"holds 3 frames, .* --frame 1 … 3") as error:
        read_xray(path)
    assert_one_line(error, path)
    for number in (1, 2, 3):
        assert_grey(read_xray(path, frame=number), stack[number - 1])
    for number in (0, 4, -1):
        with pytest.raises(ValueError, match=f"no frame {number}; it has 3"):
            read_xray(path, frame=number)


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("share", [0.97, 0.6, 0.1, 0.01])
def test_truncated(tmp_path, number, share):
    path = write_all(tmp_path, LINE_INTEGRALS)[number]
    assert read_xray(path).values.shape == LINE_INTEGRALS.shape
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"truncated|damaged|empty") as error:
        read_xray(path)
    assert_one_line(error, path)


@pytest.mark.parametrize("ending", READABLE_XRAYS)
@pytest.mark.parametrize("content", [b"", b"\x01", b"nothing that anyone knows" * 20, bytes(4000)])
def test_rubbish(tmp_path, ending, content):
    path = tmp_path / f"rubbish{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged|empty") as error:
        read_xray(path)
    assert_one_line(error, path)


def test_missing_folder_and_unknown_ending(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.png: no such file; check the path"):
        read_xray(tmp_path / "absent.png")
    with pytest.raises(ValueError, match=r"is a folder, expected one X-ray"):
        read_xray(tmp_path)
    (tmp_path / "x.bmp").write_bytes(b"BM")
    with pytest.raises(ValueError, match=r"x\.bmp: unknown ending '\.bmp', expected one of \.png, "):
        read_xray(tmp_path / "x.bmp")


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [
        ("pydicom", "x.dcm", "dicom"),
        ("nibabel", "x.nii", "io"),
        ("SimpleITK", "x.mha", "io"),
        ("tifffile", "x.tif", "io"),
    ],
)
def test_missing_library_names_the_extra(tmp_path, monkeypatch, library, name, extra):
    {"x.dcm": write_xa, "x.nii": write_nifti, "x.mha": write_itk, "x.tif": write_picture}[name](
        tmp_path / name, GREY
    )
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf'pip install "monai_inn\[{extra}\]"') as error:
        read_xray(tmp_path / name)
    assert_one_line(error, tmp_path / name)


def test_values_that_are_no_real_numbers(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.ones((4, 5), np.complex64))
    with pytest.raises(ValueError, match="holds values of type complex64"):
        read_xray(tmp_path / "x.tif")


def test_intensity_of_the_test_files_rounds():
    assert intensity([0.0, np.log(2)]).tolist() == [65535, 32768]
