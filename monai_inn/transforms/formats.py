"""Readers of ENVI, TIFF, NPZ and photographs: stored numbers unchanged, with what the file says of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError, require_file
from monai_inn.reading.arrays import read_npz as read_npz_arrays
from monai_inn.reading.limits import check_limit, import_library, require_detached
from monai_inn.reading.orientation import stored_affine
from monai_inn.reading.pictures import Pages, load_tiff, open_picture
from monai_inn.transforms.beside import LABELS, check_labels

__all__ = [
    "StoredImage",
    "arrange_pages",
    "read_envi",
    "read_npz",
    "read_photo",
    "read_tiff",
]

_ENVI_DATA = (".dat", ".img", ".raw", ".bsq", ".bil", ".bip")


@dataclass
class StoredImage:
    """An image as it lies in the file.

    Args:
        array: numbers in the dtype of the file, shape ``(bands, *spatial)``.
        affine: index to RAS millimetres, shape ``(4, 4)``; where the file has no geometry, rows run down on
            screen and columns to the right.
        slope: factor that turns stored numbers into image values.
        intercept: added after ``slope``.
        transfer: non-linear curve applied to stored numbers in place of ``slope`` and ``intercept``.
        ignore_value: stored number that stands for "no data".
        names_channels: whether the format says which axis is that of the channels.
        is_oriented: whether the file says how the patient lies.
        labels: ``wavelength_nm``, ``fwhm_nm``, ``band_names``, ``units``, ``channel_names`` where known.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64] = None  # type: ignore[assignment]
    slope: float = 1.0
    intercept: float = 0.0
    transfer: Callable[[NDArray[Any]], NDArray[np.float64]] | None = None
    ignore_value: float | None = None
    names_channels: bool = True
    is_oriented: bool = False
    labels: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give an image without geometry its affine."""
        if self.affine is None:
            self.affine = stored_affine(self.array.ndim - 1)


def read_envi(path: Path) -> StoredImage:
    """Read an ENVI header and its data file, given either path: bands, rows, columns."""
    envi = import_library("spectral.io.envi", path)
    header = _envi_header(path)
    entries = envi.read_envi_header(str(require_file(header, "an ENVI header")))
    if entries.get("file type") == "ENVI Spectral Library":
        raise BadFileError(
            f"{header}: this is an ENVI spectral library, expected an image (file type ENVI Standard)."
        )
    data = _envi_data(header, entries.get("interleave", "")) if path == header else path
    require_detached(header, data.name)
    image = envi.open(str(header), image=str(data))
    size, found = (image.nbands, image.nrows, image.ncols), data.stat().st_size
    if min(size) < 1 or image.offset < 0:
        raise BadFileError(f"{header}: announces {size} bands, rows and columns; the header is damaged.")
    expected = image.offset + math.prod(size) * np.dtype(image.dtype).itemsize
    if found < expected:
        raise BadFileError(
            f"{data}: {found} bytes, but the header {header.name} announces {expected}; "
            "the file is truncated or the header belongs to another file. Copy it again."
        )
    check_limit(data, expected)
    stored = np.moveaxis(np.asarray(image.open_memmap(interleave="bip", writable=False)), -1, 0)
    scale, ignore = float(entries.get("reflectance scale factor", 1.0)), entries.get("data ignore value")
    if not 0 < scale < math.inf:
        raise BadFileError(f"{header}: reflectance scale factor = {scale:g}, expected a positive number.")
    return StoredImage(
        stored,
        slope=1.0 / scale,
        ignore_value=None if ignore is None else float(ignore),
        labels=_envi_labels(entries),
    )


def _envi_header(path: Path) -> Path:
    """Header of an ENVI file pair, given either of the two."""
    if path.suffix.lower() == ".hdr":
        return path
    for candidate in (path.with_suffix(".hdr"), path.with_suffix(".HDR"), Path(f"{path}.hdr")):
        if candidate.is_file():
            return candidate
    raise BadFileError(
        f"{path}: no ENVI header {path.with_suffix('.hdr').name} beside it; copy the header as well."
    )


def _envi_data(header: Path, interleave: str) -> Path:
    """Data file beside a header: the same name with no ending, one of the usual ones, or the interleave."""
    endings = [".img", ".dat", ".sli", ".hyspex", ".raw", f".{interleave.lower()}"]
    for ending in ["", *endings, *(e.upper() for e in endings)]:
        candidate = header.with_suffix(ending)
        if candidate.is_file():
            return candidate
    raise BadFileError(
        f"{header}: the ENVI header has no data file beside it, expected {header.stem} with the ending "
        f"{', '.join(_ENVI_DATA)}. Copy both files into one folder."
    )


def _envi_labels(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Band labels of an ENVI header; wavelengths below 100 are micrometres where the header gives no unit."""
    labels: dict[str, Any] = {}
    unit = str(entries.get("wavelength units", "")).lower()
    for source, target in (("wavelength", "wavelength_nm"), ("fwhm", "fwhm_nm")):
        if source in entries:
            labels[target] = np.asarray(entries[source], dtype=np.float64)
    if "wavelength_nm" in labels:
        micrometres = unit.startswith(("micro", "um", "µm")) or (
            not unit and labels["wavelength_nm"].max() < 100
        )
        for target in ("wavelength_nm", "fwhm_nm"):
            if target in labels and micrometres:
                labels[target] = labels[target] * 1000.0
    if "band names" in entries:
        labels["band_names"] = list(entries["band names"])
    if "data units" in entries:
        labels["units"] = str(entries["data units"])
    elif "reflectance scale factor" in entries:
        labels["units"] = "reflectance"
    return labels


