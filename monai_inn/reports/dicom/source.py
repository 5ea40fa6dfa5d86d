"""Where DICOM objects lie: how map axes become rows and columns, and the series that an image came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError
from monai_inn.reading.pictures import load_dicom

__all__ = ["Layout", "Source", "fit_layout", "read_source", "upright_layout"]

Matrix = NDArray[np.float64]

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows", "Columns")
# May be empty in a file, or absent from files of careless devices; new objects must have them.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_SAME_DIRECTION = 1e-3
_SAME_PLACE_MM = 1e-2
_SAME_PLACE_PIXELS = 1e-2


@dataclass(frozen=True)
class Layout:
    """How the axes ``(i, j, k)`` of maps become slices, rows and columns.

    Args:
        axes: the map axes that become slice, row and column.
        flips: which of these run backwards.
        affine: ``(slice, row, column)`` to LPS millimetres, shape ``(4, 4)``.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    affine: Matrix

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """A map ``(i, j, k, ...)`` as ``(slice, row, column, ...)``."""
        turned = array.transpose(*self.axes, *range(3, array.ndim))
        return np.ascontiguousarray(turned[tuple(slice(None, None, -1 if f else 1) for f in self.flips)])


@dataclass(frozen=True)
class Source:
    """Images that objects refer to, and their grid.

    Args:
        images: datasets, one for each instance; pixels are not needed.
        affine: ``(slice, row, column)`` to LPS millimetres, shape ``(4, 4)``.
        shape: slices, rows, columns.
        name: what messages call it.
    """

    images: tuple[Any, ...]
    affine: Matrix
    shape: tuple[int, int, int]
    name: str


def upright_layout(affine_ras: Matrix, shape: tuple[int, ...]) -> Layout:
    """Return the layout in which pictures stand upright as radiologists are used to, without resampling.

    The axis that runs most to left or right, else front or back, becomes columns. Columns run to the left or
    the back of the patient, rows to the back or the feet.

    Args:
        affine_ras: index ``(i, j, k)`` to RAS millimetres.
        shape: size of the maps.
    """
    affine = _RAS_TO_LPS @ affine_ras
    along = [int(np.abs(affine[:3, a]).argmax()) for a in range(2)]
    axes = (2, 0, 1) if along[1] < along[0] else (2, 1, 0)
    flips = [False]
    for axis in axes[1:]:
        wanted = -1.0 if along[axis] == 2 else 1.0
        flips.append(bool(affine[along[axis], axis] * wanted < 0))
    return _layout(affine, shape, axes, tuple(flips))


