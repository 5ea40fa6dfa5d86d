"""The part of the panel that writes a result for whoever has no Slicer, and for the record."""

import re
import shutil
import tempfile
from pathlib import Path

import qt
import slicer
import slicer.util
from INNDisplayLib import save_result
from slicer.i18n import tr as _

from .child import Child
from .packages import python_path

__all__ = ["ExportPanel"]

_POLL_MS = 200


class ExportPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic`` and ``_state``."""

    def setup_part(self):
        """Listen, and have nothing to write yet."""
        self._export = self._export_folder = None
        self._export_timer = qt.QTimer()
        self._export_timer.setInterval(_POLL_MS)
        self._export_timer.connect("timeout()", self.onExportPoll)
        self.ui.exportButton.connect("clicked(bool)", self.onExport)

    def onExport(self, checked=False):
        """Write the shown result, or stop writing."""
        if self._export is not None:
            self.close_export()
            self._show_export(_("Canceled; nothing was written."))
            return
        with slicer.util.tryWithErrorDisplay(_("The result could not be exported.")):
            formats = self._formats()
            if not formats:
                raise ValueError(_("Select at least one form."))
            if not self.ui.exportFolderEdit.currentPath:
                raise ValueError(_("Select a folder to write into."))
            run = self.logic.run(self._state)
            target = Path(self.ui.exportFolderEdit.currentPath) / re.sub(r"[^\w.-]+", "_", run.name)
            self._export_folder = tempfile.mkdtemp(prefix="INNUncertainty-", dir=slicer.app.temporaryPath)
            result = Path(self._export_folder) / "result"
            save_result(run, result)
            arguments = ["export", str(result), "-o", str(target)]
            for form in formats:
                arguments += ["--format", form]
            if "dicom" in formats and self.ui.exportSourceEdit.currentPath:
                arguments += ["--source", self.ui.exportSourceEdit.currentPath]
            self._export = Child(python_path(), arguments)
            self._export_timer.start()
            self._show_export(_("Writing..."))

    def onExportPoll(self):
        """News of the child that writes."""
        if self._export.poll():
            return
        child = self._export
        try:
            text = _("Written to {folder}").format(folder=child.result()["out"])
        except RuntimeError as error:
            text = str(error)
            slicer.util.errorDisplay(text, windowTitle=_("INN Uncertainty"))
        self.close_export()
        self._show_export(text)

    def close_export(self):
        """End the child and leave nothing of its own behind."""
        self._export_timer.stop()
        if self._export is not None:
            self._export.cancel()
        self._export = None
        if self._export_folder is not None:
            shutil.rmtree(self._export_folder, ignore_errors=True)

    def _show_export(self, text):
        self.ui.exportLabel.text = text
        self.ui.exportButton.text = _("Cancel") if self._export is not None else _("Export")

    def _formats(self):
        boxes = {
            "nifti": self.ui.exportNiftiCheck,
            "csv": self.ui.exportCsvCheck,
            "html": self.ui.exportPageCheck,
            "dicom": self.ui.exportDicomCheck,
        }
        return [form for form, box in boxes.items() if box.checked]
