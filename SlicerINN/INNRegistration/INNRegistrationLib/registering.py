"""One registration: a child process works, its poses come into the scene, and the views are arranged."""

from __future__ import annotations

from pathlib import Path

import slicer
import slicer.util
from INNDisplayLib import IMAGE_VIEWS, PoseRun, read_poses, store_poses
from INNUncertaintyLib import Job
from slicer.i18n import tr as _

from .parameters import RegistrationState

__all__ = [
    "NEEDED",
    "REQUIREMENTS",
    "Registering",
    "displaced",
    "free",
    "is_trained",
    "missing_input",
    "show_ct",
    "show_layout",
]

# Slicer has the folders of all modules on sys.path, and the module names INNUncertainty as its dependency:
# one class of child processes and one way to install packages serve both.


REQUIREMENTS = ["monai_inn[io,registration]>=0.1"]
NEEDED = ("nanodrr",)
"""Modules that `monai-inn register` needs besides those of every verb."""

_METADATA, _PREPARED = "configs/metadata.json", "patient.json"


def missing_input(state: RegistrationState) -> str:
    """What keeps a registration from being started, in one line; empty if nothing does."""
    if not state.bundle and state.ct is None:
        return _("Select the patient's CT, or a folder that was prepared or trained for it.")
    if not state.bundle and displaced(state.ct):
        return displaced(state.ct)
    if state.bundle and not (is_trained(state) or (Path(state.bundle) / _PREPARED).is_file()):
        return _("No prepared patient and no bundle in {folder}.").format(folder=state.bundle)
    if not state.xray:
        return _("Select an X-ray.")
    if not Path(state.xray).is_file():
        return _("There is no file {path}.").format(path=state.xray)
    if not state.output:
        return _("Select a folder to write into.")
    return ""


def displaced(ct: slicer.vtkMRMLVolumeNode) -> str:
    """Say that a CT lies under a transform, which its file would not have; empty if it does not."""
    if ct.GetParentTransformNode() is None:
        return ""
    return _("{name} lies under a transform; harden it in the module Transforms.").format(name=ct.GetName())


def is_trained(state: RegistrationState) -> bool:
    """Whether a network was trained for the patient."""
    return bool(state.bundle) and (Path(state.bundle) / _METADATA).is_file()


class Registering(Job):
    """A running registration; ask ``poll`` for news until it says that it is over, then ``finish`` it.

    Args:
        state: CT or folder of the patient, X-ray and folder to write.

    Raises:
        ValueError: if one of them is missing.
        OSError: if Python cannot be started.
    """

    def __init__(self, state: RegistrationState) -> None:
        missing = missing_input(state)
        if missing:
            raise ValueError(missing)
        name = Path(state.xray).name.split(".")[0]
        self.result = free(Path(state.output) / name)
        super().__init__(state)

    def _arguments(self, state: RegistrationState) -> list[str]:
        """Words of the command; a CT of the scene is written where the command finds it."""
        patient = state.bundle or self._written(state.ct, "ct")
        arguments = ["register", patient, state.xray, "-o", str(self.result)]
        if state.bone.value:
            arguments += ["--contrast", state.bone.value]
        if state.spacing:
            arguments += ["--spacing", str(state.spacing)]
        if state.isMirrored:
            arguments += ["--mirror"]
        if state.isReweighted and is_trained(state):
            arguments += ["--reweight"]
        if state.isRefined and is_trained(state):
            arguments += ["--refine"]
        return arguments

    def _take(self) -> PoseRun:
        return store_poses(slicer.mrmlScene, read_poses(self.result), self.result.name)


def free(folder: Path) -> Path:
    """The folder, or one beside it that is not there yet: an earlier result is never replaced."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}_{number}")
    return found


_LAYOUT = 7311  # below 100 are Slicer's own
_SLICE = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
    '<property name="orientation" action="default">{orientation}</property>'
    '<property name="viewlabel" action="default">{label}</property>'
    '<property name="viewcolor" action="default">{color}</property></view></item>'
)
_LAYOUT_TEXT = (
    '<layout type="vertical" split="true">'
    '<item><layout type="horizontal" split="true">{images}</layout></item>'
    '<item><layout type="horizontal" split="true">'
    '<item><view class="vtkMRMLViewNode" singletontag="1">'
    '<property name="viewlabel" action="default">1</property></view></item>'
    "{slices}</layout></item></layout>"
)


def show_layout():
    """Arrange the views."""
    manager = slicer.app.layoutManager()
    node = manager.layoutLogic().GetLayoutNode()
    if not node.IsLayoutDescription(_LAYOUT):
        node.AddLayoutDescription(_LAYOUT, _description())
    manager.setLayout(_LAYOUT)


def _description():
    labels = {"xray": _("X-ray"), "drr": _("DRR"), "comparison": _("Comparison")}
    images = "".join(
        _SLICE.format(name=name, orientation="Axial", label=labels[kind], color="#5AA6F2")
        for name, kind in IMAGE_VIEWS.items()
    )
    slices = "".join(
        _SLICE.format(name=name, orientation=orientation, label=name[0], color=color)
        for name, orientation, color in (("Red", "Axial", "#F34A33"), ("Green", "Coronal", "#6EB04B"))
    )
    return _LAYOUT_TEXT.format(images=images, slices=slices)


def show_ct(volume, point, is_in_3d):
    """Put a CT behind the slice views that are not the X-ray's.

    Args:
        volume: the CT, or ``None``.
        point: RAS in mm to which they turn.
        is_in_3d: whether two of its slices are shown in 3-D too, in the place of its bone.
    """
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() not in IMAGE_VIEWS:
            composite.SetBackgroundVolumeID(volume.GetID() if volume is not None else None)
            composite.SetForegroundVolumeID(None)
    if volume is not None:
        slicer.util.resetSliceViews()
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if view.GetLayoutName() not in IMAGE_VIEWS and point is not None:
            view.JumpSliceByOffsetting(*point)
            # A third plane would hide all of the ellipsoid.
            view.SetSliceVisible(is_in_3d and volume is not None and view.GetLayoutName() in ("Red", "Green"))
