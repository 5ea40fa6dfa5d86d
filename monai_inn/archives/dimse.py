"""An archive that speaks DIMSE: C-FIND finds, C-GET or C-MOVE fetches, C-STORE stores."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from monai_inn.archives.addresses import CERTIFICATES, OWN_CERTIFICATE, Address, certificates, own_certificate
from monai_inn.archives.commitment import ask_to_keep
from monai_inn.archives.errors import ArchiveError, LostError, reason_of
from monai_inn.archives.objects import Instance
from monai_inn.files import one_line
from monai_inn.reading.pictures import load_dicom

__all__ = ["DimseArchive"]

# Study Root Query/Retrieve (PS3.4 C.6.2)
_FIND, _MOVE, _GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
_TIMEOUT_S = 20.0
_ANSWER_S = 120.0  # archives think before they acknowledge
_PENDING, _SUCCESS, _FULL = (0xFF00, 0xFF01), 0x0000, 0xA700
_OUR_TITLE_UNKNOWN, _ITS_TITLE_WRONG, _TRANSIENT = 3, 7, 2
_MOST_CONTEXTS = 128
_BATCH = 100  # images of a question, whose list of UIDs may not be longer than 64 KiB


class DimseArchive:
    """What is asked of an archive, in DIMSE; each question has an association of its own."""

    def __init__(self, address: Address) -> None:
        from pynetdicom import AE

        self.address, self._tls = address, None
        if address.is_encrypted:
            self._tls = ssl.create_default_context(cafile=certificates())
            if own := own_certificate():
                self._tls.load_cert_chain(own)
        self._entity = AE(address.our_title)
        self._entity.connection_timeout = self._entity.acse_timeout = _TIMEOUT_S
        self._entity.dimse_timeout = self._entity.network_timeout = _ANSWER_S

    def close(self) -> None:
        """Do nothing: no association is kept."""

    def find(self, level: str, **keys: str) -> list[Any]:
        """Return what matches, see ``connecting.Archive.find``."""
        from pynetdicom import build_context

        with self.associated("C-FIND", [build_context(_FIND)]) as association:
            return self._hear(association.send_c_find(_identifier(level, keys), _FIND), "C-FIND")

    def retrieve(
        self, study: str, series: str, missing: Collection[str], save: Callable[[str, bytes], None]
    ) -> None:
        """Fetch the images of a series by C-GET, or by C-MOVE if the address names a port to listen at."""
        failures: list[OSError] = []

        def received(event: Any) -> int:
            try:
                save(str(event.request.AffectedSOPInstanceUID), event.encoded_dataset())
            except OSError as error:  # here it would be lost in a thread of the library
                failures.append(error)
                return _FULL
            return _SUCCESS

        where = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        kinds, fetch = self._kinds(where), self._move if self.address.listen else self._get
        try:
            for first in range(0, len(missing), _BATCH):
                uids = list(missing)[first : first + _BATCH]
                fetch(_identifier("IMAGE", where | {"SOPInstanceUID": uids}), kinds, received)
        finally:
            if failures:
                raise failures[0]

    def _kinds(self, where: dict[str, str]) -> list[str]:
        """SOP classes of the images of a series."""
        rows = self.find("IMAGE", **where, SOPInstanceUID="", SOPClassUID="")
        kinds = sorted({str(row.SOPClassUID) for row in rows if row.get("SOPClassUID")})
        if not kinds:
            raise ArchiveError(f"{self.address.name}: does not say what kind its images are; use DICOMweb.")
        return kinds

    def _get(self, question: Any, kinds: list[str], received: Callable[[Any], int]) -> None:
        from pynetdicom import build_context, build_role, evt

        contexts = [build_context(_GET)]
        contexts += [build_context(kind, syntax) for kind in kinds for syntax in _SYNTAXES]
        roles = [build_role(kind, scp_role=True) for kind in kinds]
        handlers = [(evt.EVT_C_STORE, received)]
        with self.associated("C-GET", contexts[:_MOST_CONTEXTS], roles, handlers) as association:
            if not any(context.abstract_syntax == _GET for context in association.accepted_contexts):
                raise self._not_offered("C-GET")
            self._hear(association.send_c_get(question, _GET), "C-GET")

    def _move(self, question: Any, kinds: list[str], received: Callable[[Any], int]) -> None:
        from pynetdicom import build_context, evt

        with (
            self.listening(kinds, _SYNTAXES, [(evt.EVT_C_STORE, received)]),
            self.associated("C-MOVE", [build_context(_MOVE)]) as association,
        ):
            self._hear(association.send_c_move(question, self.address.our_title, _MOVE), "C-MOVE")

    @contextmanager
    def listening(self, kinds: list[str], syntaxes: Any, handlers: Any) -> Iterator[None]:
        """Let the archive connect to the port that its address names, to send us something of some kinds."""
        from pynetdicom import AE

        address = self.address
        receiver = AE(address.our_title)
        receiver.require_calling_aet = [address.title]
        for kind in kinds:
            receiver.add_supported_context(kind, syntaxes, scu_role=True, scp_role=True)
        try:
            server = receiver.start_server(("", address.listen), block=False, evt_handlers=handlers)
        except OSError as error:
            raise ArchiveError(
                f"port {address.listen}: cannot be listened at ({error.strerror}); give another ?listen=PORT."
            ) from error
        try:
            yield
        finally:
            server.shutdown()  # type: ignore[union-attr]

    def uncommitted(self, instances: Sequence[Instance]) -> list[Instance] | None:
        """Return to which objects the archive does not commit, see ``connecting.Archive.uncommitted``."""
        return ask_to_keep(self, instances) if self.address.listen else None

    def store(self, instances: Sequence[Instance]) -> Iterator[tuple[Instance, str]]:
        """Send objects one by one; each comes with the reason if it is refused, else with an empty text."""
        from pynetdicom import build_context

        pairs = dict.fromkeys((one.sop_class, one.transfer_syntax) for one in instances)
        contexts = [build_context(kind, syntax) for kind, syntax in list(pairs)[:_MOST_CONTEXTS]]
        with self.associated("storage of these objects", contexts) as association:
            accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
            for instance in instances:
                if (instance.sop_class, instance.transfer_syntax) not in accepted:
                    yield instance, f"does not take {instance.kind} in this transfer syntax"
                    continue
                try:
                    answer = association.send_c_store(load_dicom(instance.path))
                except (AttributeError, ValueError) as error:
                    yield instance, f"cannot be sent: {one_line(error)}"
                    continue
                if "Status" not in answer:
                    raise self._lost()
                yield instance, "" if _is_done(answer.Status) else reason_of(answer.Status)

    @contextmanager
    def associated(
        self, service: str, contexts: list[Any], roles: Any = None, handlers: Sequence[Any] = ()
    ) -> Iterator[Any]:
        """Give an association for a service, or say why there is none."""
        from pynetdicom import evt

        address = self.address
        try:
            association = self._entity.associate(
                address.host, address.port, contexts=contexts, ae_title=address.title, ext_neg=roles,
                evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay), *handlers],
                tls_args=(self._tls, address.host) if self._tls else None,
            )  # fmt: skip
        except OSError as error:  # a host that nobody knows
            raise self._lost(f"cannot be reached ({error.strerror or error})") from error
        if not association.is_established:
            if association.is_rejected:
                raise self._rejected(association.acceptor.primitive)
            raise self._not_offered(service) if association.rejected_contexts else self._unreached()
        try:
            yield association
        except BaseException as error:
            was_lost = not association.is_established
            association.abort()
            if was_lost and type(error) is RuntimeError:  # the library's, which asked too late
                raise self._lost() from error
            raise
        if association.is_established:
            association.release()

    def _hear(self, answers: Any, service: str) -> list[Any]:
        """Return the datasets of the answers to a question, or say why there are none."""
        rows = []
        for status, row in answers:
            code = status.get("Status")
            if code is None:
                raise self._lost()
            if code in _PENDING:
                rows.append(row)
            elif not _is_done(code):
                comment = str(status.get("ErrorComment") or "no comment")
                raise LostError(
                    f"{self.address.name}: answers {service} with status 0x{code:04X} ({comment}); ask who "
                    "runs it."
                )
        return rows

    def _not_offered(self, service: str) -> ArchiveError:
        move = ", enter it with this computer and a port and add ?listen=PORT to the address, for C-MOVE"
        return ArchiveError(
            f"{self.address.name}: offers no {service} to {self.address.our_title}; have the archive allow "
            f"it{move * (service == 'C-GET')}, or use DICOMweb."
        )

    def _rejected(self, answer: Any) -> ArchiveError:
        address = self.address
        advice = {
            _OUR_TITLE_UNKNOWN: f"have it enter our title {address.our_title}, or give ?aet=OURS",
            _ITS_TITLE_WRONG: f"{address.title} is not its title; correct dimse://TITLE@HOST:PORT",
        }.get(answer.diagnostic, "ask who runs the archive")
        words = f"{address.name}: refuses the association ({answer.reason_str}); {advice}."
        return LostError(words) if answer.result == _TRANSIENT else ArchiveError(words)

    def _unreached(self) -> ArchiveError:
        """Find out by a plain connection why there was no association; the library does not say."""
        address = self.address
        try:
            with socket.create_connection((address.host, address.port), _TIMEOUT_S) as plain:
                if self._tls:
                    self._tls.wrap_socket(plain, server_hostname=address.host).close()
        except ssl.SSLCertVerificationError as error:
            return ArchiveError(
                f"{address.name}: its certificate is not trusted ({error.verify_message}); name the file "
                f"with the certificate of its authority in {CERTIFICATES}."
            )
        except OSError as error:
            return self._lost(f"cannot be reached ({error.strerror or error})")
        ours = f", or asks for a certificate of ours, which {OWN_CERTIFICATE} names" * address.is_encrypted
        return self._lost(f"does not answer as a DICOM archive{ours}")

    def _lost(self, what: str = "the connection was lost") -> LostError:
        return LostError(
            f"{self.address.name}: {what}; check host, port and firewall, then run the same command again."
        )


# In the order in which an archive may choose; what is compressed stays so.
_SYNTAXES = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.5",
)  # fmt: skip


def _without_delay(event: Any) -> None:
    """Send the parts of a message at once, not each when the one before is acknowledged, 40 ms later."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _is_done(status: int) -> bool:
    """Whether a status is that of success, or of success with a warning."""
    return status == _SUCCESS or 0xB000 <= status <= 0xBFFF


def _identifier(level: str, keys: Any) -> Any:
    from pydicom import Dataset

    question = Dataset()
    question.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(question, keyword, value)
    return question
