"""INN Registration: the poses of a C-arm that explain an X-ray, and how far a target may be off in the CT."""

import INNDisplayLib as display  # noqa: N813
import INNRegistrationLib as lib  # noqa: N813
import slicer.util
from INNUncertaintyLib import ModulePanel, SelfTest, describe, install, is_installed
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic


class INNRegistration(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.dependencies = ["INNUncertainty"]  # its display library and its child process
        about = _(
            "Shows all poses of a C-arm that explain an X-ray of a patient with a CT: how probable each is, "
            "how well its simulated X-ray fits, how far a target may be off, and whether to trust any of it."
        )
        describe(parent, _("INN Registration"), "Registration", about)
        slicer.app.connect("startupCompleted()", lib.register_sample_data)


class INNRegistrationLogic(ScriptedLoadableModuleLogic):
    """Everything but the panel; also for scripts: ``start``, ``poll`` until it is over, ``show``."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.work = None  # what runs: a registration, an aim or a training

    def getParameterNode(self):
        """State of the panel in this scene."""
        return lib.RegistrationState(super().getParameterNode())

    def start(self, state):
        """Start to find poses.

        Raises:
            ValueError: if an input is missing.
            RuntimeError: if a registration is running.
        """
        self._begin(lambda: lib.Registering(state))

    def aim(self, state):
        """Start to carry the plan through all poses of the run that the panel shows.

        Raises:
            ValueError: if an input is missing.
            RuntimeError: if something is running.
        """
        self._begin(lambda: lib.Aiming(state, self.run(state)))

    def train(self, state):
        """Start to train a network for the CT.

        Raises:
            ValueError: if an input is missing.
            RuntimeError: if something is running.
        """
        self._begin(lambda: lib.Training(state))

    def _begin(self, make):
        if self.work is not None:
            raise RuntimeError(_("Something is running; wait for it or cancel it."))
        self.work = make()

    def poll(self):
        """Take in news of the child process; returns a run that has just come, or ``None``.

        Raises:
            RuntimeError: if the child has failed.
            ResultError: if its result cannot be read.
        """
        if self.work is None or self.work.poll():
            return None
        work, self.work = self.work, None
        return work.finish()

    def cancel(self):
        """End what runs; nothing of it comes into the scene."""
        if self.work is not None:
            self.work.cancel()
        self.work = None

    @staticmethod
    def open(folder):
        """Put the result of a folder into the scene.

        Raises:
            ResultError: if it is none or is damaged; the scene is then as it was.
        """
        result = display.read_poses(folder)
        return display.store_poses(slicer.mrmlScene, result, result.folder.resolve().name)

    def run(self, state):
        """The run that the panel shows: the selected one, or the latest."""
        found = display.pose_runs(slicer.mrmlScene)
        return next((r for r in found if r.key == state.run), found[-1] if found else None)

    def show(self, state):
        """Show the selected pose of the selected run, and of no other; returns the run."""
        shown = self.run(state)
        for run in display.pose_runs(slicer.mrmlScene):
            if run != shown:
                display.hide_mode(run)
        if shown is None:
            return None
        if not shown.result.is_trusted and not state.showUntrusted:
            display.hide_mode(shown)
        else:
            numbers = [pose.number for pose in shown.result.poses]
            number = state.pose if state.pose in numbers else numbers[0]
            how = display.Comparing(state.comparison.value, state.share, state.fields)
            display.show_mode(shown, number, how, is_confirmed=state.showUntrusted)
        display.show_images(shown)
        return shown

    def fit_images(self, state):
        """Bring all of X-ray, DRR and comparison into sight."""
        run = self.run(state)
        if run is not None:
            display.show_images(run, is_fitted=True)

    def show_patient(self, state):
        """Put the CT behind the slice views, turned to the target, and bring all of it into sight."""
        run = self.run(state)
        bone = None if run is None else run.find("bone", class_name="vtkMRMLModelNode")
        lib.show_ct(state.ct, None if run is None else run.target, is_in_3d=bone is None)
        self.fit_images(state)  # they have lost their plane
        if run is not None:
            display.look_at_target(run)


class INNRegistrationWidget(ModulePanel, lib.InputsPanel, lib.PatientPanel, lib.PosesPanel, lib.AimPanel):
    """The panel: reads and writes its state, leaves the work to the logic."""

    libraries = (*ModulePanel.libraries, "INNRegistrationLib")
    _ct = None  # what the slice views show

    def setup(self):
        """Build the panel."""
        self.setup_module("INNRegistration", INNRegistrationLogic())
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.EndImportEvent, self.onSceneImported)
        self.ui.findButton.connect("clicked(bool)", self.onFind)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.viewsButton.connect("clicked(bool)", self.onViews)
        self.ui.ctSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onCT)
        self.setup_inputs()
        self.setup_patients()
        self.setup_poses()
        self.setup_aim()
        self.initializeParameterNode()

    def cleanup(self):
        """The panel goes: nothing may go on running or listening behind it."""
        self._timer.stop()
        self.logic.cancel()
        self.close_patients()
        self._set_state(None)
        self.removeObservers()

    def onSceneStartClose(self, caller, event):
        """What runs would put its result into a scene that is gone."""
        was_running = self.logic.work is not None
        self.logic.cancel()
        self._timer.stop()
        self._set_state(None)
        for callback in (self.onTarget, self.onPlan):  # exit() leaves them: the scene stays true without it
            self.listen_to_points(None, callback)
        self._show_idle(_("Scene closed; the registration was canceled.") if was_running else "")

    def onSceneEndClose(self, caller, event):
        """A new scene, if the module is open."""
        said = self.ui.statusLabel.text
        ModulePanel.onSceneEndClose(self, caller, event)
        if said:  # that a registration was canceled is more than what the new scene lacks
            self.ui.statusLabel.text = said

    def onSceneImported(self, caller, event):
        """A scene was read into this one: it may bring results; what was confirmed there is asked again."""
        if self._state is not None:
            self._state.showUntrusted = False
            self.initializeParameterNode()
            self.logic.fit_images(self._state)

    def initializeParameterNode(self):
        """Take the state of this scene."""
        self._set_state(self.logic.getParameterNode())
        self.ui.installButton.visible = not is_installed(*lib.NEEDED)

    def enter_state(self, state):
        """Show what is not connected to the state by its name."""
        self.show_inputs(state)

    # What buttons do.

    def onInstall(self, checked=False):
        """Ask and install."""
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed."), waitCursor=True):
            install(lib.REQUIREMENTS, lib.NEEDED)
            self.ui.installButton.visible = not is_installed(*lib.NEEDED)
            self.onStateChanged()

    def onFind(self, checked=False):
        """Start, or cancel what runs."""
        if self.logic.work is not None:
            self._timer.stop()
        self._start_or_cancel(self.logic.work, _("The registration could not be started."))

    def onPoll(self):
        """News of the child process."""
        work = self.logic.work
        self._listen(work)
        try:
            run = self.logic.poll()
        except Exception as error:
            self._timer.stop()
            self._show_error(error, _("INN Registration"))
            return
        if self.logic.work is not None:
            self._show_progress(self.logic.work.child)
            return
        self._timer.stop()
        self._show_idle("")
        if run is not None:
            self.take(run)
        elif isinstance(work, lib.Training) and self._state is not None:
            self.show_inputs(self._state)
            self.ui.statusLabel.text = _("Trained: {folder}").format(folder=work.result)

    def take(self, run):
        """Show a run that has just come; the module may have been left meanwhile."""
        state = self._state or self.logic.getParameterNode()
        with slicer.util.NodeModify(state):
            state.run, state.pose, state.showUntrusted = run.key, 1, False
        said = _("{name}: {n} plausible pose(s).").format(name=run.name, n=len(run.result.poses))
        self.ui.statusLabel.text = " ".join([said, *display.pose_notes(run.result)])
        if self._state is not None:
            self.onViews()

    def onViews(self, checked=False):
        """Arrange the views and bring all of it into sight."""
        lib.show_layout()
        self.onStateChanged()  # views that were missing get their images
        self.logic.show_patient(self._state)

    def onCT(self, node):
        """Another CT, or none."""
        if self._state is None or node is self._ct:
            return  # a selector also speaks when it is filled, which must not turn the views
        self._ct = self._state.ct = node  # the selector may tell the state after it has told this
        self.logic.show_patient(self._state)

    def onStateChanged(self, caller=None, event=None):
        """Bring panel and views up to date."""
        state, ui = self._state, self.ui
        if state is None:
            return
        is_running = self.logic.work is not None
        missing = lib.missing_input(state) if is_installed(*lib.NEEDED) else _("Install the packages first.")
        tip = _("Find all poses of the C-arm that explain the X-ray")
        for box in (ui.reweightCheck, ui.refineCheck):  # without a network the likelihood decides anyway
            box.enabled = box.visible = lib.is_trained(state)
        self._offer(ui.findButton, _("Find poses"), tip, missing, is_running)
        self.show_patients()
        try:
            run = self.logic.show(state)
            self.show_run(run)
            self.show_aim(run)
        except ValueError as error:  # somebody has changed its record
            self.show_run(None)
            self.show_aim(None)
            ui.statusLabel.text = str(error)


class INNRegistrationTest(SelfTest):
    """Runs in Slicer by Reload and Test, without network; the main job needs the packages."""

    logic = INNRegistrationLogic

    def test_sample_xray_gets_poses(self):
        """From CT and X-ray of Sample Data to poses in the scene."""
        if not is_installed(*lib.NEEDED):
            return
        lib.load_torso()
        logic = self.logic()
        state = logic.getParameterNode()
        logic.start(state)
        run = self.finish(logic)
        state.run = run.key
        assert 0.9 < sum(pose.mass for pose in run.result.poses) < 1.001
        assert logic.show(state) == run
