"""Regions of decision as a segmentation of Slicer: made, followed, shown and put into words."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..numbers.decisions import Division, Labels, Region
from ..numbers.posteriors import LARGE
from ..numbers.volumes import RegionVolume
from ..results.run import Run, runs
from ..scene.marks import follow
from ..translating import tr as _

__all__ = [
    "find_regions",
    "has_regions_in_3d",
    "read_regions",
    "region_labels",
    "regions_text",
    "show_only_regions",
    "show_regions",
    "show_regions_in_3d",
]

_RECORD = "INN.regions"
_LABELS, _SURFACE = "Binary labelmap", "Closed surface"
# Colors that people who confuse red and green tell apart.
_SEGMENTS = {
    "certain": (Region.CERTAIN, (0.0, 0.45, 0.70)),
    "possible": (Region.POSSIBLE, (0.90, 0.62, 0.0)),
    "unknown": (Region.UNKNOWN, (0.6, 0.6, 0.6)),
}
_OPACITY_3D = {"certain": 1.0, "possible": 0.35, "unknown": 0.15}
_FILL = 0.25


def find_regions(run: Run) -> slicer.vtkMRMLSegmentationNode | None:
    """The segmentation of a run; ``None`` if none was made."""
    return run.find("regions", class_name="vtkMRMLSegmentationNode")


def read_regions(run: Run) -> dict[str, Any] | None:
    """What the regions of a run were made of: parameter, threshold, division, volume."""
    node = find_regions(run)
    text = None if node is None else node.GetAttribute(_RECORD)
    return json.loads(text) if text else None


def show_regions(
    run: Run, parameter: str, threshold: float, division: Division, labels: Labels, volume: RegionVolume
) -> slicer.vtkMRMLSegmentationNode:
    """Put regions into the scene, in the segmentation that the run has already if there is one.

    Segments keep their IDs, so that tables and displays that refer to them go on to work. Closed surfaces
    follow, but those of a large volume, which take seconds, are taken away instead.

    Args:
        run: whose posterior it is.
        parameter: name of the parameter.
        threshold: in its unit.
        division: where the lines between regions are drawn.
        labels: of the voxels, ``(K, J, I)``.
        volume: in which the event holds.
    """
    like = run.find("median", parameter)
    node = run.node("regions", "", "vtkMRMLSegmentationNode")
    has_surfaces = has_regions_in_3d(run)
    node.SetReferenceImageGeometryParameterFromVolumeNode(like)
    follow(node, like)
    with slicer.util.NodeModify(node):
        _fill(node, _image(labels, like))
        for key, name in _names(run, parameter, threshold, division).items():
            node.GetSegmentation().GetSegment(key).SetName(name)
    record = {"parameter": parameter, "threshold": threshold, **asdict(division), "volume": asdict(volume)}
    node.SetAttribute(_RECORD, json.dumps(record))
    if node.GetDisplayNode() is None:
        _dress(node)
    show_regions_in_3d(run, has_surfaces and labels.size <= LARGE)
    return node


def show_only_regions(scene: slicer.vtkMRMLScene, run: Run | None) -> None:
    """Show the regions of a run, or of none, and of no other run."""
    for other in runs(scene):
        node = find_regions(other)
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(other == run)


def has_regions_in_3d(run: Run) -> bool:
    """Whether closed surfaces of a run's regions are there."""
    node = find_regions(run)
    return node is not None and node.GetSegmentation().ContainsRepresentation(_SURFACE)


def regions_text(run: Run, record: dict[str, Any]) -> str:
    """The volume of the regions of a run, in words.

    Args:
        run: whose regions they are.
        record: what ``read_regions`` returns.
    """
    volume = RegionVolume(**record["volume"])
    return f"{_event(run, record['parameter'], record['threshold'], record['is_above'])}. {volume.text}"


def _event(run: Run, parameter: str, threshold: float, is_above: bool) -> str:
    shown = run.parameter(parameter)
    return f"{shown.label} {'>' if is_above else '<'} {shown.text(threshold)}"


def _names(run: Run, parameter: str, threshold: float, division: Division) -> dict[str, str]:
    event = _event(run, parameter, threshold, division.is_above)
    return {
        "certain": _("certain: {event} (P ≥ {certain:.3g})").format(event=event, certain=division.certain),
        "possible": _("possible: {event} (P {possible:.3g} to {certain:.3g})").format(
            event=event, possible=division.possible, certain=division.certain
        ),
        "unknown": _("unknown / not trusted"),
    }


def _image(labels: Labels, like: slicer.vtkMRMLVolumeNode) -> slicer.vtkOrientedImageData:
    """Labels where a volume lies."""
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    image.SetDimensions(*labels.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(labels.ravel(), deep=True))
    like.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    return image


def _fill(node: slicer.vtkMRMLSegmentationNode, image: slicer.vtkOrientedImageData) -> None:
    """Give the three segments their voxels; all of them lie in one image."""
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(_LABELS)
    known = [segmentation.GetSegment(key) for key in _SEGMENTS]
    shared = {s.GetRepresentation(_LABELS) for s in known if s is not None}
    values = [s.GetLabelValue() for s in known if s is not None]
    if len(shared) == 1 and values == [value for value, _color in _SEGMENTS.values()]:
        shared.pop().ShallowCopy(image)
        return
    segmentation.RemoveAllSegments()  # also where somebody has edited them
    for key, (value, color) in _SEGMENTS.items():
        segment = slicer.vtkSegment()
        segment.SetLabelValue(value)
        segment.SetColor(*color)
        segment.AddRepresentation(_LABELS, image)
        segmentation.AddSegment(segment, key)


def _dress(node: slicer.vtkMRMLSegmentationNode) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetOpacity2DFill(_FILL)
    display.SetPreferredDisplayRepresentationName2D(_LABELS)
    display.SetPreferredDisplayRepresentationName3D(_SURFACE)
    for key, opacity in _OPACITY_3D.items():
        display.SetSegmentOpacity3D(key, opacity)


def show_regions_in_3d(run: Run, is_shown: bool) -> None:
    """Make closed surfaces of the regions, or take them away."""
    node = find_regions(run)
    if node is None:
        return
    if is_shown:
        node.CreateClosedSurfaceRepresentation()
    else:
        node.RemoveClosedSurfaceRepresentation()
    node.GetDisplayNode().SetVisibility3D(is_shown)


def region_labels(run: Run) -> Labels | None:
    """Labels of the regions on the grid of the maps, ``(K, J, I)``; ``None`` without regions."""
    node, record = find_regions(run), read_regions(run)
    like = None if record is None else run.find("median", record["parameter"])
    if like is None:
        return None
    labels = np.zeros(run.shape, np.uint8)
    for key, (value, _color) in _SEGMENTS.items():
        if node.GetSegmentation().GetSegment(key) is not None:
            drawn = slicer.util.arrayFromSegmentBinaryLabelmap(node, key, like)
            labels[drawn > 0] = value
    return labels
