"""TIFF files cut anywhere: all bands or a refusal, whatever becomes of the messages that tifffile logs."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tifffile

from monai_inn.transforms import read_multispectral

CUBE = np.random.default_rng(0).integers(0, 60000, (5, 8, 10)).astype(np.uint16)
WRITTEN = {
    "raw": {},
    "packed": {"compression": "zlib"},
    "strips": {"compression": "zlib", "rowsperstrip": 3},
    "tiles": {"compression": "zlib", "tile": (16, 16)},
    "big": {"compression": "zlib", "bigtiff": True, "byteorder": ">"},
    "plain": {"compression": "zlib", "metadata": None},
    "predictor": {"compression": "zlib", "predictor": True},
}


@pytest.fixture
def silence():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("kind", WRITTEN)
def test_every_truncation_is_noticed(tmp_path, kind):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, CUBE, photometric="minisblack", **WRITTEN[kind])
    whole = path.read_bytes()
    np.testing.assert_array_equal(read_multispectral(path), CUBE.astype(np.float32))
    for length in range(1, len(whole), 5):
        path.write_bytes(whole[:length])
        try:
            image = read_multispectral(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:  # nothing but padding was cut
            np.testing.assert_array_equal(image, CUBE.astype(np.float32), f"cut at {length} of {len(whole)}")


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("tag", ["StripOffsets", "StripByteCounts"])
@pytest.mark.parametrize("value", [0, 2**31])
def test_strips_that_are_nowhere(tmp_path, tag, value):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, CUBE, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[2].tags[tag].overwrite(value)
    with pytest.raises(ValueError, match=r"page 3 .*; the file is damaged or truncated"):
        read_multispectral(path)


def test_a_chain_of_pages_that_bites_its_tail(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, CUBE[:1], photometric="minisblack", metadata=None)
    content = bytearray(path.read_bytes())
    first = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[first : first + 2], "little")
    content[first + 2 + 12 * entries :][:4] = first.to_bytes(4, "little")
    end = first + 2 + 12 * entries
    content[end : end + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="page 2 lies at byte"):
        read_multispectral(path)


def test_pages_in_other_files_are_not_read(tmp_path):
    """OME-TIFF may spread an image over files that its metadata name."""
    home = tmp_path / "home"
    home.mkdir()
    tifffile.imwrite(tmp_path / "other.ome.tif", CUBE, photometric="minisblack", metadata={"axes": "CYX"})
    tifffile.imwrite(home / "x.ome.tif", CUBE[:1], photometric="minisblack", metadata={"axes": "CYX"})
    with tifffile.TiffFile(tmp_path / "other.ome.tif") as tif:
        described = tif.ome_metadata
    block = '<TiffData IFD="0" PlaneCount="5"><UUID FileName="../other.ome.tif">urn:uuid:1</UUID></TiffData>'
    start = described.index("<TiffData")
    end = described.index("/>", start) + 2
    with tifffile.TiffFile(home / "x.ome.tif", mode="r+b") as tif:
        tif.pages[0].tags["ImageDescription"].overwrite(described[:start] + block + described[end:])
    np.testing.assert_array_equal(read_multispectral(home / "x.ome.tif"), CUBE[:1].astype(np.float32))
