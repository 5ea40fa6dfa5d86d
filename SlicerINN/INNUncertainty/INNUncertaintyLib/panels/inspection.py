"""The part of the panel that tells of one voxel or region."""

import slicer.util
from INNDisplayLib import (
    WITHHELD,
    curve_at,
    is_at_its_frame,
    read_at,
    read_region,
    show_curve,
    show_posterior,
)
from slicer.i18n import tr as _

from ..parameters import Kind
from .module import fill
from .plots import show_charts

__all__ = ["FRAME", "InspectionPanel"]


FRAME = "border: 3px double; padding: 3px"


class InspectionPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic`` and ``_state``."""

    def setup_part(self):
        """Listen to the mouse and to the panel."""
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if crosshair is not None:
            self.addObserver(crosshair, crosshair.CursorPositionModifiedEvent, self.onCursor)
        self.ui.alarmLabel.visible = False
        self._region_of = None
        self._has_layout = False  # the user may choose another one while a probe is moved
        self.ui.probeButton.connect("clicked(bool)", self.onPlaceProbe)
        self.ui.regionButton.connect("clicked(bool)", self.onRegion)
        self.ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onSegmentation)

    def onCursor(self, caller, event):
        """The mouse moves over a slice view."""
        ras = [0.0, 0.0, 0.0]
        reading = self._reading(ras) if caller.GetCursorPositionRAS(ras) else None
        if reading is not None:
            self._say(reading)

    def _say(self, reading):
        """Say what is known of a voxel; that it must not be used with a sign and a frame besides."""
        is_alarm = reading.state == WITHHELD
        self.ui.alarmLabel.visible = is_alarm
        self.ui.readoutLabel.styleSheet = FRAME if is_alarm else ""
        self.ui.readoutLabel.text = reading.text

    def onPlaceProbe(self, checked=False):
        """A point that the user may move; the posterior of its voxel stays in a chart."""
        if self._state.probe is None:
            self._state.probe = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Probe")
        self.observe_probe()
        self._has_layout = False
        markups = slicer.modules.markups.logic()
        markups.SetActiveListID(self._state.probe)
        self._state.probe.RemoveAllControlPoints()
        markups.StartPlaceMode(0)

    def observe_probe(self):
        """Follow the probe, also that of a scene that was read."""
        probe, event = self._state.probe, slicer.vtkMRMLMarkupsNode.PointModifiedEvent
        if probe is not None and not self.hasObserver(probe, event, self.onProbe):
            self.addObserver(probe, event, self.onProbe)

    def onProbe(self, caller, event):
        """The probe was placed or moved."""
        if not caller.GetNumberOfDefinedControlPoints():
            return
        ras = [0.0, 0.0, 0.0]
        caller.GetNthControlPointPositionWorld(0, ras)
        reading = self._reading(ras)
        if reading is not None:
            self._say(reading)
            run = self.logic.run(self._state)
            charts = [show_posterior(run, reading)]
            if "curves" in run.result.record:
                charts.append(show_curve(run, curve_at(run, reading.voxel), reading))
            show_charts(charts, arrange=not self._has_layout)
            self._has_layout = True

    def read_again(self):
        """The image under mouse and probe is another one."""
        self.ui.readoutLabel.text = _("No result at this place of this frame.")
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if crosshair is not None:
            self.onCursor(crosshair, None)
        if self._state.probe is not None:
            self.onProbe(self._state.probe, None)

    def _reading(self, ras):
        state = self._state
        run = self.logic.run(state) if state is not None else None
        if run is None or not is_at_its_frame(run):
            return None
        threshold = state.threshold if state.kind in (Kind.PROBABILITY, Kind.ABOVE) else None
        return read_at(run, tuple(ras), run.parameter(state.parameter).name, threshold)

    def onSegmentation(self, node):
        """Its segments are offered."""
        segments = node.GetSegmentation() if node is not None else None
        names = (
            [segments.GetNthSegmentID(n) for n in range(segments.GetNumberOfSegments())] if segments else []
        )
        fill(self.ui.segmentBox, [(segments.GetSegment(name).GetName(), name) for name in names])

    def onRegion(self, checked=False):
        """The posterior of the mean over the segment."""
        with slicer.util.tryWithErrorDisplay(_("The region could not be read."), waitCursor=True):
            state, segment = self._state, self.ui.segmentBox.currentData
            run = self.logic.run(state)
            self.onSegmentation(state.segmentation)  # segments come and go
            if not segment or self.ui.segmentBox.currentData != segment:
                raise ValueError(_("Select a segmentation and a segment."))
            name = run.parameter(state.parameter).name
            self.ui.regionLabel.text = read_region(run, state.segmentation, segment, name).text
            self._region_of = run.key, state.parameter

    def show_region(self, run, state):
        """A mean of another result or parameter than those shown goes."""
        if self._region_of not in (None, (run.key, state.parameter)):
            self._region_of, self.ui.regionLabel.text = None, ""
