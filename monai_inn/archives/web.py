"""An archive that speaks DICOMweb: QIDO-RS finds, WADO-RS fetches, STOW-RS stores."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from monai_inn.archives.addresses import (
    CERTIFICATES,
    OWN_CERTIFICATE,
    PASSWORD,
    TOKEN,
    USER,
    Address,
    certificates,
    own_certificate,
)
from monai_inn.archives.archive import held
from monai_inn.archives.errors import ArchiveError, LostError, reason_of
from monai_inn.archives.objects import Instance
from monai_inn.files import one_line
from monai_inn.reading.pictures import load_dicom

__all__ = ["WebArchive"]

_TIMEOUT_S = 20, 120  # to connect, to be answered: archives think before they acknowledge
_BUSY = (408, 429)
_PAGE = 500
_STORED, _FAILED, _REASON = "00081199", "00081198", "00081197"
_STUDY = {"StudyInstanceUID": "study_instance_uid"}
_SERIES = {"SeriesInstanceUID": "series_instance_uid"}
_LEVELS: dict[str, tuple[str, dict[str, str], str]] = {
    "STUDY": ("search_for_studies", {}, "StudyInstanceUID"),
    "SERIES": ("search_for_series", _STUDY, "SeriesInstanceUID"),
    "IMAGE": ("search_for_instances", _STUDY | _SERIES, "SOPInstanceUID"),
}
"""For each level the method, the keys that are part of the URL, and the key that tells rows apart."""


class WebArchive:
    """What is asked of an archive, in DICOMweb."""

    def __init__(self, address: Address) -> None:
        import requests
        from dicomweb_client import DICOMwebClient

        # What it would print to standard error, is said in one line of our own.
        logging.getLogger("dicomweb_client").addHandler(logging.NullHandler())
        self.address, session = address, requests.Session()
        session.max_redirects = 0  # one would turn a POST into a GET
        session.hooks["response"].append(_require_whole)
        session.auth = _credentials()
        session.cert = own_certificate()
        if (
            trusted := certificates()
        ):  # with each request, for what the environment names goes before the session
            session.request = partial(session.request, verify=trusted)  # type: ignore[method-assign]
        has_password = session.auth is not None or requests.utils.get_netrc_auth(address.name) is not None
        if has_password and not (address.is_encrypted or address.is_local):
            raise ValueError(f"{address.name}: would send the password unencrypted; use https://.")
        self._session = session
        self._client = DICOMwebClient(address.name, session=session, timeout=_TIMEOUT_S)
        self._client.host = urlsplit(address.name).netloc  # the header Host lacks the port otherwise
        self._client.set_http_retry_params(retry=False)  # we count attempts ourselves

    def uncommitted(self, instances: Sequence[Instance]) -> None:
        """Return nothing: there is no storage commitment by DICOMweb."""

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def find(self, level: str, **keys: str) -> list[Any]:
        """Return what matches, see ``connecting.Archive.find``."""
        from pydicom import Dataset

        method, above, own = _LEVELS[level]
        filters = {key: value for key, value in keys.items() if value and key not in above}
        search = partial(
            getattr(self._client, method),
            **{argument: keys.get(key) or None for key, argument in above.items()},
            search_filters=filters,
            fields=[key for key, value in keys.items() if not value] or None,
            limit=_PAGE,
        )
        rows: dict[str, Any] = {}
        while True:
            with self._in_words():
                found = {str(row[own].value): row for row in map(Dataset.from_json, search(offset=len(rows)))}
            if not found.keys() - rows.keys():  # the end, or an archive that knows no offset
                return list(rows.values())
            rows |= found

    def retrieve(
        self, study: str, series: str, missing: Collection[str], save: Callable[[str, bytes], None]
    ) -> None:
        """Fetch images of a series one by one, as they are stored."""
        for uid in missing:
            with self._in_words():
                image = self._client.retrieve_instance(study, series, uid)
            stream = BytesIO()
            image.save_as(stream, enforce_file_format=True)
            save(uid, stream.getvalue())

    def store(self, instances: Sequence[Instance]) -> Iterator[tuple[Instance, str]]:
        """Send objects one by one; each comes with the reason if it is refused, else with an empty text."""
        import requests

        for instance in instances:
            image = load_dicom(instance.path)
            refusal = ""
            with self._in_words():
                try:
                    answer = self._client.store_instances([image]).to_json_dict()
                except requests.HTTPError as error:
                    answer, refusal = _refusal(error)
            failed = answer.get(_FAILED, {}).get("Value", [])
            reasons = [v for item in failed for v in item.get(_REASON, {}).get("Value", [])]
            refusal = ", ".join(map(reason_of, reasons)) or refusal
            # Some answers are in a form that the client does not read.
            if not refusal and _STORED not in answer and instance.uid not in held(self, *instance.series):
                refusal = "its answer does not say that it was stored"
            yield instance, refusal

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn what the libraries raise into one line."""
        import requests
        from pydicom.errors import InvalidDicomError

        name = self.address.name
        try:
            yield
        except requests.HTTPError as error:
            raise self._of_status(error.response) from error
        except requests.exceptions.SSLError as error:
            if isinstance(_cause(error), ssl.SSLCertVerificationError):
                advice = f"name the file with the certificate of its authority in {CERTIFICATES}"
                raise ArchiveError(
                    f"{name}: its certificate is not trusted ({_words(error)}); {advice}."
                ) from error
            raise ArchiveError(
                f"{name}: no encrypted connection ({_words(error)}); it may ask for a certificate of ours, "
                f"which {OWN_CERTIFICATE} names."
            ) from error
        except requests.TooManyRedirects as error:
            where = str(error.response.headers["Location"]).partition("?")[0]  # type: ignore[union-attr]
            raise ArchiveError(
                f"{name}: redirects to {where!r}; give the address it redirects to."
            ) from error
        except (ValueError, KeyError, InvalidDicomError) as error:
            raise ArchiveError(
                f"{name}: answers, but not in DICOMweb; give the root of the service, such as "
                "https://HOST/dicom-web."
            ) from error
        except requests.RequestException as error:
            raise LostError(
                f"{name}: cannot be reached, or the connection was lost ({_words(error)}); check host, "
                "port and firewall, then run the same command again."
            ) from error

    def _of_status(self, response: Any) -> ArchiveError:
        name, code = self.address.name, int(response.status_code)
        if code == 401:
            return ArchiveError(
                f"{name}: wants to know who asks (401), or does not accept it; set {USER} and {PASSWORD}, or "
                f"{TOKEN}, or make an entry in ~/.netrc."
            )
        if code == 403:
            return ArchiveError(f"{name}: forbids this (403); ask for the right to query, read and store.")
        if code == 404:
            return ArchiveError(
                f"{name}: nothing is there (404); give the root of the DICOMweb service, such as "
                "https://HOST/dicom-web."
            )
        words = f"{name}: answers {code} {response.reason}; ask who runs it."
        return LostError(words) if code in _BUSY or code >= 500 else ArchiveError(words)


