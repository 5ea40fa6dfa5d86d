"""What every reader asks of a file first: that it is one, and that it can hold what its header claims."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError, require_file

__all__ = [
    "DEFLATE_RATIO",
    "MAX_GB",
    "check_affine",
    "check_claim",
    "check_limit",
    "import_library",
    "inflate",
    "require_detached",
]

MAX_GB = "MONAI_INN_MAX_GB"
"""Environment variable that raises the limit of what one file may fill in memory, in units of 10⁹ bytes."""

DEFLATE_RATIO = 1032
"""Most bytes that one byte of gzip, zlib or PNG data can become."""

_DEFAULT_GB = 4.0
# Rounding of headers and compression of nearly nothing: what a claim may exceed its bound by.
_SLACK = 4096
_PIECE = 2**20
# Columns of an affine, in mm: from a nanometre to a kilometre, and not in one plane.
_USUAL_SPACING = (1e-6, 1e6)
_FLAT = 1e-6


def require_detached(header: Path, name: str) -> Path:
    """Return the data file that a header names, which must lie in the header's own folder.

    Raises:
        BadFileError: if it lies elsewhere, also by a symbolic link, is missing, or is not a regular file.
    """
    data = header.parent / name
    if Path(name).name != name or name in ("", ".", "..") or "\\" in name:
        raise BadFileError(
            f"{header}: names the data file {name!r}, expected a file beside the header, without any folder; "
            "copy both into one folder and correct the header."
        )
    if not data.exists():
        raise BadFileError(f"{header}: its data file {name} is missing; copy both into one folder.")
    require_file(data, "the data file of an image")
    if data.resolve().parent != header.parent.resolve():
        raise BadFileError(
            f"{header}: its data file {name} is a link to another folder, expected a file beside the header; "
            "copy it there."
        )
    return data


def check_claim(path: Path, claimed: int, held: int, ratio: int = 1) -> None:
    """Refuse a file whose header claims more than the file can hold, or than memory should take.

    Args:
        path: the file.
        claimed: bytes of numbers that the header announces.
        held: bytes of the file that may hold them.
        ratio: most bytes that one of them can become.

    Raises:
        BadFileError: in either case.
    """
    if claimed < 0 or claimed > held * ratio + (_SLACK if ratio > 1 else 0):
        raise BadFileError(
            f"{path}: the header announces {claimed} bytes, more than a file of {held} bytes can hold; "
            "the file is truncated or damaged. Copy it again."
        )
    check_limit(path, claimed)


def check_limit(path: Path, size: int) -> None:
    """Refuse what would fill more memory than the limit: 4 GB, or what ``MONAI_INN_MAX_GB`` says.

    Raises:
        BadFileError: if ``size``, in bytes, is above the limit.
        ValueError: if the environment variable is not a positive number.
    """
    text = os.environ.get(MAX_GB, "")
    try:
        limit = float(text) if text else _DEFAULT_GB
    except ValueError:
        limit = np.nan
    if not limit > 0:
        raise ValueError(f"{MAX_GB} = {text!r}, expected a positive number of gigabytes, such as 16.")
    if size > limit * 1e9:
        raise BadFileError(
            f"{path}: would fill {size / 1e9:.3g} GB of memory, the limit is {limit:g} GB; crop the image, "
            f"or set the environment variable {MAX_GB} to a larger number."
        )


def inflate(path: Path, stream: BinaryIO, window_bits: int) -> int:
    """Unpack a deflated stream without keeping it and return how many bytes it became.

    Args:
        path: the file, for messages.
        stream: open where the deflated data begin.
        window_bits: as for ``zlib.decompressobj``: −15 for raw deflate, 47 for gzip or zlib.

    Raises:
        BadFileError: if the data end early, the checksum is wrong, or they are more than the limit.
    """
    unpacker, size, rest = zlib.decompressobj(window_bits), 0, b""
    try:
        while not unpacker.eof:
            rest = unpacker.unconsumed_tail or stream.read(_PIECE)
            if not rest:
                raise zlib.error("the data end early")
            size += len(unpacker.decompress(rest, _PIECE))
            check_limit(path, size)
    except zlib.error as error:
        raise BadFileError(
            f"{path}: the compressed data are damaged or truncated ({error}). Copy it again."
        ) from error
    return size


def check_affine(path: Path, affine: NDArray[np.float64], axes: int = 3) -> None:
    """Refuse an affine to millimetres that says nothing of where the first axes of an image lie.

    Raises:
        BadFileError: if an entry is not finite, an axis has no usual length, or axes lie in one plane.
    """
    columns = affine[:3, :axes]
    found = "; ".join(", ".join(f"{value:.4g}" for value in row) for row in affine)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        problem = "expected a matrix (4, 4) of finite numbers"
    elif not np.array_equal(affine[3], (0, 0, 0, 1)):
        problem = "expected 0, 0, 0, 1 in the last row"
    else:
        spacing = np.linalg.norm(columns, axis=0)
        if spacing.min() < _USUAL_SPACING[0] or spacing.max() > _USUAL_SPACING[1]:
            problem = f"expected voxels between {_USUAL_SPACING[0]:g} and {_USUAL_SPACING[1]:g} mm"
        elif np.linalg.matrix_rank(columns / spacing, tol=_FLAT) < axes:
            problem = "the axes of the voxels do not span space"
        else:
            return
    raise BadFileError(f"{path}: the affine is [{found}]: {problem}; repair the file's affine.")


def import_library(name: str, path: Path, extra: str = "io") -> ModuleType:
    """Import a reader's library, or say which extra brings it."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise ImportError(
            f'{path}: reading this format needs {library}; install it with pip install "monai_inn[{extra}]".'
        ) from error
