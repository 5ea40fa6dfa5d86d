"""Series of MR images from DICOM: frames in order of slice and time, from many files or from one.

Attributes are those of DICOM PS3.3: the MR Image module (C.8.3) and the functional groups of enhanced MR
images (C.7.6.16, C.8.13).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.applications.perfusion.series.images import Series, check_sequence
from monai_inn.files import BadFileError, damage_named
from monai_inn.reading.dicom import Frame, frame_grid, frames_of, series_headers
from monai_inn.reading.dicom_frames import frames_by_slice, number_of, series_values
from monai_inn.reading.limits import check_affine

__all__ = ["read_dicom_series"]

_EPOCH = datetime(1970, 1, 1)
_ADVICE = "export it again with all its attributes"
_TIMING = "MRTimingAndRelatedParameters"
_APART = 0.1  # share of the time between frames from which on it is said that slices have times of their own


def read_dicom_series(source: Path) -> Series:
    """Read a series of DICOM images: one file a slice, one file a frame, or one file of all.

    Args:
        source: folder of the series, or its only file.

    Raises:
        BadFileError: if there is no series or more than one, a file is damaged, the images are not MR, not of
            one size, do not form a grid, or their order is not clear.
        ImportError: if pydicom is missing.
    """
    advice = "the files are damaged or truncated. Copy them again."
    with damage_named(source, "a DICOM series", advice), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of careless values that are read all the same
        found = series_headers(source)
        frames = [frame for path, image in found for frame in frames_of(path, image)]
        for _, image in found:
            sequence = image.get("ScanningSequence")
            kinds = [sequence] if isinstance(sequence, str) else list(sequence or ())
            check_sequence(source, {"Modality": str(image.get("Modality")), "ScanningSequence": kinds})
        grid = frame_grid(source, frames, _ADVICE)
        order = _order(source, frames, grid.slices)
        times, notes = _times(frames, order)
        values = series_values(source, frames, order.places)
        check_affine(source, grid.ras)
        angles = _alike(source, frames, order.places, "FlipAngle")
        repetition, echo = (
            _alike(source, frames, order.places, name) for name in ("RepetitionTime", "EchoTime")
        )
        for kind, times_ms in (("repetition", repetition), ("echo", echo)):
            if times_ms is not None and len(set(times_ms)) > 1:
                raise BadFileError(
                    f"{source}: {kind} times from {min(times_ms):g} to {max(times_ms):g} ms, expected one; "
                    "give a folder with one kind of images."
                )
        return Series(
            source,
            torch.from_numpy(values),
            torch.from_numpy(grid.ras),
            times,
            angles,
            None if repetition is None else repetition[0] / 1000,
            None if echo is None else echo[0] / 1000,
            notes=notes,
        )


class _Order(NamedTuple):
    """Frames by time and slice, ``(T, slices)``, what ordered them, and their times in s if that tells."""

    places: NDArray[np.intp]
    by: str
    times_s: NDArray[np.float64] | None


def _moment(frame: Frame) -> float | None:
    """Date and time of the acquisition in s, or the time of the day if there is no date."""
    from pydicom.valuerep import DT, TM

    whole = frame.get("FrameAcquisitionDateTime", "FrameContent") or frame.get("AcquisitionDateTime")
    if whole:
        return _seconds(DT(str(whole)))
    clock = frame.get("AcquisitionTime")
    if not clock:
        return None
    date, time = frame.get("AcquisitionDate"), TM(str(clock))
    return _seconds(datetime.combine(DT(str(date)).date() if date else _EPOCH.date(), time))


def _seconds(moment: datetime) -> float:
    return (moment.replace(tzinfo=None) - _EPOCH) / timedelta(seconds=1)


_CLOCKS: dict[str, Callable[[Frame], float | None]] = {
    "acquisition time": _moment,
    "trigger time": number_of("TriggerTime", unit_s=1e-3),
    "temporal position offset": number_of("TemporalPositionTimeOffset", "TemporalPosition"),
}
_COUNTERS: dict[str, Callable[[Frame], float | None]] = {
    "temporal position index": number_of("TemporalPositionIndex", "FrameContent"),
    "temporal position identifier": number_of("TemporalPositionIdentifier"),
    "flip angle": number_of("FlipAngle", _TIMING),
    "acquisition number": number_of("AcquisitionNumber"),
}
# The last resort: it differs between magnitude and phase as well, so that nothing else may have told frames.
_INSTANCES = {"instance number": number_of("InstanceNumber")}


def _order(source: Path, frames: Sequence[Frame], slices: NDArray[np.intp]) -> _Order:
    """Sort the frames of each slice by the first attribute that tells them apart."""
    members = frames_by_slice(source, slices)
    number = len(members[0])
    if number == 1:
        return _Order(np.concatenate(members)[None], "", None)
    tells_nothing = True
    for name, read in (_CLOCKS | _COUNTERS | _INSTANCES).items():
        if name in _INSTANCES and not tells_nothing:
            continue
        keys = [read(frame) for frame in frames]
        if None in keys:
            continue
        at = np.array(keys, np.float64)
        differ = {len(np.unique(at[group])) for group in members}
        if differ == {number}:
            places = np.stack([group[at[group].argsort()] for group in members], 1)
            return _Order(places, name, at[places] if name in _CLOCKS else None)
        tells_nothing &= differ == {1}
    raise BadFileError(
        f"{source}: several images of one place have the same time and number, as magnitude and phase or "
        "several echoes have; give a folder with one kind of images."
    )


def _times(frames: Sequence[Frame], order: _Order) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Times of the frames in s after the first, and what was made of the attributes."""
    number = len(order.places)
    if number == 1:
        return None, ()
    if order.times_s is None:
        step_ms = number_of("TemporalResolution")(frames[0])
        if step_ms is None or order.by == "flip angle":
            return None, (f"Images in order of their {order.by}.",)
        note = f"Times: one image every {step_ms / 1000:g} s (TemporalResolution), by {order.by}."
        return tuple(step_ms / 1000 * i for i in range(number)), (note,)
    mean = order.times_s.mean(1)
    notes = [f"Times of the {order.by} of the DICOM files."]
    apart = float(np.ptp(order.times_s, axis=1).max())
    if apart > _APART * float(np.diff(mean).min()):
        notes.append(f"Slices of a frame are up to {apart:.3g} s apart; its time is their mean.")
    return tuple((mean - mean[0]).tolist()), tuple(notes)


def _alike(
    source: Path, frames: Sequence[Frame], places: NDArray[np.intp], keyword: str
) -> tuple[float, ...] | None:
    """A number of each frame, which all its slices must have."""
    read = number_of(keyword, _TIMING)
    rows = [{read(frames[k]) for k in row} for row in places]
    if any(len(row) > 1 for row in rows):
        raise BadFileError(
            f"{source}: slices of one frame differ in {keyword}; give a folder with one kind of images."
        )
    values = [row.pop() for row in rows]
    return None if None in values else tuple(v for v in values if v is not None)
