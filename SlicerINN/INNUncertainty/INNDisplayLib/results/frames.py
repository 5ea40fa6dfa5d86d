"""Results of the frames of a video: which frame a run belongs to, and that no map lies over another frame."""

from __future__ import annotations

import slicer
import slicer.util

from ..scene.marks import RUN, hide_legends, set_layers
from .run import Run, runs

__all__ = [
    "browsers_of",
    "clear_views",
    "frame_of",
    "frame_of_run",
    "is_at_its_frame",
    "is_shown",
    "mark_frame",
    "run_at",
    "turn_to",
]

_FRAME, _SEQUENCE = "INN.frame", "INN.sequence"
Frame = tuple[slicer.vtkMRMLNode, str]
"""A sequence of images, and the index value of one of them."""


def frame_of(volume: slicer.vtkMRMLNode) -> Frame | None:
    """The frame that a volume shows; ``None`` unless a browser plays a sequence through it."""
    for browser in _browsers(volume.GetScene()):
        if volume.GetID() and browser.IsProxyNodeID(volume.GetID()):
            sequence = browser.GetSequenceNode(volume)
            return sequence, _value(browser)
    return None


def mark_frame(run: Run, frame: Frame | None) -> None:
    """Say which frame a run belongs to; a run of an image that is not played belongs to none."""
    sequence, value = frame or (None, None)
    run.record_node.SetNodeReferenceID(_SEQUENCE, sequence.GetID() if sequence is not None else None)
    run.record_node.SetAttribute(_FRAME, value)


def frame_of_run(run: Run) -> Frame | None:
    """The frame that a run belongs to; ``None`` for a run of an image that is not played."""
    sequence = run.record_node.GetNodeReference(_SEQUENCE)
    return None if sequence is None else (sequence, run.record_node.GetAttribute(_FRAME))


def browsers_of(run: Run) -> list[slicer.vtkMRMLSequenceBrowserNode]:
    """The browsers that play the video of a run; none for other runs."""
    if (frame := frame_of_run(run)) is None:
        return []
    return [b for b in _browsers(run.scene) if b.IsSynchronizedSequenceNodeID(frame[0].GetID(), True)]


def run_at(browser: slicer.vtkMRMLSequenceBrowserNode, bundle_path: str) -> Run | None:
    """The run of the frame that a browser shows, by the same bundle; ``None`` if it was not inferred."""
    for run in reversed(runs(browser.GetScene())):
        if browser in browsers_of(run) and run.bundle_path == bundle_path and _shows(browser, run):
            return run
    return None


def is_at_its_frame(run: Run, frame: Frame | None = None) -> bool:
    """Whether what is shown, or a given frame, is the one that a run belongs to."""
    if frame is not None:
        return frame_of_run(run) == frame
    return all(_shows(browser, run) for browser in browsers_of(run))


def is_shown(run: Run) -> bool:
    """Whether a slice view shows a map of a run."""
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", run.scene):
        for shown in (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()):
            layer = run.scene.GetNodeByID(shown or "")
            if layer is not None and layer.GetAttribute(RUN) == run.key:
                return True
    return False


def turn_to(run: Run) -> None:
    """Let the browsers of a video show the frame that a run belongs to."""
    for browser in browsers_of(run):
        if not _shows(browser, run):
            browser.SetSelectedItemByIndexValue(frame_of_run(run)[1])


def clear_views(run: Run) -> None:
    """Show the image alone, without the maps of a run, which are of another frame."""
    image = run.image
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", run.scene):
        set_layers(view, image if image is not None and image.IsA("vtkMRMLVolumeNode") else None)
    hide_legends(run.scene)


def _shows(browser: slicer.vtkMRMLSequenceBrowserNode, run: Run) -> bool:
    """Whether a browser shows the frame of a run."""
    return frame_of_run(run)[1] == _value(browser)


def _value(browser: slicer.vtkMRMLSequenceBrowserNode) -> str:
    """The index value that a browser shows."""
    master = browser.GetMasterSequenceNode()
    return "" if master is None else master.GetNthIndexValue(browser.GetSelectedItemNumber())


def _browsers(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSequenceBrowserNode]:
    """All browsers but those of posterior samples."""
    found = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", scene)
    return [browser for browser in found if browser.GetAttribute(RUN) is None]
