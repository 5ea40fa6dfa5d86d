"""What is known of each channel travels in the header of an NRRD."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from monai_inn.cli import main
from monai_inn.transforms import read_multispectral, write_map, write_nrrd

sitk = pytest.importorskip("SimpleITK")


def test_settings_and_units_come_back_to_the_last_bit(tmp_path):
    generator = np.random.default_rng(0)
    settings = {name: tuple(generator.normal(size=128)) for name in ("time", "artery")}
    meta = {"settings": settings, "units": "mM · µ", "wavelength_nm": None}
    image = MetaTensor(torch.rand(128, 3, 4, 2), meta=meta)
    write_nrrd(tmp_path / "series.nrrd", image)
    again = read_multispectral(tmp_path / "series.nrrd")
    assert again.meta["settings"] == settings
    assert again.meta["units"] == "mM · µ"
    assert torch.equal(again.as_tensor(), image.as_tensor())
    write_nrrd(tmp_path / "twice.nrrd", again)
    assert read_multispectral(tmp_path / "twice.nrrd").meta["settings"] == settings


def test_an_image_that_nobody_acquired_says_so_in_every_file(tmp_path, capsys):
    """Also when another program has dropped the extension of the NIfTI header."""
    mark = "SYNTHETIC, of a test."
    write_map(tmp_path / "map.nii.gz", torch.rand(1, 3, 4, 2), {"synthetic": mark, "affine": torch.eye(4)})
    dropped = nibabel.load(tmp_path / "map.nii.gz")
    dropped.header.extensions.clear()
    nibabel.save(dropped, tmp_path / "dropped.nii")
    for name in ("map.nii.gz", "dropped.nii"):
        assert main(["convert", str(tmp_path / name), "-o", str(tmp_path / "map.nrrd"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["synthetic"] == mark
        assert read_multispectral(tmp_path / "map.nrrd").meta["synthetic"] == mark


def test_a_file_beside_it_comes_first(tmp_path):
    write_nrrd(
        tmp_path / "series.nrrd", MetaTensor(torch.rand(2, 3, 4), meta={"settings": {"b": (0.0, 50.0)}})
    )
    (tmp_path / "series.json").write_text('{"b": [0, 100]}')
    assert read_multispectral(tmp_path / "series.nrrd").meta["settings"] == {"b": (0.0, 100.0)}


@pytest.mark.parametrize("said", ["", "{", "[1]", "7", '{"time": "noon"}'])
def test_what_others_write_there_is_passed_over(tmp_path, said):
    image = sitk.GetImageFromArray(np.zeros((1, 2, 3, 4), np.float32), isVector=True)
    image.SetMetaData("monai_inn", said)
    sitk.WriteImage(image, str(tmp_path / "other.nrrd"))
    assert "settings" not in read_multispectral(tmp_path / "other.nrrd").meta
