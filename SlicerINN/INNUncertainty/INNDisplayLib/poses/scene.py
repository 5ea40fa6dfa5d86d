"""A registration goes into a scene, and one of its poses is shown there."""

from __future__ import annotations

import json
import uuid

import numpy as np
import slicer.util
import vtk
from scipy.ndimage import gaussian_filter, label
from vtk.util.numpy_support import vtk_to_numpy

from ..results.sequences import numbered_sequence
from ..scene.marks import display_of, matrix_of, place, span
from ..scene.meshes import surface_above
from ..translating import tr as _
from .aim import read_aim, show_aim, store_aim
from .result import AIM_FILE, DetectorImage, Pose, PoseResult
from .run import MODE, PoseRun, pose_runs
from .spread import Spread, carm_lines, detector_corners, ellipsoid, seen_by, shadow
from .views import Comparing, shades, show_comparison

__all__ = ["hide_mode", "put_target", "show_mode", "show_spread", "store_poses"]

_CARM_COLOR, _SPREAD_COLOR = (0.35, 0.65, 0.95), (1.0, 0.75, 0.1)
_BONE_COLOR, _BONE_OPACITY = (0.95, 0.9, 0.78), 0.6
_BONE_PER_MM, _BLUR_VOXELS, _LEAST_MM3 = 0.0238, 0.6, 8000.0  # about 120 HU: trabecular bone too


def store_poses(scene: slicer.vtkMRMLScene, result: PoseResult, name: str) -> PoseRun:
    """Put a registration into a scene; no pose is shown yet.

    A result that is there already is not stored twice, but takes over an aim that its folder has.

    Args:
        scene: the scene.
        result: what registration left.
        name: name of its folder.

    Raises:
        ResultError: if a file cannot be read; the scene is then as it was.
    """
    known = next((run for run in pose_runs(scene) if run.result.record == result.record), None)
    place = result.folder / AIM_FILE
    aim = read_aim(place.parent) if place.is_file() else None
    if known is not None:
        if aim is not None:
            store_aim(known, aim)
        return known
    xray, drrs = result.xray(), [result.drr(pose) for pose in result.poses]
    samples, bone = result.samples(), result.bone()  # all of it is read before the scene changes
    run = PoseRun(scene, uuid.uuid4().hex)
    tree, folder = run.folder()
    tree.SetItemName(folder, name)
    run.node("registration", "", "vtkMRMLTextNode").SetText(json.dumps(result.record))
    run.store_samples(samples)
    _store_images(run, result.poses, xray, drrs)
    _store_carm(run, xray)
    if bone is not None:
        _store_bone(run, *bone)
    put_target(run)
    if aim is not None:
        store_aim(run, aim)
    return run


def _store_images(
    run: PoseRun, poses: tuple[Pose, ...], xray: DetectorImage, drrs: list[DetectorImage]
) -> None:
    sequence = numbered_sequence(run, "drrs", "", "pose")
    item = slicer.vtkMRMLScalarVolumeNode()  # outside the scene: the sequence copies it
    for pose, drr in zip(poses, drrs, strict=True):
        item.SetName(_("DRR of pose {number}").format(number=pose.number))
        item.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(drr.matrix))
        slicer.util.updateVolumeFromArray(item, np.ascontiguousarray(drr.values))
        sequence.SetDataNodeAtValue(item, str(pose.number))
    _place(run, "xray", xray.values, xray.matrix)


def _place(run: PoseRun, kind: str, values: np.ndarray, matrix: np.ndarray) -> None:
    """An image of line integrals under the run's transform, in the shades of the X-ray."""
    node = run.node(kind, "", "vtkMRMLScalarVolumeNode")
    place(node, values, matrix, None)
    node.SetAndObserveTransformNodeID(run.transform.GetID())
    span(node.GetDisplayNode(), *shades(run))


def _store_carm(run: PoseRun, xray: DetectorImage) -> None:
    corners = detector_corners(xray.matrix, *xray.values.shape[-2:])
    mesh = carm_lines(corners, run.result.record["detector"]["beam"] == "parallel")
    model = run.draw("carm", mesh, _CARM_COLOR)
    model.SetAndObserveTransformNodeID(run.transform.GetID())
    display = model.GetDisplayNode()
    display.SetVisibility2D(False)
    display.SetLineWidth(2)
    display.SetVisibility(False)


