"""The reader for MONAI's own loading transforms gives what ours gives."""

from __future__ import annotations

import numpy as np
import pytest
from monai.data import MetaTensor
from monai.transforms import LoadImage, LoadImaged

from monai_inn.reports.demo import examples_folder
from monai_inn.transforms import LoadMultispectral, MultispectralReader, write_nrrd

MOSAIC = "organ_mosaic.hdr"


@pytest.fixture(scope="module")
def mosaic():
    return LoadMultispectral()(examples_folder() / MOSAIC)


def test_load_image_gives_bands_first_with_their_labels(mosaic):
    read = LoadImaged("image", reader=MultispectralReader, image_only=True, ensure_channel_first=True)
    image = read({"image": examples_folder() / MOSAIC})["image"]
    np.testing.assert_array_equal(image.numpy(), mosaic.numpy())
    np.testing.assert_array_equal(image.affine, mosaic.affine)
    np.testing.assert_array_equal(image.meta["wavelength_nm"], mosaic.meta["wavelength_nm"])


def test_bands_can_be_chosen(mosaic):
    image = LoadImage(reader=MultispectralReader(bands=[4, 0]))(examples_folder() / MOSAIC)
    np.testing.assert_array_equal(image.numpy(), mosaic[[4, 0]].numpy())
    assert list(image.meta["wavelength_nm"]) == [mosaic.meta["wavelength_nm"][i] for i in (4, 0)]


def test_several_files_are_one_image(tmp_path):
    files = [tmp_path / "a.nrrd", tmp_path / "b.nrrd"]
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    for number, file in enumerate(files):
        write_nrrd(file, MetaTensor(np.full((2, 3, 4, 5), number, np.float32), affine=affine))
    image = LoadImage(reader=MultispectralReader, ensure_channel_first=True)(files)
    np.testing.assert_array_equal(image[:, 0, 0, 0].numpy(), [0, 0, 1, 1])
    np.testing.assert_array_equal(image.affine, affine)
    write_nrrd(files[1], MetaTensor(np.zeros((2, 3, 4, 6), np.float32), affine=affine))
    with pytest.raises(ValueError, match=r"\(3, 4, 5\), \(3, 4, 6\)"):
        MultispectralReader().get_data(MultispectralReader().read(files))


def test_only_what_can_be_read_is_taken():
    assert MultispectralReader().verify_suffix(["a.HDR", "b.nii.gz"])
    assert not MultispectralReader().verify_suffix("a.mha")
