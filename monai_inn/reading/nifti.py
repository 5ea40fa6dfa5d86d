"""NIfTI files: the header against the size of the file, and the checksum of compressed ones."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError, require_file
from monai_inn.reading.limits import DEFLATE_RATIO, check_claim, import_library, require_detached

__all__ = ["load_nifti", "scaled"]

_MAY_FOLLOW = 2**16  # bytes behind the numbers that some programs leave


def load_nifti(path: Path) -> tuple[Any, NDArray[Any]]:
    """Return the nibabel image of a NIfTI file, of which only the header is used, and its numbers as stored.

    Raises:
        BadFileError: if it is truncated, damaged, or larger than the limit.
        ImportError: if nibabel is missing.
    """
    nibabel = import_library("nibabel", path)
    require_file(path, "a NIfTI file")
    is_packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if is_packed else path.open("rb") as stream:
        kind = _check_header(path, nibabel, stream, DEFLATE_RATIO if is_packed else 1)
    if not is_packed:
        image = nibabel.load(path)
        return image, np.asanyarray(image.dataobj.get_unscaled())
    with gzip.open(path) as stream:
        image = kind.from_stream(stream)
        stored = np.asanyarray(image.dataobj.get_unscaled())
        # The checksum stands at the end, which a reader of the numbers alone never comes to.
        if len(stream.read(_MAY_FOLLOW + 1)) > _MAY_FOLLOW:
            raise BadFileError(f"{path}: holds more than its header announces; the file is damaged.")
    return image, stored


def _check_header(path: Path, nibabel: Any, stream: Any, ratio: int) -> Any:
    """Compare what a header claims with the file that holds the numbers; return the class that reads it."""
    start = stream.read(540)
    kind = nibabel.Nifti2Image if start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Image
    size = kind.header_class.sizeof_hdr
    if len(start) < size:
        raise BadFileError(
            f"{path}: {len(start)} bytes of a header of {size}; the file is damaged or truncated."
        )
    header = kind.header_class(start[:size], check=False)
    data = path
    if path.suffix.lower() in (".hdr", ".img"):
        found = [path.with_suffix(ending) for ending in (".img", ".IMG") if path.with_suffix(ending).exists()]
        data = require_detached(path, found[0].name if found else path.with_suffix(".img").name)
    shape = header.get_data_shape()
    if not shape or min(shape) < 1:
        raise BadFileError(f"{path}: the header announces the shape {shape}; the file is damaged.")
    offset = int(header.get_data_offset()) if data == path else 0
    end = offset if data == path else path.stat().st_size
    _check_extensions(path, stream, size, end, "little" if header.endianness == "<" else "big")
    numbers = math.prod(int(n) for n in shape) * header.get_data_dtype().itemsize
    check_claim(path, offset + numbers, data.stat().st_size, ratio)
    return kind


def _check_extensions(path: Path, stream: Any, start: int, end: int, order: Literal["little", "big"]) -> None:
    """Refuse extensions of the header that claim more than the room before the numbers."""
    stream.seek(start)
    at, fits = start + 4, end >= start
    if fits and stream.read(4)[:1] not in (b"", b"\0"):
        while fits and end - at >= 16:
            stream.seek(at)
            size = int.from_bytes(stream.read(4), order)
            fits, at = 8 < size <= end - at, at + size
    if not fits:
        raise BadFileError(f"{path}: the extensions of its header do not fit; the file is damaged.")


def scaled(image: Any, stored: NDArray[Any]) -> NDArray[Any]:
    """Return the values that stored numbers stand for, as nibabel does: unchanged where nothing scales."""
    from nibabel.volumeutils import apply_read_scaling

    slope, inter = np.float64(image.dataobj.slope), np.float64(image.dataobj.inter)
    return stored if (slope, inter) == (1, 0) else apply_read_scaling(stored, slope, inter)
