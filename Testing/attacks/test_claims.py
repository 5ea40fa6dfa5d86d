"""Headers that claim more than their file holds, or than memory should take: refused before data are read."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
import zarr
from fuzz_readers import little_memory
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from readable_files import write_dicom

from monai_inn.applications.registration import read_xray
from monai_inn.applications.registration.ct import read_ct
from monai_inn.problems import LinearGaussian
from monai_inn.reading.limits import MAX_GB
from monai_inn.reports.stored import read_volume
from monai_inn.transforms import read_multispectral
from monai_inn.validation import read_cases

WIDE = 40_000  # squared, two bytes each: 3.2 GB, below the limit, which must not be what refuses
MORE_BYTES = 500 * 2**20


def nifti_header(*shape: int) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((1,))
    block = bytearray(header.binaryblock)
    struct.pack_into(f"<{1 + len(shape)}h", block, 40, len(shape), *shape)
    struct.pack_into("<f", block, 108, 352.0)
    return bytes(block[:344]) + b"n+1\0" + bytes(4)


def nrrd_header(encoding: str) -> bytes:
    lines = ("NRRD0004", "type: short", "dimension: 3", f"sizes: {WIDE} {WIDE} 2", f"encoding: {encoding}")
    return "\n".join((*lines, "endian: little", "", "")).encode()


def meta_header(packed: bool, data: str = "LOCAL") -> bytes:
    lines = ("ObjectType = Image", "NDims = 3", f"CompressedData = {packed}", f"DimSize = {WIDE} {WIDE} 2")
    return "\n".join((*lines, "ElementType = MET_SHORT", f"ElementDataFile = {data}", "")).encode()


def npy(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i2", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(64)


def npz(path: Path, **entries: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)


def png(width: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, width, 16, 0, 0, 0, 0)
    packed = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(path: Path) -> None:
    """One page of zeros whose tags of width and height are written anew."""
    tifffile.imwrite(path, np.zeros((20, 20), np.uint16), compression="zlib", metadata=None, rowsperstrip=20)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tif.pages[0].tags[name].overwrite(WIDE)


def write_claims(folder: Path) -> None:
    """Files of a few kilobytes that claim gigabytes."""
    some = bytes(2000)
    (folder / "x.nii").write_bytes(nifti_header(30000, 30000, 2) + some)
    (folder / "x.nii.gz").write_bytes(gzip.compress(nifti_header(30000, 30000, 2) + some))
    (folder / "x.nrrd").write_bytes(nrrd_header("raw") + some)
    (folder / "packed.nrrd").write_bytes(nrrd_header("gzip") + gzip.compress(some))
    (folder / "x.nhdr").write_bytes(nrrd_header("raw").rstrip() + b"\ndata file: x.raw\n")
    (folder / "x.raw").write_bytes(some)
    (folder / "x.mha").write_bytes(meta_header(False) + some)
    (folder / "packed.mha").write_bytes(meta_header(True) + zlib.compress(some))
    (folder / "x.mhd").write_bytes(meta_header(False, "x.raw"))
    npz(folder / "shape.npz", image=npy((2, WIDE, WIDE)))
    (folder / "x.png").write_bytes(png(12_000))  # more, and Pillow refuses
    tiff(folder / "x.tif")
    lines = (f"samples = {WIDE}", f"lines = {WIDE}", "bands = 2", "data type = 12", "interleave = bsq")
    (folder / "x.hdr").write_text("\n".join(("ENVI", *lines, "byte order = 0", "header offset = 0", "")))
    (folder / "x.img").write_bytes(some)
    write_dicom(folder / "x.dcm", np.zeros((20, 20), np.uint16))
    image = pydicom.dcmread(folder / "x.dcm")
    image.Rows = image.Columns = WIDE
    image.save_as(folder / "x.dcm")
    image.file_meta.TransferSyntaxUID = RLELossless
    image.PixelData = pydicom.encaps.encapsulate([bytes(1000)])
    image["PixelData"].VR = "OB"
    image.save_as(folder / "rle.dcm")


MULTISPECTRAL = (
    "x.nii",
    "x.nii.gz",
    "x.nrrd",
    "packed.nrrd",
    "x.nhdr",
    "shape.npz",
    "x.png",
    "x.tif",
    "x.hdr",
)
XRAYS = (
    "x.nii",
    "x.nii.gz",
    "x.nrrd",
    "packed.nrrd",
    "x.mha",
    "packed.mha",
    "x.mhd",
    "x.png",
    "x.tif",
    "x.dcm",
    "rle.dcm",
)
VOLUMES = ("x.nii", "x.nii.gz", "x.nrrd", "packed.nrrd", "x.nhdr", "x.mha", "packed.mha", "x.mhd")
READERS = [
    *((read_multispectral, name) for name in MULTISPECTRAL),
    *((read_xray, name) for name in XRAYS),
    *((read_ct, name) for name in VOLUMES),
    *((read_volume, name) for name in ("x.nii", "x.nii.gz")),
]


@pytest.mark.parametrize(("read", "name"), READERS)
def test_gigabytes_in_a_file_of_kilobytes(tmp_path, read, name):
    write_claims(tmp_path)
    with (
        little_memory(MORE_BYTES),
        pytest.raises(ValueError, match=r"announces .*(truncated|damaged)") as error,
    ):
        read(tmp_path / name)
    assert "\n" not in str(error.value)


def write_zeros(folder: Path) -> None:
    """Files that hold what they claim: 8 MB of zeros in a few kilobytes."""
    zeros = np.zeros((1, 2000, 2000), np.int16)
    nibabel.save(nibabel.Nifti1Image(zeros.T, np.diag([2.0, 2, 2, 1])), folder / "x.nii.gz")
    for name in ("x.nrrd", "x.mha"):
        sitk.WriteImage(sitk.GetImageFromArray(zeros), str(folder / name), useCompression=True)
    np.savez_compressed(folder / "x.npz", image=zeros)
    Image.fromarray(zeros[0].astype(np.uint16)).save(folder / "x.png")
    tifffile.imwrite(folder / "x.tif", zeros[0], compression="zlib")
    write_dicom(folder / "x.dcm", zeros[0].astype(np.uint16))
    image = pydicom.dcmread(folder / "x.dcm")
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(folder / "x.dcm")


@pytest.mark.parametrize(
    ("read", "name"),
    [
        *((read_multispectral, name) for name in ("x.nii.gz", "x.nrrd", "x.npz", "x.tif")),
        *((read_xray, name) for name in ("x.nii.gz", "x.nrrd", "x.mha", "x.png", "x.tif", "x.dcm")),
    ],
)
def test_the_limit_of_memory_is_told_and_can_be_raised(tmp_path, monkeypatch, read, name):
    write_zeros(tmp_path)
    monkeypatch.setenv(MAX_GB, "0.005")
    with pytest.raises(ValueError, match=rf"the limit is 0\.005 GB; .* {MAX_GB} to a larger number") as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)
    monkeypatch.setenv(MAX_GB, "0.1")
    read(tmp_path / name)
    monkeypatch.setenv(MAX_GB, "much")
    with pytest.raises(ValueError, match=f"{MAX_GB} = 'much', expected a positive number of gigabytes"):
        read(tmp_path / name)


def test_cases_that_claim_more_than_they_hold(tmp_path, monkeypatch):
    npz(tmp_path / "cases.npz", samples=npy((10, WIDE, WIDE)), truth=npy((WIDE, WIDE)))
    with little_memory(MORE_BYTES), pytest.raises(ValueError, match="announces the shape"):
        read_cases(tmp_path / "cases.npz")
    group = zarr.open_group(tmp_path / "cases.zarr", mode="w")
    group.create_array("samples", shape=(10, 30_000, 2_000), chunks=(1, 100, 100), dtype="f4")
    group.create_array("truth", shape=(30_000, 2_000), chunks=(100, 100), dtype="f4")
    with little_memory(MORE_BYTES), pytest.raises(ValueError, match="announces"):
        read_cases(tmp_path / "cases.zarr")
    group.create_array("chunk", shape=(10, 10), chunks=(100_000, 100_000), dtype="f4")
    wide = zarr.open_group(tmp_path / "wide.zarr", mode="w")
    for name, shape in (("samples", (10, 40, 2)), ("truth", (40, 2))):
        wide.create_array(name, shape=shape, chunks=(10**6,) * len(shape), dtype="f4")
    with little_memory(MORE_BYTES), pytest.raises(ValueError, match="would fill"):
        read_cases(tmp_path / "wide.zarr")


def test_arrays_that_nobody_asked_for_are_not_read(tmp_path):
    generator = np.random.default_rng(0)
    entries = {"samples": generator.random((10, 40, 2)), "truth": generator.random((40, 2))}
    np.savez(tmp_path / "plain.npz", **entries)
    with zipfile.ZipFile(tmp_path / "plain.npz", "a") as archive:
        archive.writestr("huge.npy", npy((10, WIDE, WIDE)))
    with little_memory(MORE_BYTES):
        assert read_cases(tmp_path / "plain.npz").samples.shape == (10, 40, 2)


@pytest.mark.parametrize(
    "change",
    [("NDims = 3", "NDims = 99999999999"), ("NDims = 3", "NDims = 11"), ("NDims = 3", "NDims = -1"),
     ("NDims = 3", "NDims = 2"), (f"DimSize = {WIDE} {WIDE} 2", "DimSize = 2 2"), ("NDims = 3", "NDims = ")],
)  # fmt: skip
def test_metaimages_of_impossible_axes_do_not_end_the_process(tmp_path, change):
    path = tmp_path / "x.mha"
    path.write_bytes(meta_header(False).decode().replace(*change).encode() + bytes(2000))
    with pytest.raises(ValueError, match=r"expected 1 to 5 axes and as many sizes") as error:
        read_ct(path)
    assert "\n" not in str(error.value)


def test_more_simulations_than_memory_holds_are_refused():
    with pytest.raises(
        ValueError, match=r"n = 10{20} simulations asked for, which take \d+ GB; give at most "
    ):
        LinearGaussian().simulate(10**20)