def _credentials() -> Any:
    """Who we are, from the environment; ``None`` leaves it to a netrc file."""
    user, token = os.environ.get(USER), os.environ.get(TOKEN)
    if token:

        def bearer(request: Any) -> Any:
            request.headers["Authorization"] = f"Bearer {token}"
            return request

        return bearer
    return (user, os.environ.get(PASSWORD, "")) if user else None


def _require_whole(response: Any, **_: Any) -> None:
    """Refuse an answer that ends within its headers, which the libraries take for one without content."""
    import requests

    if response.status_code == 200 and not response.headers.get("Content-Length") and not response.content:
        raise requests.ConnectionError("the answer ends early")


def _refusal(error: Any) -> tuple[dict[str, Any], str]:
    """The answer to an object that was not stored, and a reason if it has none; other errors go on."""
    code = int(error.response.status_code)
    if code not in (400, 409, 413, 415):
        raise error
    try:
        answer = error.response.json()
    except ValueError:
        answer = {}
    return answer if isinstance(answer, dict) else {}, f"{code} {error.response.reason}"


def _cause(error: BaseException) -> BaseException:
    """The last cause in a chain of libraries."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def _words(error: BaseException) -> str:
    """The last cause, in its own words."""
    error = _cause(error)
    words = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or one_line(error)
    return str(words)[:120]
