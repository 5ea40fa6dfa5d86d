"""The parts of the panel that say which map is shown and how, and tell of one voxel or region."""

import qt
import slicer.util
import vtk
from INNDisplayLib import (
    Overlay,
    curve_at,
    number_of_samples,
    read_at,
    read_region,
    runs,
    show_curve,
    show_posterior,
)  # fmt: skip
from slicer.i18n import tr as _

from .module_panel import fill, quiet, select
from .parameters import Kind
from .plots import show_charts

__all__ = ["DisplayPanel", "InspectionPanel", "verdict"]


def verdict(run):
    """How much of the image may be trusted, in words."""
    found = run.result.record["summary"]
    share = found["share_untrusted"]
    if share is None:
        return _("No voxel could be used.")
    silent = ", ".join(
        f"{name} {row['share_uninformative']:.1%}"
        for name, row in found.get("trusted_pixels", {}).items()
        if row.get("share_uninformative")
    )
    text = _(
        "{valid:,} of {all:,} voxels usable (others: grid); {share:.1%} of them not explained, out of "
        "distribution (stripes). "
    ).format(valid=found["valid_pixels"], all=found["pixels"], share=share)
    return text + _("Not informative: {parts} (dots).").format(parts=silent or _("none"))


class DisplayPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and ``onStateChanged``."""

    def setup_part(self):
        """Fill what never changes, and listen."""
        ui = self.ui
        fill(ui.kindBox, [(kind.label(), kind.value) for kind in Kind])
        ui.runBox.connect("currentIndexChanged(int)", self.onRun)
        ui.kindBox.connect("currentIndexChanged(int)", self.onKind)
        ui.parameterBox.connect("currentIndexChanged(int)", self.onParameter)
        ui.otherBox.connect("currentIndexChanged(int)", self.onOther)
        ui.sampleSlider.connect("valueChanged(int)", self.onSample)
        ui.thresholdSlider.connect("valueChanged(double)", self.onThreshold)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.EndImportEvent, self.onSceneImported)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self._shown_before = Kind.WIDTH
        self._shortcut = qt.QShortcut(qt.QKeySequence("U"), slicer.util.mainWindow())
        self._shortcut.connect("activated()", self.onToggle)

    def onRun(self, index):
        """A result was chosen."""
        self._state.run = self.ui.runBox.currentData
        self.onRunsChanged()

    def onKind(self, index):
        """A kind of map was chosen."""
        self._state.kind = Kind(self.ui.kindBox.currentData)

    def onParameter(self, index):
        """A parameter was chosen; a threshold means nothing to another one."""
        known = self.logic.run(self._state).parameters
        self._take(next(p for p in known if p.name == self.ui.parameterBox.currentData))

    def onOther(self, index):
        """Another result was chosen to compare with."""
        self._state.other = self.ui.otherBox.currentData

    def onSample(self, value):
        """Another sample."""
        self._state.sample = value

    def onThreshold(self, value):
        """Another threshold."""
        self._state.threshold = value

    def onToggle(self):
        """Image alone, or what was shown before."""
        if self._state is None:
            return
        shown = self._state.kind
        self._state.kind = self._shown_before if shown is Kind.OFF else Kind.OFF
        if shown is not Kind.OFF:
            self._shown_before = shown

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller, event, node):
        """A result may have gone."""
        if node is not None and node.GetAttribute("INN.map") == "record":
            self.onRunsChanged()

    def onRunsChanged(self, caller=None, event=None):
        """There are other results in the scene, or another one is shown."""
        if self._state is None:
            return
        fill(self.ui.runBox, [(run.name, run.key) for run in runs(slicer.mrmlScene)])
        run = self.logic.run(self._state)
        others = [(r.name, r.key) for r in runs(slicer.mrmlScene) if r != run]
        fill(self.ui.otherBox, others)
        if self._state.other not in [key for _name, key in others]:
            self._state.other = others[0][1] if others else ""
        known = run.parameters if run is not None else ()
        fill(self.ui.parameterBox, [(f"{p.name}: {p.description}", p.name) for p in known])
        if known and self._state.parameter not in [p.name for p in known]:
            self._take(known[0])
        self.onStateChanged()

    def _take(self, shown):
        with slicer.util.NodeModify(self._state):
            self._state.parameter = shown.name
            self._state.threshold = (shown.low + shown.high) / 2

    def show_run(self, run, state):
        """Bring the controls up to date, with the numbers behind them in units."""
        ui, shown = self.ui, run.parameter(state.parameter)
        select(ui.runBox, run.key)
        select(ui.kindBox, state.kind.value)
        select(ui.parameterBox, shown.name)
        select(ui.otherBox, state.other)
        ui.otherBox.enabled = state.kind is Kind.DIFFERENCE and bool(state.other)
        number = number_of_samples(run, shown.name)
        sample = self.logic.appearance(run, state).sample + 1
        with quiet(ui.thresholdSlider, ui.sampleSlider):
            ui.thresholdSlider.minimum, ui.thresholdSlider.maximum = shown.low, shown.high
            ui.thresholdSlider.singleStep = (shown.high - shown.low) / 100
            ui.thresholdSlider.value = state.threshold
            ui.sampleSlider.maximum = max(1, number)
            ui.sampleSlider.value = sample
        ui.sampleSlider.enabled = state.kind is Kind.SAMPLE and number > 0
        ui.sampleLabel.text = (
            _("sample {k} of {n}").format(k=sample, n=number) if number else _("no samples stored")
        )
        ui.thresholdLabel.text = _("Probability that {name} < {value}").format(
            name=shown.name, value=shown.text(state.threshold)
        )
        ui.hideBelowLabel.text = self._scale_text(run, state)

    def show_comparison(self, comparison):
        """Say in words what a comparison has found."""
        self.ui.compareLabel.text = "" if comparison is None else comparison.text
        if self._state.kind is Kind.DIFFERENCE and comparison is None:
            self.ui.compareLabel.text = _("There is no other result to compare with.")

    def _scale_text(self, run, state):
        if state.kind is Kind.OFF:
            return ""
        if state.kind is Kind.ADEQUACY and run.find("adequacy") is None:
            return _("Not in this result: set Simulations among the options, and apply again.")
        appearance = self.logic.appearance(run, state)
        low, high = Overlay(run).scale(appearance)
        return _("Drawn from {start:.3g}{unit} on; colors span {low:.3g} to {high:.3g}{unit}").format(
            start=low + appearance.hide_below * (high - low),
            low=low,
            high=high,
            unit=Overlay(run).unit(appearance),
        )


class InspectionPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic`` and ``_state``."""

    def setup_part(self):
        """Listen to the mouse and to the panel."""
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if crosshair is not None:
            self.addObserver(crosshair, crosshair.CursorPositionModifiedEvent, self.onCursor)
        self._has_layout = False  # the user may choose another one while a probe is moved
        self.ui.probeButton.connect("clicked(bool)", self.onPlaceProbe)
        self.ui.regionButton.connect("clicked(bool)", self.onRegion)
        self.ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onSegmentation)

    def onCursor(self, caller, event):
        """The mouse moves over a slice view."""
        ras = [0.0, 0.0, 0.0]
        reading = self._reading(ras) if caller.GetCursorPositionRAS(ras) else None
        if reading is not None:
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
            self.ui.readoutLabel.text = reading.text
            run = self.logic.run(self._state)
            charts = [show_posterior(run, reading)]
            if "curves" in run.result.record:
                charts.append(show_curve(run, curve_at(run, reading.voxel), reading))
            show_charts(charts, arrange=not self._has_layout)
            self._has_layout = True

    def _reading(self, ras):
        state = self._state
        run = self.logic.run(state) if state is not None else None
        if run is None:
            return None
        threshold = state.threshold if state.kind is Kind.PROBABILITY else None
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
