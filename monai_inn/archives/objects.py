"""The DICOM files of a folder that are to be stored, and what they refer to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.drafts import is_draft
from monai_inn.files import BadFileError, damage_named, own_file
from monai_inn.reading.dicom import is_dicom
from monai_inn.reading.pictures import load_dicom

__all__ = ["Instance", "read_instances"]

_DERIVED = ("1.2.840.10008.5.1.4.1.1.30", "1.2.840.10008.5.1.4.1.1.66.4")  # Parametric Map, Segmentation
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_DIRECTORY = "1.2.840.10008.1.3.10"

Series = tuple[str, str]


@dataclass(frozen=True)
class Instance:
    """One DICOM file.

    Attributes:
        path: the file.
        uid: SOP Instance UID.
        sop_class: UID of what it is.
        kind: that in words.
        transfer_syntax: UID of how it is written.
        series: UIDs of its study and series.
        patient: Patient ID.
        references: by study and series, the images that it refers to.
    """

    path: Path
    uid: str
    sop_class: str
    kind: str
    transfer_syntax: str
    series: Series
    patient: str
    references: dict[Series, set[str]]


def read_instances(folder: str | PathLike[str]) -> list[Instance]:
    """Return the DICOM files in a folder and in the folders inside it, in the order of their names.

    Raises:
        BadFileError: if there is no such folder, no DICOM file in it, or one that is damaged, leads out of
            the folder, has the UID of another, or is a Parametric Map or Segmentation of no image.
        ImportError: if pydicom is missing.
    """
    home = Path(folder)
    if not home.is_dir():
        raise BadFileError(f"{folder}: no such folder; give the one that `export --format dicom` wrote.")
    found: dict[str, Instance] = {}
    for path in _dicom_files(home):
        with damage_named(path, "a DICOM file", "it is damaged; copy it again."):
            image = load_dicom(path, stop_before_pixels=True)
            if image.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
                continue
            instance = _instance(path, image)
        if instance.uid in found:
            raise BadFileError(
                f"{path}: has the SOP Instance UID of {found[instance.uid].path.name}; remove one of them."
            )
        found[instance.uid] = instance
    if not found:
        raise BadFileError(
            f"{folder}: holds no DICOM file; give a folder that `export --format dicom` wrote."
        )
    return list(found.values())


def _dicom_files(home: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(home):
        folders[:] = sorted(name for name in folders if not is_draft(Path(name)))
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and not is_draft(path) and is_dicom(path):
                yield own_file(home, str(path.relative_to(home)))


def _instance(path: Path, image: Any) -> Instance:
    lacking = [keyword for keyword in _NEEDED if not image.get(keyword)]
    if lacking:
        raise BadFileError(f"{path}: damaged DICOM file, it lacks {', '.join(lacking)}; copy it again.")
    kind, references = image.SOPClassUID, _references(image)
    if kind in _DERIVED and not any(references.values()):
        raise BadFileError(
            f"{path}: is a {kind.name.removesuffix(' Storage')} that refers to no image, so that no archive "
            "could place it; export it with --source SERIES."
        )
    series = str(image.StudyInstanceUID), str(image.SeriesInstanceUID)
    syntax, patient = str(image.file_meta.TransferSyntaxUID), str(image.get("PatientID") or "")
    return Instance(
        path, str(image.SOPInstanceUID), str(kind), kind.name, syntax, series, patient, references
    )


def _references(image: Any) -> dict[Series, set[str]]:
    """The images that an object refers to (Common Instance Reference, PS3.3 C.12.2), by study and series."""
    studies = [(str(image.StudyInstanceUID), image)]
    studies += [
        (str(other.StudyInstanceUID), other)
        for other in image.get("StudiesContainingOtherReferencedInstancesSequence", ())
    ]
    return {
        (study, str(series.SeriesInstanceUID)): {
            str(item.ReferencedSOPInstanceUID) for item in series.get("ReferencedInstanceSequence", ())
        }
        for study, place in studies
        for series in place.get("ReferencedSeriesSequence", ())
    }
