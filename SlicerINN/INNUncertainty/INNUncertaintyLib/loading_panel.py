"""The part of the panel that loads what Slicer itself does not read: ENVI, TIFF of many bands, NPZ."""

import shutil
import tempfile
from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from .child import Child
from .images import make_savable
from .packages import python_path

__all__ = ["LoadingPanel"]

_POLL_MS = 200


class LoadingPanel:
    """Mixed into the module's widget, which has ``ui`` and ``_state``."""

    def setup_part(self):
        """Listen, and have nothing to load yet."""
        self._loading = self._loading_folder = None
        self._loading_timer = qt.QTimer()
        self._loading_timer.setInterval(_POLL_MS)
        self._loading_timer.connect("timeout()", self.onLoadingPoll)
        self.ui.loadButton.connect("clicked(bool)", self.onLoad)

    def onLoad(self, checked=False):
        """Let a child process read the file and write what Slicer reads."""
        with slicer.util.tryWithErrorDisplay(_("The image could not be loaded.")):
            path = self.ui.fileEdit.currentPath
            if not path:
                raise ValueError(_("Select a file."))
            self.close_loading()
            self._loading_folder = Path(
                tempfile.mkdtemp(prefix="INNUncertainty-", dir=slicer.app.temporaryPath)
            )
            target = self._loading_folder / f"{Path(path).stem}.nrrd"
            self._loading = Child(python_path(), ["convert", path, "-o", str(target)])
            self._loading_timer.start()
            self.ui.loadButton.enabled = False
            self.ui.statusLabel.text = _("Loading {name}...").format(name=Path(path).name)

    def onLoadingPoll(self):
        """News of the child that reads."""
        if self._loading.poll():
            return
        try:
            path = self._loading.result()["out"]
            volume = slicer.util.loadVolume(path, {"show": False})
            volume.SetAndObserveStorageNodeID(None)  # the file is about to go
            make_savable(volume)
            if self._state is not None:
                self._state.image = volume
            text = _("Loaded {name}.").format(name=volume.GetName())
        except RuntimeError as error:
            text = str(error)
            slicer.util.errorDisplay(text, windowTitle=_("INN Uncertainty"))
        self.close_loading()
        self.ui.statusLabel.text = text

    def close_loading(self):
        """End the child and leave nothing of its own behind."""
        self._loading_timer.stop()
        if self._loading is not None:
            self._loading.cancel()
        self._loading = None
        self.ui.loadButton.enabled = True
        if self._loading_folder is not None:
            shutil.rmtree(self._loading_folder, ignore_errors=True)
