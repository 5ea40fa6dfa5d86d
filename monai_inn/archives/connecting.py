"""How an archive is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from monai_inn.archives.addresses import parse_address
from monai_inn.archives.archive import Archive

__all__ = ["open_archive"]


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
