"""Images of one place with their times, and checks that they belong together."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from monai_inn.applications.perfusion.series.measured_artery import read_times
from monai_inn.files import BadFileError
from monai_inn.reading.orientation import same_grid

__all__ = ["Series", "check_place", "check_sequence", "with_times"]


class Series(NamedTuple):
    """Images of one place, one after the other, and what their files say of them.

    Attributes:
        path: where from, for messages.
        values: images in the unit of the files, ``(T, x, y, z)``, float32.
        affine: index to RAS in mm, ``(4, 4)``.
        times_s: time of each image in s after the first; ``None`` if the files do not say.
        flip_deg: flip angle of each image in degrees; ``None`` likewise.
        tr_s: repetition time of the excitations in s; ``None`` likewise.
        te_s: echo time in s; ``None`` likewise.
        units: unit of the values; empty if the files do not say.
        notes: what was taken from where, for people.
    """

    path: Path
    values: Tensor
    affine: Tensor
    times_s: tuple[float, ...] | None = None
    flip_deg: tuple[float, ...] | None = None
    tr_s: float | None = None
    te_s: float | None = None
    units: str = ""
    notes: tuple[str, ...] = ()


def with_times(
    series: Series, times: str | PathLike[str] | None, interval_s: float | None, skip: int = 0
) -> Series:
    """Return a series with its times, without its first images.

    Args:
        series: as it was read.
        times: CSV of the times of all images; ``None`` for what the files say.
        interval_s: time between two images instead.
        skip: number of images to leave out; times go on to count from the first of all.

    Raises:
        ValueError: if times are not known or of another number, or there are not so many images.
    """
    number, given = len(series.values), series.times_s
    if interval_s is not None:
        if not interval_s > 0:
            raise ValueError(f"--interval {interval_s:g}, expected a positive number of s.")
        given = tuple(interval_s * i for i in range(number))
    elif times is not None:
        listed = read_times(times)
        if len(listed) != number:
            raise ValueError(f"{times}: {len(listed)} times, but {series.path} has {number} images.")
        given = tuple(time - listed[0] for time in listed)
    if given is None:
        raise ValueError(
            f"{series.path}: its files do not say when the images were taken; give --interval SECONDS, "
            "--times CSV, or VolumeTiming in its JSON file."
        )
    if not 0 <= skip < number:
        raise ValueError(f"--skip {skip}: {series.path} has {number} images; give fewer.")
    skipped = (f"The first {skip} images were left out.",) if skip else ()
    own = series.notes if given is series.times_s else ()
    return series._replace(values=series.values[skip:], times_s=given[skip:], notes=(*own, *skipped))


def check_place(series: Series, image: Series, what: str) -> None:
    """Refuse an image whose voxels are not those of a series.

    Args:
        series: the series.
        image: the other one.
        what: what the image is, for the message.

    Raises:
        BadFileError: if its size or its affine is another.
    """
    size, own = tuple(image.values.shape[1:]), tuple(series.values.shape[1:])
    if size != own or not same_grid(image.affine, series.affine, own):
        how = f"{size} voxels, not {own}" if size != own else "voxels elsewhere"
        raise BadFileError(
            f"{image.path}: {what} has {how} as {series.path}; resample it to the series first."
        )


def check_sequence(path: Path, described: Mapping[str, Any]) -> None:
    """Refuse images that say that a gradient echo did not make them.

    Raises:
        BadFileError: in that case.
    """
    modality, sequence = described.get("Modality", "MR"), described.get("ScanningSequence") or ""
    kinds = set(sequence.replace("\\", "_").split("_") if isinstance(sequence, str) else map(str, sequence))
    is_other = "IR" in kinds or ("GR" not in kinds and "SE" in kinds)
    if modality != "MR" or is_other:
        said = f"Modality {str(modality)[:20]!r}" if modality != "MR" else f"ScanningSequence {sorted(kinds)}"
        raise BadFileError(
            f"{path}: says {said}, expected MR images of a gradient echo (GR, EP); give the T1-weighted "
            "series, or the T2*-weighted one."
        )
