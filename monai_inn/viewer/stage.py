"""The scene behind the page: slice views, the overlay, the voxel that is read, and what the pointer does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import slicer.util
import vtk
from numpy.typing import NDArray
from trame_slicer.core import SlicerApp
from trame_slicer.views import Layout, LayoutDirection, ViewLayoutDefinition

from monai_inn.reading.orientation import edge_letters, slice_view
from monai_inn.viewer.display import (
    Appearance,
    Overlay,
    Reading,
    Result,
    VoxelCurve,
    pictures,
    read_at,
    read_curve,
    store,
    voxel_at,
)
from monai_inn.viewer.drawing import show_views
from monai_inn.viewer.page import view_buttons
from monai_inn.viewer.pointer import Pointer

__all__ = ["Stage", "started_app"]

Array = NDArray[np.float64]
Point = tuple[float, float, float]

# By what lies at the edges of a view.
_VIEWS = {
    "RLAP": ViewLayoutDefinition.axial_view,
    "RLSI": ViewLayoutDefinition.coronal_view,
    "APSI": ViewLayoutDefinition.sagittal_view,
}
_NODE = slicer.vtkMRMLAbstractViewNode


def started_app() -> SlicerApp:
    """Return Slicer without its window, with an empty scene that is also ``slicer.mrmlScene``."""
    app = SlicerApp()
    slicer.mrmlScene = app.scene
    # trame-slicer knows neither legends nor sequences.
    app.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    app.register_module_logic(slicer.vtkSlicerSequencesLogic())
    return app


class Stage:
    """A result in a MRML scene with slice views that the page shows.

    Args:
        result: what inference left.
        name: what people call it.
        server: trame's server, before it starts.
    """

    def __init__(self, result: Result, name: str, server: Any) -> None:
        vtk.vtkObject.GlobalWarningDisplayOff()  # of a missing X server, which is not needed
        self.app = started_app()
        self.scene = self.app.scene
        # Curves stay on the disk, for they may be larger than everything else.
        self.curves = {f.parameter: f.mapped() for f in result.files if f.kind == "curve"}
        maps = replace(result, files=tuple(file for file in result.files if file.kind != "curve"))
        self.run = store(self.scene, maps, name)
        self.overlay = Overlay(self.run)
        self.flat = self.run.shape[0] == 1
        self.point: Point | None = None
        self.on_pick = lambda: None
        self.is_oriented = bool(result.record["image"].get("is_oriented"))
        layouts = {"slices": self._layout(), "side by side": _side_by_side()}
        if not pictures(self.run):
            layouts.pop("side by side")
        self.layout = show_views(self.app, server, layouts, view_buttons(self))
        self.views = self.app.view_manager.get_slice_views()
        self.pointer = Pointer(self, server)
        self.is_side_by_side = False
        for view in self.views:
            view.modified.connect(self._turn_others)
        if self.flat:  # a tilted slice is shown whole
            self.views[0].get_view_node().RotateToVolumePlane(self._grid())
        for view in self.views if self.is_oriented and not self.flat else ():
            view.set_orientation_marker(_NODE.OrientationMarkerTypeAxes, _NODE.OrientationMarkerSizeSmall)
        if not self.flat:
            self.views[0].set_ruler(_NODE.RulerTypeThin)
        vtk.vtkObject.GlobalWarningDisplayOn()

    def show(self, appearance: Appearance) -> None:
        """Lay a map over the image in all views."""
        # The page has one that covers nothing; in the corner stands whether an image is synthetic.
        self.overlay.show(appearance, has_legend=bool(self.run.synthetic) and not pictures(self.run))
        self.redraw()

    def redraw(self) -> None:
        """Send all views anew; a changed display node alone does not always do it."""
        for view in self.views:
            view.schedule_render()

    def put_side_by_side(self, is_on: bool) -> None:
        """Show one plane in three views that move together, or the usual views."""
        for view, plane in zip(self.views, ("Axial", "Coronal", "Sagittal"), strict=False):
            view.set_orientation("Axial" if is_on else plane)
            composite = self.app.app_logic.GetSliceLogic(view.get_view_node()).GetSliceCompositeNode()
            composite.SetLinkedControl(is_on)
            composite.SetHotLinkedControl(is_on)
        self.is_side_by_side = is_on
        self.layout.set_layout("side by side" if is_on else "slices")
        for view in self.views:
            self.fit(view)

    def _turn_others(self, turned: Any) -> None:
        """Let all views side by side show the slice that one was turned to: sliders do not link them."""
        for view in self.views if self.is_side_by_side else ():
            view.set_slice_value(turned.get_slice_value())

    def edges(self) -> dict[str, str]:
        """Letters at the left, right, top and bottom of each view, if the image says how the patient lies."""
        shown = self.views if self.is_oriented else ()
        axes = {view.get_singleton_tag(): _axes(view) for view in shown}
        return {name: edge_letters(right, -up) for name, (right, up) in axes.items()}

    def fit(self, view: Any) -> None:
        """Show all of the image in a view."""
        logic = self.app.app_logic.GetSliceLogic(view.get_view_node())
        logic.ResizeSliceNode(*view.render_window().GetSize())
        logic.FitSliceToAll()
        view.schedule_render()

    def pick(self, point: Point) -> None:
        """Read the voxel at a world position (RAS, millimeters) from now on, and mark it in all views."""
        self.point = point
        cross = self.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        cross.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)
        cross.SetCrosshairRAS(point)
        if not self.flat:
            slicer.vtkMRMLSliceNode.JumpAllSlices(self.scene, *point)
        self.redraw()
        self.on_pick()

    def step(self, right: int, up: int) -> None:
        """Move the voxel that is read by whole voxels along the first view's axes; start at the center."""
        volume = self._grid()
        bounds = np.zeros(6)
        volume.GetRASBounds(bounds)
        start = self.point or _point(bounds.reshape(3, 2).mean(1))
        axes, in_voxels = self._screen_axes()
        # A step is as long as makes one voxel along its direction.
        moved = np.asarray(start) + axes @ (np.array([right, up]) / np.linalg.norm(in_voxels, axis=0))
        point = _point(moved)
        if self.point is None:
            self.pick(start)
        elif voxel_at(volume, point) is not None:
            self.pick(point)

    def where(self, voxel: tuple[int, int, int] | None) -> str:
        """Indices of a voxel ``(k, j, i)`` in words: column and row of a picture, i, j, k of a stack."""
        if voxel is None:
            return ""
        k, j, i = voxel
        if not self.flat:
            return f"voxel i {i}, j {j}, k {k}"
        _, in_voxels = self._screen_axes()
        column, row = (i, j) if abs(in_voxels[0, 0]) > abs(in_voxels[1, 0]) else (j, i)
        return f"column {column}, row {row}, from 0"

    def read(self, parameter: str, threshold: float | None) -> Reading | None:
        """What is known at the picked voxel; ``None`` before anything was picked.

        Args:
            parameter: name of a parameter.
            threshold: asks for the probability to lie below it, in the parameter's unit.
        """
        return None if self.point is None else read_at(self.run, self.point, parameter, threshold)

    def curve(self, reading: Reading) -> VoxelCurve | None:
        """The measured curve of the voxel of a reading with its predictive band, if it has one."""
        at, stored = reading.voxel, self.curves
        if at is None:
            return None
        return read_curve(self.run.result.record, lambda part: stored[part][at] if part in stored else None)

    def _screen_axes(self) -> tuple[Array, Array]:
        """The first view's axes to the right and up as columns: unit vectors in RAS, and in voxels."""
        axes, to_voxels = _axes(self.views[0]).T, vtk.vtkMatrix4x4()
        self._grid().GetRASToIJKMatrix(to_voxels)
        return axes, slicer.util.arrayFromVTKMatrix(to_voxels)[:3, :3] @ axes

    def _layout(self) -> Layout:
        """One large view of a single slice in its plane, else three views with the axial one large."""
        if self.flat:
            to_ras = vtk.vtkMatrix4x4()
            self._grid().GetIJKToRASMatrix(to_ras)
            view = slice_view(self.run.shape[::-1], slicer.util.arrayFromVTKMatrix(to_ras))
            return Layout(LayoutDirection.Vertical, [_VIEWS[view.letters]()])
        axial, *others = (make() for make in _VIEWS.values())
        return Layout(
            LayoutDirection.Horizontal,
            [axial, Layout(LayoutDirection.Vertical, others)],
            flex_sizes=["2", "1"],
        )

    def _grid(self) -> Any:
        """A volume on the grid of the maps."""
        return next(n for n in map(self.run.find, ("median", "valid", "waic")) if n is not None)


def _point(values: Array) -> Point:
    right, anterior, superior = (float(v) for v in values)
    return right, anterior, superior


def _axes(view: Any) -> Array:
    """Unit vectors to the right and up in a slice view, RAS, ``(2, 3)``."""
    matrix: Array = slicer.util.arrayFromVTKMatrix(view.get_view_node().GetSliceToRAS())
    return matrix[:3, :2].T


def _side_by_side() -> Layout:
    """Three views of the same size beside each other."""
    return Layout(LayoutDirection.Horizontal, [make() for make in _VIEWS.values()])
