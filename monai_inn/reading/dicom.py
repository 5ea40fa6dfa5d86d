"""DICOM files: what deflated ones become, and how many bytes an image claims."""

from __future__ import annotations

import math
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

from monai_inn.files import BadFileError, require_file
from monai_inn.reading.limits import DEFLATE_RATIO, check_claim, check_limit, import_library, inflate

__all__ = ["check_pixels", "load_dicom"]

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
