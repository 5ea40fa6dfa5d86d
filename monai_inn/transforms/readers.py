"""Reading multispectral images of many file formats into one form."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.utils.enums import SpaceKeys
from numpy.typing import NDArray

from monai_inn.files import BadFileError, damage_named, require_file
from monai_inn.reading.dicom import is_dicom, is_series
from monai_inn.reading.limits import check_affine, check_limit
from monai_inn.reading.volumes import VOLUMES
from monai_inn.transforms import diffusion, formats, volumes
from monai_inn.transforms.beside import b_values_beside, described_beside
from monai_inn.transforms.formats import StoredImage
from monai_inn.transforms.images import check_wavelengths, labels_of

__all__ = ["READABLE", "read_multispectral"]

_Reader = Callable[[Path], StoredImage]
_FORMATS: dict[str, tuple[_Reader, tuple[str, ...]]] = {
    "ENVI": (formats.read_envi, (".hdr", ".dat", ".img", ".raw", ".bsq", ".bil", ".bip")),
    "TIFF": (formats.read_tiff, (".tif", ".tiff")),
    "NIfTI": (volumes.read_nifti, VOLUMES["NIfTI"]),
    "NRRD": (volumes.read_nrrd, VOLUMES["NRRD"]),
    "NPZ": (formats.read_npz, (".npz",)),
    "PNG": (formats.read_photo, (".png",)),
    "JPEG": (formats.read_photo, (".jpg", ".jpeg")),
    "DICOM": (diffusion.read_diffusion, ()),  # known by its content
}
READABLE: tuple[str, ...] = tuple(ending for _, endings in _FORMATS.values() for ending in endings)
"""File name endings that ``read_multispectral`` takes."""

# First bytes of each format; ENVI data files have none.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"ENVI", "ENVI"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"NRRD", "NRRD"),
    (b"PK\x03\x04", "NPZ"),
    (b"PK\x05\x06", "NPZ"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x1f\x8b", "gzip"),
)
_NIFTI_HEADER_SIZES = (348, 540)


def read_multispectral(path: str | PathLike[str], bands: Sequence[int | str] | None = None) -> MetaTensor:
    """Read an image of any supported format as float32, bands first.

    Spatial axes are ``(x, y[, z])`` for NIfTI and NRRD, as MONAI's own loader gives them, and
    ``(rows, columns)`` or ``(depth, rows, columns)`` for ENVI, TIFF, NPZ, PNG and JPEG. A file
    ``<name>.json`` beside the image may hold ``beside.LABELS`` for formats that have no place for them, and
    settings such as ``time``: one number a band.
    ``<name>.bval``, which FSL's tools write beside a NIfTI, gives the setting ``b``, and so does a series of
    diffusion-weighted DICOM images.

    Args:
        path: image file; for ENVI either the header or the data file; for DICOM the folder of the series, or
            its only file.
        bands: indices or names of the bands to keep, in this order; all by default.

    Returns:
        Image of shape ``(bands, *spatial)``. Its ``meta`` has ``affine`` (RAS, mm), ``filename_or_obj`` and,
        where known, ``wavelength_nm``, ``fwhm_nm``, ``band_names`` (tuples), ``units``, ``transfer``,
        ``settings``, other lists of numbers by name, ``synthetic``, what an image that nobody acquired says
        of itself, ``names_channels``, whether the format says which axis is that of the bands, and
        ``is_oriented``, whether the file says how the patient lies.
        Files of integers also give ``saturation`` (the largest number of the file's type, in the units of
        the image) and ``saturated`` (boolean, shape ``(1, *spatial)``), taken before any conversion.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, empty, of unknown or wrong format, does not hold real numbers, has
            wavelengths or an affine that cannot be right, or would fill more memory than 4 GB, or than the
            environment variable ``MONAI_INN_MAX_GB`` says.
        ImportError: if the library for the format is missing.
    """
    source = Path(path)
    name = _format_of(source)
    with damage_named(source, name, "the file is damaged or truncated. Copy it again."):
        stored = _FORMATS[name][0](source)
        _check(source, stored.array)
        check_affine(source, stored.affine)
    labels = _labels(source, stored)
    if bands is not None:
        chosen = _indices(source, bands, len(stored.array), labels.get("band_names"))
        labels = labels_of(labels, chosen, len(stored.array))
        stored.array = stored.array[chosen]
    return _to_tensor(source, stored, labels)


def _format_of(path: Path) -> str:
    """Format by the file's ending, checked against its first bytes."""
    if is_series(path) or (path.is_file() and is_dicom(path)):
        return "DICOM"
    require_file(
        path, f"an image file ({', '.join(READABLE)}) or a folder of diffusion-weighted DICOM images"
    )
    lower = path.name.lower()
    name = next((n for n, (_, endings) in _FORMATS.items() if lower.endswith(endings)), None)
    if name is None:
        raise BadFileError(f"{path}: unknown ending {path.suffix!r}, expected one of {', '.join(READABLE)}.")
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise BadFileError(f"{path}: the file is empty (0 bytes). Copy it again.")
    content = _content(start)
    if lower.endswith(".hdr") and content == "NIfTI":
        return "NIfTI"
    if name == "ENVI" and not lower.endswith(".hdr"):
        return name
    expected = "gzip" if lower.endswith(".gz") else name
    if content != expected:
        raise BadFileError(
            f"{path}: the name says {expected}, but the content is {content or 'something else'}; "
            "give the file the ending of its format, or copy it again."
        )
    return name


