"""Stand-ins for Slicer's DICOM module: its database, the base class of plugins, and loading by plugins."""

# ruff: noqa: N815 -- the names are Slicer's and CTK's

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import slicer

__all__ = ["DicomDatabase", "load_series", "provide_dicom"]


class DicomDatabase:
    """`slicer.dicomDatabase`: files by instance, series and study. It reads headers when it is asked."""

    isOpen = True

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def add(self, folder: Path) -> None:
        """Import a folder, as *Import DICOM files* with links does; others than DICOM files are left out."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            if uid := self.fileValue(str(path), "0008,0018"):
                self.files[uid] = path

    def fileValue(self, path: str, tag: str) -> str:
        """The value of an attribute as text; empty where there is none, or no DICOM file."""
        import pydicom

        try:
            found = pydicom.dcmread(path, stop_before_pixels=True)
        except Exception:  # as CTK: what cannot be read has no values
            return ""
        element = found.get(tuple(int(part, 16) for part in tag.split(",")))
        return "" if element is None or element.value is None else str(element.value)

    def fileForInstance(self, uid: str) -> str:
        return str(self.files.get(uid, ""))

    def filesForSeries(self, uid: str) -> tuple[str, ...]:
        return tuple(str(p) for p in self.files.values() if self.fileValue(str(p), "0020,000E") == uid)

    def seriesForStudy(self, uid: str) -> tuple[str, ...]:
        of_study = [p for p in self.files.values() if self.fileValue(str(p), "0020,000D") == uid]
        return tuple(dict.fromkeys(self.fileValue(str(p), "0020,000E") for p in of_study))


class DICOMLoadable:
    """Something that a plugin offers to load."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.name, self.tooltip, self.warning = "Unknown", "", ""
        self.selected, self.confidence = False, 0.5


class DICOMPlugin:
    """Base class of plugins."""

    def __init__(self) -> None:
        self.loadType = "Generic DICOM"
        self.tags = {"seriesDescription": "0008,103E", "seriesNumber": "0020,0011"}

    def examineForImport(self, fileLists: list[list[str]]) -> list[DICOMLoadable]:
        return []

    def load(self, loadable: DICOMLoadable) -> bool:
        return True


def provide_dicom() -> DicomDatabase:
    """Register the package ``DICOMLib`` and an empty database."""
    module = sys.modules["DICOMLib"] = ModuleType("DICOMLib", __doc__)
    module.DICOMPlugin, module.DICOMLoadable = DICOMPlugin, DICOMLoadable
    slicer.dicomDatabase = DicomDatabase()
    return slicer.dicomDatabase


def load_series(*uids: str) -> list[bool]:
    """What pressing *Load* does for selected series: the surest loadable of each is loaded by its plugin."""
    lists = [[*slicer.dicomDatabase.filesForSeries(uid)] for uid in uids]
    best: dict[str, tuple] = {}
    for made_by in slicer.modules.dicomPlugins.values():
        plugin = made_by()
        for loadable in plugin.examineForImport(lists):
            series = slicer.dicomDatabase.fileValue(loadable.files[0], "0020,000E")
            if loadable.selected and loadable.confidence > best.get(series, (0.0,))[0]:
                best[series] = loadable.confidence, plugin, loadable
    return [plugin.load(loadable) for _, plugin, loadable in best.values()]