def _store_bone(run: PoseRun, values: np.ndarray, matrix: np.ndarray) -> None:
    """The patient's bone, through which target and path can be seen, without specks and bright vessels."""
    values = gaussian_filter(values.astype(np.float32), _BLUR_VOXELS)
    pieces = label(values > _BONE_PER_MM)[0]
    sizes = np.bincount(pieces.ravel()) * abs(np.linalg.det(matrix[:3, :3]))
    values[(sizes < _LEAST_MM3)[pieces] & (pieces > 0)] = 0
    if not (values > _BONE_PER_MM).any():
        return
    display = run.draw("bone", surface_above(values, matrix, _BONE_PER_MM), _BONE_COLOR).GetDisplayNode()
    display.SetOpacity(_BONE_OPACITY)
    display.SetVisibility2D(False)
    display.SetVisibility(False)


def put_target(run: PoseRun) -> None:
    """Put the target where the bundle has it; if it was deleted, it comes back."""
    place = [float(value) for value in run.result.target]
    target = run.node("target", "", "vtkMRMLMarkupsFiducialNode")
    if target.GetNumberOfDefinedControlPoints():
        target.SetNthControlPointPositionWorld(0, *place)
        return
    target.RemoveAllControlPoints()
    target.AddControlPointWorld(*place)
    target.SetNthControlPointLabel(0, _("target"))
    display = display_of(target)
    display.SetGlyphScale(1.5)  # smaller than the ellipsoid around it
    display.SetTextScale(2.5)
    display.SetVisibility(run.shown is not None)


def _set_visible(run: PoseRun, is_visible: bool) -> None:
    """C-arm, target and bone are there while a pose is shown."""
    for kind in ("carm", "target", "bone"):
        node = run.find(kind, class_name="vtkMRMLDisplayableNode")
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(is_visible)


def show_mode(run: PoseRun, number: int, how: Comparing | None = None, is_confirmed: bool = False) -> Pose:
    """Put X-ray, DRR and C-arm where a pose has them, and draw how far the target may be off.

    Args:
        run: the registration.
        number: of the pose, from 1.
        how: how X-ray and DRR are compared; blended by default.
        is_confirmed: whether a person has said that untrusted poses are to be shown.

    Returns:
        The pose.

    Raises:
        ValueError: if there is no such pose, or the result is not trusted and nobody has confirmed it.
    """
    pose = run.result.pose(number)
    if not run.result.is_trusted and not is_confirmed:
        text = _("The X-ray is out of distribution; its poses are shown only after confirmation.")
        raise ValueError(text)
    transform = run.transform
    with slicer.util.NodeModify(transform):
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(pose.camera_to_world))
        transform.SetAttribute(MODE, str(number))
    sequence = run.find("drrs", class_name="vtkMRMLSequenceNode")
    item = None if sequence is None else sequence.GetDataNodeAtValue(str(number))
    if item is not None:  # somebody may have deleted them
        # A copy: the volume must not share its memory with the sequence.
        _place(run, "drr", slicer.util.arrayFromVolume(item).copy(), matrix_of(item))
        run.find("drr").SetAttribute(MODE, str(number))
    show_comparison(run, how or Comparing())
    _set_visible(run, True)
    show_spread(run)
    show_aim(run)
    return pose


def hide_mode(run: PoseRun) -> None:
    """Show the X-ray without any pose."""
    if run.shown is None and run.find("drr") is None:
        return
    run.forget("spread", "shadow", "comparison", "drr")
    _set_visible(run, False)
    with slicer.util.NodeModify(run.transform):
        run.transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4)))
        run.transform.SetAttribute(MODE, "")
    show_aim(run)


def show_spread(run: PoseRun) -> Spread | None:
    """Draw the 95 % ellipsoid of the target where it is now, and its shadow on the detector.

    Returns:
        The spread; ``None``, and nothing is drawn, without a shown pose, a target, or enough samples.
    """
    spread, pose = run.spread(), run.shown
    if spread is None or pose is None:
        run.forget("spread", "shadow")
        return None
    surface = ellipsoid(spread)
    solid = _draw(run, "spread", surface)
    # The target stays in sight inside; what is half transparent does not do so in every view.
    solid.SetRepresentation(slicer.vtkMRMLDisplayNode.WireframeRepresentation)
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    seen = seen_by(run.result, pose.camera_to_world, np.array([run.target, *points]))
    depth = run.result.record["detector"]["source_detector_mm"]
    _draw(run, "shadow", shadow(seen[0], seen[1:], depth))
    run.node("shadow", "", "vtkMRMLModelNode").SetAndObserveTransformNodeID(run.transform.GetID())
    return spread


def _draw(run: PoseRun, kind: str, mesh: vtk.vtkPolyData) -> slicer.vtkMRMLModelDisplayNode:
    """A model of the shown pose, as a surface in 3-D and as its cut in slices."""
    model = run.draw(kind, mesh, _SPREAD_COLOR)
    model.SetAttribute(MODE, run.transform.GetAttribute(MODE))
    return model.GetDisplayNode()
