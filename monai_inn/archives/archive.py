"""What both protocols offer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from monai_inn.archives.addresses import Address
from monai_inn.archives.objects import Instance

__all__ = ["Archive", "held"]


class Archive(Protocol):
    """An archive; every method raises ``LostError`` if it is not reached, else ``ArchiveError``."""

    address: Address

    def find(self, level: str, **keys: str) -> list[Any]:
        """Return what matches as datasets.

        Args:
            level: ``STUDY``, ``SERIES`` or ``IMAGE``.
            **keys: by keyword, what must match; what is empty is wanted in the answer.
        """

    def retrieve(
        self, study: str, series: str, missing: Collection[str], save: Callable[[str, bytes], None]
    ) -> None:
        """Fetch images of a series; ``save`` is called with the UID and the file of each that arrives."""

    def store(self, instances: Sequence[Instance]) -> Iterator[tuple[Instance, str]]:
        """Send objects; yields each that is answered for, with the reason if it is refused."""

    def uncommitted(self, instances: Sequence[Instance]) -> list[Instance] | None:
        """Ask to keep objects; return those that it does not commit to, ``None`` if it cannot be asked."""

    def close(self) -> None:
        """Close what is open."""


def held(archive: Archive, study: str, series: str) -> set[str]:
    """Return the UIDs of the images that an archive lists in a series."""
    rows = archive.find("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="")
    return {str(row.SOPInstanceUID) for row in rows if row.get("SOPInstanceUID")}
