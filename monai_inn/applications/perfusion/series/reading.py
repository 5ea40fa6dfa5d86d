"""Series of MR images with their times, from NIfTI or DICOM as scanners and converters write them."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.applications.perfusion.series.dicom_series import read_dicom_series
from monai_inn.applications.perfusion.series.images import Series, check_sequence
from monai_inn.files import BadFileError
from monai_inn.reading.dicom import is_dicom
from monai_inn.spelling import nearest

__all__ = ["read_series"]

_STEP_UNITS_S = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_NOT_STATED_S = 1.0  # what programs write that know no time between volumes


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
