"""Results of the frames of a video: which frame a run belongs to, and that no map lies over another frame."""

from __future__ import annotations

import slicer
import slicer.util

from .marks import RUN
from .run import Run, runs

__all__ = ["browsers_of", "clear_views", "frame_of", "is_at_its_frame", "mark_frame", "run_at", "turn_to"]

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


def browsers_of(run: Run) -> list[slicer.vtkMRMLSequenceBrowserNode]:
    """The browsers that play the video of a run; none for other runs."""
    sequence = run.record_node.GetNodeReference(_SEQUENCE)
    if sequence is None:
        return []
    return [b for b in _browsers(run.scene) if b.IsSynchronizedSequenceNodeID(sequence.GetID(), True)]


def run_at(browser: slicer.vtkMRMLSequenceBrowserNode, bundle_path: str) -> Run | None:
    """The run of the frame that a browser shows, by the same bundle; ``None`` if it was not inferred."""
    for run in reversed(runs(browser.GetScene())):
        if browser in browsers_of(run) and run.bundle_path == bundle_path and _frame(run) == _value(browser):
            return run
    return None


def is_at_its_frame(run: Run, frame: Frame | None = None) -> bool:
    """Whether what is shown, or a given frame, is the one that a run belongs to."""
    if frame is not None:
        return (run.record_node.GetNodeReference(_SEQUENCE), _frame(run)) == frame
    return all(_frame(run) == _value(browser) for browser in browsers_of(run))


def turn_to(run: Run) -> None:
    """Let the browsers of a video show the frame that a run belongs to."""
    for browser in browsers_of(run):
        if _frame(run) != _value(browser):
            browser.SetSelectedItemByIndexValue(_frame(run))


def clear_views(run: Run) -> None:
    """Show the image alone, without the maps of a run, which are of another frame."""
    image = run.image
    background = image.GetID() if image is not None and image.IsA("vtkMRMLVolumeNode") else None
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", run.scene):
        with slicer.util.NodeModify(view):
            view.SetBackgroundVolumeID(background)
            view.SetForegroundVolumeID(None)
            view.SetLabelVolumeID(None)
            view.SetNthLayerVolumeID(3, None)
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", run.scene):
        legend.SetVisibility(False)


def _frame(run: Run) -> str | None:
    return run.record_node.GetAttribute(_FRAME)


def _value(browser: slicer.vtkMRMLSequenceBrowserNode) -> str:
    """The index value that a browser shows."""
    master = browser.GetMasterSequenceNode()
    return "" if master is None else master.GetNthIndexValue(browser.GetSelectedItemNumber())


def _browsers(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSequenceBrowserNode]:
    """All browsers but those of posterior samples."""
    found = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", scene)
    return [browser for browser in found if browser.GetAttribute(RUN) is None]
