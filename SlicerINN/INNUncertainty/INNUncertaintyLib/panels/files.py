"""The parts of the panel that load what Slicer does not read, and write a result for others."""

import re
import shutil
import tempfile
from pathlib import Path

import qt
import slicer.util
from INNDisplayLib import INSTANCES, SYNTHETIC, save_result
from slicer.i18n import tr as _

from ..images import make_savable
from ..opening import RECORDS
from ..worker import WORKER
from .classes import classes_of
from .display import verdict

__all__ = ["Errand", "ExportPanel", "LoadingPanel"]

_POLL_MS = 200


class Errand:
    """A child process of a part of the panel, with a folder of its own.

    Args:
        over: called with the child when it has ended.
    """

    def __init__(self, over):
        self.child = self.folder = None
        self._over = over
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)

    def make_folder(self):
        """Make the folder, and return it."""
        self.folder = Path(tempfile.mkdtemp(prefix="INNUncertainty-", dir=slicer.app.temporaryPath))
        return self.folder

    def start(self, arguments):
        """Start the child."""
        self.child = WORKER.run(arguments)
        self._timer.start()

    def _poll(self):
        if not self.child.poll():
            self._over(self.child)

    def close(self):
        """End the child and leave nothing of its own behind."""
        self._timer.stop()
        if self.child is not None:
            self.child.cancel()
        self.child = None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


class LoadingPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic``, ``_state`` and ``onRunsChanged``."""

    def setup_part(self):
        """Listen, and have nothing to load yet."""
        self._loading = Errand(self.onLoaded)
        self.ui.loadButton.connect("clicked(bool)", self.onLoad)

    def onLoad(self, checked=False):
        """Let a child process read the file and write what Slicer reads."""
        with slicer.util.tryWithErrorDisplay(_("The image could not be loaded.")):
            path = self.ui.fileEdit.currentPath
            if not path:
                raise ValueError(_("Select a file."))
            self.close_loading()
            if Path(path).suffix.lower() in (".mrb", ".mrml"):
                slicer.util.loadScene(path, {"clear": False})  # its panel's state comes with it
                self._say_what_is_shown()
                return
            if Path(path).is_dir() or Path(path).name in RECORDS:
                self.logic.open(path)
                self._say_what_is_shown()
                return
            target = self._loading.make_folder() / f"{Path(path).stem}.nrrd"
            self._loading.start(["convert", path, "-o", str(target)])
            self.ui.loadButton.enabled = False
            self.ui.statusLabel.text = _("Loading {name}...").format(name=Path(path).name)

    def _say_what_is_shown(self):
        """A result was opened, or a scene that may hold some."""
        run = self.logic.run(self._state)
        slicer.util.resetSliceViews()
        if run is not None:
            self.ui.statusLabel.text = verdict(run)
        elif classes_of(self._state) is None:  # which say themselves what is shown
            self.ui.statusLabel.text = _("The scene holds no result.")

    def onLoaded(self, child):
        """The child that reads has ended."""
        try:
            result = child.result()
            volume = slicer.util.loadVolume(result["out"], {"show": False})
            volume.SetAndObserveStorageNodeID(None)  # the file is about to go
            make_savable(volume)
            if "synthetic" in result:
                volume.SetAttribute(SYNTHETIC, result["synthetic"])
                volume.SetName(_("SYNTHETIC {whole}").format(whole=volume.GetName()))
            if self._state is not None:
                self._state.image = volume
            text = _("Loaded {name}.").format(name=volume.GetName())
            if not self.ui.applyButton.enabled:
                text = f"{text} {self.ui.applyButton.toolTip}"
        except RuntimeError as error:
            text = str(error)
            slicer.util.errorDisplay(text, windowTitle=_("INN Uncertainty"))
        self.close_loading()
        self.ui.statusLabel.text = text

    def close_loading(self):
        """End the child and leave nothing of its own behind."""
        self._loading.close()
        self.ui.loadButton.enabled = True


def series_files(image):
    """Files of the DICOM series that a volume, or the items of a sequence, came from; none if unknown."""
    database = getattr(slicer, "dicomDatabase", None)
    if image is None or database is None or not database.isOpen:
        return []
    is_sequence = image.IsA("vtkMRMLSequenceNode")
    items = [image.GetNthDataNode(n) for n in range(image.GetNumberOfDataNodes())] if is_sequence else [image]
    uids = dict.fromkeys(uid for item in items for uid in (item.GetAttribute(INSTANCES) or "").split())
    files = [Path(database.fileForInstance(uid) or "") for uid in uids]
    return files if all(file.is_file() for file in files) else []


class ExportPanel:
    """Mixed into the module's widget, which has ``ui``, ``logic`` and ``_state``."""

    def setup_part(self):
        """Listen, and have nothing to write yet."""
        self._export = Errand(self.onExported)
        self._source_proposed_for = None
        self.ui.exportButton.connect("clicked(bool)", self.onExport)

    def onExport(self, checked=False):
        """Write the shown result, or stop writing."""
        if self._export.child is not None:
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
            result = self._export.make_folder() / "result"
            save_result(run, result)
            arguments = ["export", str(result), "-o", str(target)]
            for form in formats:
                arguments += ["--format", form]
            if "dicom" in formats and self.ui.exportSourceEdit.currentPath:
                arguments += ["--source", str(self._source_folder(run.image))]
            self._export.start(arguments)
            self._show_export(_("Writing..."))

    def propose_source(self, run):
        """Name the series that the image came from, once for each result; what the user enters stays."""
        if run.key != self._source_proposed_for:
            self._source_proposed_for, files = run.key, series_files(run.image)
            self.ui.exportSourceEdit.currentPath = str(files[0].parent) if files else ""

    def _source_folder(self, image):
        """The folder that was entered; a copy of the series alone where other files lie beside it."""
        entered, files = Path(self.ui.exportSourceEdit.currentPath), series_files(image)
        if not files or entered != files[0].parent or {*files} == {*entered.iterdir()}:
            return entered
        alone = self._export.folder / "source"
        alone.mkdir()
        for number, file in enumerate(files):
            shutil.copyfile(file, alone / f"{number}.dcm")
        return alone

    def onExported(self, child):
        """The child that writes has ended."""
        try:
            text = _("Written to {folder}").format(folder=child.result()["out"])
        except RuntimeError as error:
            text = str(error)
            slicer.util.errorDisplay(text, windowTitle=_("INN Uncertainty"))
        self.close_export()
        self._show_export(text)

    def close_export(self):
        """End the child and leave nothing of its own behind."""
        self._export.close()

    def _show_export(self, text):
        self.ui.exportLabel.text = text
        self.ui.exportButton.text = _("Cancel") if self._export.child is not None else _("Export")

    def _formats(self):
        boxes = {
            "nifti": self.ui.exportNiftiCheck,
            "csv": self.ui.exportCsvCheck,
            "html": self.ui.exportPageCheck,
            "dicom": self.ui.exportDicomCheck,
        }
        return [form for form, box in boxes.items() if box.checked]
