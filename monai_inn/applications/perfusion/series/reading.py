"""Series of MR images with their times, from NIfTI or DICOM as scanners and converters write them."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.perfusion.series.measured_artery import read_times
from monai_inn.files import BadFileError
from monai_inn.reading.dicom import is_dicom
from monai_inn.spelling import nearest

__all__ = ["Series", "check_place", "check_sequence", "read_series", "with_times"]

_STEP_UNITS_S = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_SAME_MM = 1e-2
_NOT_STATED_S = 1.0  # what programs write that know no time between volumes


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


def read_series(path: str | PathLike[str]) -> Series:
    """Read a series: a 4-D image with its JSON file, or DICOM.

    Args:
        path: NIfTI, or another image that ``read_multispectral`` takes; a DICOM file of many frames; a
            folder of DICOM files.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: if files are damaged, not of one series, or their times or settings cannot be right.
        ImportError: if the library for the format is missing.
    """
    source = Path(path)
    if source.is_dir() or (source.is_file() and is_dicom(source)):
        from monai_inn.applications.perfusion.series.dicom_series import read_dicom_series

        return read_dicom_series(source)
    from monai_inn.transforms.beside import described_beside
    from monai_inn.transforms.readers import read_multispectral

    image = read_multispectral(source)
    values = image.as_tensor()
    values = values.unsqueeze(-1) if values.ndim == 3 else values
    described = described_beside(source)
    check_sequence(source, described)
    times, note = _times(source, described, len(values))
    return Series(
        source,
        values,
        image.affine,
        times,
        _flip_angles(source, described, len(values)),
        _seconds(source, described, "RepetitionTimeExcitation", "RepetitionTime"),
        _seconds(source, described, "EchoTime"),
        str(image.meta.get("units", "")),
        (note,) if note else (),
    )


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
    if size != own or not torch.allclose(image.affine.double(), series.affine.double(), atol=_SAME_MM):
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


def _times(path: Path, described: Mapping[str, Any], number: int) -> tuple[tuple[float, ...] | None, str]:
    """Times in s after the first, and where they come from."""
    known = ("time", "VolumeTiming", "FrameTimesStart")
    for key in known:
        if key not in described:
            continue
        times = _list(path, key, described[key])
        if len(times) != number:
            raise BadFileError(
                f"{path}: {len(times)} entries of {key}, but {number} images; correct its JSON."
            )
        return tuple(time - times[0] for time in times), f"Times are {key} of the JSON file."
    for key, given in described.items():
        if isinstance(given, list) and len(given) == number and (hint := nearest(key, known)):
            raise BadFileError(f"{path}: {key!r}{hint} of its JSON is not read; rename it.")
    step = _header_step_s(path)
    if step is None or number < 2:
        return None, ""
    return tuple(step * i for i in range(number)), f"Times: one image every {step:g} s, as the header says."


def _header_step_s(path: Path) -> float | None:
    """Time between volumes in the header of a NIfTI, if it has one with its unit."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    import nibabel

    header: Any = nibabel.load(path).header
    zooms, (_, unit) = header.get_zooms(), header.get_xyzt_units()
    if len(zooms) < 4 or unit not in _STEP_UNITS_S:
        return None
    step = float(f"{zooms[3]:.6g}") * _STEP_UNITS_S[unit]  # stored in single precision
    return step if step > 0 and step != _NOT_STATED_S else None


def _flip_angles(path: Path, described: Mapping[str, Any], number: int) -> tuple[float, ...] | None:
    if "FlipAngle" not in described:
        return None
    angles = _list(path, "FlipAngle", described["FlipAngle"])
    if len(angles) == 1:
        return tuple(angles) * number
    if len(angles) != number:
        raise BadFileError(
            f"{path}: {len(angles)} entries of FlipAngle, but {number} images; correct its JSON."
        )
    return tuple(angles)


def _seconds(path: Path, described: Mapping[str, Any], *keys: str) -> float | None:
    """The first of some times that is there."""
    key = next((k for k in keys if k in described), None)
    return None if key is None else _list(path, key, described[key])[0]


def _list(path: Path, key: str, given: Any) -> list[float]:
    """A number or a list of numbers."""
    values = given if isinstance(given, list) else [given]
    if not values or any(type(value) not in (int, float) for value in values):
        raise BadFileError(f"{path}: {key} is {str(given)[:60]!r}, expected numbers; correct its JSON.")
    return [float(value) for value in values]
