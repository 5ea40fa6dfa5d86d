"""Volumes whose size is checked against their header before they are read: NIfTI, NRRD, MetaImage."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError, require_file
from monai_inn.reading.limits import DEFLATE_RATIO, check_claim, import_library, inflate, require_detached

__all__ = [
    "LPS_TO_RAS",
    "VOLUMES",
    "itk_affine",
    "itk_name",
    "load_itk",
    "load_nifti",
    "scaled",
    "synthetic_mark",
]

VOLUMES = {"NIfTI": (".nii", ".nii.gz"), "NRRD": (".nrrd", ".nhdr"), "MetaImage": (".mha", ".mhd")}
"""Endings of the files of each format."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK and DICOM count x to the left and y to the back, MONAI and NIfTI to the right and to the front."""

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


def synthetic_mark(header: Any) -> str:
    """Return what the header of a NIfTI says of an image that nobody acquired, or nothing."""
    said = header["descrip"].tobytes().rstrip(b"\0").decode("ascii", "replace")
    return said if "SYNTHETIC" in said else ""


def scaled(image: Any, stored: NDArray[Any]) -> NDArray[Any]:
    """Return the values that stored numbers stand for, as nibabel does: unchanged where nothing scales."""
    from nibabel.volumeutils import apply_read_scaling

    slope, inter = np.float64(image.dataobj.slope), np.float64(image.dataobj.inter)
    return stored if (slope, inter) == (1, 0) else apply_read_scaling(stored, slope, inter)


_HEADER_BYTES = 2**20
_LONGEST_FIELD = 512  # the library writes a field that it cannot read into a message of about twice as much
_MOST_AXES = 5
_TEXT_BYTES = 8  # of a number that takes one digit and a blank: what a double in text can become


class _Data(NamedTuple):
    """Where the numbers of an image are, how many bytes each can become, and whether a checksum follows."""

    path: Path
    offset: int
    ratio: int
    is_packed: bool


def itk_name(path: Path) -> str:
    """Return a path for ITK, which ends the process on one that is not UTF-8.

    Raises:
        BadFileError: if it is not.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise BadFileError(f"{path}: the name is not UTF-8, which ITK needs; rename it.") from error
    return str(path)


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
    if lower.endswith(VOLUMES["NRRD"]):
        kind, data = "NrrdImageIO", _nrrd_data(path)
    elif lower.endswith(VOLUMES["MetaImage"]):
        kind, data = "MetaImageIO", _meta_data(path)
    else:  # headers of others are not checked, and the library takes them without a look
        raise BadFileError(
            f"{path}: cannot be read as a volume: it is not a NIfTI, NRRD or MetaImage, or damaged."
        )
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind)
    reader.SetFileName(itk_name(path))
    reader.ReadImageInformation()
    claimed = math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * _bytes(sitk, reader)
    check_claim(path, claimed, max(0, data.path.stat().st_size - data.offset), data.ratio)
    if data.is_packed:
        with data.path.open("rb") as stream:
            stream.seek(data.offset)
            if inflate(path, stream, 47) < claimed:
                raise BadFileError(f"{path}: holds less than its header announces; the file is truncated.")
    return reader.Execute()


def itk_affine(image: Any) -> NDArray[np.float64]:
    """Return index to RAS millimetres of the first three axes of a SimpleITK image, ``(4, 4)``."""
    size, rank = image.GetDimension(), min(image.GetDimension(), 3)
    affine = np.eye(4)
    direction = np.asarray(image.GetDirection()).reshape(size, size)[:rank, :rank]
    affine[:rank, :rank] = direction * np.asarray(image.GetSpacing())[:rank]
    affine[:rank, 3] = np.asarray(image.GetOrigin())[:rank]
    return LPS_TO_RAS @ affine


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
    for number, (line, end) in enumerate(_lines(path)):
        if not line:
            offset = end
            break
        name, separator, value = line.partition(":")
        if number == 0 or line.startswith("#") or value.startswith("="):  # the version, remarks, notes
            continue
        if not separator or len(line) > _LONGEST_FIELD or not line.isprintable():
            raise BadFileError(
                f"{path}: byte {end} of its header is in a line that is not an NRRD field; the file is "
                "damaged. Copy it again."
            )
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
            is_packed, is_binary = (fields.get(n, d)[:1] in ("T", "t", "1") for n, d in _META_FLAGS)
            ratio = DEFLATE_RATIO if is_packed else 1 if is_binary else _TEXT_BYTES
            if value.upper() == "LOCAL":
                return _Data(path, end, ratio, is_packed)
            return _Data(require_detached(path, _one_file(path, value)), 0, ratio, is_packed)
    raise BadFileError(f"{path}: names no data file; the file is damaged, or not a MetaImage. Copy it again.")


_META_FLAGS = (("CompressedData", "False"), ("BinaryData", "True"))


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