def _content(start: bytes) -> str | None:
    """Format that the first bytes of a file belong to."""
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    if len(start) >= 4 and any(struct.unpack(f"{o}i", start[:4])[0] in _NIFTI_HEADER_SIZES for o in "<>"):
        return "NIfTI"
    return None


def _check(path: Path, array: NDArray[Any]) -> None:
    """Refuse arrays without pixels and dtypes that are not real numbers."""
    if array.dtype.kind not in "biuf":
        raise BadFileError(
            f"{path}: holds values of type {array.dtype}, expected real numbers (integer or float)."
        )
    if array.size == 0:
        raise BadFileError(f"{path}: the image is empty, shape {array.shape} (channels, *spatial).")
    check_limit(path, 4 * array.size)  # as float32


def _labels(path: Path, stored: StoredImage) -> dict[str, Any]:
    """Band labels from the file and from the JSON file beside it, as tuples of the right length."""
    given = {**stored.labels, **described_beside(path), **b_values_beside(path)}
    labels: dict[str, Any] = {k: str(given[k]) for k in ("units", "transfer", "synthetic") if k in given}
    for key in ("wavelength_nm", "fwhm_nm", "band_names", "channel_names"):
        if key in given:
            labels[key] = _label(path, key, given[key], len(stored.array))
    settings = {k: tuple(map(float, v)) for k, v in given.items() if k not in labels and _are_numbers(v)}
    return labels | ({"settings": settings} if settings else {})


def _are_numbers(given: Any) -> bool:
    """Whether an entry of a JSON file is a list of numbers."""
    return isinstance(given, list) and bool(given) and all(type(v) in (int, float) for v in given)


def _label(path: Path, key: str, given: Any, count: int) -> tuple[Any, ...]:
    """One label a channel: text, or numbers in nm."""
    values = given.tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(values, list | tuple) or any(isinstance(v, list | tuple | Mapping) for v in values):
        raise BadFileError(f"{path}: {key} is {str(given)[:60]!r}, expected a list of one entry a channel.")
    if len(values) != count:
        raise BadFileError(f"{path}: {len(values)} entries of {key}, but {count} channels in the image.")
    if not key.endswith("_nm"):
        return tuple(map(str, values))
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError, OverflowError):
        raise BadFileError(f"{path}: {key} is {str(given)[:60]!r}, expected numbers in nm.") from None
    try:
        check_wavelengths(numbers, count, key)
    except ValueError as error:
        raise BadFileError(f"{path}: {error}") from None
    return numbers


def _indices(path: Path, bands: Sequence[int | str], count: int, names: tuple[str, ...] | None) -> list[int]:
    """Positions of bands given by index or name."""
    chosen = []
    for band in bands:
        if isinstance(band, str):
            if names is None or band not in names:
                raise ValueError(
                    f"{path}: no band {band!r}; it has {', '.join(names) if names else 'no band names'}."
                )
            chosen.append(names.index(band))
        elif not -count <= band < count:
            raise ValueError(
                f"{path}: band {band} asked for, but the image has {count} bands, counted from 0."
            )
        else:
            chosen.append(int(band) % count)
    if not chosen:
        raise ValueError(f"{path}: bands is empty; name at least one band, or leave it out to keep all.")
    return chosen


def _to_tensor(path: Path, stored: StoredImage, labels: dict[str, Any]) -> MetaTensor:
    """Convert stored numbers band by band, so that the double-precision copy stays small."""
    array = stored.array
    meta: dict[str, Any] = {
        **labels,
        "filename_or_obj": str(path),
        "space": SpaceKeys.RAS,
        "original_channel_dim": 0,
        "names_channels": stored.names_channels,
        "is_oriented": stored.is_oriented,
    }
    meta["original_affine"] = torch.as_tensor(stored.affine, dtype=torch.float64).clone()
    if array.dtype.kind in "iu":
        largest = np.iinfo(array.dtype).max
        meta["saturation"] = float(_value(stored, np.asarray(largest, array.dtype)))
        meta["saturated"] = torch.from_numpy((array == largest).any(0, keepdims=True))
    image = np.empty(array.shape, np.float32)
    for band, target in zip(array, image, strict=True):
        target[...] = _value(stored, band)
        if stored.ignore_value is not None:
            target[band == stored.ignore_value] = np.nan
    return MetaTensor(torch.from_numpy(image), affine=meta["original_affine"].clone(), meta=meta)


def _value(stored: StoredImage, numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Image values of stored numbers."""
    if stored.transfer is not None:
        return stored.transfer(numbers)
    return numbers.astype(np.float64) * stored.slope + stored.intercept
