"""Images of one place, one after the other, in DICOM: which slice each is of, and their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError, damage_named
from monai_inn.reading.dicom import Frame, frame_pixels
from monai_inn.reading.limits import check_limit
from monai_inn.reading.pictures import check_pixels, load_dicom

__all__ = ["frames_by_slice", "number_of", "series_values"]


def number_of(keyword: str, group: str = "", unit_s: float = 1.0) -> Callable[[Frame], float | None]:
    """Return what reads a number of a frame, times a unit; ``None`` where it is missing.

    Args:
        keyword: of the attribute.
        group: of functional groups that hold it in enhanced images, without ``Sequence``.
        unit_s: factor.
    """

    def read(frame: Frame) -> float | None:
        value = frame.get(keyword, group)
        return None if value is None or value == "" else float(value) * unit_s

    return read


def frames_by_slice(source: Path, slices: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return the frames of each slice, all as many.

    Args:
        source: what messages call the series.
        slices: slice of each frame, from 0.

    Raises:
        BadFileError: if slices have different numbers of frames.
    """
    members = [np.flatnonzero(slices == number) for number in range(slices.max() + 1)]
    counts = [len(group) for group in members]
    if len(set(counts)) > 1:
        odd = min(range(len(counts)), key=lambda k: counts.count(counts[k]))
        raise BadFileError(
            f"{source}: slice {odd + 1} has {counts[odd]} images, others {max(counts, key=counts.count)}; "
            "some are missing or twice there. Copy the whole series."
        )
    return members


def series_values(source: Path, frames: Sequence[Frame], places: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the values of all frames, ``(T, x, y, z)``, rescaled as each says.

    Args:
        source: what messages call the series.
        frames: all of them.
        places: index of each, by time and slice, ``(T, slices)``.

    Raises:
        BadFileError: if a file is damaged, in colour or of another size, or all would fill too much memory.
    """
    first = frames[0].places[-1]
    rows, columns = int(first.Rows), int(first.Columns)
    times, slices = places.shape
    check_limit(source, 4 * times * slices * rows * columns)
    values = np.empty((times, columns, rows, slices), np.float32)
    where = {int(k): at for at, k in np.ndenumerate(places)}
    for path, group in groupby(enumerate(frames), key=lambda entry: entry[1].path):
        image = _whole(path, (rows, columns))
        for k, frame in group:
            time, slice_ = where[k]
            slope, intercept = (_scale(frame, f"Rescale{name}") for name in ("Slope", "Intercept"))
            stored = frame_pixels(path, image, frame.number)
            values[time, :, :, slice_] = stored.T * (1.0 if slope is None else slope) + (intercept or 0.0)
    return values


def _scale(frame: Frame, keyword: str) -> float | None:
    return number_of(keyword, "PixelValueTransformation")(frame)


def _whole(path: Path, size: tuple[int, int]) -> Any:
    """The dataset of a file with its pixels."""
    with damage_named(path, "DICOM", "the file is damaged or truncated. Copy it again."):
        image = load_dicom(path)
        if "PixelData" not in image:
            raise BadFileError(f"{path}: a DICOM file without pixels, damaged or truncated. Copy it again.")
        if (int(image.Rows), int(image.Columns)) != size or int(image.get("SamplesPerPixel") or 1) != 1:
            raise BadFileError(
                f"{path}: image of {image.Rows} × {image.Columns} pixels, expected {size[0]} × {size[1]} in "
                "grey as the first; give a folder with one series."
            )
        check_pixels(path, image)
        return image