def _layout(affine: Matrix, shape: tuple[int, ...], axes: tuple[int, ...], flips: tuple[bool, ...]) -> Layout:
    turned = affine.copy()
    for target, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        turned[:3, target] = -affine[:3, axis] if flip else affine[:3, axis]
        if flip:
            turned[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
    return Layout(axes, flips, turned)


def fit_layout(affine_ras: Matrix, shape: tuple[int, ...], source: Source) -> Layout:
    """Return the layout that puts maps on the grid of a series, pixel onto pixel.

    Args:
        affine_ras: index ``(i, j, k)`` to RAS millimetres.
        shape: size of the maps.
        source: the series.

    Raises:
        ValueError: if no turning or mirroring of the maps puts them there.
    """
    affine = _RAS_TO_LPS @ affine_ras
    if shape[2] == 1 and source.shape[0] == 1:  # the thickness of a single slice is anybody's guess
        affine[:3, 2] = source.affine[:3, 0]
    steps = np.linalg.inv(source.affine)[:3, :3] @ affine[:3, :3]
    axes = tuple(int(a) for a in np.abs(steps).argmax(1))
    if sorted(axes) == [0, 1, 2] and tuple(shape[a] for a in axes) == source.shape:
        layout = _layout(affine, shape, axes, tuple(bool(steps[t, a] < 0) for t, a in enumerate(axes)))
        spacing = np.linalg.norm(source.affine[:3, :3], axis=0).min()
        off = np.abs(_corners(layout.affine, source.shape) - _corners(source.affine, source.shape)).max()
        if off <= max(_SAME_PLACE_MM, _SAME_PLACE_PIXELS * spacing):
            return Layout(layout.axes, layout.flips, source.affine)
    raise ValueError(
        f"{source.name}: the series lies elsewhere than the maps: {_grid(source.affine, source.shape)}, but "
        f"maps of {_grid(affine, shape)}; give the series that the image was made of, and infer without "
        "--shrink."
    )


def _corners(affine: Matrix, shape: tuple[int, ...]) -> Matrix:
    ends = np.stack(np.meshgrid(*((0, n - 1) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    return ends @ affine[:3, :3].T + affine[:3, 3]


def _grid(affine: Matrix, shape: tuple[int, ...]) -> str:
    spacing = " × ".join(f"{s:.4g}" for s in np.linalg.norm(affine[:3, :3], axis=0))
    origin = ", ".join(f"{x:.4g}" for x in affine[:3, 3])
    return f"{' × '.join(map(str, shape))} pixels of {spacing} mm at LPS ({origin}) mm"


def read_source(folder: str | PathLike[str]) -> Source:
    """Read the headers of a DICOM series; several bands at one place and multi-frame files are welcome.

    Raises:
        ValueError: if the folder holds no DICOM image, several series, or slices without a regular grid.
        OSError: if it cannot be read.
    """
    try:
        return _read_source(folder)
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:  # attributes are decoded, and found damaged, when they are first used
        raise BadFileError(
            f"{folder}: damaged DICOM files ({type(error).__name__}); copy them again."
        ) from error


def _read_source(folder: str | PathLike[str]) -> Source:
    images = list(_images(Path(folder)))
    if not images:
        raise ValueError(f"{folder}: holds no DICOM image; give the folder of the series.")
    series = sorted({str(image.SeriesInstanceUID) for image in images})
    if len(series) > 1:
        raise ValueError(
            f"{folder}: holds {len(series)} series ({', '.join(series)}); give a folder with one."
        )
    if any("FrameOfReferenceUID" not in image for image in images):
        raise ValueError(
            f"{folder}: the series has no frame of reference, so nothing can be placed in it; export without "
            "--source."
        )
    sizes = {(int(image.Rows), int(image.Columns)) for image in images}
    if len(sizes) > 1:
        raise ValueError(
            f"{folder}: images of different size, {sorted(sizes)}; give a folder with one series."
        )
    for image in images:
        for keyword in _MAY_BE_EMPTY:
            if keyword not in image:
                setattr(image, keyword, None)
    affine, slices = _frames_affine(folder, [frame for image in images for frame in _frames(folder, image)])
    return Source(tuple(images), affine, (slices, *sizes.pop()), str(folder))


def _images(folder: Path) -> Iterator[Any]:
    """Headers of the DICOM images in a folder; other files are passed over."""
    import pydicom

    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give the folder of the DICOM series.")
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
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
            yield image
        elif "Image" in image.file_meta.get("MediaStorageSOPClassUID", pydicom.uid.UID("")).name:
            raise ValueError(f"{path}: damaged or truncated DICOM file; copy it again.")


def _frames(folder: str | PathLike[str], image: Any) -> Iterator[tuple[Matrix, Matrix, float, Matrix]]:
    """Orientation ``(2, 3)``, spacing ``(2,)``, thickness and position in LPS millimetres of each frame."""
    shared = image.get("SharedFunctionalGroupsSequence", [image])[0]
    for own in image.get("PerFrameFunctionalGroupsSequence", [image]):
        try:
            yield (
                _numbers(_found("PlaneOrientation", "ImageOrientationPatient", own, shared, image), 2, 3),
                _numbers(_found("PixelMeasures", "PixelSpacing", own, shared, image), 2),
                float(_found("PixelMeasures", "SliceThickness", own, shared, image) or 1.0),
                _numbers(_found("PlanePosition", "ImagePositionPatient", own, shared, image), 3),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{folder}: the images do not say where they lie (position, orientation, pixel spacing); "
                "export without --source."
            ) from error


def _numbers(values: Any, *shape: int) -> Matrix:
    return np.array(values, np.float64).reshape(shape)


def _found(group: str, keyword: str, *places: Any) -> Any:
    """An attribute from the functional group of a frame, or plain in the image."""
    for place in places:
        for item in place.get(f"{group}Sequence", [place]):
            if item.get(keyword) is not None:
                return item.get(keyword)
    return None


def _frames_affine(
    folder: str | PathLike[str], frames: list[tuple[Matrix, Matrix, float, Matrix]]
) -> tuple[Matrix, int]:
    """Affine ``(slice, row, column)`` to LPS of frames, and the number of slices."""
    (orientation, spacing, thickness, _), positions = frames[0], np.array([frame[3] for frame in frames])
    normal = np.cross(*orientation)
    along = positions @ normal
    places = positions[np.argsort(along, kind="stable")]
    keep = np.diff(np.sort(along), prepend=-np.inf) > _SAME_PLACE_MM
    places = places[keep]
    number = len(places)
    step = (places[-1] - places[0]) / (number - 1) if number > 1 else normal * thickness
    regular = places[0] + np.arange(number)[:, None] * step
    tolerance = max(_SAME_PLACE_MM, _SAME_PLACE_PIXELS * float(np.linalg.norm(step)))
    alike = all(
        np.allclose(f[0], orientation, atol=_SAME_DIRECTION) and np.allclose(f[1], spacing) for f in frames
    )
    if not alike or np.abs(places - regular).max() > tolerance:
        raise ValueError(
            f"{folder}: the slices of the series do not form a regular grid (one is missing, tilted or of "
            "another spacing); give the whole series, or export without --source."
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 3] = step, places[0]
    affine[:3, 1], affine[:3, 2] = orientation[1] * spacing[0], orientation[0] * spacing[1]
    return affine, number
