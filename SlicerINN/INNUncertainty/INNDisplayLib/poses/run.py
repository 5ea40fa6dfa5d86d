"""The nodes of one registration in a scene."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import slicer.util

from ..scene.marks import RunNodes
from ..translating import tr as _
from .result import Pose, PoseResult, PoseSamples, parse_poses
from .spread import Spread, spread_of

__all__ = ["MODE", "PoseRun", "pose_runs"]

MODE = "INN.mode"
"""Attribute of the nodes that change with the shown pose: its number."""


def _names() -> dict[str, str]:
    """What nodes are called."""
    return {
        "aim": _("plan under all poses, record"),
        "aim ellipsoid": _("where the planned target may lie, all poses, 95 %"),
        "aim tube": _("tube around the planned path, all poses, 95 %"),
        "bone": _("bone of the CT"),
        "carm": _("C-arm"),
        "comparison": _("X-ray and DRR compared"),
        "drr": _("DRR, the X-ray simulated for the shown pose"),
        "drrs": _("DRRs of all poses"),
        "pose": _("shown pose (C-arm to CT)"),
        "pose samples": _("posterior samples"),
        "registration": _("record"),
        "shadow": _("where the target appears in the X-ray, 95 %"),
        "spread": _("where the target may lie, 95 %"),
        "target": _("target"),
        "xray": _("X-ray"),
    }


class PoseRun(RunNodes):
    """One registration in a scene.

    Args:
        scene: the scene.
        key: value of the attribute that its nodes carry.
    """

    internal = ("drrs",)

    def title(self, kind: str, parameter: str = "") -> str:
        """What a node is called."""
        return f"{self.name}: {_names()[kind]}"

    @property
    def result(self) -> PoseResult:
        """The record without its files, which may be long gone."""
        return self.read("registration", lambda record: parse_poses(Path(), record))

    @property
    def samples(self) -> PoseSamples | None:
        """The posterior samples; ``None`` once their node was deleted."""
        return self.read("pose samples", _samples)

    def store_samples(self, samples: PoseSamples) -> None:
        """Keep samples as text: a table would be saved with six digits, and the source moves by 1 mm."""
        node = self.node("pose samples", "", "vtkMRMLTextNode")
        rows = samples.camera_to_world[:, :3].reshape(-1, 12).tolist()
        node.SetText(json.dumps({"mode": samples.mode.tolist(), "camera_to_world": rows}))

    @property
    def transform(self) -> slicer.vtkMRMLLinearTransformNode:
        """The transform from camera to world that X-ray, DRR and C-arm hang under."""
        return self.node("pose", "", "vtkMRMLLinearTransformNode")

    @property
    def shown(self) -> Pose | None:
        """The pose that is shown; ``None`` while none is."""
        number = self.transform.GetAttribute(MODE)
        return self.result.pose(int(number)) if number else None

    @property
    def target_node(self) -> slicer.vtkMRMLMarkupsFiducialNode | None:
        """The point list whose first point is the target; ``None`` if it was deleted."""
        return self.find("target", class_name="vtkMRMLMarkupsFiducialNode")

    @property
    def target(self) -> tuple[float, float, float] | None:
        """World position of the target that a user may move; ``None`` if it was deleted."""
        node = self.target_node
        if node is None or not node.GetNumberOfDefinedControlPoints():
            return None
        ras = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(0, ras)
        return tuple(ras)

    def spread(self) -> Spread | None:
        """Where the target may lie, given the shown pose; ``None`` without pose, target or enough samples."""
        pose, target, samples = self.shown, self.target, self.samples
        if pose is None or target is None or samples is None:
            return None
        return spread_of(samples, pose, np.array(target))


def _samples(stored: dict[str, Any]) -> PoseSamples:
    camera = np.zeros((len(stored["mode"]), 4, 4))
    camera[:, :3] = np.reshape(stored["camera_to_world"], (-1, 3, 4))
    camera[:, 3, 3] = 1
    return PoseSamples(camera, np.asarray(stored["mode"], np.int64))


def pose_runs(scene: slicer.vtkMRMLScene) -> list[PoseRun]:
    """All registrations in a scene, oldest first."""
    return PoseRun.all_of(scene, "registration")
