"""The part of the panel that plans: regions of decision, and lines through the posterior."""

import qt
import slicer.util
import vtk
from INNDisplayLib import (
    Division,
    ThresholdStep,
    has_regions_in_3d,
    pose_runs,
    rank_lines,
    read_regions,
    regions_text,
    show_line,
    show_only_regions,
    show_regions_in_3d,
    show_tube,
)
from slicer.i18n import tr as _

from .background import Background
from .module import fill_table, quiet
from .plots import show_charts

__all__ = ["PlanPanel"]

_REST_MS = 250  # a slider that has not moved for so long counts as released


def _heads():
    """Heads of the table of lines, and what they mean."""
    return (
        (_("Line"), _("Name of the markups line")),
        (_("mm"), _("Length")),
        (_("P if shared"), _("Probability to cross, if all voxels err alike")),
        (_("P if independent"), _("Probability to cross, if each voxel errs for itself")),
        (_("unknown mm"), _("Length in voxels that are not trusted, or outside the image")),
        (_("tube mm"), _("Radius of the tube that holds the line in 95 % of the poses")),
    )


def _asked(run, state):
    """What lines are ranked by."""
    return run.key, state.parameter, state.threshold, state.isAbove


class PlanPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and ``onStateChanged``."""

    def setup_part(self):
        """Listen, and have nothing to compute yet."""
        ui, self._readings, self._ranked = self.ui, [], None
        self._background = Background(self.onComputed, self.onNotComputed)
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.connect("timeout()", self.onRested)
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self.onNodeAdded(None, None, view)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        ui.regions3DCheck.connect("toggled(bool)", self.onRegions3D)
        ui.addLineButton.connect("clicked(bool)", self.onAddLine)
        ui.rankButton.connect("clicked(bool)", self.onRank)
        ui.lineTable.connect("itemSelectionChanged()", self.onLine)

    def close_plan(self):
        """End what is being computed."""
        self._rest.stop()
        self._background.close()

    def forget_plan(self):
        """The scene goes, and with it all that was asked for."""
        self._rest.stop()
        self._background.forget()
        self._forget_lines()
        self.ui.regionsLabel.text = ""

    def _forget_lines(self):
        self._readings = []
        self.ui.lineTable.setRowCount(0)
        self.ui.lineLabel.text = ""

    # Steps of the threshold.

    def is_waiting(self, run, state):
        """Whether what is to be shown is still being computed; a large volume must not hold up the GUI."""
        step = self._step(run, state)
        is_large = step is not None and step.is_large
        self.ui.thresholdSlider.tracking = not is_large  # else it speaks when it is released
        if is_large and step.is_needed:
            self.ui.thresholdLabel.text += _(" (computing...)")
            self._background.ask(step)
        elif step is not None and step.division is not None:
            self._rest.start()
        return is_large and step.is_needed

    def _step(self, run, state):
        """What the threshold changes of what is shown; ``None`` if nothing of that."""
        try:
            division = self._division(state)
            if division is None and not state.contours and state.kind.value != "probability_below":
                return None
            name = run.parameter(state.parameter).name
            return ThresholdStep(run, name, state.threshold, state.contours, division)
        except ValueError as error:
            self.ui.regionsLabel.text = str(error)
            return None

    def _division(self, state):
        if not state.regions:
            return None
        smallest = state.smallestIsland
        return Division(state.isAbove, state.certain / 100, state.possible / 100, smallest)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node):
        """A layout may bring further views."""
        if node is not None and node.IsA("vtkMRMLSliceNode"):
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onSlice)

    def onSlice(self, caller, event):
        """Another slice is shown: lines of a large volume follow."""
        if self._state is not None and self._state.contours and not self.ui.thresholdSlider.tracking:
            self._rest.start()

    def onRested(self):
        """The threshold, or a slice, is no longer moved: regions and lines follow."""
        run = self.logic.run(self._state) if self._state is not None else None
        step = None if run is None else self._step(run, self._state)
        if step is not None and step.is_needed:
            if step.division is not None:
                self.ui.regionsLabel.text = _("Computing the regions...")
            self._background.ask(step)

    def onComputed(self, step):
        """A step was computed beside the GUI; it is shown if nothing else is wanted by now."""
        run = self.logic.run(self._state) if self._state is not None else None
        wanted = None if run is None else self._step(run, self._state)
        if wanted is None or wanted.key != step.key:
            return
        with slicer.util.tryWithErrorDisplay(_("The regions could not be shown."), waitCursor=True):
            step.place()
        self.onStateChanged()

    def onNotComputed(self, error):
        """A step has failed, most likely because memory ran out."""
        self.ui.regionsLabel.text = str(error)

    # Regions.

    def show_plan(self, run, state):
        """Bring regions up to date with what is shown; lines that were ranked by something else go."""
        gone = any(reading.node.GetScene() is None for reading in self._readings)
        if gone or (self._readings and self._ranked != _asked(run, state)):
            self._forget_lines()
        show_only_regions(slicer.mrmlScene, run if state.regions else None)
        like = run.find("median") or run.find("valid")
        is_flat = like is not None and like.GetImageData().GetDimensions()[2] == 1
        self.ui.smallestIslandBox.suffix = _(" mm²") if is_flat else _(" mm³")
        with quiet(self.ui.regions3DCheck):
            self.ui.regions3DCheck.checked = has_regions_in_3d(run)
        record = read_regions(run)
        if state.regions and record is not None and not self._background.is_busy:
            self.ui.regionsLabel.text = regions_text(run, record)
        elif not state.regions:
            self.ui.regionsLabel.text = ""

    def onRegions3D(self, checked):
        """Closed surfaces in the 3D view are wanted, or no longer."""
        run = self.logic.run(self._state) if self._state is not None else None
        if run is not None:
            with slicer.util.tryWithErrorDisplay(_("The surfaces could not be made."), waitCursor=True):
                show_regions_in_3d(run, checked)

    # Lines.

    def onAddLine(self, checked=False):
        """One more line: its entry and its target are placed by the next two clicks."""
        line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", _("Path"))
        line.SetName(slicer.mrmlScene.GenerateUniqueName(_("Path")))
        line.CreateDefaultDisplayNodes()
        self.observe_lines()
        markups = slicer.modules.markups.logic()
        markups.SetActiveListID(line)
        markups.StartPlaceMode(0)

    def observe_lines(self):
        """Follow the lines of the scene when they are let go."""
        event = slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent
        for line in slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode"):
            if not self.hasObserver(line, event, self.onLineMoved):
                self.addObserver(line, event, self.onLineMoved)

    def onLineMoved(self, caller, event):
        """An end of a line was let go."""
        if self._state is not None and self.logic.run(self._state) is not None and self._readings:
            self.onRank()

    def onRank(self, checked=False):
        """Read all lines of the scene, and rank them."""
        with slicer.util.tryWithErrorDisplay(_("The lines could not be read."), waitCursor=True):
            state = self._state
            run = self.logic.run(state)
            self.observe_lines()
            lines = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")
            if not lines:
                raise ValueError(
                    _("There is no line in the scene; press Add line and place entry and target.")
                )
            poses = [found for found in pose_runs(slicer.mrmlScene) if found.shown is not None]
            self._readings, complaints = rank_lines(
                run,
                lines,
                run.parameter(state.parameter).name,
                state.threshold,
                state.isAbove,
                poses[-1] if poses else None,
            )
            self._ranked = _asked(run, state)
            self._fill_lines()
            self.ui.lineLabel.text = "\n".join(complaints)
            if self._readings:
                self.ui.lineTable.setCurrentCell(0, 0)
                self._show_reading(self._readings[0], complaints)

    def _fill_lines(self):
        rows = []
        for reading in self._readings:
            risk = reading.risk
            numbers = risk.length_mm, 100 * risk.low, 100 * risk.high, risk.unknown_mm, risk.tube_mm
            texts = [f"{number:.1f}{' %' if place in (1, 2) else ''}" for place, number in enumerate(numbers)]
            rows.append([reading.node.GetName(), *texts])
        fill_table(self.ui.lineTable, _heads(), rows)

    def onLine(self):
        """A row was clicked: the views jump to where the line is most likely to cross."""
        row = self.ui.lineTable.currentRow()
        if 0 <= row < len(self._readings):
            self._show_reading(self._readings[row])

    def _show_reading(self, reading, complaints=()):
        run = self.logic.run(self._state)
        self.ui.lineLabel.text = "\n".join([reading.text, *complaints])
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            view.JumpSliceByOffsetting(*reading.at)
        show_tube(run, reading)
        show_charts([show_line(run, reading)], arrange=False)
