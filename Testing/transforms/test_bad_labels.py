"""Wavelengths, sidecar files and affines that cannot be right: one clear line each."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
import torch
from monai.data.meta_tensor import MetaTensor
from spectral.io import envi

from monai_inn.applications.registration import read_xray
from monai_inn.applications.registration.ct import read_ct
from monai_inn.reports.stored import read_volume
from monai_inn.transforms import MatchCamera, SelectBands, read_multispectral

CUBE = np.random.default_rng(0).integers(1, 999, (3, 4, 5)).astype(np.uint16)
BAD_WAVELENGTHS = [
    ([500, np.nan, 520], "wavelength_nm of band 1 is nan, expected a positive number of nm"),
    ([500, np.inf, 520], "wavelength_nm of band 1 is inf, expected a positive"),
    ([-500, 510, 520], "wavelength_nm of band 0 is -500, expected a positive"),
    ([500, 0, 520], "wavelength_nm of band 1 is 0, expected a positive"),
    ([520, 500, 520], "bands 0 and 2 have the same wavelength_nm, 520 nm"),
]


def refuse(read, path, message):
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert str(path.parent) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("values", "message"), BAD_WAVELENGTHS)
def test_wavelengths_of_every_format(tmp_path, values, message):
    np.savez(tmp_path / "x.npz", image=CUBE, wavelength_nm=values)
    envi.save_image(str(tmp_path / "x.hdr"), CUBE.transpose(1, 2, 0), metadata={"wavelength": values})
    tifffile.imwrite(tmp_path / "x.tif", CUBE, photometric="minisblack", metadata={"wavelength_nm": values})
    picture = sitk.GetImageFromArray(CUBE.transpose(1, 2, 0)[None], isVector=True)
    picture.SetMetaData("wavelength_nm", " ".join(map(str, values)))
    sitk.WriteImage(picture, str(tmp_path / "x.nrrd"))
    for name in ("x.npz", "x.hdr", "x.tif", "x.nrrd"):
        refuse(read_multispectral, tmp_path / name, message)


def test_bands_in_another_order_and_unknown_widths_are_read(tmp_path):
    np.savez(tmp_path / "x.npz", image=CUBE, wavelength_nm=[520, 500, 510], fwhm_nm=[0, 5, 5])
    image = read_multispectral(tmp_path / "x.npz")
    assert image.meta["wavelength_nm"] == (520.0, 500.0, 510.0)
    assert image.meta["fwhm_nm"] == (0.0, 5.0, 5.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"wavelength_nm": 5}', "wavelength_nm is '5', expected a list of one entry a channel"),
        ('{"wavelength_nm": null}', "wavelength_nm is 'None', expected a list"),
        ('{"wavelength_nm": true}', "wavelength_nm is 'True', expected a list"),
        ('{"wavelength_nm": "500"}', "wavelength_nm is '500', expected a list"),
        ('{"wavelength_nm": ["a", 1, 2]}', "expected numbers in nm"),
        ('{"wavelength_nm": [null, 1, 2]}', "expected numbers in nm"),
        ('{"wavelength_nm": [[500], [510], [520]]}', "expected a list of one entry a channel"),
        ('{"wavelength_nm": {"500": 1, "510": 2, "520": 3}}', "expected a list of one entry a channel"),
        ('{"wavelength_nm": [500, 510]}', "2 entries of wavelength_nm, but 3 channels"),
        ('{"wavelength_nm": [NaN, 510, 520]}', "is not valid JSON .NaN is not a number in JSON"),
        ('{"wavelength_nm": [1e999, 510, 520]}', "the number 1e999 is too large"),
        (f'{{"wavelength_nm": [{"9" * 400}, 510, 520]}}', "the number 9+ is too large"),
        ('{"band_names": "abc"}', "band_names is 'abc', expected a list of one entry a channel"),
        ('{"fwhm_nm": [-1, 5, 5]}', "fwhm_nm of band 0 is -1"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"a":' * 100_000, "is not valid JSON"),
        ("\ufeff{}", "is not valid JSON"),
        ("[500, 510, 520]", r'expected an object such as .*"wavelength_nm"'),
        ('{"wavelengths": [500, 510, 520]}', r"'wavelengths' \(did you mean 'wavelength_nm'\?\) is not read"),
        ('{"Wavelength_um": [0.50, 0.51, 0.52]}', r"did you mean 'wavelength_nm'.* in nm"),
        (
            '{"bands": ["a", "b", "c"]}',
            "'bands' is not read; the names are wavelength_nm, fwhm_nm",
        ),
        ('{"Units": "reflectance"}', r"did you mean 'units'"),
    ],
)
def test_sidecars(tmp_path, text, message):
    np.savez(tmp_path / "x.npz", image=CUBE)
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    refuse(read_multispectral, tmp_path / "x.npz", message)


def test_misspelt_arrays_of_an_npz(tmp_path):
    np.savez(tmp_path / "x.npz", image=CUBE, wavelengths=[500, 510, 520])
    refuse(read_multispectral, tmp_path / "x.npz", r"'wavelengths' \(did you mean 'wavelength_nm'")


def test_what_converters_write_beside_an_image_is_let_pass(tmp_path):
    np.savez(tmp_path / "x.npz", image=CUBE, units="reflectance")
    keys = (
        "Modality MagneticFieldStrength ImagingFrequency Manufacturer SeriesDescription ScanningSequence "
        "EchoTime RepetitionTime FlipAngle InversionTime PixelBandwidth BandwidthPerPixelPhaseEncode "
        "ImageType AcquisitionTime ConversionSoftware MultibandAccelerationFactor ReceiveCoilName "
        "TransmitCoilName NumberOfTransmitChannels ImageOrientationPatientDICOM DwellTime SAR FrameDuration"
    )
    (tmp_path / "x.json").write_text(json.dumps({**dict.fromkeys(keys.split(), "x"), "SliceTiming": [0]}))
    assert read_multispectral(tmp_path / "x.npz").meta["units"] == "reflectance"


def test_deep_json_in_a_nifti_header_is_passed_over(tmp_path):
    image = nibabel.Nifti1Image(np.moveaxis(CUBE, 0, -1)[:, :, None], np.diag([2.0, 2, 2, 1]))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"[" * 100_000))
    nibabel.save(image, tmp_path / "x.nii")
    assert read_multispectral(tmp_path / "x.nii").shape == (3, 4, 5, 1)


@pytest.mark.parametrize(("values", "message"), BAD_WAVELENGTHS)
def test_match_camera_and_select_bands_look_at_wavelengths(values, message):
    image = MetaTensor(torch.rand(3, 2, 2), meta={"wavelength_nm": tuple(map(float, values))})
    camera = SimpleNamespace(name="three", band_names=("a", "b", "c"), centre_nm=[500.0, 510.0, 520.0])
    for transform in (MatchCamera(camera=camera), SelectBands(wavelength_nm=[500.0])):
        with pytest.raises(ValueError, match=message):
            transform(image)


def test_match_camera_needs_wavelengths_of_all_bands_and_a_camera_that_has_them():
    camera = SimpleNamespace(name="three", band_names=("a", "b", "c"), centre_nm=[500.0, 510.0, 520.0])
    image = MetaTensor(torch.rand(3, 2, 2), meta={"wavelength_nm": (510.0,)})
    with pytest.raises(ValueError, match=r"1 entries of wavelength_nm"):
        MatchCamera(camera=camera)(image)
    camera.centre_nm = [500.0, np.nan, 520.0]
    with pytest.raises(ValueError, match='camera "three" has bands whose centre_nm is not a finite number'):
        MatchCamera(camera=camera)


def bad_affines():
    good = np.diag([0.5, 0.6, 2.0, 1.0])
    for name, (entry, value), message in (
        ("nan", ((0, 0), np.nan), "finite numbers"),
        ("nan origin", ((1, 3), np.nan), "finite numbers"),
        ("infinite", ((2, 2), np.inf), "finite numbers"),
        ("zero", ((1, 1), 0.0), "expected voxels between"),
        ("huge", ((1, 1), 1e30), "expected voxels between"),
    ):
        affine = good.copy()
        affine[entry] = value
        yield pytest.param(affine, message, id=name)
    flat = good.copy()
    flat[:3, 1] = 2 * flat[:3, 0]
    yield pytest.param(flat, "do not span space", id="singular")


def write_nifti_with(path, array, affine):
    """A NIfTI whose sform is written as it is: nibabel would refuse or mend some of them."""
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, 0, 1)
    struct.pack_into("<12f", content, 280, *affine[:3].ravel())
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("affine", "message"), bad_affines())
def test_affines_that_say_nothing(tmp_path, affine, message):
    np.savez(tmp_path / "x.npz", image=CUBE, affine=affine)
    refuse(read_multispectral, tmp_path / "x.npz", rf"the affine is \[.*{message}")
    volume = np.random.default_rng(1).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    for read in (read_multispectral, read_ct, read_volume):
        refuse(read, write_nifti_with(tmp_path / "x.nii", volume, affine), rf"the affine is \[.*{message}")


@pytest.mark.parametrize(("affine", "message"), bad_affines())
def test_affines_of_xrays(tmp_path, affine, message, request):
    path = write_nifti_with(tmp_path / "x.nii", CUBE[0].T[:, :, None], affine)
    refuse(read_xray, path, "the affine is")


def test_an_xray_needs_no_third_axis(tmp_path):
    path = write_nifti_with(tmp_path / "x.nii", CUBE[0].T[:, :, None], np.diag([0.5, 0.25, 0.0, 1.0]))
    assert read_xray(path).spacing_mm == (0.25, 0.5)


def test_the_last_row_of_an_affine(tmp_path):
    affine = np.eye(4)
    affine[3] = 1
    np.savez(tmp_path / "x.npz", image=CUBE, affine=affine)
    refuse(read_multispectral, tmp_path / "x.npz", "expected 0, 0, 0, 1 in the last row")


@pytest.mark.parametrize("value", [0, -1, "nan", "inf"])
def test_envi_scale_factors(tmp_path, value):
    labels = {"reflectance scale factor": value}
    envi.save_image(str(tmp_path / "x.hdr"), CUBE.transpose(1, 2, 0), metadata=labels)
    refuse(read_multispectral, tmp_path / "x.hdr", "reflectance scale factor|damaged")