def read_tiff(path: Path) -> StoredImage:
    """Read a TIFF: Y and X are the image, Z is depth, the one axis left (pages or samples) is the bands."""
    return arrange_pages(path, load_tiff(path))


def arrange_pages(path: Path, pages: Pages) -> StoredImage:
    """Put the axes of a TIFF in order: bands, depth, rows, columns.

    Raises:
        BadFileError: if it is not clear which axis holds the channels.
    """
    array, axes = pages.array, pages.axes
    keep = [i for i, axis in enumerate(axes) if axis in "YX" or array.shape[i] != 1]
    array, axes = array.reshape([array.shape[i] for i in keep]), "".join(axes[i] for i in keep)
    bands = [i for i, axis in enumerate(axes) if axis not in "ZYX"]
    if len(bands) > 1:
        raise BadFileError(
            f"{path}: axes {axes} of shape {array.shape}: which one holds the channels? "
            "Save one stack (channels, rows, columns)."
        )
    spatial = [axes.index(axis) for axis in "ZYX" if axis in axes]
    array = array.transpose(bands + spatial)
    return StoredImage(array if bands else array[None], labels=pages.labels)


def read_npz(path: Path) -> StoredImage:
    """Read an NPZ: ``image`` ``(C, H, W)`` or ``(C, D, H, W)``, optional ``affine`` and ``LABELS``."""
    arrays, names = read_npz_arrays(path, ("image", "affine", *LABELS))
    check_labels(path, names)
    if "image" not in arrays:
        raise BadFileError(
            f"{path}: holds {', '.join(names) or 'nothing'}, expected an array named 'image' "
            "of shape (channels, rows, columns). Save it with numpy.savez(path, image=...)."
        )
    array, affine = arrays.pop("image"), arrays.pop("affine", None)
    if array.ndim not in (3, 4):
        raise BadFileError(f"{path}: 'image' has shape {array.shape}, expected (C, H, W) or (C, D, H, W).")
    if affine is None:
        affine = stored_affine(array.ndim - 1)
    if affine.shape != (4, 4):
        raise BadFileError(
            f"{path}: 'affine' has shape {affine.shape}, expected (4, 4), index to RAS millimetres."
        )
    return StoredImage(array, affine.astype(np.float64), names_channels=False, labels=dict(arrays))


def read_photo(path: Path) -> StoredImage:
    """Read an 8-bit PNG or JPEG and remove its sRGB curve: values are relative linear light in [0, 1]."""
    with open_picture(path) as image:
        if image.mode not in ("RGB", "L"):
            raise BadFileError(
                f"{path}: colour mode {image.mode}, expected 8-bit RGB or greyscale. Convert it, "
                "or save measured bands as ENVI or TIFF."
            )
        array = np.asarray(image)
    array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    labels = {
        "band_names": ["grey"] if len(array) == 1 else ["red", "green", "blue"],
        "units": "relative linear light",
        "transfer": "sRGB curve removed",
    }
    return StoredImage(array, transfer=_linear_light, labels=labels)


def _linear_light(code: NDArray[Any]) -> NDArray[np.float64]:
    """Linear light in [0, 1] of 8-bit sRGB codes (IEC 61966-2-1)."""
    value = np.arange(256) / 255.0
    table = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return table[code]
