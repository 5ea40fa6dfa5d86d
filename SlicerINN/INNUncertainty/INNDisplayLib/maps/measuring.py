"""What two runs say against each other voxel by voxel, and one over a segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer.util
from numpy.typing import NDArray

from ..numbers.differences import interval_places, wrapped
from ..numbers.posteriors import RegionMean, either_way, region_mean
from ..results.result import Shown
from ..results.run import Run
from ..scene.marks import matrix_between, matrix_of, place
from ..translating import tr as _

__all__ = ["Comparison", "RegionReading", "compare", "read_region"]


@dataclass(frozen=True)
class RegionReading:
    """The mean of a parameter over a segment.

    Args:
        segment: name of the segment.
        parameter: whose mean it is.
        mean: its intervals.
        mass: probability inside them.
        is_resampled: whether the segment was drawn on another grid than the maps.
    """

    segment: str
    parameter: Shown
    mean: RegionMean
    mass: float
    is_resampled: bool

    @property
    def text(self) -> str:
        """The result in words, with units and with what is not known about it."""
        shown, mean = self.parameter, self.mean
        text = _("{parameter}, mean over {segment}: {expected} ({voxels} voxels)")
        lines = [
            text.format(
                parameter=shown.label,
                segment=self.segment,
                expected=shown.text(mean.expected),
                voxels=mean.voxels,
            ),
            either_way(self.mass, mean, lambda value: f"{value:.3g}", shown.suffix),
        ]
        if mean.left_out:
            text = _("{left_out} voxels left out: out of distribution or not usable.")
            lines.append(text.format(left_out=mean.left_out))
        if self.is_resampled:
            lines.append(_("The segment lies on another grid and was resampled to that of the maps."))
        return "\n".join(lines)


def read_region(
    run: Run, segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, parameter: str
) -> RegionReading:
    """Return the posterior of a parameter's mean over a segment.

    Raises:
        ValueError: if the parameter is a class, nothing of the segment can be trusted, or the run has no
            quantiles.
    """
    shown = run.parameter(parameter)
    if shown.is_class:
        text = _("{parameter} is a class, and classes have no mean; select another parameter.")
        raise ValueError(text.format(parameter=shown.label))
    stored, like = run.layers(parameter), run.find("median", parameter)
    if stored is None or like is None:
        text = _("{run}: no quantiles of {parameter} are stored; apply the bundle again.")
        raise ValueError(text.format(run=run.name, parameter=shown.label))
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    inside = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, like)
    mass = run.interval
    inside = np.zeros(run.shape, bool) if inside is None else inside.astype(bool)
    rows = np.stack([layer[inside] for layer in stored[0]], -1)
    center = (shown.low + shown.high) / 2
    mean = region_mean(rows, stored[1], ~run.withheld()[inside], mass, shown.turn, center)
    return RegionReading(segment.GetName(), shown, mean, mass, not _same_grid(segment, like))


def _same_grid(segment: slicer.vtkSegment, like: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether the labels of a segment lie on the voxels of a volume."""
    labels = segment.GetRepresentation("Binary labelmap")
    if labels is None:
        return False
    own = slicer.util.vtkMatrixFromArray(np.eye(4))
    labels.GetImageToWorldMatrix(own)
    matrix, wanted = slicer.util.arrayFromVTKMatrix(own), matrix_of(like)
    start = np.linalg.solve(wanted, matrix[:, 3])[:3]
    return np.allclose(matrix[:3, :3], wanted[:3, :3], atol=1e-4) and np.allclose(
        start, start.round(), atol=1e-3
    )


