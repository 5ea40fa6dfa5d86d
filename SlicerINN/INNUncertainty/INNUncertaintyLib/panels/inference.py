"""The part of the panel that chooses a bundle for the image, and infers."""

import slicer.util
from INNDisplayLib import ClassRun, classes_found
from slicer.i18n import tr as _

from ..bundles import holds_bundles
from ..child import install, is_installed
from ..images import channels_of
from ..imaging import missing_input
from .classes import take_classes
from .display import verdict
from .module import fill, select

__all__ = ["InferencePanel"]


class InferencePanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and the like."""

    _listed = None  # folders whose bundles are known
    _proposed_for = None  # image for which a bundle was proposed

    def setup_part(self):
        """Listen."""
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.bundleBox.connect("currentIndexChanged(int)", self.onBundle)
        self.ui.bundleFolderEdit.connect("currentPathChanged(QString)", self.onBundleFolder)

    def list_bundles(self):
        """List the bundles, if other folders are to be looked into than before."""
        if is_installed() and [*self._state.bundleFolders] != self._listed:
            self._listed = [*self._state.bundleFolders]
            self.logic.list_bundles(self._listed)
            self._timer.start()
        self.ui.installButton.visible = not is_installed()

    def onInstall(self, checked=False):
        """Ask and install."""
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed."), waitCursor=True):
            if install():
                self.list_bundles()

    def onBundleFolder(self, path):
        """One more folder with bundles."""
        if not holds_bundles(path):
            self.ui.statusLabel.text = _("No bundle in {folder}.").format(folder=path) if path else ""
        elif path not in self._state.bundleFolders:
            self._state.bundleFolders.append(path)
            self.list_bundles()

    def onApply(self, checked=False):
        """Start, or cancel what runs."""
        self._start_or_cancel(self.logic.inference, _("The inference could not be started."))

    def onPoll(self):
        """News of child processes."""
        self._listen(self.logic.inference)
        try:
            run = self.logic.poll()
        except Exception as error:
            self._show_error(error, _("INN Uncertainty"))
            return
        if self.logic.inference is not None:
            self._show_progress(self.logic.inference.child)
        if run is not None:
            self._show_what_came(run)
        if not self.logic.is_busy():
            self._timer.stop()
            fill(self.ui.bundleBox, [(b.name, b.path) for b in self.logic.bundles])
            self.onStateChanged()

    def _show_what_came(self, run):
        """Show what has come: maps, or classes in their place."""
        has_classes = isinstance(run, ClassRun)
        if self.logic.inference is None:
            self._show_idle(classes_found(run.record) if has_classes else verdict(run))
        if self._state is None:
            return
        if has_classes:
            take_classes(self._state, run)
            return
        self._state.run = run.key
        self.onRunsChanged()
        slicer.util.resetSliceViews()

    def onBundle(self, index):
        """A bundle was chosen."""
        self._state.bundle = self.ui.bundleBox.currentData

    def _propose_bundle(self, state):
        """Choose a bundle that another image fits, once; what the user chooses afterwards stays.

        Of several for a series none is chosen: curves of one tracer look like those of another.
        """
        if state.image is None or not self.logic.bundles or state.image.GetID() == self._proposed_for:
            return
        known, fitting = self.logic.bundle(state.bundle), self.logic.fitting(state.image)
        if not fitting or (fitting[0].series and len(fitting) > 1):  # bundles of another folder may come
            return
        self._proposed_for = state.image.GetID()
        if known is None or known.misfit(channels_of(state.image)):
            state.bundle = fitting[0].path

    def say_validation(self, bundle):
        """Say how far a bundle was tested, or nothing where it is not known."""
        line = _("Bundle {name}: {line}")
        known = bundle is not None
        self.ui.validationLabel.text = line.format(name=bundle.name, line=bundle.validation) if known else ""

    def show_bundle(self, state):
        """Show the bundle, one that fits a new image, and what keeps the inference from being started."""
        self._propose_bundle(state)
        bundle = self.logic.bundle(state.bundle)
        select(self.ui.bundleBox, bundle.path if bundle is not None else "")
        self.ui.reweightCheck.enabled = can_reweight = bundle is not None and bundle.has_likelihood
        if state.reweight and not can_reweight:
            state.reweight = False
        self.ui.bundleCard.html = bundle.html() if bundle is not None else ""
        self.say_validation(bundle)
        takes = bundle.takes if bundle is not None else None
        self.show_inputs(state, takes)
        for box in (self.ui.falseAlarmBox, self.ui.adequacyBox):
            box.enabled = takes is None
        missing = missing_input(bundle, state)
        if bundle is None and not missing:
            missing = self._why_no_bundle()
        fitting = self.logic.fitting(state.image) if takes is None and state.image is not None else []
        if missing and fitting:
            names = ", ".join(other.name for other in fitting)
            missing = _("{missing} These fit: {names}.").format(missing=missing, names=names)
        is_running = self.logic.inference is not None
        tip = _("Infer the posterior of every voxel")
        if bundle is not None and not bundle.makes_maps:
            tip = _("Infer the posterior of the image") if takes else _("Tell the class of the image")
        self._offer(self.ui.applyButton, _("Apply"), tip, missing, is_running)

    def _why_no_bundle(self):
        if not is_installed():
            return _("Install the packages first.")
        return _("Looking for bundles...") if self.logic.is_busy() else _("Select a bundle.")
