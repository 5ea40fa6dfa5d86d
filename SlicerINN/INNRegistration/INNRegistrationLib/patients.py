"""Networks of a patient: those that are shipped, and one that is trained for the CT of the scene."""

from __future__ import annotations

from pathlib import Path

from INNUncertaintyLib import Errand, Job, fill, is_installed, select
from slicer.i18n import tr as _

from .parameters import RegistrationState
from .registering import NEEDED, displaced, free

__all__ = ["PatientPanel", "Training", "missing_training"]


def missing_training(state: RegistrationState) -> str:
    """What keeps a training from being started, in one line; empty if nothing does."""
    if not is_installed(*NEEDED):
        return _("Install the packages first.")
    if state.ct is None:
        return _("Select the patient's CT.")
    return displaced(state.ct) or ("" if state.output else _("Select a folder to write into."))


class Training(Job):
    """The training of a network for the CT of the scene; ask ``poll``, then ``finish`` it.

    Args:
        state: CT, folder to write into, and how long it may take.

    Raises:
        ValueError: if one of them is missing.
        OSError: if Python cannot be started.
    """

    def __init__(self, state: RegistrationState) -> None:
        missing = missing_training(state)
        if missing:
            raise ValueError(missing)
        self.state = state
        self.result = free(Path(state.output) / f"{state.ct.GetName()} bundle")
        super().__init__(state)

    def _arguments(self, state: RegistrationState) -> list[str]:
        limits = ["--minutes", str(state.minutes)]
        return ["fit", "registration", "--ct", self._written(state.ct, "ct"), "-o", str(self.result), *limits]

    def _take(self) -> None:
        """The patient has a new network."""
        self.state.bundle = str(self.result)


class PatientPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and the like."""

    def setup_patients(self):
        """Listen, and have nothing listed yet."""
        self._listing = Errand(self.onListed)
        self._patients = None
        self.ui.shippedBox.connect("currentIndexChanged(int)", self.onShipped)
        self.ui.trainButton.connect("clicked(bool)", self.onTrain)
        self.ui.patientSection.connect("contentsCollapsed(bool)", self.onPatientSection)

    def onPatientSection(self, is_collapsed):
        """The section is opened: list what is shipped, once."""
        if not is_collapsed and self._patients is None and is_installed(*NEEDED):
            self._patients = []
            self._listing.start(["bundles"])

    def onListed(self, child):
        """The bundles are known."""
        try:
            known = child.result()["bundles"]
        except RuntimeError as error:
            known, self.ui.statusLabel.text = [], str(error)
        self._listing.close()
        self._patients = [
            (entry["name"], entry["path"])
            for entry in known
            if entry.get("result") == "poses" and not entry.get("error")
        ]
        fill(self.ui.shippedBox, [(_("none"), ""), *self._patients])
        self.onStateChanged()

    def onShipped(self, index):
        """A shipped network was chosen."""
        path = self.ui.shippedBox.currentData
        if self._state is not None and path is not None:
            self._state.bundle = path
            self.show_inputs(self._state)

    def onTrain(self, checked=False):
        """Train, or cancel what runs."""
        if self.logic.work is not None:
            self._timer.stop()
        self._start_or_cancel(self.logic.work, _("The training could not be started."), self.logic.train)

    def show_patients(self):
        """Bring the choice and the button up to date."""
        ui, state = self.ui, self._state
        missing, is_running = missing_training(state), self.logic.work is not None
        shipped = [path for _name, path in self._patients or []]
        select(ui.shippedBox, state.bundle if state.bundle in shipped else "")
        ui.trainButton.text = _("Cancel") if is_running else _("Train for this CT")
        ui.trainButton.enabled = is_running or not missing
        ui.trainButton.toolTip = missing or _(
            "A network answers for every further X-ray of this patient in less than a second of computing"
        )

    def close_patients(self):
        """End the listing."""
        self._listing.close()
