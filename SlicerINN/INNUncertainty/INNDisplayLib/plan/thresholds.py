"""What follows from a threshold: the probability of each voxel, its contour lines, regions of decision."""

from __future__ import annotations

import numpy as np
import slicer.util

from ..numbers.decisions import Division, label_regions, merge_islands
from ..numbers.posteriors import LARGE, probability_below
from ..numbers.volumes import region_volume
from ..results.run import Run
from ..scene.marks import matrix_of, place, world_matrix_of
from ..translating import tr as _
from .contours import contour_meshes, draw_contours
from .regions import find_regions, show_regions

__all__ = ["ThresholdStep"]

_SOURCE = "INN.source"


class ThresholdStep:
    """One threshold of one parameter, of which only what has changed is computed.

    Made and placed where the scene is. Between the two ``compute`` may run in any thread: it touches no node.

    Args:
        run: whose posterior it is.
        parameter: name of the parameter.
        threshold: in its unit.
        has_contours: whether lines of equal probability are wanted.
        division: how regions of decision are divided, if they are wanted.

    Raises:
        ValueError: if the threshold is not a number, or regions are wanted of a run that has no quantiles.
    """

    def __init__(
        self,
        run: Run,
        parameter: str,
        threshold: float,
        has_contours: bool = False,
        division: Division | None = None,
    ) -> None:
        run.check_threshold(parameter, threshold)
        self.run, self.parameter, self.threshold, self.division = run, parameter, threshold, division
        self._layers, self._like = run.layers(parameter), run.find("median", parameter)
        self._meshes = self._found = self._values = None
        if self._layers is None or self._like is None:
            if division is not None:
                text = _(
                    "{run}: no quantiles of {parameter} are stored, from which regions are made; apply "
                    "the bundle again, on the command line with --save-quantiles 16."
                )
                raise ValueError(text.format(run=run.name, parameter=run.parameter(parameter).label))
            self.has_contours, self.key = False, ""
            return
        stored = run.find("quantiles", parameter, "vtkMRMLSequenceNode")
        has_planes = has_contours and self.is_large and len(self._layers[0][0]) > 1
        self._planes = visible_planes(self._like) if has_planes else None
        self._below_key = f"{stored.GetID()} {stored.GetMTime()} {threshold!r}"
        places = None if self._planes is None else np.round(self._planes, 4).tolist()
        self._line_key, self._region_key = f"{self._below_key} {places}", f"{self._below_key} {division}"
        self.key = f"{self._line_key} {has_contours} {division}"
        known = run.find("probability_below", parameter)
        if known is not None and known.GetAttribute(_SOURCE) == self._below_key:
            self._values = run.array("probability_below", parameter)
            if division is not None and not self.is_large:
                self._values = self._values.copy()  # the slider may refill it while a thread reads
        lines = run.find("contour", class_name="vtkMRMLModelNode")
        self.has_contours = has_contours and (lines is None or lines.GetAttribute(_SOURCE) != self._line_key)
        drawn = find_regions(run)
        if drawn is not None and drawn.GetAttribute(_SOURCE) == self._region_key:
            self.division = None
        self._flags = run.array("ood"), run.array("valid")
        self._matrix, self._mass = matrix_of(self._like), run.interval

    @property
    def is_needed(self) -> bool:
        """Whether anything of it is not in the scene yet."""
        return self._layers is not None and (
            self._values is None or self.has_contours or self.division is not None
        )

    @property
    def is_large(self) -> bool:
        """Whether a step of a slider must not wait for it: that of a volume of more than two million voxels.

        Contour lines of such a volume are made for the visible slices alone.
        """
        return self._layers is not None and self._layers[0][0].size > LARGE

    def compute(self) -> None:
        """Compute what is missing."""
        if self._values is None:
            self._values = probability_below(*self._layers, self.threshold)
        if self.has_contours:
            self._meshes = contour_meshes(*self._layers, self.threshold, self._planes)
        if self.division is not None:
            event, withheld = self.division.event(self._values), self._withheld()
            size, unit = voxel_size(self._matrix, len(event))
            labels = merge_islands(
                label_regions(event, withheld, self.division), self.division.smallest / size
            )
            self._found = labels, region_volume(event, withheld, size, self._mass, unit)

    def _withheld(self) -> np.ndarray:
        """Voxels that are not explained, or not usable."""
        untrusted, usable = self._flags
        found = np.zeros(self._values.shape, bool) if untrusted is None else untrusted > 0.5
        return found if usable is None else found | ~(usable > 0.5)

    def place(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Put it into the scene; returns the volume of the probability, ``None`` without quantiles."""
        if self._layers is None:
            return None
        if self.is_needed and self._meshes is None and self._found is None:
            self.compute()
        volume = self.run.node("probability_below", self.parameter, "vtkMRMLScalarVolumeNode")
        if volume.GetAttribute(_SOURCE) != self._below_key:
            volume.SetAttribute("INN.threshold", repr(self.threshold))
            place(volume, self._values, self._matrix, self._like)
            volume.SetAttribute(_SOURCE, self._below_key)
        if self._meshes is not None:
            for model in draw_contours(self.run, self.parameter, self.threshold, self._meshes):
                model.SetAttribute(_SOURCE, self._line_key)
        if self._found is not None:
            drawn = show_regions(self.run, self.parameter, self.threshold, self.division, *self._found)
            drawn.SetAttribute(_SOURCE, self._region_key)
        return volume


def visible_planes(volume: slicer.vtkMRMLVolumeNode) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Return a point and the normal of each slice view's plane in coordinates of voxels (i, j, k).

    Returns:
        ``None`` where a bent transform lies over the volume.
    """
    matrix = world_matrix_of(volume)
    if matrix is None:
        return None
    planes = []
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode", volume.GetScene()):
        plane = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        point = np.linalg.solve(matrix, plane[:, 3])[:3]
        normal = matrix[:3, :3].T @ plane[:3, 2]
        planes.append((point, normal / np.linalg.norm(normal)))
    return planes


def voxel_size(matrix: np.ndarray, slices: int) -> tuple[float, str]:
    """Return the volume of a voxel and its unit; of a single slice, whose thickness nobody knows, its area.

    Args:
        matrix: index to world, ``(4, 4)``.
        slices: number of slices.
    """
    if slices > 1:
        return float(abs(np.linalg.det(matrix[:3, :3]))), "mm³"
    return float(np.linalg.norm(np.cross(matrix[:3, 0], matrix[:3, 1]))), "mm²"
