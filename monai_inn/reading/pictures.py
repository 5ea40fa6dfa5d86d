"""Pictures whose size is checked before they are read: PNG, JPEG, TIFF and DICOM."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from numpy.typing import NDArray

from monai_inn.files import BadFileError, require_file
from monai_inn.reading.limits import DEFLATE_RATIO, check_claim, check_limit, import_library, inflate

__all__ = ["Pages", "check_pixels", "load_dicom", "load_tiff", "open_picture"]

_BYTES = {"L": 1, "P": 1, "1": 1, "LA": 2, "PA": 2, "RGB": 3, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}


@contextmanager
def open_picture(path: Path) -> Iterator[Any]:
    """Open a PNG or JPEG with Pillow; nothing else, whatever the file begins with.

    A picture that a camera has stored on its side, and said so, stands upright.

    Raises:
        BadFileError: if it is damaged, or larger than the limit.
        ImportError: if Pillow is missing.
    """
    pillow = import_library("PIL.Image", path)
    require_file(path, "a picture")
    with warnings.catch_warnings():  # Pillow's limit on pixels is lower than ours, and a warning
        warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
        with pillow.open(path, formats=("PNG", "JPEG")) as image:
            claimed = image.width * image.height * _BYTES.get(image.mode, 4)
            check_claim(path, claimed, path.stat().st_size, DEFLATE_RATIO)
            try:
                image.verify()
            except SyntaxError as error:
                raise BadFileError(f"{path}: is damaged ({error}). Copy it again.") from error
        with pillow.open(path, formats=("PNG", "JPEG")) as image:
            import_library("PIL.ImageOps", path).exif_transpose(image, in_place=True)
            yield image


# Most that one byte can become, by the number of the compression: none, PackBits, LZW, deflate.
_RATIOS = {1: 1, 32773: 128, 5: 1400, 8: DEFLATE_RATIO, 32946: DEFLATE_RATIO}
_MOST_PAGES = 100_000


class Pages(NamedTuple):
    """The pages of a TIFF as one array, the letters of its axes, its metadata, and the samples of a pixel."""

    array: NDArray[Any]
    axes: str
    labels: dict[str, Any]
    samples: int


def load_tiff(path: Path) -> Pages:
    """Read all pages of a TIFF.

    Raises:
        BadFileError: if it is truncated, damaged, larger than the limit, or its pages are not alike.
        ImportError: if tifffile is missing.
    """
    tifffile = import_library("tifffile", path)
    require_file(path, "a TIFF image")
    count = _count_pages(path)
    with tifffile.TiffFile(path, _multifile=False) as tif:
        if len(tif.series) != 1:
            raise BadFileError(
                f"{path}: holds {len(tif.series)} images of different size or type, expected equal pages. "
                "Save the channels as pages of one stack."
            )
        series = tif.series[0]
        _check_series(path, series, count)
        labels: dict[str, Any] = dict((tif.shaped_metadata or ({},))[0])
        return Pages(series.asarray(), series.axes, labels, int(series.keyframe.samplesperpixel))


def _count_pages(path: Path) -> int:
    """Number of pages, from the chain of directories: each begins with its length and ends with the next."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 8:
            raise _damaged(path, "does not begin as a TIFF does")
        is_big = struct.unpack(f"{order}H", start[2:4])[0] == 43
        length, pointer, entry = ("Q", "Q", 20) if is_big else ("H", "I", 12)
        at = _number(path, file, order + pointer, 8 if is_big else 4)
        seen: set[int] = set()
        while at:
            if at in seen or at >= size or len(seen) >= _MOST_PAGES:
                raise _damaged(path, f"page {len(seen) + 1} lies at byte {at} of {size}")
            seen.add(at)
            entries = _number(path, file, order + length, at)
            at = _number(path, file, order + pointer, file.tell() + entries * entry)
    return len(seen)


def _number(path: Path, file: BinaryIO, layout: str, at: int) -> int:
    """A number of the file at a position."""
    file.seek(at)
    content = file.read(struct.calcsize(layout))
    if len(content) < struct.calcsize(layout):
        raise _damaged(path, "ends within its list of pages")
    return int(struct.unpack(layout, content)[0])


def _check_series(path: Path, series: Any, count: int) -> None:
    """Compare the pages found with those announced, and their strips or tiles with the file."""
    size, pages = path.stat().st_size, list(series.pages)
    if series.dataoffset is not None:  # one block of numbers, whatever the pages say
        check_claim(path, series.dataoffset + series.nbytes, size)
        if len(pages) in (1, count):
            return
    if len(pages) != count or any(page is None for page in pages):
        raise _damaged(path, f"{len(pages)} pages can be read of {count}")
    check_limit(path, series.nbytes)
    for number, page in enumerate(pages, start=1):
        offsets, lengths = page.dataoffsets, page.databytecounts
        wanted = math.prod(page.chunked)
        if not (len(offsets) == len(lengths) == wanted and all(offsets) and all(lengths)):
            raise _damaged(path, f"page {number} lacks strips or tiles")
        end = max(o + n for o, n in zip(offsets, lengths, strict=True))
        if end > size:
            raise _damaged(path, f"{size} bytes, but page {number} reaches to {end}")
        ratio = _RATIOS.get(int(page.keyframe.compression))
        if ratio is not None:
            check_claim(path, page.keyframe.nbytes, sum(lengths), ratio)


def _damaged(path: Path, what: str) -> BadFileError:
    """What is raised where something is missing."""
    return BadFileError(f"{path}: {what}; the file is damaged or truncated. Copy it again.")


_META_GROUP = 132  # where the first element lies: behind the preamble and four letters


def load_dicom(path: Path, **options: Any) -> Any:
    """Return the dataset of a DICOM file; ``options`` are those of ``pydicom.dcmread``.

    Raises:
        BadFileError: if it would fill more memory than the limit.
        ImportError: if pydicom is missing.
        Exception: whatever pydicom raises on damaged files.
    """
    pydicom = import_library("pydicom", path, "dicom")
    require_file(path, "a DICOM file")
    check_limit(path, path.stat().st_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # In memory, for an element that claims 4 GB would be given them by a file, and not by these bytes.
        stream = BytesIO(path.read_bytes())
        if stream.getvalue()[128:_META_GROUP] == b"DICM":
            stream.seek(_META_GROUP)
            meta = pydicom.filereader._read_file_meta_info(stream)
            if meta.get("TransferSyntaxUID") == pydicom.uid.DeflatedExplicitVRLittleEndian:
                inflate(path, stream, -15)
            stream.seek(0)
        return pydicom.dcmread(stream, **options)


def check_pixels(path: Path, image: Any) -> None:
    """Compare rows, columns and frames with the pixel data.

    Raises:
        BadFileError: if there are fewer pixels than announced, or more than the limit allows.
    """
    frames = int(image.get("NumberOfFrames") or 1)
    sizes = [int(image.get(key) or 0) for key in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")]
    if min(*sizes, frames) < 1:
        raise BadFileError(f"{path}: announces {frames} frames of size {sizes}; the file is damaged.")
    claimed, held = math.prod(sizes) // 8, len(image.PixelData)
    if image.file_meta.TransferSyntaxUID.is_encapsulated:
        check_claim(path, claimed, held, DEFLATE_RATIO)  # one frame: no more is unpacked at a time
    else:
        check_claim(path, claimed * frames, held)
