"""DICOM images: the headers of a series, where its frames lie, and their stored numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError
from monai_inn.reading.pictures import load_dicom
from monai_inn.reading.volumes import LPS_TO_RAS

__all__ = [
    "Frame",
    "Grid",
    "frame_grid",
    "frame_pixels",
    "frames_of",
    "is_dicom",
    "is_series",
    "series_headers",
]

_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows", "Columns")
_NAMED = 8  # of several series, in a message
_SAME_DIRECTION = 1e-3
_SAME_PLACE_MM = 1e-2
_SAME_PLACE_PIXELS = 1e-2


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do: a preamble of 128 bytes and four letters."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def is_series(path: Path) -> bool:
    """Whether a path is a folder with a DICOM file in it."""
    return path.is_dir() and any(is_dicom(file) for file in path.iterdir() if file.is_file())


def series_headers(source: str | PathLike[str]) -> list[tuple[Path, Any]]:
    """Return the images of one series with the files that they are in; other files are passed over.

    Args:
        source: folder of the series, or its only file.

    Raises:
        BadFileError: if there is no such folder, no image in it, a damaged one, or several series.
        ImportError: if pydicom is missing.
    """
    found = list(_headers(Path(source)))
    if not found:
        raise BadFileError(f"{source}: holds no DICOM image; give the folder of the series.")
    series: dict[str, list[Any]] = {}
    for _, image in found:
        series.setdefault(str(image.SeriesInstanceUID), []).append(image)
    if len(series) > 1:
        names = ", ".join(_name(uid, images) for uid, images in sorted(series.items())[:_NAMED])
        more = ", …" if len(series) > _NAMED else ""
        raise BadFileError(f"{source}: holds {len(series)} series: {names}{more}; give a folder with one.")
    return found


def _name(uid: str, images: Sequence[Any]) -> str:
    """One line that tells a series from others."""
    said = str(images[0].get("SeriesDescription") or "")
    return " ".join(f"{uid} ({len(images)} files{f', {said!r}' if said else ''})".split())


def _headers(source: Path) -> Iterator[tuple[Path, Any]]:
    """Headers of the DICOM images in a folder, or of one file."""
    import pydicom

    if not source.exists():
        raise BadFileError(f"{source}: no such folder; give the folder of the DICOM series.")
    files = [source] if source.is_file() else sorted(path for path in source.iterdir() if path.is_file())
    for path in files:
        try:
            image = load_dicom(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            continue
        except (BadFileError, PermissionError):
            raise
        except Exception as error:  # on a damaged file the library raises types of its own
            raise BadFileError(
                f"{path}: damaged DICOM file ({type(error).__name__}); copy it again."
            ) from error
        if all(keyword in image for keyword in _NEEDED):
            yield path, image
        elif "Image" in image.file_meta.get("MediaStorageSOPClassUID", pydicom.uid.UID("")).name:
            raise BadFileError(f"{path}: damaged or truncated DICOM file; copy it again.")


@dataclass(frozen=True)
class Frame:
    """One frame of an image, and where its attributes are.

    Attributes:
        path: the file.
        number: of the frame in it, from 0.
        places: the frame's own functional groups, those of all frames, and the image; all the image itself
            in files of one frame.
    """

    path: Path
    number: int
    places: tuple[Any, ...]

    def get(self, keyword: str, group: str = "") -> Any:
        """Return an attribute from a functional group or plain in the image; ``None`` if it is missing."""
        for place in self.places:
            for item in place.get(f"{group}Sequence", [place]):
                if item.get(keyword) is not None:
                    return item.get(keyword)
        return None


def frames_of(path: Path, image: Any) -> list[Frame]:
    """Return the frames of an image."""
    shared = image.get("SharedFunctionalGroupsSequence", [image])[0]
    own = image.get("PerFrameFunctionalGroupsSequence", [image])
    return [Frame(path, number, (groups, shared, image)) for number, groups in enumerate(own)]


class Grid(NamedTuple):
    """Where frames lie: ``(slice, row, column)`` to LPS millimetres ``(4, 4)``, and the slice of each."""

    affine: NDArray[np.float64]
    slices: NDArray[np.intp]

    @property
    def ras(self) -> NDArray[np.float64]:
        """``(x, y, z)`` to RAS millimetres ``(4, 4)``: columns of an image run along x, rows along y."""
        return LPS_TO_RAS @ self.affine[:, [2, 1, 0, 3]]


def frame_grid(source: str | PathLike[str], frames: Sequence[Frame], advice: str) -> Grid:
    """Return the grid that frames lie on; several may be at one place.

    Args:
        source: what messages call the series.
        frames: one at least.
        advice: what else can be done, for messages.

    Raises:
        BadFileError: if they do not say where they lie, or that is not a regular grid.
    """
    try:
        found = [_geometry(frame) for frame in frames]
    except (TypeError, ValueError) as error:
        raise BadFileError(
            f"{source}: images do not say where they lie (position, orientation, pixel spacing); {advice}."
        ) from error
    (orientation, spacing, thickness, _), positions = found[0], np.array([one[3] for one in found])
    normal = np.cross(*orientation)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    is_new = np.diff(along[order], prepend=-np.inf) > _SAME_PLACE_MM
    places, number = positions[order][is_new], int(is_new.sum())
    slices = np.empty(len(frames), np.intp)
    slices[order] = np.cumsum(is_new) - 1
    step = (places[-1] - places[0]) / (number - 1) if number > 1 else normal * thickness
    regular = places[0] + np.arange(number)[:, None] * step
    tolerance = max(_SAME_PLACE_MM, _SAME_PLACE_PIXELS * float(np.linalg.norm(step)))
    alike = all(
        np.allclose(one[0], orientation, atol=_SAME_DIRECTION) and np.allclose(one[1], spacing)
        for one in found
    )
    if not alike or np.abs(places - regular).max() > tolerance:
        raise BadFileError(
            f"{source}: the slices of the series do not form a regular grid (one is missing, tilted or of "
            f"another spacing); give the whole series, or {advice}."
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 3] = step, places[0]
    affine[:3, 1], affine[:3, 2] = orientation[1] * spacing[0], orientation[0] * spacing[1]
    return Grid(affine, slices)


def _geometry(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64], float, NDArray[np.float64]]:
    """Orientation ``(2, 3)``, spacing ``(2,)``, thickness and position in LPS millimetres."""
    return (
        _numbers(frame.get("ImageOrientationPatient", "PlaneOrientation"), 2, 3),
        _numbers(frame.get("PixelSpacing", "PixelMeasures"), 2),
        float(frame.get("SliceThickness", "PixelMeasures") or 1.0),
        _numbers(frame.get("ImagePositionPatient", "PlanePosition"), 3),
    )


def _numbers(values: Any, *shape: int) -> NDArray[np.float64]:
    return np.array(values, np.float64).reshape(shape)


def frame_pixels(path: Path, image: Any, index: int) -> NDArray[Any]:
    """Return the stored numbers of one frame, ``(rows, columns)``.

    Args:
        path: the file, for messages.
        image: its dataset with pixels; ``check_pixels`` has passed.
        index: number of the frame, from 0.

    Raises:
        BadFileError: if it is compressed in a way that nothing here can read.
    """
    from pydicom.pixels.utils import pixel_array

    syntax = image.file_meta.TransferSyntaxUID
    try:
        stored = pixel_array(image, index=index)
    except (RuntimeError, NotImplementedError):
        if not syntax.is_compressed:
            raise
        try:
            stored = _by_gdcm(image, index)
        except (RuntimeError, ImportError, ValueError) as error:
            raise BadFileError(
                f"{path}: compressed as {syntax.name}, which cannot be read here; export it uncompressed."
            ) from error
    bits = int(image.BitsStored)
    if stored.dtype.kind == "u" and bits < 8 * stored.dtype.itemsize:
        stored = stored & stored.dtype.type(2**bits - 1)  # old files keep overlays in the bits above
    return stored


_OF_PIXELS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SOPClassUID",
)


def _by_gdcm(image: Any, index: int) -> NDArray[Any]:
    """Stored numbers of one frame by GDCM, which is in SimpleITK: JPEG lossless, of which pydicom has none.

    The frame is handed over alone, for GDCM would rescale it as its attributes say.
    """
    import SimpleITK as sitk  # noqa: N813
    from pydicom.dataset import Dataset
    from pydicom.encaps import encapsulate, get_frame

    alone = Dataset()
    for keyword in _OF_PIXELS:
        setattr(alone, keyword, image[keyword].value)
    alone.SamplesPerPixel, alone.PhotometricInterpretation = 1, "MONOCHROME2"
    frames = int(image.get("NumberOfFrames") or 1)
    alone.PixelData = encapsulate([get_frame(image.PixelData, index, number_of_frames=frames)])
    alone["PixelData"].VR, alone["PixelData"].is_undefined_length = "OB", True
    alone.file_meta = image.file_meta
    with TemporaryDirectory() as folder:
        alone.save_as(Path(folder) / "frame.dcm", enforce_file_format=True)
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(Path(folder) / "frame.dcm")))
    if found.size != image.Rows * image.Columns:
        raise ValueError(f"holds {found.size} pixels, expected {image.Rows} × {image.Columns}")
    return found.reshape(image.Rows, image.Columns)
