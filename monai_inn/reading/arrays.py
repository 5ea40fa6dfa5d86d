"""Named arrays from an NPZ file or a Zarr group, after a look at the sizes that they claim."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError, own_file, require_file
from monai_inn.reading.limits import DEFLATE_RATIO, check_claim, check_limit

__all__ = ["Arrays", "read_npz", "read_zarr"]

Arrays = dict[str, NDArray[Any]]
"""Arrays by name."""


def read_npz(path: Path, wanted: Sequence[str]) -> tuple[Arrays, list[str]]:
    """Return those arrays of an NPZ file that are wanted and there, and the names of all.

    Raises:
        FileNotFoundError: if there is no such file.
        BadFileError: if the sizes that it claims do not fit the file or memory.
        Exception: whatever the libraries raise on damaged files.
    """
    require_file(path, "an NPZ file")
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        if not all(name.isprintable() for name in entries):
            raise BadFileError(f"{path}: names of arrays are damaged; save it again.")
        chosen = [name for name in wanted if name in entries]
        check_claim(path, sum(entries[name].file_size for name in chosen), size, DEFLATE_RATIO)
        for name in chosen:
            _check_entry(path, archive, entries[name])
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in chosen}, list(entries)


def _check_entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Compare the shape in the header of an array with the bytes that follow it."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadFileError(f"{path}: compressed in an unusual way; save it with numpy.savez_compressed.")
    check_claim(path, entry.file_size, entry.compress_size, DEFLATE_RATIO)
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise BadFileError(f"{path}: {entry.filename} has the format {version}, expected 1.0 or 2.0.")
        shape, _, dtype = readers[version](member)
        found = entry.file_size - member.tell()
    if not dtype.hasobject and (min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != found):
        raise BadFileError(
            f"{path}: {entry.filename} announces the shape {shape} of {dtype}, but {found} bytes follow; the "
            "file is damaged or truncated."
        )


def read_zarr(path: Path, wanted: Sequence[str]) -> tuple[Arrays, list[str]]:
    """Return those arrays of a Zarr group that are wanted and there, and the names of all.

    Raises:
        BadFileError: if the sizes that it claims do not fit its files or memory, or if something in the
            folder is not a regular file of it.
        Exception: whatever the library raises on damaged groups.
    """
    import zarr

    held = 0
    for entry in path.rglob("*"):
        if entry.is_symlink() or not entry.is_dir():
            held += own_file(path, str(entry.relative_to(path))).stat().st_size
    group = zarr.open_group(path, mode="r")
    arrays = dict(group.arrays())
    chosen: dict[str, Any] = {name: arrays[name] for name in wanted if name in arrays}
    check_limit(path, sum(array.nbytes for array in chosen.values()))
    for array in chosen.values():
        check_limit(path, math.prod(array.chunks) * array.dtype.itemsize)
        check_claim(path, array.nbytes, held, DEFLATE_RATIO)
    return {name: _whole(path, name, array) for name, array in chosen.items()}, list(arrays)


def _whole(path: Path, name: str, array: Any) -> NDArray[Any]:
    """The content of a Zarr array, none of whose chunks is missing: a missing one would read as zeros."""
    if array.nchunks_initialized < array.nchunks:
        missing = array.nchunks - array.nchunks_initialized
        raise BadFileError(
            f"{path}: {missing} of {array.nchunks} chunks of {name!r} are missing; if they hold nothing but "
            "the fill value, write the array with write_empty_chunks=True."
        )
    return np.asarray(array[...])
