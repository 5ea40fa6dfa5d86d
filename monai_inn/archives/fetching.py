"""A series of an archive becomes a folder of DICOM files."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn import __version__
from monai_inn.archives.archive import Archive, held
from monai_inn.archives.connecting import open_archive
from monai_inn.archives.errors import ArchiveError, LostError, insist, listed
from monai_inn.files import BadFileError, damage_named, now, write_json
from monai_inn.folders import new_folder
from monai_inn.reading.pictures import check_pixels, load_dicom

__all__ = ["FETCHED", "fetch_series"]

FETCHED = "fetched.json"
_MOST_STUDIES = 50
_UID = re.compile(r"[0-9.]{1,64}")
_DATE = re.compile(r"\d{8}|\d{8}-(\d{8})?|-\d{8}")


def fetch_series(
    address: str,
    out: str | PathLike[str],
    *,
    series: str | None = None,
    study: str | None = None,
    patient: str | None = None,
    accession: str | None = None,
    date: str | None = None,
    modality: str | None = None,
    description: str | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Fetch the one series of an archive that matches, into a folder that appears when all of it is there.

    Args:
        address: of the archive, see ``addresses.parse_address``.
        out: folder to write: a file for each image, named by its UID, and ``fetched.json``.
        series: Series Instance UID.
        study: Study Instance UID.
        patient: Patient ID.
        accession: Accession Number.
        date: of the study, ``YYYYMMDD``, or a range ``YYYYMMDD-YYYYMMDD``.
        modality: such as ``MR``.
        description: of the series; ``*`` stands for any text, and upper and lower case are alike.
        progress: called with the share that is done.

    Returns:
        The content of ``fetched.json``.

    Raises:
        ValueError: if too little is given, or the folder is not free.
        ArchiveError: if the archive cannot be reached, or does not hold exactly one such series.
        OSError: if the folder cannot be written.
    """
    keys = {"StudyInstanceUID": study, "PatientID": patient, "AccessionNumber": accession, "StudyDate": date}
    above = {key: value for key, value in keys.items() if value}
    if not above and not series:
        raise ValueError(
            "say which series: give --series UID, --study UID, --patient, --accession or --date."
        )
    if date and not _DATE.fullmatch(date):
        raise ValueError(f"--date {date!r} is not a date; give YYYYMMDD or YYYYMMDD-YYYYMMDD.")
    for uid in filter(None, (series, study)):
        if not _UID.fullmatch(uid):
            raise ValueError(f"{uid!r} is not a UID; give digits and dots, at most 64.")
    with new_folder(out, FETCHED, "a fetched series") as draft, open_archive(address) as archive:
        row = _only(archive, _series(archive, above, series, modality, description))
        record = _fetch(archive, row, draft, Path(out), progress)
        write_json(draft / FETCHED, record)
    return record


def _series(
    archive: Archive, above: dict[str, str], uid: str | None, modality: str | None, description: str | None
) -> list[Any]:
    """The series that match, as the archive describes them."""
    wanted = {"SeriesInstanceUID": uid or "", "Modality": modality or "", "SeriesDescription": ""}
    shown = {"SeriesNumber": "", "NumberOfSeriesRelatedInstances": ""}
    studies = (
        archive.find("STUDY", **above | {"StudyInstanceUID": "", "StudyDate": ""} | above) if above else []
    )
    if len(studies) > _MOST_STUDIES:
        raise ArchiveError(f"{archive.address.name}: {len(studies)} studies match; narrow the query.")
    found = []
    for where in studies if above else [None]:
        key = {} if where is None else {"StudyInstanceUID": str(where.StudyInstanceUID)}
        for row in archive.find("SERIES", **({"StudyInstanceUID": ""} | key | wanted | shown)):
            if where is not None:
                row.StudyInstanceUID, row.StudyDate = where.StudyInstanceUID, where.get("StudyDate")
            found.append(row)
    # What an archive may leave unmatched, is matched here.
    pattern = (description or "*").lower()
    return [
        row
        for row in found
        if fnmatch.fnmatchcase(str(row.get("SeriesDescription") or "").lower(), pattern)
        and uid in (None, row.get("SeriesInstanceUID"))
        and modality in (None, row.get("Modality"))
    ]


def _only(archive: Archive, rows: list[Any]) -> Any:
    if not rows:
        raise ArchiveError(
            f"{archive.address.name}: holds no such series, or does not show it; ask for another."
        )
    if len(rows) > 1:
        name, names = archive.address.name, listed(sorted(map(_described, rows)))
        raise ArchiveError(
            f"{name}: {len(rows)} series match: {names}; give the one that you want with --series."
        )
    return rows[0]


def _described(row: Any) -> str:
    """One line that tells a series from others, without the name of anybody."""
    count, text = row.get("NumberOfSeriesRelatedInstances"), row.get("SeriesDescription")
    facts = [
        row.get("Modality"),
        row.get("StudyDate"),
        repr(str(text)) if text else "",
        f"{count} images" if count else "",
    ]
    return f"{row.SeriesInstanceUID} ({', '.join(str(fact) for fact in facts if fact)})"


def _fetch(
    archive: Archive, row: Any, draft: Path, out: Path, progress: Callable[[float], None]
) -> dict[str, Any]:
    study, series, name = str(row.StudyInstanceUID), str(row.SeriesInstanceUID), archive.address.name
    wanted = held(archive, study, series)
    if not wanted or not all(map(_UID.fullmatch, wanted)):
        raise ArchiveError(f"{name}: lists no images of the series {series}; ask who runs the archive.")
    arrived: set[str] = set()

    def save(uid: str, content: bytes) -> None:
        if uid not in wanted:
            return
        try:
            (draft / f"{uid}.dcm").write_bytes(content)
        except OSError as error:
            raise OSError(
                error.errno, f"cannot be written ({error.strerror}); make room", str(out)
            ) from error
        arrived.add(uid)
        progress(len(arrived) / len(wanted))

    insist(
        lambda: wanted - arrived,
        lambda missing: archive.retrieve(study, series, sorted(missing), save),
        lambda missing: f"{name}: {len(missing)} of {len(wanted)} images did not arrive",
    )
    for uid in wanted:
        _check(draft / f"{uid}.dcm", uid, series, name)
    return {
        "format_version": 1,
        "created": now(),
        "monai_inn": __version__,
        "archive": name,
        "study_instance_uid": study,
        "series_instance_uid": series,
        "modality": str(row.get("Modality") or ""),
        "files": [{"file": f"{uid}.dcm"} for uid in sorted(wanted)],
    }


def _check(path: Path, uid: str, series: str, name: str) -> None:
    """Refuse a file that is not the image that was asked for, or not all of it."""
    try:
        with damage_named(path, "DICOM", "it is damaged."):
            image = load_dicom(path)
            is_right = (image.SOPInstanceUID, image.SeriesInstanceUID) == (uid, series)
            if "PixelData" in image:
                check_pixels(path, image)
    except BadFileError as error:
        raise LostError(f"{name}: image {uid} arrived damaged; run the same command again.") from error
    if not is_right:
        raise ArchiveError(f"{name}: sent another image in the place of {uid}; ask who runs the archive.")
