"""The parts of the panel that name files, and show poses: may they be used, how far is the target off."""

from functools import partial

import INNDisplayLib as display  # noqa: N813
import slicer.util
import vtk
from INNUncertaintyLib import fill, fill_table, quiet, select
from slicer.i18n import tr as _

from .parameters import Bone, ComparisonKind

__all__ = ["InputsPanel", "PosesPanel"]


class InputsPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state``, ``take`` and the like."""

    def setup_inputs(self):
        """Listen."""
        for name, edit in self._edits():
            edit.connect("currentPathChanged(QString)", partial(self._remember, name))
        self.ui.openButton.connect("clicked(bool)", self.onOpen)
        fill(self.ui.boneBox, [(bone.label(), bone.value) for bone in Bone])
        self.ui.boneBox.connect("currentIndexChanged(int)", self.onBone)

    def show_inputs(self, state):
        """Show the files of a scene that was read, and how its X-ray is meant."""
        select(self.ui.boneBox, state.bone.value)
        for name, edit in self._edits():
            if edit.currentPath != getattr(state, name):
                edit.currentPath = getattr(state, name)

    def _edits(self):
        """The controls of paths by the names of what they set."""
        ui = self.ui
        return [("bundle", ui.bundleEdit), ("xray", ui.xrayEdit), ("output", ui.outputEdit)]

    def onBone(self, index):
        """Bone is dark or bright, whatever the file says."""
        if self._state is not None:
            self._state.bone = Bone(self.ui.boneBox.currentData)

    def _remember(self, name, path):
        if self._state is not None and getattr(self._state, name) != path:
            setattr(self._state, name, path)

    def onOpen(self, checked=False):
        """Show a result that was written before."""
        with slicer.util.tryWithErrorDisplay(_("The result could not be opened.")):
            path = self.ui.resultEdit.currentPath
            if not path:
                raise ValueError(_("Select the folder of a result."))
            self.take(self.logic.open(path))


# Ground, ink, frame, and a sign for those who cannot tell the grounds apart.
_BANNERS = {
    display.UNTRUSTED: ("#b00020", "#ffffff", "4px double #ffffff", "⚠"),
    display.AMBIGUOUS: ("#ffca3a", "#1b1400", "2px dashed #1b1400", "?"),
    display.CERTAIN: ("#2e7d32", "#ffffff", "none", "✓"),
}


def _events_of_points(node):
    """What a markups node says when its points are placed, moved or deleted, by whatever means."""
    return (
        node.PointModifiedEvent,
        node.PointPositionDefinedEvent,
        node.PointPositionUndefinedEvent,
        node.TransformModifiedEvent,
    )


class PosesPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and ``onStateChanged``."""

    def setup_poses(self):
        """Listen."""
        ui, scene = self.ui, slicer.mrmlScene
        ui.runBox.connect("currentIndexChanged(int)", self.onRun)
        ui.poseTable.connect("currentCellChanged(int,int,int,int)", self.onPose)
        for kind, button in self._comparisons():
            button.connect("toggled(bool)", partial(self._compare, kind))
        ui.targetButton.connect("clicked(bool)", self.onPlannedTarget)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self._tabled = None  # key of the run in the table
        self._has_result = None

    # What is chosen.

    def onRun(self, index):
        """Another result was chosen; nobody has confirmed anything about it."""
        self._choose(self.ui.runBox.currentData)

    def _choose(self, key):
        with slicer.util.NodeModify(self._state):
            self._state.run, self._state.pose, self._state.showUntrusted = key, 1, False

    def onPose(self, row):
        """Another row of the table, by the mouse or the arrow keys."""
        run = self.logic.run(self._state) if self._state is not None else None
        if run is not None and 0 <= row < len(run.result.poses):
            self._state.pose = run.result.poses[row].number

    def _comparisons(self):
        """The buttons of the ways to compare."""
        ui = self.ui
        buttons = (ui.blendButton, ui.checkerboardButton, ui.differenceButton)
        return [*zip(ComparisonKind, buttons, strict=True)]

    def _compare(self, kind, checked):
        if checked and self._state is not None:
            self._state.comparison = kind

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller, event, node):
        """A result, its target or a plan may have gone."""
        if node is None:
            return
        self.forget_plan(node)
        if self.hasObserver(node, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self.onTarget):
            self.listen_to_points(None, self.onTarget)
            self.onTarget(None, event)
        if node.GetAttribute("INN.map") in ("registration", "target"):
            self.onStateChanged()

    # What is shown.

    def show_run(self, run):
        """Bring banner, table and target up to date; without a result they are empty."""
        ui, state = self.ui, self._state
        fill(ui.runBox, [(r.name, r.key) for r in display.pose_runs(slicer.mrmlScene)])
        for section in (ui.posesSection, ui.compareSection, ui.targetSection):
            section.enabled = run is not None
        if self._has_result != (run is not None):  # open what there is to do next: screens are low
            self._has_result = run is not None
            ui.inputsSection.collapsed = self._has_result
            for section in (ui.posesSection, ui.compareSection, ui.targetSection):
                section.collapsed = not self._has_result
        self._show_banner(run)
        self._fill_table(run)
        if run is None:
            self.listen_to_points(None, self.onTarget)
            ui.poseLabel.text = ui.targetLabel.text = ""
            return
        select(ui.runBox, run.key)
        shown = run.shown
        ui.poseTable.enabled = run.result.is_trusted or state.showUntrusted
        ui.poseLabel.text = display.pose_sentence(run.result, shown) if shown is not None else ""
        for kind, button in self._comparisons():
            button.checked = state.comparison is kind
        ui.shareSlider.visible = ui.shareSliderCaption.visible = state.comparison is ComparisonKind.BLEND
        is_board = state.comparison is ComparisonKind.CHECKERBOARD
        ui.fieldsBox.visible = ui.fieldsBoxCaption.visible = is_board
        self.listen_to_points(run.target_node, self.onTarget)
        self._show_target(run)

    def _show_banner(self, run):
        ui = self.ui
        ui.bannerLabel.visible = run is not None
        ui.untrustedCheck.visible = run is not None and not run.result.is_trusted
        if run is None:
            return
        state, text = display.pose_verdict(run.result)
        ground, ink, frame, sign = _BANNERS[state]
        ui.bannerLabel.text = f"{sign} {text}"
        ui.bannerLabel.styleSheet = (
            f"background-color: {ground}; color: {ink}; border: {frame}; font-weight: bold; padding: 6px"
        )

    def _fill_table(self, run):
        table = self.ui.poseTable
        with quiet(table):
            key = None if run is None else run.key
            if key != self._tabled:
                self._tabled = key
                result = None if run is None else run.result
                heads = [] if result is None else display.pose_header(result)
                rows = [] if result is None else [display.pose_row(result, pose) for pose in result.poses]
                fill_table(table, heads, rows)
            shown = None if run is None else run.shown
            if shown is None:
                table.clearSelection()
                table.setCurrentCell(-1, -1)
            else:
                numbers = [pose.number for pose in run.result.poses]
                table.setCurrentCell(numbers.index(shown.number), max(table.currentColumn(), 0))

    # The target.

    def listen_to_points(self, node, callback):
        """Call when points of a node are placed, moved or deleted, also while another module is open."""
        if node is None or not self.hasObserver(node, node.PointModifiedEvent, callback):
            self.removeObservers(callback)
            for event in () if node is None else _events_of_points(node):
                self.addObserver(node, event, callback)

    def onTarget(self, target, event):
        """A target was moved, has lost its point, or was deleted."""
        for run in display.pose_runs(slicer.mrmlScene):
            if run.target_node is target:
                display.show_spread(run)
        run = self.logic.run(self._state) if self._state is not None else None
        if run is not None:
            self._show_target(run)

    def onPlannedTarget(self, checked=False):
        """The target goes back to where the bundle has it."""
        run = self.logic.run(self._state)
        if run is not None:
            display.put_target(run)
            self.onStateChanged()

    def _show_target(self, run):
        target = run.target
        if target is None:
            self.ui.targetLabel.text = _("The target was deleted.")
            return
        where = _("Target at R {r:.1f}, A {a:.1f}, S {s:.1f} mm.").format(
            r=target[0], a=target[1], s=target[2]
        )
        spread = run.spread()
        if spread is not None:
            where = f"{where} {spread.text}"
        self.ui.targetLabel.text = where
