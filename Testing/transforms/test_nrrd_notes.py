"""What is known of each channel travels in the header of an NRRD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from monai_inn.transforms import read_multispectral, write_nrrd

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
