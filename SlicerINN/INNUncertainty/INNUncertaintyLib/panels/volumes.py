"""The part of the panel that selects what bundles of unknown images take: several volumes, or a file."""

import qt
import slicer
from slicer.i18n import tr as _

from .module import quiet

__all__ = ["VolumesPanel"]


class VolumesPanel:
    """Mixed into the module's widget, which has ``ui`` and ``_state``."""

    def setup_part(self):
        """Listen; the selectors of further volumes are made when a bundle takes some."""
        self._further = []  # caption and selector of each volume behind the first
        self.ui.observedEdit.connect("currentPathChanged(QString)", self.onObservedFile)

    def onObservedFile(self, path):
        """Another file was chosen."""
        if self._state is not None:
            self._state.file = path

    def onFurtherVolume(self, node=None):
        """Another volume was chosen behind the first."""
        if self._state is not None:
            self._state.volumes = [selector.currentNode() for _caption, selector in self._further]

    def show_inputs(self, state, takes):
        """Offer what a bundle takes: an image, volumes with the bundle's names, or a file."""
        ui, names = self.ui, takes["volumes"] if takes is not None else [_("Image")]
        for widgets, is_shown in (
            ((ui.imageSelectorCaption, ui.imageSelector), bool(names)),
            ((ui.observedEditCaption, ui.observedEdit), not names),
        ):
            for widget in widgets:
                widget.visible = is_shown
        ui.imageSelectorCaption.text = f"{names[0]}:" if names else ""
        noise = takes.get("noise_sd", "") if takes is not None else ""
        ui.noiseSdBox.toolTip = noise
        ui.noiseSdBox.visible = ui.noiseSdBoxCaption.visible = bool(noise)
        with quiet(ui.observedEdit):
            ui.observedEdit.currentPath = state.file
        while len(self._further) < len(names) - 1:
            self._add_selector()
        for number, (caption, selector) in enumerate(self._further, start=1):
            caption.visible = selector.visible = number < len(names)
            caption.text = f"{names[number]}:" if number < len(names) else ""
            with quiet(selector):
                selector.setCurrentNode(state.volumes[number - 1] if number <= len(state.volumes) else None)

    def _add_selector(self):
        """One more selector below those that are there."""
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.addEnabled = selector.removeEnabled = False
        selector.noneEnabled = True
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", self.onFurtherVolume)
        caption = qt.QLabel()
        self._further.append((caption, selector))
        self.ui.inputsSection.layout().insertRow(len(self._further), caption, selector)
