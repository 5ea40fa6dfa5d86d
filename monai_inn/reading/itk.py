"""NRRD and MetaImage files, read by SimpleITK: the header against the size, and where the data lie."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from monai_inn.files import BadFileError, require_file
from monai_inn.reading.limits import DEFLATE_RATIO, check_claim, import_library, inflate, require_detached

__all__ = ["load_itk"]

_HEADER_BYTES = 2**20
_MOST_AXES = 5
_TEXT_BYTES = 8  # of a number that takes one digit and a blank: what a double in text can become


class _Data(NamedTuple):
    """Where the numbers of an image are, how many bytes each can become, and whether a checksum follows."""

    path: Path
    offset: int
    ratio: int
    is_packed: bool


def load_itk(path: Path) -> Any:
    """Return the SimpleITK image of an NRRD or MetaImage file.

    Raises:
        BadFileError: if it is truncated, damaged, larger than the limit, of another format, or if its header
            names a data file outside its folder.
        ImportError: if SimpleITK is missing.
    """
    sitk = import_library("SimpleITK", path)
    require_file(path, "an image")
    lower = path.name.lower()
    if lower.endswith((".nrrd", ".nhdr")):
        kind, data = "NrrdImageIO", _nrrd_data(path)
    elif lower.endswith((".mha", ".mhd")):
        kind, data = "MetaImageIO", _meta_data(path)
    else:  # headers of others are not checked, and the library takes them without a look
        raise BadFileError(
            f"{path}: cannot be read as a volume: it is not a NIfTI, NRRD or MetaImage, or damaged."
        )
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    claimed = math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * _bytes(sitk, reader)
    check_claim(path, claimed, max(0, data.path.stat().st_size - data.offset), data.ratio)
    if data.is_packed:
        with data.path.open("rb") as stream:
            stream.seek(data.offset)
            if inflate(path, stream, 47) < claimed:
                raise BadFileError(f"{path}: holds less than its header announces; the file is truncated.")
    return reader.Execute()


def _bytes(sitk: Any, reader: Any) -> int:
    """Bytes of one component of a pixel."""
    name = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = re.search(r"(\d+)-bit", name)
    if bits is None:
        raise BadFileError(f"{reader.GetFileName()}: holds values of type {name}, expected real numbers.")
    return int(bits[1]) // 8 * (2 if "complex" in name else 1)


def _lines(path: Path) -> Iterator[tuple[str, int]]:
    """Lines of a header as text, and where each ends in the file."""
    with path.open("rb") as file:
        end = 0
        while end < _HEADER_BYTES and (line := file.readline(_HEADER_BYTES)):
            end += len(line)
            yield line.decode("latin-1").strip(), end


def _nrrd_data(path: Path) -> _Data:
    """Where an NRRD file keeps its numbers; names of fields may have capitals and blanks."""
    fields: dict[str, str] = {}
    offset = path.stat().st_size
    for line, end in _lines(path):
        if not line:
            offset = end
            break
        name, separator, value = line.partition(":")
        if separator and not value.startswith("=") and not line.startswith("#"):
            fields.setdefault(name.lower().replace(" ", ""), value.strip())
    encoding = fields.get("encoding", "raw").lower()
    skips = any(fields.get(name, "0") != "0" for name in ("lineskip", "byteskip"))
    data, start = path, offset
    if "datafile" in fields:
        data, start = require_detached(path, _one_file(path, fields["datafile"])), 0
    elif path.suffix.lower() == ".nhdr":
        raise BadFileError(f"{path}: names no data file; the file is damaged. Copy it again.")
    if encoding in ("gz", "gzip"):
        return _Data(data, start, DEFLATE_RATIO, not skips)
    return _Data(data, start, 1 if encoding == "raw" else _TEXT_BYTES, False)


def _meta_data(path: Path) -> _Data:
    """Where a MetaImage keeps its numbers: behind the line ``ElementDataFile``, or in the file it names."""
    fields: dict[str, str] = {}
    for line, end in _lines(path):
        name, value = (part.strip() for part in (*re.split("[=:]", line, maxsplit=1), "")[:2])
        if name in fields or (name != "ElementDataFile" and "ElementDataFile" in line):
            break
        fields[name] = value
        if name == "ElementDataFile":
            _check_meta(path, fields)
            is_packed, is_binary = (_is_true(fields.get(n, d)) for n, d in _META_FLAGS)
            ratio = DEFLATE_RATIO if is_packed else 1 if is_binary else _TEXT_BYTES
            if value.upper() == "LOCAL":
                return _Data(path, end, ratio, is_packed)
            return _Data(require_detached(path, _one_file(path, value)), 0, ratio, is_packed)
    raise BadFileError(f"{path}: names no data file; the file is damaged, or not a MetaImage. Copy it again.")


_META_FLAGS = (("CompressedData", "False"), ("BinaryData", "True"))


def _is_true(value: str) -> bool:
    return value[:1] in ("T", "t", "1")


def _check_meta(path: Path, fields: dict[str, str]) -> None:
    """Refuse numbers of axes and channels that the library behind takes without a look, and dies of."""
    sizes = fields.get("DimSize", "").split()
    whole = [fields.get("NDims", ""), *sizes, fields.get("ElementNumberOfChannels", "1")]
    if (
        not all(re.fullmatch(r"[0-9]{1,9}", n) for n in whole)
        or not 0 < len(sizes) == int(whole[0]) <= _MOST_AXES
    ):
        raise BadFileError(
            f"{path}: NDims is {whole[0]!r}, DimSize {fields.get('DimSize', '')!r}, expected 1 to "
            f"{_MOST_AXES} axes and as many sizes; the file is damaged. Copy it again."
        )


def _one_file(path: Path, name: str) -> str:
    """The name of the data file; lists and patterns of several are refused."""
    if name.startswith("LIST") or "%" in name:
        raise BadFileError(
            f"{path}: its data are in several files ({name}), expected one; save the image as one file."
        )
    return name
