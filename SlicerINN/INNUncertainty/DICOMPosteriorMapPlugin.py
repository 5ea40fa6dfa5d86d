"""Lets Slicer's DICOM module load the Parametric Maps of monai_inn as a result of INN Uncertainty."""

import slicer
import slicer.util
from DICOMLib import DICOMLoadable, DICOMPlugin
from INNDisplayLib import MAKER, PARAMETRIC_MAP, SEGMENTATION, read_parametric_maps, runs, store
from INNUncertaintyLib import select_run
from slicer.i18n import tr as _

_TAGS = {
    "class": "0008,0016",
    "manufacturer": "0008,0070",
    "study": "0020,000D",
    "weights": "0018,1000",
    "date": "0008,0021",
    "time": "0008,0031",
}
_KEY = "INN.dicom"


class DICOMPosteriorMapPluginClass(DICOMPlugin):
    """Offers every Parametric Map of ours; loading one loads the whole result that it belongs to, once."""

    def __init__(self):
        super().__init__()
        self.loadType = "INN Uncertainty"
        self.tags.update(_TAGS)

    def examineForImport(self, fileLists):  # noqa: N803 -- the name is Slicer's
        """One loadable for each series of ours, so that each is kept from plugins that know it less well."""
        return [
            self._loadable(files) for files in fileLists if files and self._is_ours(files[0], PARAMETRIC_MAP)
        ]

    def _loadable(self, files):
        made = DICOMLoadable()
        made.files = files
        made.name = self._value(files[0], "seriesDescription")
        made.tooltip = _("Posterior map of monai_inn; all maps of its result are loaded")
        made.selected = True
        made.confidence = 1.0
        return made

    def load(self, loadable):
        """Put the result into the scene, with its withheld voxels; returns whether it is there."""
        key = self._key(loadable.files[0])
        if any(run.record_node.GetAttribute(_KEY) == key for run in runs(slicer.mrmlScene)):
            return True
        try:
            result = read_parametric_maps(self._group(loadable.files, key))
        except ValueError as error:
            slicer.util.errorDisplay(str(error), windowTitle=_("INN Uncertainty"))
            return False
        record = result.record
        run = store(slicer.mrmlScene, result, f"{record['image']['path']}, {record['bundle']['name']}")
        run.record_node.SetAttribute(_KEY, key)
        select_run(run)
        return True

    def _group(self, files, key):
        """All objects of the result, one a series."""
        database = slicer.dicomDatabase
        series = database.seriesForStudy(self._value(files[0], "study"))
        found = [file for each in series for file in database.filesForSeries(each)[:1]]
        return sorted(
            file
            for file in {*found, *files}
            if self._is_ours(file, PARAMETRIC_MAP, SEGMENTATION) and self._key(file) == key
        )

    def _key(self, file):
        """What objects of one result have in common."""
        return "|".join(self._value(file, tag) for tag in ("study", "weights", "date", "time"))

    def _is_ours(self, file, *classes):
        return self._value(file, "class") in classes and self._value(file, "manufacturer") == MAKER

    def _value(self, file, tag):
        return slicer.dicomDatabase.fileValue(file, self.tags[tag])


class DICOMPosteriorMapPlugin:
    """What Slicer finds when it starts; nothing of it is shown but in the DICOM module."""

    def __init__(self, parent):
        parent.title = _("DICOM Posterior Map Plugin")
        parent.categories = ["Developer Tools.DICOM Plugins"]
        parent.dependencies = ["DICOM", "INNUncertainty"]
        parent.contributors = ["The monai_inn developers"]
        parent.helpText = _("Loads Parametric Maps of monai_inn; see INN Uncertainty.")
        parent.hidden = True
        # Whichever of the two modules is loaded first makes the list.
        if not hasattr(slicer.modules, "dicomPlugins"):
            slicer.modules.dicomPlugins = {}
        slicer.modules.dicomPlugins["DICOMPosteriorMapPlugin"] = DICOMPosteriorMapPluginClass
