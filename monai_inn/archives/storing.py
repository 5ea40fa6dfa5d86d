"""The DICOM objects of a result go to an archive, each exactly once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.archives.addresses import parse_address
from monai_inn.archives.archive import Archive, held
from monai_inn.archives.connecting import open_archive
from monai_inn.archives.errors import ArchiveError, insist, listed
from monai_inn.archives.journal import Journal, open_journal
from monai_inn.archives.objects import Instance, read_instances

__all__ = ["store_objects"]


def store_objects(
    folder: str | PathLike[str], address: str, *, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Store the DICOM files of a folder in an archive; what it has already is not sent.

    The images that Parametric Maps and Segmentations refer to must be in the archive, or in the folder.
    Each object is written into the journal of the folder as soon as the archive has acknowledged it. In the
    end the archive is asked whether it lists all of them.

    Args:
        folder: that ``export --format dicom`` wrote, or another one of DICOM files.
        address: of the archive, see ``addresses.parse_address``.
        progress: called with the share that is done.

    Returns:
        Numbers of the objects: all, those sent now, and those that the archive had before; and whether it has
        committed to keep them, which is asked by DIMSE if the address names a port at which we listen.

    Raises:
        BadFileError: see ``objects.read_instances``.
        ValueError: if the address or the journal is not one.
        ArchiveError: if the archive cannot be reached, lacks what the objects refer to, refuses some, or does
            not list what it has acknowledged.
        OSError: if the journal cannot be written.
    """
    instances = read_instances(folder)
    name = parse_address(address).name
    with open_archive(address) as archive, open_journal(Path(folder), name) as journal:
        _check_references(archive, instances)
        sending = _Sending(archive, journal, instances, progress)
        insist(sending.remaining, sending.step, lambda left: f"{name}: {len(left)} objects were not answered")
        sending.check()
        committed, doubts = _commitment(archive, instances)
        uids = {one.uid for one in instances}
        others = len(journal.acknowledged - uids)
        left = f"{others} objects that this folder has held before stay in the archive; delete them there."
        return {
            "folder": str(folder),
            "archive": name,
            "journal": str(journal.path),
            "objects": len(instances),
            "sent": sending.sent,
            "before": len(instances) - sending.sent,
            "committed": committed,
            "warnings": [*doubts, *([left] if others else [])],
        }


def _commitment(archive: Archive, instances: list[Instance]) -> tuple[bool, list[str]]:
    """Whether the archive has committed to keep all objects, and what is to be said if that is not known."""
    try:
        left = archive.uncommitted(instances)
    except ArchiveError as error:  # all are there, and listed
        return False, [str(error)]
    if left:
        raise ArchiveError(
            f"{archive.address.name}: has received all objects and does not commit to keep "
            f"{listed([one.path.name for one in left])}; ask who runs the archive."
        )
    return left is not None, []


def _check_references(archive: Archive, instances: Collection[Instance]) -> None:
    """Refuse objects of images that the archive does not have, or has of another patient."""
    name, own = archive.address.name, {one.uid for one in instances}
    known: dict[tuple[str, str], set[str]] = {}
    for one in instances:
        for (study, series), uids in one.references.items():
            wanted = uids - own
            if wanted and (study, series) not in known:
                known[study, series] = held(archive, study, series)
            missing = wanted - known.get((study, series), set())
            if missing:
                raise ArchiveError(
                    f"{name}: lacks {len(missing)} of the {len(uids)} images of the series {series} that "
                    f"{one.path.name} refers to; store into the archive that the series came from."
                )
    for study in sorted({one.series[0] for one in instances}):
        rows = archive.find("STUDY", StudyInstanceUID=study, PatientID="")
        theirs = {str(row.PatientID) for row in rows if row.get("PatientID")}
        ours = {one.patient for one in instances if one.series[0] == study}
        if theirs and ours != theirs:
            raise ArchiveError(
                f"{name}: the study {study} has another Patient ID there than in these objects; "
                "fetch the series again, and export again from that."
            )


class _Sending:
    """What is still to be sent; an archive that was lost is first asked what it has."""

    def __init__(
        self,
        archive: Archive,
        journal: Journal,
        instances: Collection[Instance],
        progress: Callable[[float], None],
    ) -> None:
        self._archive, self._journal, self._progress = archive, journal, progress
        self._instances = list(instances)
        self._refused: dict[str, str] = {}
        self.sent = 0

    def remaining(self) -> list[Instance]:
        """Objects that the archive has neither acknowledged nor refused."""
        done = self._journal.acknowledged
        return [one for one in self._instances if one.uid not in done and one.uid not in self._refused]

    def step(self, todo: Collection[Instance]) -> None:
        """Ask what the archive has, and send the rest until the connection is lost."""
        there = self._listed(todo)
        for one in todo:
            if one.uid in there:
                self._journal.write("found", one.uid, one.path.name)
        missing = [one for one in todo if one.uid not in there]
        for one, reason in self._archive.store(missing) if missing else ():
            self._journal.write("refused" if reason else "stored", one.uid, one.path.name, reason)
            if reason:
                self._refused[one.uid] = f"{one.path.name} ({reason})"
            else:
                self.sent += 1
            self._progress(1 - len(self.remaining()) / len(self._instances))

    def check(self) -> None:
        """Raise an ``ArchiveError`` if some were refused, or are not listed now."""
        name, refused = self._archive.address.name, self._refused
        kept = [one for one in self._instances if one.uid not in refused]
        if refused:
            raise ArchiveError(
                f"{name}: has taken {len(kept)} of {len(self._instances)} objects and refused "
                f"{listed(refused.values())}; when that is mended, run the same command again, which sends "
                "these only."
            )
        unseen = list(kept)

        def look(_: Collection[Instance]) -> None:
            there = self._listed(unseen)
            unseen[:] = [one for one in unseen if one.uid not in there]

        insist(
            lambda: list(unseen),
            look,
            lambda left: (
                f"{name}: has acknowledged {listed([one.path.name for one in left])}, but does not "
                "list it; ask who runs the archive, and run the same command again, which sends nothing "
                f"(if it was deleted there and shall be sent again, remove {self._journal.path.name})"
            ),
        )

    def _listed(self, instances: Collection[Instance]) -> set[str]:
        """UIDs that the archive has in the series of some objects."""
        return {uid for series in {one.series for one in instances} for uid in held(self._archive, *series)}
