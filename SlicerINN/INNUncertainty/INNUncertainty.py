"""INN Uncertainty: the posterior of a multispectral image, and where not to trust it, laid over the image."""

from contextlib import suppress

import INNUncertaintyLib as lib  # noqa: N813
import slicer.util
from INNDisplayLib import (
    Overlay,
    ThresholdStep,
    clear_views,
    frame_of,
    hide_contours,
    is_at_its_frame,
    mark_frame,
    runs,
)
from INNUncertaintyLib import (  # noqa: F401 -- Slicer looks for classes of these names here
    INNUncertaintyFileDialog,
    INNUncertaintyFileReader,
)
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic


class INNUncertainty(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        about = _(
            "Shows the posterior of tissue parameters for every voxel of a multispectral image: median, "
            "interval, probability to lie below a threshold, several modes, and where the image is unlike "
            "anything the network was trained for."
        )
        lib.describe(parent, _("INN Uncertainty"), "Quantification", about)
        slicer.app.connect("startupCompleted()", lib.register_sample_data)


class INNUncertaintyLogic(ScriptedLoadableModuleLogic):
    """Everything but the panel; also for scripts: ``start``, ``poll`` until it is over, ``show``."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.bundles = []
        self.inference = None
        self._listing = None
        self._frame = None  # which frame of a video is inferred

    def getParameterNode(self):
        """State of the panel in this scene."""
        return lib.PanelState(super().getParameterNode())

    def list_bundles(self, folders):
        """Start to list the shipped bundles and those in folders; ``poll`` fills ``bundles``."""
        if self._listing is not None:
            self._listing.cancel()
        self._listing = lib.WORKER.run(["bundles", *folders])

    def bundle(self, path):
        """The bundle of a path or name; ``None`` if it is not listed."""
        return next((b for b in self.bundles if path in (b.path, b.name)), None)

    def fitting(self, image):
        """The listed bundles that make maps of such an image."""
        channels = lib.channels_of(image)
        return [b for b in self.bundles if b.makes_maps and not b.misfit(channels)]

    def start(self, state):
        """Start what the bundle does: an inference of maps or of an image, or a classification.

        Raises:
            ValueError: if image and bundle do not fit.
            RuntimeError: if one is running.
        """
        if self.inference is not None:
            raise RuntimeError(_("An inference is running; wait for it or cancel it."))
        bundle = self.bundle(state.bundle)
        missing = lib.missing_input(bundle, state)
        if missing:
            raise ValueError(missing)
        path = bundle.path if bundle is not None else state.bundle
        self._frame, state.showClasses = None, False
        if bundle is not None and bundle.is_classifier:
            self.inference = lib.Classification(state)
            return
        takes = bundle.takes if bundle is not None else None
        if takes is not None and not takes["volumes"]:
            self.inference = lib.ImageInference(state, takes)
            return
        if takes is None and lib.is_video(state.image):
            self.inference = lib.VideoInference(state)
            return
        self._frame = frame_of(state.image)
        same = [
            run
            for run in runs(slicer.mrmlScene)
            if (run.image, run.bundle_path) == (state.image, path)
            and (self._frame is None or is_at_its_frame(run, self._frame))
        ]
        earlier = same[-1] if same else None
        if takes is not None:
            self.inference = lib.ImageInference(state, takes, earlier)
        else:
            self.inference = lib.Inference(state, earlier)

    def poll(self):
        """Take in news of child processes; returns a run that has just got numbers, or ``None``.

        Raises:
            RuntimeError: if a child has failed.
        """
        if self._listing is not None and not self._listing.poll():
            listing, self._listing = self._listing, None
            self.bundles = lib.bundles_of(listing.result())
        if self.inference is None:
            return None
        if self.inference.poll():
            run = self.inference.preview()
        else:
            inference, self.inference = self.inference, None
            run = inference.finish()
        if run is not None and self._frame is not None:
            mark_frame(run, self._frame)
        return run

    def is_busy(self):
        """Whether there is a child process to poll."""
        return self.inference is not None or self._listing is not None

    def cancel(self):
        """End the inference; nothing of it comes into the scene."""
        if self.inference is not None:
            self.inference.cancel()
        self.inference = None

    def close(self):
        """End all child processes."""
        self.cancel()
        if self._listing is not None:
            self._listing.cancel()
        self._listing = None
        lib.WORKER.close()

    def run(self, state):
        """The run that the panel shows: the selected one, or the latest; none while it shows classes."""
        if lib.shown_classes(state) is not None:
            return None
        found = runs(slicer.mrmlScene)
        return next((r for r in found if r.key == state.run), found[-1] if found else None)

    def open(self, path):
        """Put a result that monai-inn wrote into the scene; returns its run.

        Raises:
            ValueError: if there is none in the folder, or a damaged one.
        """
        return lib.open_result(path)

    def show(self, state, has_legend=True):
        """Lay the selected map over its image in all slice views; returns what a comparison says.

        A panel beside the views has the color scale; without it the views show it themselves.
        """
        if lib.shown_classes(state) is not None:
            lib.show_classes(state, has_legend)
        run = self.run(state)
        if run is None:
            return None
        if not is_at_its_frame(run):
            clear_views(run)
            return None
        overlay = Overlay(run)
        # Of a synthetic image a picture of the views must say what it is.
        overlay.show(lib.appearance_of(run, state), has_legend or bool(run.synthetic))
        if not state.contours:
            hide_contours(run)
        else:
            ThresholdStep(
                run, run.parameter(state.parameter).name, state.threshold, has_contours=True
            ).place()
        return overlay.comparison


_PARTS = (
    lib.InferencePanel,
    lib.VolumesPanel,
    lib.LoadingPanel,
    lib.DisplayPanel,
    lib.InspectionPanel,
    lib.PlanPanel,
    lib.ChangePanel,
    lib.ClassesPanel,
    lib.FramesPanel,
    lib.ExportPanel,
)


class INNUncertaintyWidget(lib.ModulePanel, *_PARTS):
    """The panel: reads and writes its state, leaves the work to the logic."""

    def setup(self):
        """Build the panel."""
        self.setup_module("INNUncertainty", INNUncertaintyLogic())
        for part in _PARTS:
            part.setup_part(self)
        self.initializeParameterNode()

    def cleanup(self):
        """The panel goes: nothing may go on running behind it."""
        self._timer.stop()
        self.logic.close()
        self.close_loading()
        self.close_export()
        self.close_plan()
        self.close_change()
        self._set_state(None)
        self.removeObservers()

    def exit(self):
        """Another module is opened, whose panel has no color scale."""
        if self._state is not None:
            with suppress(ValueError):  # somebody has deleted its maps
                self.logic.show(self._state)
        super().exit()

    def onSceneStartClose(self, caller, event):
        """What runs would put its result into a scene that is gone."""
        self.logic.cancel()
        self.forget_plan()
        self.close_change()
        self.close_loading()
        self._set_state(None)
        self._show_idle(_("Scene closed."))

    def onSceneImported(self, caller, event):
        """A scene was read into this one: it may bring results, a probe, and folders with bundles."""
        if self._state is not None:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Take the state of this scene, with an image if there is one."""
        state = self.logic.getParameterNode()
        if state.image is None:  # connecting copies the state to the panel, so a default must be there before
            volumes = slicer.util.getNodesByClass("vtkMRMLVectorVolumeNode")
            state.image = next((v for v in volumes if v.GetAttribute("INN.run") is None), None)
        self._set_state(state)
        self.list_bundles()

    def _set_state(self, state):
        lib.ModulePanel._set_state(self, state)
        # The key belongs to the open panel; of two shortcuts with one key neither works.
        self._shortcut.enabled = state is not None

    def show_state(self, state):
        """Show probe, segmentation and runs of the scene."""
        self.observe_probe()
        self.onSegmentation(state.segmentation)
        self.onRunsChanged()

    def onStateChanged(self, caller=None, event=None):
        """Bring panel and views up to date."""
        state, ui = self._state, self.ui
        if state is None:
            return
        self.show_bundle(state)
        self.show_classification(state)
        run = self.logic.run(state)
        if run is not None and ui.runBox.findData(run.key) < 0:  # it has come from elsewhere
            self.onRunsChanged()
            return
        for section in (
            ui.displaySection,
            ui.probeSection,
            ui.regionSection,
            ui.planSection,
            ui.exportSection,
        ):
            section.enabled = run is not None
        if run is not None:
            self.show_run(run, state)
            self.propose_source(run)
            self.show_plan(run, state)
            self.show_region(run, state)
            if self.is_waiting(run, state):
                return
            try:
                self.show_comparison(self.logic.show(state, has_legend=False))
                self.show_views(run, state)
            except ValueError as error:  # somebody has deleted its maps
                self.ui.statusLabel.text = str(error)


class INNUncertaintyTest(lib.SelfTest):
    """Runs in Slicer by Reload and Test, without network; the main job needs the packages."""

    logic = INNUncertaintyLogic

    def test_sample_image_gets_maps(self):
        """From the image of Sample Data to maps in the views."""
        if not lib.is_installed():
            return
        logic = self.logic()
        state = logic.getParameterNode()
        state.image, state.samples, state.bundle = lib.load_organs(), 16, "oximetry"
        logic.start(state)
        while logic.inference is not None:  # the preview comes before the result
            run = self.finish(logic)
        logic.show(state)
        usable = run.usable()
        for shown in run.parameters:
            values = run.array("median", shown.name)[usable]
            assert ((values >= shown.low) & (values <= shown.high)).all()
        composite = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
        assert composite.GetForegroundVolumeID() is not None
