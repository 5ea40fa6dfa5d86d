"""NIfTI files: the header against the size of the file, and the checksum of compressed ones."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

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
        kind = _check_header(path, nibabel, stream.read(540), DEFLATE_RATIO if is_packed else 1)
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


def _check_header(path: Path, nibabel: Any, start: bytes, ratio: int) -> Any:
    """Compare what a header claims with the file that holds the numbers; return the class that reads it."""
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
    offset = 0 if data != path else int(header.get_data_offset())
    numbers = math.prod(int(n) for n in shape) * header.get_data_dtype().itemsize
    check_claim(path, offset + numbers, data.stat().st_size, ratio)
    return kind


def scaled(image: Any, stored: NDArray[Any]) -> NDArray[Any]:
    """Return the values that stored numbers stand for, as nibabel does: unchanged where nothing scales."""
    from nibabel.volumeutils import apply_read_scaling

    slope, inter = np.float64(image.dataobj.slope), np.float64(image.dataobj.inter)
    return stored if (slope, inter) == (1, 0) else apply_read_scaling(stored, slope, inter)
