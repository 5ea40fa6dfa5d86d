"""Addresses of archives and who we are there. A password is never part of an address."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

__all__ = [
    "CERTIFICATES",
    "OWN_CERTIFICATE",
    "PASSWORD",
    "TOKEN",
    "USER",
    "Address",
    "certificates",
    "own_certificate",
    "parse_address",
]

USER = "MONAI_INN_ARCHIVE_USER"
PASSWORD = "MONAI_INN_ARCHIVE_PASSWORD"
TOKEN = "MONAI_INN_ARCHIVE_TOKEN"
CERTIFICATES = "MONAI_INN_ARCHIVE_CA"
"""Environment variable with the file of certificates that the archive's one is checked against."""
OWN_CERTIFICATE = "MONAI_INN_ARCHIVE_CERTIFICATE"
"""Environment variable with the file of our certificate and key, for archives that check both sides."""

_OUR_TITLE = "MONAI_INN"
_TITLE_LENGTH = 16
_FORMS = "https://HOST/PATH of its DICOMweb service, or dimse://TITLE@HOST:PORT"


@dataclass(frozen=True)
class Address:
    """Where an archive is.

    Attributes:
        name: the address without options, for messages and the journal.
        is_web: whether it speaks DICOMweb, else DIMSE.
        is_encrypted: whether by TLS.
        host: name or number of the machine.
        port: of DIMSE; 0 for DICOMweb, whose URL has it.
        title: application entity title of the archive, of DIMSE.
        our_title: ours.
        listen: port at which we wait for what C-MOVE sends; 0 to use C-GET.
    """

    name: str
    is_web: bool
    is_encrypted: bool
    host: str
    port: int = 0
    title: str = ""
    our_title: str = ""
    listen: int = 0

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves this computer."""
        return self.host in ("localhost", "127.0.0.1", "::1")


def parse_address(text: str) -> Address:
    """Return the address of an archive.

    ``https://HOST/PATH`` is the root of a DICOMweb service, ``dimse://TITLE@HOST:PORT`` an application
    entity, ``dimses://`` one behind TLS. Options of the latter two are ``?aet=OURS``, our own title, and
    ``listen=PORT``, for C-MOVE.

    Raises:
        ValueError: if it has none of these forms, or names a password.
    """
    wrong = f"{text.partition('?')[0]!r} is not the address of an archive; write {_FORMS}."
    try:
        parts = urlsplit(text)
        port = parts.port or 0
    except ValueError:
        raise ValueError(wrong) from None
    if parts.password is not None or (parts.scheme in ("http", "https") and parts.username is not None):
        raise ValueError(
            "the address of the archive holds a user or a password, which others can read in the list of "
            f"processes; put them into {USER} and {PASSWORD}, {TOKEN}, or a netrc file."
        )
    if parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment:
        return Address(text.rstrip("/"), True, parts.scheme == "https", parts.hostname)
    if parts.scheme in ("dimse", "dimses") and parts.hostname and port and parts.path in ("", "/"):
        return _dimse(text, parts, port)
    raise ValueError(wrong)


def _dimse(text: str, parts: SplitResult, port: int) -> Address:
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    title, ours = unquote(parts.username or ""), options.pop("aet", _OUR_TITLE)
    listen = options.pop("listen", "0")
    for name in (title, ours):
        if not 0 < len(name.strip()) <= _TITLE_LENGTH or "\\" in name or not name.isascii():
            raise ValueError(
                f"{text!r}: {name!r} is not a title of an application entity (1 to {_TITLE_LENGTH} letters); "
                "write dimse://TITLE@HOST:PORT?aet=OURS."
            )
    if options or not listen.isdecimal() or int(listen) > 0xFFFF:
        raise ValueError(f"{text!r}: unknown options; there are ?aet=OURS and listen=PORT, joined by &.")
    name = f"{parts.scheme}://{parts.netloc}"
    return Address(name, False, parts.scheme == "dimses", str(parts.hostname), port, title, ours, int(listen))


def certificates() -> str | None:
    """Return the file of certificates to trust in the place of the system's; ``None`` if none is named.

    Raises:
        ValueError: if there is no such file.
    """
    return _file_of(CERTIFICATES)


def own_certificate() -> str | None:
    """Return the file of our own certificate and key; ``None`` if none is named.

    Raises:
        ValueError: if there is no such file.
    """
    return _file_of(OWN_CERTIFICATE)


def _file_of(variable: str) -> str | None:
    path = os.environ.get(variable) or None
    if path is not None and not os.path.isfile(path):
        raise ValueError(f"{variable} = {path}: no such file; give a PEM file.")
    return path
