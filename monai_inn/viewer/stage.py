"""The scene behind the page: slice views, the overlay, the voxel that is read, and what the pointer does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import slicer.util
import vtk
from numpy.typing import NDArray
from trame_slicer.app.logic import get_view_trame_id
from trame_slicer.core import SlicerApp
from trame_slicer.views import Layout, LayoutDirection, ViewLayoutDefinition
from vtk import vtkCommand

from monai_inn.viewer.display import (
    Appearance,
    Overlay,
    Reading,
    Result,
    VoxelCurve,
    read_at,
    read_curve,
    store,
    voxel_at,
)
from monai_inn.viewer.drawing import show_views
from monai_inn.viewer.page import view_buttons

__all__ = ["Pointer", "Stage", "started_app"]

Array = NDArray[np.float64]
Point = tuple[float, float, float]

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
        self.layout = show_views(self.app, server, _layout(self.flat), "slices", view_buttons(self))
        self.views = self.app.view_manager.get_slice_views()
        self.pointer = Pointer(self, server)
        if not self.flat:
            for view in self.views:
                view.set_orientation_marker(_NODE.OrientationMarkerTypeAxes, _NODE.OrientationMarkerSizeSmall)
            self.views[0].set_ruler(_NODE.RulerTypeThin)
        vtk.vtkObject.GlobalWarningDisplayOn()

    def show(self, appearance: Appearance) -> None:
        """Lay a map over the image in all views."""
        self.overlay.show(appearance, has_legend=False)  # the page has one that covers nothing
        self.redraw()

    def redraw(self) -> None:
        """Send all views anew; a changed display node alone does not always do it."""
        for view in self.views:
            view.schedule_render()

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
        axes = slicer.util.arrayFromVTKMatrix(self.views[0].get_view_node().GetSliceToRAS())[:3, :2]
        to_voxels = vtk.vtkMatrix4x4()
        self._grid().GetRASToIJKMatrix(to_voxels)
        return axes, slicer.util.arrayFromVTKMatrix(to_voxels)[:3, :3] @ axes

    def _grid(self) -> Any:
        """A volume on the grid of the maps."""
        return next(n for n in map(self.run.find, ("median", "valid", "waic")) if n is not None)


def _point(values: Array) -> Point:
    right, anterior, superior = (float(v) for v in values)
    return right, anterior, superior


def _layout(flat: bool) -> Layout:
    """One large view of a single slice, else three views with the axial one large."""
    axial = ViewLayoutDefinition.axial_view()
    if flat:
        return Layout(LayoutDirection.Vertical, [axial])
    others = [ViewLayoutDefinition.coronal_view(), ViewLayoutDefinition.sagittal_view()]
    return Layout(
        LayoutDirection.Horizontal, [axial, Layout(LayoutDirection.Vertical, others)], flex_sizes=["2", "1"]
    )


_SLIP = 4  # pixels that the pointer may move between press and release of a click
_ROUNDING = 2  # pixels by which a size may differ
_ZOOM = 0.1


class Pointer:
    """Clicks in the views of a stage, whichever tab they come from.

    Positions reach the server as pixels of the tab's own view, and the views have the size of the tab that
    spoke last. A click of a tab with another size would read another voxel than the one under the pointer.
    So a tab claims the views when the pointer enters them, and a press that finds them in another size
    reads nothing.

    Args:
        stage: the scene and its views.
        server: trame's server.
    """

    def __init__(self, stage: Stage, server: Any) -> None:
        self.stage, self.server = stage, server
        self.stale = False
        self.pressed: tuple[int, int] | None = None
        for view in stage.views:
            self._observe(view)

    def claim(self, sizes: list[dict[str, float]], pressed: bool) -> None:
        """Give the views the size that a tab shows them in.

        Args:
            sizes: of each view, width `w` and height `h` in the page's pixels, each `p` of the screen's wide.
            pressed: whether a button was pressed there, rather than the pointer moved in.
        """
        self.stale = False
        for view, size in zip(self.stage.views, sizes, strict=False):
            wanted = (size["w"] * size["p"], size["h"] * size["p"])
            if any(
                abs(a - b) > _ROUNDING for a, b in zip(view.render_window().GetSize(), wanted, strict=True)
            ):
                self.stale = pressed
                name = get_view_trame_id(self.server, view)
                self.server.protocol_call("trame.rca.size", name, "claim", size)

    def _observe(self, view: Any) -> None:
        events = view.interactor()
        events.AddObserver(vtkCommand.LeftButtonPressEvent, self._press)
        events.AddObserver(vtkCommand.LeftButtonReleaseEvent, lambda *_: self._release(view))
        events.AddObserver(vtkCommand.WindowResizeEvent, lambda *_: self.stage.fit(view))
        if self.stage.flat:  # no slices to browse through
            events.AddObserver(vtkCommand.MouseWheelForwardEvent, lambda *_: view.zoom(_ZOOM))
            events.AddObserver(vtkCommand.MouseWheelBackwardEvent, lambda *_: view.zoom(-_ZOOM))

    def _press(self, events: Any, _: str) -> None:
        self.pressed = None if self.stale else events.GetEventPosition()

    def _release(self, view: Any) -> None:
        x, y = view.interactor().GetEventPosition()
        if self.pressed is None or max(abs(x - self.pressed[0]), abs(y - self.pressed[1])) > _SLIP:
            return
        right, anterior, superior, _ = view.get_view_node().GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))
        self.stage.pick((right, anterior, superior))
