"""What is not a regular file, and data files elsewhere: named pipes, devices, links out of the folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from forked import Forked
from spectral.io import envi

from monai_inn.applications.registration import read_xray
from monai_inn.applications.registration.ct import read_ct, read_labels
from monai_inn.applications.registration.results.files import write_transform
from monai_inn.physics import cameras
from monai_inn.reading.volumes import itk_name
from monai_inn.reports.stored import read_stored, read_volume
from monai_inn.transforms import read_multispectral
from monai_inn.validation import read_cases, read_parameters

pytestmark = pytest.mark.timeout(60)  # a reader that opens a named pipe waits for ever
READERS = [
    *(
        (read_multispectral, f"x.{ending}")
        for ending in ("hdr", "dat", "tif", "nii.gz", "nrrd", "npz", "png")
    ),
    *((read_xray, f"x.{ending}") for ending in ("png", "tif", "nii", "nrrd", "mhd", "dcm", "none")),
    *((read_ct, f"x.{ending}") for ending in ("nii.gz", "nrrd", "mha", "vtk")),
    (lambda path: read_labels(path, [1], None), "x.nii.gz"),
    *((read_cases, f"x.{ending}") for ending in ("npz", "csv")),
    (read_parameters, "x.json"),
    (cameras.load, "x.csv"),
    (cameras.load, "x.json"),
    (read_volume, "x.nii.gz"),
    (lambda path: read_stored(path.parent), "result.json"),
]


@pytest.mark.parametrize(("read", "name"), READERS)
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path, read, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="is a named pipe, not a regular file, expected ") as error:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_sockets_devices_and_folders_are_called_what_they_are(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "x.nii"))
        with pytest.raises(ValueError, match="is a socket, not a regular file"):
            read_multispectral(tmp_path / "x.nii")
    (tmp_path / "zero.nii.gz").symlink_to("/dev/zero")
    for read in (read_multispectral, read_xray, read_ct):
        with pytest.raises(ValueError, match=r"zero\.nii\.gz: is a device, not a regular file"):
            read(tmp_path / "zero.nii.gz")
        with pytest.raises(ValueError, match="is a folder, expected"):
            read(tmp_path)
        with pytest.raises(FileNotFoundError, match="no such file"):
            read(tmp_path / "zero.nii.gz" / "x.nii.gz")


def test_pipes_behind_a_header_are_not_waited_for(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 3, 4), np.int16)), str(tmp_path / "x.mhd"))
    envi.save_image(str(tmp_path / "cube.hdr"), np.ones((4, 5, 2), np.uint16), ext=".img")
    for name, read in (("x.raw", lambda: read_ct(tmp_path / "x.mhd")),
                       ("cube.img", lambda: read_multispectral(tmp_path / "cube.img"))):  # fmt: skip
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match="is a named pipe"):
            read()
    with pytest.raises(ValueError, match="no data file beside it"):
        read_multispectral(tmp_path / "cube.hdr")


def secret(folder: Path) -> Path:
    path = folder / "secret" / "x.raw"
    path.parent.mkdir()
    path.write_bytes(bytes(range(24)))
    return path


HEADERS = {
    "x.nhdr": "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n{}\n",
    "x.nrrd": "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n{}\n\n",
    "x.mhd": "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\n{}\n",
    "x.mha": "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\n{}\n",
}
LINES = {
    "nhdr": "data file: {}",
    "nrrd": "Data File: {}",
    "mhd": "ElementDataFile = {}",
    "mha": "ElementDataFile={}",
}


def write_header(folder: Path, name: str, data: str) -> Path:
    path = folder / name
    path.write_text(HEADERS[name].format(LINES[name[2:]].format(data)))
    return path


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("read", [read_ct, read_xray])
def test_data_files_elsewhere_are_not_read(tmp_path, name, read):
    home = tmp_path / "home"
    home.mkdir()
    hidden = secret(tmp_path)
    (home / "link.raw").symlink_to(hidden)
    (home / "inside").mkdir()
    (home / "inside" / "x.raw").write_bytes(bytes(24))
    for data, message in (
        (str(hidden), "without any folder"),
        ("../secret/x.raw", "without any folder"),
        ("inside/x.raw", "without any folder"),
        ("..", "without any folder"),
        ("link.raw", "is a link to another folder"),
        ("absent.raw", "data file absent.raw is missing"),
        ("LIST", "in several files"),
        ("x%03d.raw 1 4 1", "in several files"),
        ("../secret/x%03d.raw 1 4 1", "in several files"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            read(write_header(home, name, data))
        assert name in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.nhdr", "x.mhd"])
def test_data_files_beside_the_header_are_read(tmp_path, name):
    (tmp_path / "my x.raw").write_bytes(bytes(range(1, 25)))
    xray = read_xray(write_header(tmp_path, name, "my x.raw"), frame=1)
    np.testing.assert_array_equal(xray.values.flatten(), range(1, 7))
    (tmp_path / "linked").symlink_to(tmp_path)
    assert read_xray(tmp_path / "linked" / name, frame=1).values.shape == (3, 2)


def test_envi_and_nifti_pairs_do_not_lead_out_of_their_folder(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    envi.save_image(str(home / "cube.hdr"), np.ones((4, 5, 2), np.uint16), ext=".img")
    sitk.WriteImage(
        sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4)), str(home / "ct.hdr")
    )
    for name in ("cube", "ct"):
        read_multispectral(home / f"{name}.hdr")
        (home / f"{name}.img").rename(tmp_path / f"{name}.img")
        (home / f"{name}.img").symlink_to(tmp_path / f"{name}.img")
        with pytest.raises(ValueError, match="is a link to another folder"):
            read_multispectral(home / f"{name}.hdr")


def test_a_zarr_group_does_not_lead_out_of_its_folder(tmp_path):
    import zarr

    group = zarr.open_group(tmp_path / "cases.zarr", mode="w")
    group["samples"], group["truth"] = np.ones((10, 40, 2)), np.ones((40, 2))
    chunk = next(p for p in (tmp_path / "cases.zarr" / "truth").rglob("*") if p.name == "0" and p.is_file())
    chunk.rename(tmp_path / "chunk")
    chunk.symlink_to(tmp_path / "chunk")
    with pytest.raises(ValueError, match="leads out of its folder"):
        read_cases(tmp_path / "cases.zarr")
    chunk.unlink()
    os.mkfifo(chunk)
    with pytest.raises(ValueError, match="is a named pipe"):
        read_cases(tmp_path / "cases.zarr")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_names_that_are_not_utf8_do_not_end_the_process(tmp_path):
    """SimpleITK does; in a process of its own, which would be aborted."""

    def write():
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
        folder.mkdir()
        for ending in (".tfm", ".h5"):
            write_transform(folder / f"pose{ending}", torch.eye(4))
            assert (folder / f"pose{ending}").stat().st_size > 100
        with pytest.raises(ValueError, match="is not UTF-8"):
            itk_name(folder / "a.nrrd")

    with Forked(write) as process:
        assert process.wait() == 0, process.stderr.read()
