"""The posterior of a parameter's mean over a segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util

from .marks import matrix_of
from .posteriors import RegionMean, region_mean
from .result import Shown
from .run import Run

__all__ = ["RegionReading", "read_region"]


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
        lines = [
            f"Mean {shown.name} over {self.segment}: {shown.text(mean.expected)} ({mean.voxels} voxels)",
            f"{self.mass:.0%} if errors are fully shared: "
            f"{mean.shared[0]:.3g}–{mean.shared[2]:.3g}{shown.suffix}",
            f"{self.mass:.0%} if errors are independent: "
            f"{mean.independent[0]:.3g}–{mean.independent[2]:.3g}{shown.suffix}",
            "How the errors of neighbors go together is not known; the truth lies between the two.",
        ]
        if mean.left_out:
            lines.append(f"{mean.left_out} voxels left out: out of distribution or not usable.")
        if self.is_resampled:
            lines.append("The segment lies on another grid and was resampled to that of the maps.")
        return "\n".join(lines)


def read_region(
    run: Run, segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, parameter: str
) -> RegionReading:
    """Return the posterior of a parameter's mean over a segment.

    Raises:
        ValueError: if nothing of the segment can be trusted, or the run has no quantiles.
    """
    shown = next(p for p in run.parameters if p.name == parameter)
    stored, like = run.quantiles(parameter), run.find("median", parameter)
    if stored is None or like is None:
        raise ValueError(f"{run.name}: no quantiles of {parameter} are stored; apply the bundle again.")
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    inside = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, like)
    mass = run.interval
    inside = np.zeros(run.shape, bool) if inside is None else inside.astype(bool)
    mean = region_mean(stored[0][inside], stored[1], ~run.withheld()[inside], mass)
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
