"""DICOM Parametric Maps that `monai-inn export` wrote, read back as the result that they came from.

Their values are those of the maps to the last bit. What DICOM has no place for is not in them: quantiles,
samples, the number of modes, and values of withheld voxels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..translating import tr as _
from .made import made_result
from .result import Result, ResultError

__all__ = ["MAKER", "PARAMETRIC_MAP", "SEGMENTATION", "read_parametric_maps"]

MAKER = "monai_inn"
"""The Manufacturer of our objects."""
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_SCHEME = "99MONAIINN"
_KINDS = {"373098007": "mean", "373099004": "median", "INTERVAL_WIDTH": "interval_width",
          "P_VALUE": "adequacy"}  # fmt: skip
_COMMENT = r"(.*?) ?RESEARCH ONLY\. (.*) Derived by monai_inn \S+ from (.*) with the bundle (.*)\. Pixels.*"
_WITHHELD = "Out of distribution"
_SAME_PLACE = 1e-3  # of the distance between slices
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_parametric_maps(paths: Sequence[str | PathLike[str]]) -> Result:
    """Read the Parametric Maps of a result and the Segmentation of what is withheld.

    Args:
        paths: their files, in any order.

    Returns:
        A result for ``store``; voxels that are withheld or not usable are NaN.

    Raises:
        ResultError: if a file is damaged or not ours, one is missing, or they are of different results.
    """
    objects = [(Path(path), _read(path)) for path in paths]
    objects.sort(key=lambda each: int(each[1].get("SeriesNumber") or 0))  # as the parameters in their record
    try:
        return _result(objects)
    except ResultError:
        raise
    except Exception as error:  # attributes are decoded, and found damaged, when they are first used
        names = ", ".join(path.name for path, _ in objects)
        text = _("{names}: damaged or cut off ({error}); get the study once more.")
        raise ResultError(text.format(names=names, error=error)) from error


def _read(path: str | PathLike[str]) -> Any:
    import pydicom  # Slicer has it; the viewer has it with the extra dicom

    try:
        found = pydicom.dcmread(path)
    except Exception as error:  # pydicom has exceptions of many kinds for files that are not DICOM
        raise ResultError(
            _("{path}: not a DICOM file, or damaged ({error}).").format(path=path, error=error)
        ) from error
    if found.get("Manufacturer") != MAKER or found.get("SOPClassUID") not in (PARAMETRIC_MAP, SEGMENTATION):
        raise ResultError(
            _("{path}: not an object of monai_inn; load it as other DICOM images.").format(path=path)
        )
    return found


def _result(objects: list[tuple[Path, Any]]) -> Result:
    first = next((each for _, each in objects if each.SOPClassUID == PARAMETRIC_MAP), None)
    withheld = [each for _, each in objects if each.SOPClassUID == SEGMENTATION]
    if first is None or len(withheld) != 1:
        text = _(
            "{result}: has {number} Segmentations of withheld voxels, expected 1 beside the maps; get "
            "the whole study from the archive."
        )
        raise ResultError(
            text.format(result=first.SeriesDescription if first else _("The result"), number=len(withheld))
        )
    matrix, shape = _grid(first)
    valid, ood = _verdicts(withheld[0], matrix, shape)
    rows: dict[str, dict[str, Any]] = {}
    settings: dict[str, Any] = {"false_alarm": _false_alarm(withheld[0])}
    maps = []
    for path, each in objects:
        if each.SOPClassUID != PARAMETRIC_MAP:
            continue
        own, own_shape = _grid(each)
        if own_shape != shape or not np.allclose(own, matrix, atol=1e-4):
            raise ResultError(_other_grid(path))
        maps.append(_map(path, each, rows, settings))
    known = [(kind, parameter) for kind, parameter, *_ in maps]
    if len(set(known)) < len(known) or not rows:
        what = (
            _("{result}: a map is there twice; load one result at a time.")
            if rows
            else _("{result}: a map shows no parameter; load one result at a time.")
        )
        raise ResultError(what.format(result=first.SeriesDescription))
    maps += [("ood", "ood", "1", ood), ("valid", "valid", "1", valid.astype(np.uint8))]
    return made_result({**_about(first), "settings": settings, "parameters": [*rows.values()]}, maps, matrix)


def _other_grid(what: object) -> str:
    return _("{map}: lies on another grid than the other maps; load one result at a time.").format(map=what)


def _grid(found: Any) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Index ``(i, j, k)`` to RAS millimeters of a map's frames, and its shape ``(K, J, I)``."""
    shared = found.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    places = _places(found)
    step = np.cross(*cosines) * float(measures.SliceThickness)
    if len(places) > 1:
        step = (places[-1] - places[0]) / (len(places) - 1)
        off = np.abs(places - places[0] - np.arange(len(places))[:, None] * step).max()
        if off > _SAME_PLACE * np.linalg.norm(step):
            raise ResultError(
                _("{map}: its slices are not equally far apart.").format(map=found.SeriesDescription)
            )
    matrix = np.eye(4)
    down, across = (float(s) for s in measures.PixelSpacing)
    matrix[:3, :3] = np.stack([cosines[0] * across, cosines[1] * down, step], 1)
    matrix[:3, 3] = places[0]
    return _RAS @ matrix, (len(places), int(found.Rows), int(found.Columns))


