"""The scene behind the page of a registration: X-ray, DRR, comparison, and the C-arm around the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import slicer.util
import vtk
from trame_slicer.views import Layout, LayoutDirection, ViewLayoutDefinition, ViewProps, ViewType

from monai_inn.applications.registration.viewer.page import view_label
from monai_inn.viewer.display import (
    IMAGE_VIEWS,
    Comparing,
    PoseResult,
    hide_mode,
    look_at_target,
    show_images,
    show_mode,
    show_spread,
    store_poses,
)
from monai_inn.viewer.drawing import show_views
from monai_inn.viewer.stage import started_app

__all__ = ["PoseStage"]


class PoseStage:
    """A registration in a MRML scene with the views that the page shows.

    Args:
        result: what registration left.
        name: what people call it.
        server: trame's server, before it starts.
    """

    def __init__(self, result: PoseResult, name: str, server: Any) -> None:
        vtk.vtkObject.GlobalWarningDisplayOff()  # of a missing X server, which is not needed
        self.app = started_app()
        self.scene = self.app.scene
        self.run = store_poses(self.scene, result, name)
        self.on_target: Callable[[], None] = lambda: None
        self.layout = show_views(self.app, server, _layout(), "poses", view_label)
        views = self.app.view_manager
        self.images, self.rooms = views.get_slice_views(), views.get_threed_views()
        for view in self.images:
            view.interactor().AddObserver(vtk.vtkCommand.WindowResizeEvent, lambda *_: self.fit())
        target = self.run.find("target", class_name="vtkMRMLMarkupsFiducialNode")
        target.AddObserver(slicer.vtkMRMLMarkupsNode.PointModifiedEvent, lambda *_: self._moved())
        vtk.vtkObject.GlobalWarningDisplayOn()

    def show(self, number: int | None, how: Comparing) -> None:
        """Show a pose, or none; whoever asks has confirmed it if it is not to be trusted."""
        before = self.run.shown
        if number is None:
            hide_mode(self.run)
        else:
            show_mode(self.run, number, how, is_confirmed=True)
        show_images(self.run)
        if number is not None and (before is None or before.number != number):
            look_at_target(self.run)
        self.redraw()

    def redraw(self) -> None:
        """Send all views anew; a changed display node alone does not always do it."""
        for view in (*self.images, *self.rooms):
            view.schedule_render()

    def fit(self) -> None:
        """Bring all of the images into sight."""
        for view in self.images:
            self.app.app_logic.GetSliceLogic(view.get_view_node()).ResizeSliceNode(
                *view.render_window().GetSize()
            )
        show_images(self.run, is_fitted=True)
        self.redraw()

    def _moved(self) -> None:
        show_spread(self.run)
        self.redraw()
        self.on_target()


def _layout() -> Layout:
    """X-ray and DRR, and below them the comparison and the room."""
    xray, drr, comparison = (
        ViewLayoutDefinition(name, ViewType.SLICE_VIEW, ViewProps(label=name, orientation="Axial"))
        for name in IMAGE_VIEWS
    )
    room = ViewLayoutDefinition.threed_view(name="Room")
    return Layout(
        LayoutDirection.Vertical,
        [
            Layout(LayoutDirection.Horizontal, [xray, drr]),
            Layout(LayoutDirection.Horizontal, [comparison, room]),
        ],
    )
