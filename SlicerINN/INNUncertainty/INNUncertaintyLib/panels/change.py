"""The part of the panel that computes what has changed between two results."""

import qt
import slicer.util
from INNDisplayLib import frame_of_run, mark_frame, posterior_of_change, runs, store
from slicer.i18n import tr as _

from ..parameters import Kind

__all__ = ["ChangePanel"]


class ChangePanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and ``onRunsChanged``."""

    def setup_part(self):
        """Listen; a timer computes a piece at a time, so that the window stays alive."""
        self._change = None  # the computation that runs, and what is needed after it
        self._change_timer = qt.QTimer()
        self._change_timer.setInterval(0)
        self._change_timer.connect("timeout()", self.onChangePiece)
        self.ui.changeButton.connect("clicked(bool)", self.onChange)

    def onChange(self, checked=False):
        """Start, or cancel what runs."""
        if self._change is not None:
            self.close_change()
            self.ui.compareLabel.text = _("Canceled; nothing was changed.")
            return
        with slicer.util.tryWithErrorDisplay(_("The change could not be computed.")):
            run, state = self.logic.run(self._state), self._state
            other = next((r for r in runs(slicer.mrmlScene) if r.key == state.other), None)
            if other is None:
                raise ValueError(_("Select another result to compare with."))
            parameter = run.parameter(state.parameter)
            name = _("{second} minus {first}: {parameter}").format(
                second=other.name, first=run.name, parameter=parameter.label
            )
            work = posterior_of_change(run, other, parameter.name)
            next(work)  # what cannot be compared is said at once
            self._change = work, name, run.image, frame_of_run(run)
            self.ui.changeButton.text = _("Cancel")
            self._change_timer.start()

    def onChangePiece(self):
        """The next piece, or the end."""
        work, name, image, frame = self._change
        try:
            self.ui.compareLabel.text = _("{share:.0%} compared").format(share=next(work))
        except StopIteration as end:
            self.close_change()
            run = store(slicer.mrmlScene, end.value, name, image)
            mark_frame(run, frame)  # it lies over that frame of a video
            state = self._state or self.logic.getParameterNode()  # the module may have been left meanwhile
            with slicer.util.NodeModify(state):
                state.run, state.kind = run.key, Kind.MEDIAN
            if self._state is not None:
                self.onRunsChanged()
        except ValueError as error:  # one of the two was deleted
            self.close_change()
            self.ui.compareLabel.text = str(error)

    def close_change(self):
        """End the computation; nothing of it comes into the scene."""
        self._change_timer.stop()
        self._change = None
        self.ui.changeButton.text = _("Posterior of the difference")
