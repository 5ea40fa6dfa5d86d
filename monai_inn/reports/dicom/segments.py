"""DICOM Segmentations of a result: what is withheld, and regions of decision."""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from monai_inn import __version__
from monai_inn.reports.dicom.source import Layout, Source
from monai_inn.reports.dicom.study import SCHEME, identity, short
from monai_inn.reports.stored import StoredResult

__all__ = ["located", "regions_segmentation", "withheld_segmentation"]

_UNTRUSTED_RGB = (217, 0, 115)  # as in figures
_UNUSABLE_RGB = (128, 128, 128)
_REGIONS_RGB = (0, 115, 178), (230, 158, 0), (153, 153, 153)  # as in 3D Slicer


def located(array: NDArray[Any], layout: Layout, source: Source) -> Any:
    """Return an array ``(slice, row, column)`` as a volume in the frame of reference of its source."""
    return hd.Volume(array, layout.affine, "PATIENT", source.images[0].FrameOfReferenceUID)


def withheld_segmentation(result: StoredResult, source: Source, layout: Layout, number: int) -> Any:
    """Return the Segmentation of pixels that have no value, a segment for each reason."""
    found = {"false_alarm": f"{result.record['settings']['false_alarm']:g}"}
    segments = [_segment(result, 1, "OUT_OF_DIST", "Out of distribution", _UNTRUSTED_RGB, found)]
    labels = result.withheld.astype(np.uint8)
    if not result.valid.all():
        segments.append(_segment(result, 2, "NO_MEASUREMENT", "No usable measurement", _UNUSABLE_RGB, found))
        labels[~result.valid] = 2
    return hd.seg.Segmentation(
        segment_descriptions=segments,
        content_label="WITHHELD",
        content_description="pixels whose values must not be interpreted",
        **_shared(source, layout, labels),
        **identity(result, number, "out of distribution"),
    )


def regions_segmentation(result: StoredResult, source: Source, layout: Layout, number: int) -> Any:
    """Return the Segmentation of the regions of decision.

    Raises:
        ValueError: if their labels are missing or damaged.
    """
    regions = result.record["regions"]
    row = next((r for r in result.record["parameters"] if r["name"] == regions["parameter"]), None)
    labels = result.maps.get(("regions", regions["parameter"]))
    if row is None or labels is None or not np.isin(labels, (0, 1, 2, 3)).all():
        raise ValueError(
            f"{result.folder}: the regions of {regions['parameter']} are missing or damaged; make them again "
            "in 3D Slicer, and export once more."
        )
    unit = "" if row["unit"] == "1" else f" {row['unit']}"
    event = f"{row['name']} {'>' if regions['is_above'] else '<'} {regions['threshold']:g}{unit}"
    certain, possible = (f"{100 * regions[key]:g} %" for key in ("certain", "possible"))
    texts = (
        ("CERTAIN", f"certain: {event} (P at least {certain})"),
        ("POSSIBLE", f"possible: {event} (P {possible} to {certain})"),
        ("UNKNOWN", "unknown / not trusted"),
    )
    found = {key: f"{regions[key]:g}" for key in ("threshold", "certain", "possible", "smallest")}
    segments = [
        _segment(result, place, code, text, rgb, found)
        for place, ((code, text), rgb) in enumerate(zip(texts, _REGIONS_RGB, strict=True), start=1)
    ]
    return hd.seg.Segmentation(
        segment_descriptions=segments,
        content_label="REGIONS",
        content_description=short(event),
        **_shared(source, layout, labels.astype(np.uint8)),
        **identity(result, number, "regions of decision"),
    )


def _shared(source: Source, layout: Layout, labels: NDArray[np.uint8]) -> dict[str, Any]:
    """What both objects have alike; labels ``(i, j, k)`` are numbers of segments."""
    return {
        "source_images": source.images,
        "pixel_array": located(layout.apply(labels), layout, source),
        "segmentation_type": "BINARY",
        "omit_empty_frames": False,
    }


def _segment(
    result: StoredResult,
    number: int,
    value: str,
    label: str,
    rgb: tuple[int, int, int],
    found: dict[str, str],
) -> Any:
    """Description of one segment, with the algorithm that found it and its settings."""
    code, bundle = hd.sr.CodedConcept, result.record["bundle"]
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=short(label),
        segmented_property_category=code("309825002", "SCT", "Spatial and Relational Concept"),
        segmented_property_type=code(value, SCHEME, short(label)),
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="monai_inn",
            version=__version__,
            family=code("123109", "DCM", "Artificial Intelligence"),
            parameters={
                "bundle": f"{bundle.get('name', 'unknown')} {bundle.get('version', '')}".strip(),
                "weights_sha256": str(bundle.get("weights_sha256", "unknown")),
                **found,
            },
        ),
        display_color=hd.color.CIELabColor.from_rgb(*rgb),
    )
