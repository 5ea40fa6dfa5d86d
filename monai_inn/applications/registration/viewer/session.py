"""What ties the page of a registration to its scene: state that all tabs share, and the views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PureWindowsPath
from typing import Any

import slicer.util
import vtk
from trame_slicer.views import Layout, LayoutDirection, ViewLayoutDefinition, ViewProps, ViewType

from monai_inn.applications.registration.viewer.page import build_poses, view_label
from monai_inn.viewer import display
from monai_inn.viewer.drawing import show_views
from monai_inn.viewer.stage import started_app
from monai_inn.viewer.words import INTENDED_USE

__all__ = ["PoseSession", "PoseStage", "pose_differences", "pose_facts"]


class PoseStage:
    """A registration in a MRML scene with the views that the page shows.

    Args:
        result: what registration left.
        name: what people call it.
        server: trame's server, before it starts.
    """

    def __init__(self, result: display.PoseResult, name: str, server: Any) -> None:
        vtk.vtkObject.GlobalWarningDisplayOff()  # of a missing X server, which is not needed
        self.app = started_app()
        self.scene = self.app.scene
        self.run = display.store_poses(self.scene, result, name)
        self.on_target: Callable[[], None] = lambda: None
        self.layout = show_views(self.app, server, {"poses": _layout()}, view_label)
        views = self.app.view_manager
        self.images, self.rooms = views.get_slice_views(), views.get_threed_views()
        for room in self.rooms:
            room.renderer().SetUseDepthPeeling(False)  # which draws no half-transparent bone here
        for view in self.images:
            view.interactor().AddObserver(vtk.vtkCommand.WindowResizeEvent, lambda *_: self.fit())
        target = self.run.find("target", class_name="vtkMRMLMarkupsFiducialNode")
        target.AddObserver(slicer.vtkMRMLMarkupsNode.PointModifiedEvent, lambda *_: self._moved())
        vtk.vtkObject.GlobalWarningDisplayOn()

    def show(self, number: int | None, how: display.Comparing) -> None:
        """Show a pose, or none; whoever asks has confirmed it if it is not to be trusted."""
        before = self.run.shown
        if number is None:
            display.hide_mode(self.run)
        else:
            display.show_mode(self.run, number, how, is_confirmed=True)
        display.show_images(self.run)
        if number is not None and (before is None or before.number != number):
            display.look_at_target(self.run)
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
        display.show_images(self.run, is_fitted=True)
        self.redraw()

    def _moved(self) -> None:
        display.show_spread(self.run)
        self.redraw()
        self.on_target()


def _layout() -> Layout:
    """X-ray and DRR, and below them the comparison and the room."""
    xray, drr, comparison = (
        ViewLayoutDefinition(name, ViewType.SLICE_VIEW, ViewProps(label=name, orientation="Axial"))
        for name in display.IMAGE_VIEWS
    )
    room = ViewLayoutDefinition.threed_view(name="Room")
    return Layout(
        LayoutDirection.Vertical,
        [
            Layout(LayoutDirection.Horizontal, [xray, drr]),
            Layout(LayoutDirection.Horizontal, [comparison, room]),
        ],
    )


_TABLED = 0, 1, 2, 3, -1  # columns of the table of poses: number, mass, angles, correlation
_LOOKS = ("pose", "confirmed", "comparison", "share", "fields")
_COMPARED = {
    "blend": "X-ray and DRR, blended",
    "checkerboard": "X-ray and DRR take turns",
    "difference": "X-ray minus DRR",
}


class PoseSession:
    """The page of a registration.

    Texts that come out of the result's files reach the page as values of its state, never as part of its
    template, which the browser would evaluate.

    Args:
        server: trame's server, before it starts.
        stage: the scene.
        name: what people call the result.
    """

    def __init__(self, server: Any, stage: PoseStage, name: str) -> None:
        self.stage, self.state, self.result = stage, server.state, stage.run.result
        self._start(name)
        build_poses(server, stage.layout)
        stage.layout.set_layout("poses")
        stage.on_target = self.read
        self.state.change(*_LOOKS)(self.refresh)
        self.refresh()

    def _start(self, name: str) -> None:
        """First values of all that the page shows."""
        state, text = display.pose_verdict(self.result)
        record = self.result.record
        every = display.pose_header(self.result)
        heads = [every[k][0] for k in _TABLED]
        rows = [(pose.number, display.pose_row(self.result, pose)) for pose in self.result.poses]
        self.state.update(
            trame__title=f"{name}: plausible poses",
            name=name,
            intended_use=INTENDED_USE,
            banner=text,
            banner_state=state,
            is_trusted=self.result.is_trusted,
            confirmed=False,
            heads=[text.split(" [")[0] + " fixed" * text.endswith("fixed") for text in heads],
            rows=[
                {
                    "number": number,
                    "cells": [f"{r[1]} %", r[2].replace(" ", "° ", 1), r[3].replace(" ", "° ", 1), r[-1]],
                }
                for number, r in rows
            ],
            pose=self.result.poses[0].number,
            comparison="difference",
            comparisons=[{"title": kind.capitalize(), "value": kind} for kind in display.COMPARISONS],
            share=0.5,
            fields=8,
            facts=pose_facts(record, display.pose_notes(self.result)),
            differences=pose_differences(record),
        )

    def refresh(self, **_: Any) -> None:
        """Draw what the controls say, and say it in numbers with units."""
        state = self.state
        allowed = self.result.is_trusted or bool(state.confirmed)
        how = display.Comparing(state.comparison, float(state.share), int(state.fields))
        self.stage.show(int(state.pose) if allowed else None, how)
        state.update(
            allowed=allowed,
            compared=_COMPARED[how.kind],
            share_text=f"{how.share:.0%}",
            fields_text=f"{how.fields} along the longer side",
        )
        self.read()

    def read(self) -> None:
        """Put the shown pose and the target on the page."""
        run = self.stage.run
        pose, target, spread = run.shown, run.target, run.spread()
        aim = display.show_aim(run)
        where = "" if target is None else "R {:.1f}, A {:.1f}, S {:.1f} mm.".format(*target)
        with self.state as state:
            state.update(
                values=[] if pose is None else self._values(pose),
                landmarks="" if pose is None else display.accuracy_sentence(self.result, pose),
                target=f"{where} {spread.text}" if spread is not None else where,
                aim=[] if pose is None or aim is None else display.aim_text(aim).splitlines(),
            )

    def _values(self, pose: display.Pose) -> list[dict[str, str]]:
        rows = []
        for parameter in self.result.record["parameters"]:
            name = parameter["name"]
            rows.append(
                {
                    "name": display.pose_label(name),
                    "about": parameter["description"],
                    "text": display.pose_value(
                        parameter, pose.value(name), float(pose.record["spread"][name])
                    ),
                }
            )
        return rows


def pose_differences(record: dict[str, Any]) -> str:
    """How far apart the poses of a registration are; empty if there is one.

    Args:
        record: content of ``registration.json``.
    """
    return " ".join(
        f"Poses {row['modes'][0]} and {row['modes'][1]}: {row['rotation_deg']:.0f}° apart, target "
        f"{row['target_mm']:.0f} mm, bone {row['mtre_mm']:.0f} mm."
        for row in record["differences"]
    )


def pose_facts(record: dict[str, Any], notes: list[str]) -> list[str]:
    """Where a registration comes from: bundle, X-ray, trust.

    Args:
        record: content of ``registration.json``.
        notes: what was assumed about the X-ray, and how its poses were weighed.
    """
    trust, bundle = record["trust"], record["bundle"]
    name = bundle.get("name", "unknown")
    said = [name if name.startswith("CT ") else f"Bundle {name} {bundle.get('version', '')}".strip()]
    # Its name says enough on a screen that others see; a record from Windows has other slashes.
    said.append(f"X-ray {PureWindowsPath(record['xray'].get('path', 'unknown')).name}")
    said += notes
    if "waic" in trust and "limit" in trust:
        said.append(f"WAIC {trust['waic']:.3g} nat, limit of trust {trust['limit']:.3g} nat")
    return said
