"""The part of the panel that carries a planned target or path through all poses."""

import INNDisplayLib as display  # noqa: N813
import numpy as np
import slicer
from slicer.i18n import tr as _

from .aiming import missing_plan, planned_points

__all__ = ["AimPanel"]


_SAME_MM = 0.01


class AimPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and the like."""

    def setup_aim(self):
        """Listen."""
        self.ui.aimButton.connect("clicked(bool)", self.onAim)

    def onAim(self, checked=False):
        """Start, or cancel what runs."""
        if self.logic.work is not None:
            self._timer.stop()
        failure = _("The plan could not be carried through the poses.")
        self._start_or_cancel(self.logic.work, failure, self.logic.aim)

    def show_aim(self, run):
        """Bring button and text up to date, and listen to the plan."""
        ui, state = self.ui, self._state
        is_running = self.logic.work is not None
        missing = missing_plan(state, run)
        ui.aimSection.enabled = run is not None
        ui.aimButton.text = _("Cancel") if is_running else _("Carry through all poses")
        ui.aimButton.enabled = is_running or not missing
        ui.aimButton.toolTip = missing or _("Where target and path would really lie under each pose")
        self.listen_to_points(state.plan, self.onPlan)
        if state.plan is not None:
            _drop_aims(state.plan)
        aim = None if run is None or run.shown is None else display.show_aim(run)
        ui.aimLabel.text = missing if aim is None else display.aim_text(aim)

    def onPlan(self, plan, event):
        """The plan was placed or moved, or has lost a point: what was found for it is no longer true."""
        _drop_aims(plan)
        if self._state is not None:
            self.show_aim(self.logic.run(self._state))

    def forget_plan(self, node):
        """A node was deleted; if it is the plan, what was found for it goes too."""
        if self.hasObserver(node, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self.onPlan):
            self.listen_to_points(None, self.onPlan)
            _drop_aims(None)


def _drop_aims(plan):
    """Take away what was found for another plan than this one as it lies now."""
    for run in display.pose_runs(slicer.mrmlScene):
        aim = None if run.shown is None else display.show_aim(run)
        if aim is not None and not _is_of(aim, plan):
            display.forget_aim(run)


def _is_of(aim, plan):
    """Whether an aim was found for a plan as it lies now."""
    points = planned_points(plan)
    return len(points) == len(aim.plan) and np.allclose(points, aim.plan, atol=_SAME_MM)
