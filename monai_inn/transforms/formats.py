"""Readers of ENVI, TIFF, NPZ and photographs: stored numbers unchanged, with what the file says of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BadImageError",
    "StoredImage",
    "read_envi",
    "read_npz",
    "read_photo",
    "read_tiff",
]

_ENVI_DATA = (".dat", ".img", ".raw", ".bsq", ".bil", ".bip")


# Where a picture without geometry lies: rows run down and columns to the right on screen, as in ITK's
# reading of a PNG. Indices are (row, column, slice); the determinant is +1.
PICTURE_AFFINE = np.array([[0.0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])


class BadImageError(ValueError):
    """A file that cannot be used; the message names the file and says how to mend it."""


@dataclass
class StoredImage:
    """An image as it lies in the file.

    Args:
        array: numbers in the dtype of the file, shape ``(bands, *spatial)``.
        affine: index to RAS millimetres, shape ``(4, 4)``; ``PICTURE_AFFINE`` where the file has no geometry.
        slope: factor that turns stored numbers into image values.
        intercept: added after ``slope``.
        transfer: non-linear curve applied to stored numbers in place of ``slope`` and ``intercept``.
        ignore_value: stored number that stands for "no data".
        labels: ``wavelength_nm``, ``fwhm_nm``, ``band_names``, ``units``, ``channel_names`` where known.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64] = field(default_factory=lambda: PICTURE_AFFINE.copy())
    slope: float = 1.0
    intercept: float = 0.0
    transfer: Callable[[NDArray[Any]], NDArray[np.float64]] | None = None
    ignore_value: float | None = None
    labels: dict[str, Any] = field(default_factory=dict)


def read_envi(path: Path) -> StoredImage:
    """Read an ENVI header and its data file, given either path: bands, rows, columns."""
    spectral_envi = import_library("spectral.io.envi", path)
    header = _envi_header(path)
    try:
        image = spectral_envi.open(str(header), image=None if path == header else str(path))
    except spectral_envi.EnviDataFileNotFoundError as error:
        raise BadImageError(
            f"{header}: the ENVI header has no data file beside it, expected {header.stem} with the ending "
            f"{', '.join(_ENVI_DATA)}. Copy both files into one folder."
        ) from error
    if not hasattr(image, "open_memmap"):
        raise BadImageError(
            f"{header}: this is an ENVI spectral library, expected an image (file type ENVI Standard)."
        )
    entries = image.metadata
    expected = image.offset + image.nrows * image.ncols * image.nbands * np.dtype(image.dtype).itemsize
    found = Path(image.filename).stat().st_size
    if found < expected:
        raise BadImageError(
            f"{image.filename}: {found} bytes, but the header {header.name} announces {expected}; "
            "the file is truncated or the header belongs to another file. Copy it again."
        )
    stored = np.moveaxis(np.asarray(image.open_memmap(interleave="bip", writable=False)), -1, 0)
    ignore = entries.get("data ignore value")
    return StoredImage(
        stored,
        slope=1.0 / float(entries.get("reflectance scale factor", 1.0)),
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
    raise BadImageError(
        f"{path}: no ENVI header {path.with_suffix('.hdr').name} beside it; copy the header as well."
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
    tifffile = import_library("tifffile", path)
    with _logged_errors("tifffile") as errors, tifffile.TiffFile(path) as tif:
        if not errors and len(tif.series) != 1:
            raise BadImageError(
                f"{path}: holds {len(tif.series)} images of different size or type, expected equal pages. "
                "Save the bands as pages of one stack."
            )
        series = tif.series[0]
        _check_tiff_extent(path, series)
        array, axes = series.asarray(), series.axes
        labels = dict((tif.shaped_metadata or ({},))[0])
    if errors:
        raise BadImageError(f"{path}: the file is damaged or truncated ({errors[0]}). Copy it again.")
    keep = [i for i, axis in enumerate(axes) if axis in "YX" or array.shape[i] != 1]
    array, axes = array.reshape([array.shape[i] for i in keep]), "".join(axes[i] for i in keep)
    bands = [i for i, axis in enumerate(axes) if axis not in "ZYX"]
    if len(bands) > 1:
        raise BadImageError(
            f"{path}: axes {axes} of shape {array.shape}: which one holds the bands? "
            "Save one stack (bands, rows, columns)."
        )
    spatial = [axes.index(axis) for axis in "ZYX" if axis in axes]
    array = array.transpose(bands + spatial)
    return StoredImage(array if bands else array[None], labels=labels)


def _check_tiff_extent(path: Path, series: Any) -> None:
    """Refuse a TIFF whose pages point beyond the end of the file: tifffile would fill them with zeros."""
    size = path.stat().st_size
    for page in series.pages:
        if page is None:
            continue
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if ends and max(ends) > size:
            raise BadImageError(
                f"{path}: {size} bytes, but its pages reach to {max(ends)}; the file is truncated."
            )


def read_npz(path: Path) -> StoredImage:
    """Read an NPZ: ``image`` ``(C, H, W)`` or ``(C, D, H, W)``, optional ``wavelength_nm``, ``affine``."""
    with np.load(path, allow_pickle=False) as archive:
        if "image" not in archive:
            raise BadImageError(
                f"{path}: holds {', '.join(archive.files) or 'nothing'}, expected an array named 'image' "
                "of shape (bands, rows, columns). Save it with numpy.savez(path, image=...)."
            )
        array = archive["image"]
        affine = np.asarray(archive["affine"], np.float64) if "affine" in archive else None
        labels = {k: archive[k] for k in ("wavelength_nm", "fwhm_nm", "band_names") if k in archive}
    if array.ndim not in (3, 4):
        raise BadImageError(f"{path}: 'image' has shape {array.shape}, expected (C, H, W) or (C, D, H, W).")
    if affine is None:
        affine = PICTURE_AFFINE.copy() if array.ndim == 3 else np.eye(4)
    if affine.shape != (4, 4):
        raise BadImageError(
            f"{path}: 'affine' has shape {affine.shape}, expected (4, 4), index to RAS millimetres."
        )
    return StoredImage(array, affine, labels=labels)


def read_photo(path: Path) -> StoredImage:
    """Read an 8-bit PNG or JPEG and remove its sRGB curve: values are relative linear light in [0, 1]."""
    pillow = import_library("PIL.Image", path)
    with pillow.open(path) as image:
        if image.mode not in ("RGB", "L"):
            raise BadImageError(
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


@contextmanager
def _logged_errors(name: str) -> Iterator[list[str]]:
    """Collect what a library only writes to its log, as tifffile does when pages are missing."""
    logger, errors = logging.getLogger(name), list[str]()
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        yield errors
    finally:
        logger.removeHandler(handler)


def import_library(name: str, path: Path) -> ModuleType:
    """Import a reader's library, or say which extra brings it."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise ImportError(
            f'{path}: reading this format needs {library}; install it with pip install "monai_inn[io]".'
        ) from error