@dataclass(frozen=True)
class Comparison:
    """What comes of comparing two runs.

    Args:
        volume: median of the other run minus that of the run, NaN where either is withheld.
        parameter: what was compared.
        median: median of the absolute difference.
        contradicting: share of the voxels compared whose intervals do not overlap.
        voxels: how many were compared.
        is_resampled: whether the other run lies on another grid.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    parameter: Shown
    median: float
    contradicting: float
    voxels: int
    is_resampled: bool

    @property
    def text(self) -> str:
        """The result in words, with units."""
        shown = self.parameter
        text = _(
            "{parameter}: medians differ by {difference} (median over {voxels:,} voxels); intervals "
            "contradict each other in {share:.1%}."
        ).format(
            parameter=shown.label,
            difference=shown.text(self.median),
            voxels=self.voxels,
            share=self.contradicting,
        )
        resampled = _("The other run was resampled to this one's grid.") if self.is_resampled else ""
        return f"{text} {resampled}".strip()


def compare(run: Run, other: Run, parameter: str) -> Comparison:
    """Compare a parameter of two runs voxel by voxel, on the grid of the first.

    Raises:
        ValueError: if the other run does not have the parameter in the same unit, if it is a class, or if
            nothing can be compared.
    """
    shown = shared_parameter(run, other, parameter)
    if run.layers(parameter) is None or other.layers(parameter) is None:
        raise ValueError(_("Both results need stored quantiles; apply the bundles again."))
    like = run.find("median", parameter)
    index, is_resampled = other_voxels(run, other, like)
    low, middle, high = _interval(run, parameter)
    found = [np.where(index[0] < 0, np.nan, values[index]) for values in _interval(other, parameter)]
    step = found[1] - middle
    difference = wrapped(step, shown.turn)
    known = np.isfinite(difference)
    if not known.any():
        raise ValueError(_("The two results have no voxel in common that both may be trusted at."))
    apart = _is_apart(low, high, *(end + difference - step for end in found[::2]), shown.turn)
    volume = run.node("difference", parameter, "vtkMRMLScalarVolumeNode")
    volume.SetName(f"{other.name} minus {run.name}: {shown.label}")
    place(volume, difference.astype(np.float32), matrix_of(like), like)
    absolute = np.abs(difference[known])
    return Comparison(
        volume, shown, float(np.median(absolute)), float(apart[known].mean()), int(known.sum()), is_resampled
    )


def _is_apart(
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    other_low: NDArray[np.floating],
    other_high: NDArray[np.floating],
    turn: float,
) -> NDArray[np.bool_]:
    """Where two intervals do not overlap; those of an angle might a turn away."""
    turn = turn or np.inf
    above, below = other_low > high, other_high < low
    return (above & (other_high - turn < low)) | (below & (other_low + turn > high))


def _interval(run: Run, parameter: str) -> list[NDArray[np.float64]]:
    """Low end, median and high end of every voxel, NaN where they are withheld."""
    layers, levels = run.layers(parameter)
    return [
        np.where(run.withheld(), np.nan, layers[place]) for place in interval_places(levels, run.interval)
    ]


def shared_parameter(run: Run, other: Run, parameter: str) -> Shown:
    """Return a parameter of a run, which another run has in the same unit.

    Raises:
        ValueError: if it has not, or if the parameter is a class.
    """
    shown = run.parameter(parameter)
    if shown.is_class:
        text = _("{parameter} is a class, and classes have no difference; select another parameter.")
        raise ValueError(text.format(parameter=shown.label))
    if not any((p.name, p.unit) == (shown.name, shown.unit) for p in other.parameters):
        text = _("{other} has no {parameter} in the unit {unit}; select another result.")
        raise ValueError(text.format(other=other.name, parameter=shown.label, unit=shown.unit))
    return shown


def other_voxels(
    run: Run, other: Run, like: slicer.vtkMRMLVolumeNode
) -> tuple[tuple[NDArray[np.intp], ...], bool]:
    """For every voxel of a run the nearest one of the other, -1 outside, and whether the grids differ.

    Raises:
        ValueError: if a transform that is not linear lies between the two.
    """
    source = other.find("median") or other.find("valid")
    between = matrix_between(like.GetParentTransformNode(), source.GetParentTransformNode())
    if between is None:
        text = _("A transform that is not linear lies between {run} and {other}; use a linear one.")
        raise ValueError(text.format(run=run.name, other=other.name))
    to_other = np.linalg.inv(matrix_of(source)) @ between @ matrix_of(like)
    k, j, i = np.indices(run.shape, dtype=np.float32)
    position = np.tensordot(to_other[:3, :3], np.stack([i, j, k]), 1) + to_other[:3, 3].reshape(3, 1, 1, 1)
    nearest = np.floor(position + 0.5).astype(int)[::-1]
    inside = np.all([(n >= 0) & (n < size) for n, size in zip(nearest, other.shape, strict=True)], 0)
    same = run.shape == other.shape and np.allclose(to_other, np.eye(4), atol=1e-4)
    return tuple(np.where(inside, n, -1) for n in nearest), not same
