"""A planned target or path under all poses: from the scene to `monai-inn aim`, and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import slicer
import slicer.util
from INNDisplayLib import PoseRun, itk_image, read_aim, store_aim, world_matrix_of
from INNUncertaintyLib import Job
from slicer.i18n import tr as _

from .parameters import RegistrationState

__all__ = ["Aiming", "missing_plan", "planned_points"]

_LEAST_MM = 1e-3


def planned_points(plan: slicer.vtkMRMLMarkupsNode | None) -> list[list[float]]:
    """The target of a point list, or entry and target of a line, RAS in mm; fewer if they are not placed."""
    if plan is None:
        return []
    wanted = 2 if plan.IsA("vtkMRMLMarkupsLineNode") else 1
    points = []
    for number in range(min(wanted, plan.GetNumberOfDefinedControlPoints())):
        ras = [0.0, 0.0, 0.0]
        plan.GetNthControlPointPositionWorld(number, ras)
        points.append(ras)
    return points


def missing_plan(state: RegistrationState, run: PoseRun | None) -> str:
    """What keeps a plan from being carried through the poses, in one line; empty if nothing does."""
    if run is None or run.shown is None:
        return _("Find poses first.")
    if run.samples is None:
        return _("The samples of the poses were deleted; open the result again.")
    if state.plan is None:
        return _("Select a point (target) or a line (entry, target).")
    is_line, placed = state.plan.IsA("vtkMRMLMarkupsLineNode"), len(planned_points(state.plan))
    if placed < (2 if is_line else 1):
        return _("Place entry and target of the line.") if is_line else _("Place the target point.")
    if is_line and np.ptp(np.array(planned_points(state.plan)), axis=0).max() < _LEAST_MM:
        return _("Entry and target are the same point; move one of them.")
    if state.avoid is not None and not is_line:
        return _("Structures to avoid need a line from entry to target; a point touches nothing.")
    return ""


class Aiming(Job):
    """A running `monai-inn aim`; ask ``poll`` for news until it says that it is over, then ``finish`` it.

    Args:
        state: plan, structures to avoid and radius of the instrument.
        run: the registration whose poses count.

    Raises:
        ValueError: if one of them is missing.
        OSError: if no temporary folder can be written, or Python cannot be started.
    """

    def __init__(self, state: RegistrationState, run: PoseRun | None) -> None:
        missing = missing_plan(state, run)
        if missing:
            raise ValueError(missing)
        self.run = run
        self.names: dict[int, str] = {}
        super().__init__(state)

    def _arguments(self, state: RegistrationState) -> list[str]:
        """Words of the command; the poses are written where it finds them, for their folder may be gone."""
        poses = self.folder / "poses"
        _write_poses(poses, self.run)
        arguments = ["aim", str(poses), "-o", str(self.folder / "aim")]
        ends = ("--entry", "--target") if len(planned_points(state.plan)) > 1 else ("--target",)
        for option, point in zip(ends, planned_points(state.plan), strict=True):
            arguments += [option, *(f"{value:.3f}" for value in point)]
        arguments += ["--radius", f"{state.radius:g}"]
        if state.avoid is not None:
            labels = self.folder / "labels.nii.gz"
            self.names = _write_structures(state.avoid, state.ct, labels)
            arguments += ["--labels", str(labels), "--avoid", *map(str, self.names)]
        return arguments

    def _take(self) -> None:
        if self.run.find("registration", class_name="vtkMRMLTextNode") is not None:  # not deleted since
            store_aim(self.run, read_aim(self.folder / "aim"), self.names)


def _write_poses(folder: Path, run: PoseRun) -> None:
    """The registration as `monai-inn aim` reads it: its record and its samples."""
    folder.mkdir()
    (folder / "registration.json").write_text(json.dumps(run.result.record), encoding="utf-8")
    samples = run.samples
    unused = np.zeros((len(samples.mode), 6))  # parameters and densities, which no plan needs
    np.savez(folder / "samples.npz", camera_to_world=samples.camera_to_world, mode=samples.mode,
             pose=unused, log_density=unused[:, 0])  # fmt: skip


def _write_structures(
    node: slicer.vtkMRMLNode, ct: slicer.vtkMRMLVolumeNode | None, path: Path
) -> dict[int, str]:
    """Write structures as labels, and return their names by label.

    Args:
        node: a label map, or a segmentation, of which the visible segments count.
        ct: on its voxels segments are drawn; by default on those that the segmentation names.
        path: file to write.

    Raises:
        ValueError: if there is none, or segments overlap, which labels cannot say.
    """
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        labels, matrix = slicer.util.arrayFromVolume(node), _in_the_world(node)
        colors = node.GetDisplayNode().GetColorNode() if node.GetDisplayNode() is not None else None
        numbers = [int(label) for label in np.unique(labels) if label]
        names = {n: (colors.GetColorName(n) if colors else "") or _("label {n}").format(n=n) for n in numbers}
    else:
        like = ct or node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        if like is None:
            raise ValueError(_("Select the CT, on whose voxels the segments are drawn."))
        labels = np.zeros(slicer.util.arrayFromVolume(like).shape, np.int16)
        matrix = _in_the_world(like)
        names = _draw_segments(node, like, labels)
    if not names:
        raise ValueError(_("{name} has no visible structure to avoid.").format(name=node.GetName()))
    sitk.WriteImage(itk_image(labels, matrix), str(path))
    return names


def _in_the_world(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Index to RAS of a volume with its transform, as the points of a plan are."""
    matrix = world_matrix_of(node)
    if matrix is None:
        raise ValueError(
            _("{name} lies under a transform that bends it; harden it.").format(name=node.GetName())
        )
    return matrix


def _draw_segments(
    node: slicer.vtkMRMLSegmentationNode, like: slicer.vtkMRMLVolumeNode, labels: np.ndarray
) -> dict[int, str]:
    """Fill in the visible segments, each under a label of its own; returns their names."""
    names: dict[int, str] = {}
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    for number in range(segmentation.GetNumberOfSegments()):
        key = segmentation.GetNthSegmentID(number)
        if display is not None and not display.GetSegmentVisibility(key):
            continue
        drawn = slicer.util.arrayFromSegmentBinaryLabelmap(node, key, like)
        if drawn is None or not drawn.any():
            continue
        name = segmentation.GetSegment(key).GetName()
        if labels[drawn > 0].any():
            text = _("The segment {name} overlaps another one; hide one of them.")
            raise ValueError(text.format(name=name))
        labels[drawn > 0] = number + 1
        names[number + 1] = name
    return names
