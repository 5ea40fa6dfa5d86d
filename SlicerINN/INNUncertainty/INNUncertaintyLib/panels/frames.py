"""Videos: every frame is inferred for itself; the map, its patterns and the reading follow the frame."""

from __future__ import annotations

import slicer
import slicer.util
import vtk
from INNDisplayLib import (
    Run,
    browsers_of,
    is_at_its_frame,
    is_shown,
    mark_frame,
    read_result,
    run_at,
    runs,
    store,
)
from slicer.i18n import tr as _

from ..images import make_savable, write_image
from ..inference import Inference

__all__ = ["FramesPanel", "VideoInference"]


class VideoInference(Inference):
    """A running inference of all frames, each of which gets a run, in the place of an earlier one."""

    def _arguments(self, state):
        make_savable(state.image)
        make_savable(_player(state.image))
        frames = self.folder / "frames"
        frames.mkdir()
        for number in range(state.image.GetNumberOfDataNodes()):
            write_image(state.image.GetNthDataNode(number), frames / f"{number:05d}.nrrd")
        return self._command(state, str(frames / "*.nrrd"))

    def preview(self) -> Run | None:
        """There is none."""

    def _take(self) -> Run:
        """Put the results into the scene; returns that of the frame that is shown, else of the first one."""
        sequence = slicer.mrmlScene.GetNodeByID(self.image_id)
        if sequence is None:
            raise RuntimeError(_("The video was deleted meanwhile; load it and apply the bundle again."))
        found = [run for run in self._stored(sequence) if run is not None]
        if not found:
            raise RuntimeError(_("No frame could be inferred; apply the bundle to one frame to see why."))
        return next((run for run in found if is_at_its_frame(run)), found[0])

    def _stored(self, sequence):
        """The run of each frame, ``None`` for one that could not be inferred."""
        for number in range(sequence.GetNumberOfDataNodes()):
            folder = self.folder / "result" / f"{number:05d}"
            if not (folder / "result.json").is_file():
                yield None
                continue
            result, frame = read_result(folder), (sequence, sequence.GetNthIndexValue(number))
            path = result.record["bundle"]["path"]
            same = [r for r in runs(slicer.mrmlScene) if is_at_its_frame(r, frame) and r.bundle_path == path]
            name = _("{name}, frame {value}").format(name=self.name, value=frame[1])
            run = store(slicer.mrmlScene, result, name, _player(sequence), same[-1] if same else None)
            mark_frame(run, frame)
            yield run


def _player(sequence):
    """The volume that plays a sequence, or the sequence if there is none."""
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
    return (browser.GetProxyNode(sequence) if browser is not None else None) or sequence


class FramesPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and the readings."""

    def setup_part(self):
        """Nothing is played yet."""
        self._frames_shown = {}

    def observe_frames(self):
        """Follow the browsers of all videos that were inferred."""
        event = vtk.vtkCommand.ModifiedEvent
        for run in runs(slicer.mrmlScene):
            for browser in browsers_of(run):
                if not self.hasObserver(browser, event, self.onFrame):
                    self._frames_shown.pop(browser.GetID(), None)
                    self.addObserver(browser, event, self.onFrame)

    def onFrame(self, browser, event):
        """Another frame is shown: its own run comes with it, or no map at all; behind other modules too."""
        number, state = browser.GetSelectedItemNumber(), self._state or self.logic.getParameterNode()
        run = self.logic.run(state)
        if run is None or browser not in browsers_of(run):
            return
        if self._frames_shown.get(browser.GetID()) == number:
            return
        self._frames_shown[browser.GetID()] = number
        of_frame, has_map = run_at(browser, run.bundle_path), is_shown(run)
        if of_frame is not None and of_frame != run:
            state.run = of_frame.key  # an open panel shows it
        elif self._state is not None:
            self.onStateChanged()
        if self._state is not None:
            self.read_again()
        elif has_map:
            self.logic.show(state)
