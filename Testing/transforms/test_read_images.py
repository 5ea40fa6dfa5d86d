"""Reading images: round trips through the libraries that write them, metadata, geometry, integer types."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import LoadImage
from PIL import Image
from spectral.io import envi

from monai_inn.reading.orientation import stored_affine
from monai_inn.transforms import read_multispectral, write_map

WAVELENGTH = (500.0, 550.5, 601.0)
AFFINE = np.array([[-0.5, 0.1, 0, 10], [0, 0.6, 0, -20], [0, 0, 2.0, 5], [0, 0, 0, 1.0]])


@pytest.fixture
def cube():
    """A (bands, rows, columns) image of 16-bit numbers, one of them the largest."""
    numbers = np.random.default_rng(0).integers(1, 60000, (3, 5, 7)).astype(np.uint16)
    numbers[1, 2, 3] = 65535
    return numbers


@pytest.fixture
def volume():
    """A (x, y, z, bands) volume."""
    return np.random.default_rng(1).normal(size=(4, 5, 6, 3)).astype(np.float32)


def assert_labelled(image):
    assert isinstance(image, MetaTensor)
    assert image.dtype == torch.float32
    assert image.meta["wavelength_nm"] == pytest.approx(WAVELENGTH)


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("byteorder", [0, 1])
def test_envi_by_header_or_data_file(tmp_path, cube, interleave, byteorder):
    header = tmp_path / "image.hdr"
    labels = {
        "wavelength": WAVELENGTH,
        "fwhm": [5, 6, 7],
        "wavelength units": "Nanometers",
        "band names": ["a", "b", "c"],
    }
    envi.save_image(
        str(header),
        cube.transpose(1, 2, 0),
        interleave=interleave,
        byteorder=byteorder,
        ext=".dat",
        metadata=labels,
    )
    for path in (header, tmp_path / "image.dat"):
        image = read_multispectral(path)
        assert_labelled(image)
        np.testing.assert_array_equal(image.numpy(), cube.astype(np.float32))
        assert image.meta["fwhm_nm"] == (5.0, 6.0, 7.0)
        assert image.meta["band_names"] == ("a", "b", "c")
        assert image.meta["filename_or_obj"] == str(path)
        np.testing.assert_array_equal(image.affine, stored_affine(2))


@pytest.mark.parametrize(
    ("unit", "values"), [("Micrometers", [0.5, 0.5505, 0.601]), (None, [0.5, 0.5505, 0.601])]
)
def test_envi_micrometres_become_nanometres(tmp_path, cube, unit, values):
    labels = {"wavelength": values} | ({"wavelength units": unit} if unit else {})
    envi.save_image(str(tmp_path / "image.hdr"), cube.transpose(1, 2, 0), metadata=labels)
    assert_labelled(read_multispectral(tmp_path / "image.hdr"))


def test_envi_scale_factor_and_ignored_value(tmp_path, cube):
    labels = {"reflectance scale factor": 10000, "data ignore value": int(cube[0, 0, 0])}
    envi.save_image(str(tmp_path / "image.hdr"), cube.transpose(1, 2, 0), metadata=labels)
    image = read_multispectral(tmp_path / "image.hdr")
    assert image.meta["units"] == "reflectance"
    assert image.meta["saturation"] == pytest.approx(6.5535)
    expected = (cube / 10000.0).astype(np.float32)
    expected[cube == cube[0, 0, 0]] = np.nan
    np.testing.assert_array_equal(image.numpy(), expected)


def test_tiff_pages_are_bands(tmp_path, cube):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, cube, photometric="minisblack", metadata={"wavelength_nm": WAVELENGTH})
    image = read_multispectral(path)
    assert_labelled(image)
    np.testing.assert_array_equal(image.numpy(), cube.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "options", "order"),
    [
        ((5, 7, 3), {"photometric": "rgb"}, (2, 0, 1)),
        ((1, 5, 7), {"photometric": "minisblack"}, (0, 1, 2)),
        ((2, 3, 5, 7), {"imagej": True, "metadata": {"axes": "ZCYX"}}, (1, 0, 2, 3)),
        ((3, 2, 5, 7), {"photometric": "minisblack", "metadata": {"axes": "CZYX"}}, (0, 1, 2, 3)),
    ],
)
def test_tiff_axes(tmp_path, shape, options, order):
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    tifffile.imwrite(tmp_path / "image.tif", array, **options)
    np.testing.assert_array_equal(read_multispectral(tmp_path / "image.tif").numpy(), array.transpose(order))


def test_tiff_with_two_axes_that_could_be_bands_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((2, 3, 5, 7), np.uint8), metadata={"axes": "TCYX"})
    with pytest.raises(ValueError, match=r"image\.tif.*which one holds the channels"):
        read_multispectral(tmp_path / "image.tif")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("vector", [False, True])
def test_nifti_as_monai_loads_it(tmp_path, volume, ending, vector):
    path = tmp_path / f"image{ending}"
    stored = volume[:, :, :, None] if vector else volume
    nibabel.save(nibabel.Nifti1Image(stored, AFFINE), path)
    (tmp_path / "image.json").write_text(json.dumps({"wavelength_nm": WAVELENGTH, "units": "reflectance"}))
    image = read_multispectral(path)
    assert_labelled(image)
    assert image.meta["units"] == "reflectance"
    np.testing.assert_array_equal(image.numpy(), np.moveaxis(volume, -1, 0))
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    theirs = LoadImage(reader="NibabelReader", ensure_channel_first=True)(path)
    if not vector:
        np.testing.assert_array_equal(image.numpy(), theirs.numpy())
    np.testing.assert_allclose(image.affine, theirs.affine, atol=1e-6)


def test_nifti_slope_is_applied_after_saturation_is_recorded(tmp_path):
    stored = nibabel.Nifti1Image(np.array([[[0, 100]], [[255, 7]]], np.uint8), np.eye(4))
    stored.header.set_slope_inter(0.5, 3)
    stored.to_filename(tmp_path / "image.nii")
    image = read_multispectral(tmp_path / "image.nii")
    raw = np.asarray(nibabel.load(tmp_path / "image.nii").dataobj.get_unscaled())
    expected = np.asarray(nibabel.load(tmp_path / "image.nii").dataobj)
    np.testing.assert_allclose(image.numpy()[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(image.meta["saturated"][0].numpy(), raw == np.iinfo(raw.dtype).max)


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr"])
def test_nrrd_vectors_as_monai_loads_them(tmp_path, volume, ending):
    picture = sitk.GetImageFromArray(volume.transpose(2, 1, 0, 3), isVector=True)
    picture.SetSpacing((0.5, 0.6, 2.0))
    picture.SetOrigin((1.0, 2.0, 3.0))
    picture.SetDirection((0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    picture.SetMetaData("wavelength_nm", "500 550.5 601")
    picture.SetMetaData("band_names", "a, b, c")
    path = tmp_path / f"image{ending}"
    sitk.WriteImage(picture, str(path))
    image = read_multispectral(path)
    assert_labelled(image)
    assert image.meta["band_names"] == ("a", "b", "c")
    np.testing.assert_array_equal(image.numpy(), np.moveaxis(volume, -1, 0))
    # Physical position of a voxel by ITK itself, LPS to RAS.
    x, y, z = picture.TransformIndexToPhysicalPoint((1, 2, 3))
    np.testing.assert_allclose(
        (image.affine @ torch.tensor([1.0, 2, 3, 1], dtype=torch.float64))[:3], (-x, -y, z)
    )


@pytest.mark.parametrize(
    "kinds", ["list domain domain domain", "domain domain domain list", "vector domain domain domain"]
)
def test_nrrd_sequences_of_slicer(tmp_path, kinds):
    array = np.random.default_rng(2).integers(0, 999, (6, 5, 4, 3)).astype(np.uint16)  # z, y, x, band
    first = not kinds.endswith("list")
    axes = ["(0.5,0,0)", "(0,0.6,0)", "(0,0,2)"]
    sizes, directions = ("3 4 5 6", ["none", *axes]) if first else ("4 5 6 3", [*axes, "none"])
    header = (
        f"NRRD0005\ntype: uint16\ndimension: 4\nspace: left-posterior-superior\nsizes: {sizes}\n"
        f"space directions: {' '.join(directions)}\nkinds: {kinds}\nendian: little\nencoding: raw\n"
        "space origin: (1,2,3)\n\n"
    )
    stored = array if first else np.ascontiguousarray(np.moveaxis(array, -1, 0))
    (tmp_path / "image.seq.nrrd").write_bytes(header.encode() + stored.tobytes())
    image = read_multispectral(tmp_path / "image.seq.nrrd")
    np.testing.assert_array_equal(image.numpy(), array.transpose(3, 2, 1, 0))
    np.testing.assert_allclose(image.affine, [[-0.5, 0, 0, -1], [0, -0.6, 0, -2], [0, 0, 2, 3], [0, 0, 0, 1]])


def test_nrrd_four_dimensional_scalars(tmp_path, volume):
    sitk.WriteImage(
        sitk.GetImageFromArray(volume.transpose(3, 2, 1, 0), isVector=False), str(tmp_path / "image.nrrd")
    )
    np.testing.assert_array_equal(
        read_multispectral(tmp_path / "image.nrrd").numpy(), np.moveaxis(volume, -1, 0)
    )


@pytest.mark.parametrize("shape", [(3, 5, 7), (3, 2, 5, 7)])
def test_npz(tmp_path, shape):
    array = np.random.default_rng(3).normal(size=shape)
    np.savez(tmp_path / "image.npz", image=array, wavelength_nm=WAVELENGTH, affine=AFFINE)
    image = read_multispectral(tmp_path / "image.npz")
    assert_labelled(image)
    np.testing.assert_array_equal(image.numpy(), array.astype(np.float32))
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert "saturation" not in image.meta


def test_photograph_is_linear_light(tmp_path):
    codes = np.array([[[0, 10, 11], [128, 188, 255]]], np.uint8)
    Image.fromarray(codes).save(tmp_path / "photo.png")
    image = read_multispectral(tmp_path / "photo.png")
    # Values of IEC 61966-2-1; 10 lies on the linear part, 11 on the power.
    expected = [[0, 10 / 255 / 12.92, ((11 / 255 + 0.055) / 1.055) ** 2.4], [0.215861, 0.502886, 1.0]]
    np.testing.assert_allclose(image.numpy()[:, 0].T, expected, atol=1e-6)
    assert image.meta["band_names"] == ("red", "green", "blue")
    assert image.meta["transfer"] == "sRGB curve removed"
    assert image.meta["saturated"].tolist() == [[[False, True]]]
    Image.fromarray(np.full((9, 8), 128, np.uint8)).save(tmp_path / "photo.jpg")
    assert read_multispectral(tmp_path / "photo.jpg").shape == (1, 9, 8)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_that_was_stored_on_its_side_stands_upright(tmp_path, ending):
    upright = np.zeros((24, 16), np.uint8)
    upright[:8], upright[8:, :8] = 250, 120
    tags = Image.Exif()
    tags[0x0112] = 6  # turn it clockwise to see it
    side, straight = tmp_path / f"side.{ending}", tmp_path / f"straight.{ending}"
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(side, exif=tags, quality=100)
    Image.fromarray(upright).save(straight, quality=100)
    found, expected = read_multispectral(side), read_multispectral(straight)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=0.02)
    assert expected.max() - expected.min() > 0.9


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_integers_do_not_overflow_and_saturation_is_exact(tmp_path, dtype):
    limits = np.iinfo(dtype)
    array = np.array([limits.max, limits.max - 1, limits.min, 0], dtype).reshape(1, 2, 2)
    np.savez(tmp_path / "image.npz", image=array)
    image = read_multispectral(tmp_path / "image.npz")
    np.testing.assert_allclose(image.numpy().ravel(), [float(x) for x in array.ravel()], rtol=1e-7)
    # For 32 and 64 bits the neighbour of the largest number is the same float32, but is not saturated.
    assert image.meta["saturated"].flatten().tolist() == [True, False, False, False]
    assert image.meta["saturation"] == float(limits.max)


def test_bands_are_kept_by_index_and_name(tmp_path, cube):
    np.savez(tmp_path / "image.npz", image=cube, wavelength_nm=WAVELENGTH, band_names=["a", "b", "c"])
    image = read_multispectral(tmp_path / "image.npz", bands=["c", 0, -2])
    np.testing.assert_array_equal(image.numpy(), cube[[2, 0, 1]].astype(np.float32))
    assert image.meta["band_names"] == ("c", "a", "b")
    assert image.meta["wavelength_nm"] == (601.0, 500.0, 550.5)
    with pytest.raises(ValueError, match="no band 'd'; it has a, b, c"):
        read_multispectral(tmp_path / "image.npz", bands=["d"])
    with pytest.raises(ValueError, match="band 3 asked for, but the image has 3 bands"):
        read_multispectral(tmp_path / "image.npz", bands=[3])


def test_one_pixel(tmp_path):
    np.savez(tmp_path / "image.npz", image=np.ones((2, 1, 1)))
    assert read_multispectral(tmp_path / "image.npz").shape == (2, 1, 1)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("spatial", [(4, 5, 6), (4, 5)])
def test_written_maps_keep_geometry_and_labels(tmp_path, ending, spatial):
    values = torch.randn(2, *spatial, generator=torch.Generator().manual_seed(0))
    meta = {"affine": torch.as_tensor(AFFINE), "units": "1", "band_names": ("sao2", "vhb")}
    path = write_map(tmp_path / f"map{ending}", values, meta)
    back = read_multispectral(path)
    np.testing.assert_array_equal(back.numpy().reshape(values.shape), values.numpy())
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-6)
    assert back.meta["band_names"] == ("sao2", "vhb")
    assert back.meta["units"] == "1"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    origin = nibabel.load(path)
    assert origin.header.get_xyzt_units()[0] == "mm"


def test_maps_take_geometry_from_their_own_metadata(tmp_path):
    valid = MetaTensor(torch.tensor([[[True, False], [False, True]]]), affine=torch.as_tensor(AFFINE))
    back = nibabel.load(write_map(tmp_path / "valid.nii", valid))
    assert back.get_data_dtype() == np.uint8
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-6)


def test_maps_do_not_take_the_labels_of_other_bands(tmp_path):
    image = {"wavelength_nm": WAVELENGTH, "channel_names": ("sao2",), "units": "1"}
    back = read_multispectral(write_map(tmp_path / "map.nii", torch.zeros(1, 2, 2, 2), image))
    assert "wavelength_nm" not in back.meta
    assert back.meta["channel_names"] == ("sao2",)


def test_a_picture_lies_where_itk_puts_it(tmp_path):
    """Rows down, columns to the right: the world position of a pixel is the one SimpleITK gives a PNG."""
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "photo.png")
    x, y = sitk.ReadImage(str(tmp_path / "photo.png")).TransformIndexToPhysicalPoint((5, 2))
    ours = read_multispectral(tmp_path / "photo.png").affine @ torch.tensor(
        [2.0, 5, 0, 1], dtype=torch.float64
    )
    assert ours[:2].tolist() == [-x, -y]  # ITK counts millimetres to the left and to the back
    assert np.linalg.det(stored_affine(2)) == 1
