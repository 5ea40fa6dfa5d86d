"""The part of the panel that names files: bundle, X-ray, folders."""

from functools import partial

import slicer.util
from INNUncertaintyLib import fill, select
from slicer.i18n import tr as _

from .parameters import Bone

__all__ = ["InputsPanel"]


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
        return [(name, getattr(self.ui, f"{name}Edit")) for name in ("bundle", "xray", "output")]

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
