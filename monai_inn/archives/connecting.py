"""What both protocols offer, and how an archive is opened."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from monai_inn.archives.addresses import Address, parse_address
from monai_inn.archives.objects import Instance

__all__ = ["Archive", "held", "open_archive"]


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


@contextmanager
def open_archive(text: str) -> Iterator[Archive]:
    """Open the archive at an address, see ``addresses.parse_address``.

    Raises:
        ValueError: if the address is none.
        ImportError: if a package is missing; the message names the extra.
    """
    address = parse_address(text)
    try:
        if address.is_web:
            from monai_inn.archives.web import WebArchive as Kind
        else:
            from monai_inn.archives.dimse import DimseArchive as Kind  # type: ignore[assignment]
        archive = Kind(address)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'archives need {error.name}; install it with pip install "monai_inn[archive]".'
        ) from error
    try:
        yield archive
    finally:
        archive.close()


def held(archive: Archive, study: str, series: str) -> set[str]:
    """Return the UIDs of the images that an archive lists in a series."""
    rows = archive.find("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="")
    return {str(row.SOPInstanceUID) for row in rows if row.get("SOPInstanceUID")}