def _places(found: Any) -> NDArray[np.float64]:
    """Where the first pixel of each frame lies, LPS millimeters ``(F, 3)``."""
    frames = found.PerFrameFunctionalGroupsSequence
    return np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames], float)


def _map(
    path: Path, found: Any, rows: dict[str, dict[str, Any]], settings: dict[str, Any]
) -> tuple[str, str, str, NDArray[np.float32]]:
    """Kind, parameter, unit and voxels of a map; what it says of its parameter goes into ``rows``."""
    shared = found.SharedFunctionalGroupsSequence[0]
    mapping = shared.RealWorldValueMappingSequence[0]
    quantity, statistic = (item.ConceptCodeSequence[0] for item in mapping.QuantityDefinitionSequence)
    kind = _KINDS.get(statistic.CodeValue)
    if quantity.CodingSchemeDesignator != _SCHEME or kind is None:
        text = _("{path}: a map of {statistic}, which this module does not know; update the extension.")
        raise ResultError(text.format(path=path, statistic=statistic.CodeMeaning))
    name, _comma, what = mapping.LUTExplanation.rpartition(", ")
    code = mapping.MeasurementUnitsCodeSequence[0].CodeValue
    unit = f"1{code}" if code.startswith("/") else str(code)
    window = shared.FrameVOILUTSequence[0]
    center, width = float(window.WindowCenter), float(window.WindowWidth)
    low, high = (float(f"{end:.10g}") for end in (center - width / 2, center + width / 2))
    if kind != "adequacy":
        new = {"name": name, "unit": unit, "description": str(quantity.CodeMeaning), "scale": "linear"}
        row = rows.setdefault(name, new | {"low": low, "high": high, "width": width})
        row.update({"width": width} if kind == "interval_width" else {"low": low, "high": high})
    if share := re.search(r"width of ([\d.]+) % interval", what):
        settings["interval"] = float(share[1]) / 100
    stored = found.pixel_array.reshape(-1, int(found.Rows), int(found.Columns))
    slope, intercept = float(mapping.RealWorldValueSlope), float(mapping.RealWorldValueIntercept)
    values = (
        stored if (slope, intercept) == (1.0, 0.0) else stored * np.float32(slope) + np.float32(intercept)
    )
    empty = stored == np.float32(found.FloatPixelPaddingValue)
    return kind, name if kind != "adequacy" else kind, unit, np.where(empty, np.float32(np.nan), values)


def _verdicts(
    found: Any, matrix: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which voxels are usable, and which of them out of distribution, on the grid of the maps."""
    labels = {int(each.SegmentNumber): each.SegmentLabel for each in found.SegmentSequence}
    frames = found.pixel_array.reshape(-1, int(found.Rows), int(found.Columns)) > 0
    from_first = (_places(found) - (_RAS @ matrix)[:3, 3]) @ (_RAS @ matrix)[:3, 2]
    slices = np.rint(from_first / (matrix[:3, 2] @ matrix[:3, 2])).astype(int)
    if frames.shape[1:] != shape[1:] or slices.min() < 0 or slices.max() >= shape[0]:
        raise ResultError(_other_grid(found.SeriesDescription))
    valid, ood = np.ones(shape, bool), np.zeros(shape, np.float32)
    for k, frame, group in zip(slices, frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if labels[number] == _WITHHELD:
            ood[k][frame] = 1.0
        else:
            valid[k] &= ~frame
    return valid, ood


def _false_alarm(found: Any) -> float:
    """The false-alarm rate that the algorithm of the Segmentation was run with."""
    algorithm = found.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    return float(re.search(r"false_alarm\W+([\d.e-]+)", str(algorithm.AlgorithmParameters))[1])


def _about(found: Any) -> dict[str, Any]:
    """What an object says of image and bundle, in the form of a record."""
    said = re.fullmatch(_COMMENT, str(found.ImageComments), re.DOTALL)
    if said is None:
        text = _("{map}: written by another monai_inn; update the older of the two.")
        raise ResultError(text.format(map=found.SeriesDescription))
    synthetic, use, image, bundle = said.groups()
    sources = [
        str(item.ReferencedSOPInstanceUID)
        for series in found.get("ReferencedSeriesSequence", [])
        for item in series.ReferencedInstanceSequence
    ]
    return {
        "intended_use": use,
        "image": {"path": image},
        "bundle": {
            "name": bundle.strip(),
            "path": "",
            "weights_sha256": str(found.get("DeviceSerialNumber", "")),
        },
        "trust": {"waic_scale": [0.0, 1.0], "reasons": []},
        "source_instances": sources,
    } | ({"synthetic": synthetic} if synthetic else {})
