"""Grey planes of pictures and volumes: the stored numbers of each frame, and what the file says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError, require_file
from monai_inn.reading.dicom import is_dicom
from monai_inn.reading.pictures import load_tiff, open_picture
from monai_inn.reading.volumes import VOLUMES
from monai_inn.transforms.formats import StoredImage, arrange_pages
from monai_inn.transforms.volumes import read_nifti, read_nrrd

__all__ = ["READABLE_PLANES", "Planes", "format_of_plane", "read_planes"]

# What Pillow calls grey, and colour or palette. Other modes, as CMYK, never hold a grey image.
_GREY_MODES = ("L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_COLOUR_MODES = ("LA", "RGB", "RGBA", "P", "PA", "1")


@dataclass(frozen=True, eq=False)
class Planes:
    """The frames of a file, in the order of a screen.

    Args:
        array: numbers as stored, shape ``(frames, rows, columns)``.
        stored: what a volume says of its geometry; None of pictures.
    """

    array: NDArray[Any]
    stored: StoredImage | None = None

    def __len__(self) -> int:
        return len(self.array)

    def values(self, index: int) -> NDArray[Any]:
        """Return frame ``index``, from 0 on, scaled as the file says, ``(rows, columns)``."""
        plane, stored = self.array[index], self.stored
        if stored is None or (stored.slope, stored.intercept) == (1, 0):
            return plane
        scaled: NDArray[Any] = plane * stored.slope + stored.intercept
        return scaled


def read_planes(path: Path, kind: str) -> Planes:
    """Return the frames of a picture or volume of a kind of ``format_of_plane`` but DICOM.

    Raises:
        BadFileError: if it is coloured, has transparent pixels or no real numbers.
        Exception: whatever a library raises on a damaged file.
        ImportError: if the library for the format is missing.
    """
    planes = _READERS[kind](path)
    if planes.array.dtype.kind not in "biuf":
        raise BadFileError(f"{path}: holds values of type {planes.array.dtype}, expected real numbers.")
    if planes.array.ndim != 3 or planes.array.size == 0:
        raise BadFileError(f"{path}: shape {planes.array.shape}, expected (rows, columns). Save one image.")
    return planes


def format_of_plane(path: Path, expected: str) -> str:
    """Return the format by the file's ending, DICOM by its first bytes as well.

    Raises:
        FileNotFoundError: if there is no such file.
        BadFileError: if it is empty, not a file, or of unknown format; ``expected`` is what the message asks
            for.
    """
    require_file(path, f"{expected} ({', '.join(READABLE_PLANES)})")
    if path.stat().st_size == 0:
        raise BadFileError(f"{path}: the file is empty (0 bytes). Copy it again.")
    lower = path.name.lower()
    for name, endings in _ENDINGS.items():
        if lower.endswith(endings):
            return name
    if is_dicom(path):
        return "DICOM"
    raise BadFileError(
        f"{path}: unknown ending {path.suffix!r}, expected one of {', '.join(READABLE_PLANES)}, or DICOM."
    )


def _picture(path: Path) -> Planes:
    """A PNG or JPEG of 8 or 16 bits; grey values as stored, without any display curve removed."""
    with open_picture(path) as image:
        count = getattr(image, "n_frames", 1)
        if count > 1:
            raise BadFileError(f"{path}: holds {count} frames, expected one picture. Save one of them.")
        if image.mode in _COLOUR_MODES:
            image.load()
            array = np.moveaxis(np.asarray(image.convert("RGBA")), -1, 0)
        elif image.mode in _GREY_MODES:
            array = np.asarray(image)[None]
        else:
            raise BadFileError(f"{path}: colour mode {image.mode}, expected a grey image. Save it as grey.")
    return Planes(_grey(path, array)[None])


def _tiff(path: Path) -> Planes:
    """A grey TIFF of integers or floating point; pages are frames."""
    pages = load_tiff(path)
    array = arrange_pages(path, pages).array
    if array.ndim != 3:
        raise BadFileError(f"{path}: axes of length {array.shape}, expected one image. Save a single page.")
    is_colour = len(array) in (3, 4) and pages.samples > 1
    return Planes(_grey(path, array)[None] if is_colour else array)


def _nifti(path: Path) -> Planes:
    """A NIfTI whose axes are columns, rows and frames."""
    stored = read_nifti(path)
    return Planes(_frames(path, stored.array), stored)


def _nrrd(path: Path) -> Planes:
    """An NRRD or MetaImage whose axes are columns, rows and frames; of vectors only one frame."""
    stored = read_nrrd(path)
    array = _frames(path, stored.array)
    return Planes(_grey(path, array)[None] if len(stored.array) > 1 else array, stored)


def _frames(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """Numbers ``(channels, columns, rows[, slices])`` as ``(frames, rows, columns)``."""
    if array.ndim == 4 and 1 in (len(array), array.shape[3]):
        # Slices, or a series in time of one slice: either way frames.
        array = np.moveaxis(array[0], -1, 0) if len(array) == 1 else array[..., 0]
    if array.ndim != 3:
        raise BadFileError(f"{path}: {array.ndim - 1}-D with channels, expected (columns, rows).")
    return array.swapaxes(1, 2)


def _grey(path: Path, channels: NDArray[Any]) -> NDArray[Any]:
    """The one grey image in equal colour channels ``(3 or 4, rows, columns)``, or a lone channel."""
    colours, opacity = channels[:3], channels[3:]
    if (colours != colours[:1]).any():
        raise BadFileError(f"{path}: a colour image, expected grey values. Save it as grey, without marks.")
    if opacity.size and opacity.min() != opacity.max():
        raise BadFileError(f"{path}: has transparent pixels, expected none. Save it without opacity.")
    return colours[0]


_READERS: dict[str, Callable[[Path], Planes]] = {
    "PNG": _picture,
    "JPEG": _picture,
    "TIFF": _tiff,
    "NIfTI": _nifti,
    "NRRD": _nrrd,
    "MetaImage": _nrrd,
}
_ENDINGS: dict[str, tuple[str, ...]] = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "TIFF": (".tif", ".tiff"),
    **VOLUMES,
    "DICOM": (".dcm", ".dicom"),
}
READABLE_PLANES: tuple[str, ...] = tuple(ending for endings in _ENDINGS.values() for ending in endings)
"""File name endings that are known; DICOM files are known by their content as well."""
