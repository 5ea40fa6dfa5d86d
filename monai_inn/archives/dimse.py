"""An archive that speaks DIMSE: C-FIND finds, C-GET or C-MOVE fetches, C-STORE stores."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from monai_inn.archives.addresses import CERTIFICATES, Address, certificates
from monai_inn.archives.errors import ArchiveError, LostError, reason_of
from monai_inn.archives.objects import Instance
from monai_inn.files import one_line
from monai_inn.reading.pictures import load_dicom

__all__ = ["DimseArchive"]

_TIMEOUT_S = 20.0
_ANSWER_S = 120.0  # archives think before they acknowledge
_PENDING, _SUCCESS, _FULL = (0xFF00, 0xFF01), 0x0000, 0xA700
_OUR_TITLE_UNKNOWN, _ITS_TITLE_WRONG, _TRANSIENT = 3, 7, 2
_MOST_CONTEXTS = 128


class DimseArchive:
    """What is asked of an archive, in DIMSE; each question has an association of its own."""

    def __init__(self, address: Address) -> None:
        from pynetdicom import AE

        self.address, self._tls = address, None
        if address.is_encrypted:
            self._tls = ssl.create_default_context(cafile=certificates())
            if certificates():
                self._tls.load_default_certs()
        self._entity = AE(address.our_title)
        self._entity.connection_timeout = self._entity.acse_timeout = _TIMEOUT_S
        self._entity.dimse_timeout = self._entity.network_timeout = _ANSWER_S

    def close(self) -> None:
        """Do nothing: no association is kept."""

    def find(self, level: str, **keys: str) -> list[Any]:
        """Return what matches, see ``connecting.Archive.find``."""
        from pynetdicom import build_context
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Model

        with self._associated("C-FIND", [build_context(Model)]) as association:
            answers = association.send_c_find(_identifier(level, keys), Model)
            rows = [row for status, row in self._heard(answers, "C-FIND") if row is not None]
        return rows

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

        wanted = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": list(missing)}
        question = _identifier("IMAGE", wanted)
        try:
            (self._move if self.address.listen else self._get)(question, received)
        finally:
            if failures:
                raise failures[0]

    def _kinds(self, question: Any) -> list[str]:
        """SOP classes of the images of a series."""
        keys = {key: str(question[key].value) for key in ("StudyInstanceUID", "SeriesInstanceUID")}
        rows = self.find("IMAGE", **keys, SOPInstanceUID="", SOPClassUID="")
        kinds = sorted({str(row.SOPClassUID) for row in rows if row.get("SOPClassUID")})
        if not kinds:
            raise ArchiveError(f"{self.address.name}: does not say what kind its images are; use DICOMweb.")
        return kinds

    def _get(self, question: Any, received: Callable[[Any], int]) -> None:
        from pynetdicom import build_context, build_role, evt
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Model

        kinds = self._kinds(question)
        contexts = [build_context(Model)] + [
            build_context(kind, syntax) for kind in kinds for syntax in _SYNTAXES
        ]
        roles = [build_role(kind, scp_role=True) for kind in kinds]
        handlers = [(evt.EVT_C_STORE, received)]
        with self._associated("C-GET", contexts[:_MOST_CONTEXTS], roles, handlers) as association:
            if not any(context.abstract_syntax == Model for context in association.accepted_contexts):
                raise self._not_offered("C-GET")
            for _ in self._heard(association.send_c_get(question, Model), "C-GET"):
                pass

    def _move(self, question: Any, received: Callable[[Any], int]) -> None:
        from pynetdicom import AE, build_context, evt
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Model

        address = self.address
        receiver = AE(address.our_title)
        receiver.require_calling_aet = [address.title]
        for kind in self._kinds(question):
            receiver.add_supported_context(kind, _SYNTAXES)
        try:
            server = receiver.start_server(
                ("", address.listen), block=False, evt_handlers=[(evt.EVT_C_STORE, received)]
            )
        except OSError as error:
            raise ArchiveError(
                f"port {address.listen}: cannot be listened at ({error.strerror}); give another ?listen=PORT."
            ) from error
        try:
            with self._associated("C-MOVE", [build_context(Model)]) as association:
                for _ in self._heard(association.send_c_move(question, address.our_title, Model), "C-MOVE"):
                    pass
        finally:
            server.shutdown()

    def store(self, instances: Sequence[Instance]) -> Iterator[tuple[Instance, str]]:
        """Send objects one by one; each comes with the reason if it is refused, else with an empty text."""
        from pynetdicom import build_context

        pairs = dict.fromkeys((one.sop_class, one.transfer_syntax) for one in instances)
        contexts = [build_context(kind, syntax) for kind, syntax in list(pairs)[:_MOST_CONTEXTS]]
        with self._associated("storage of these objects", contexts) as association:
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
                is_kept = answer.Status == _SUCCESS or 0xB000 <= answer.Status <= 0xBFFF
                yield instance, "" if is_kept else reason_of(answer.Status)

    @contextmanager
    def _associated(
        self, service: str, contexts: list[Any], roles: Any = None, handlers: Any = None
    ) -> Iterator[Any]:
        address = self.address
        association = self._entity.associate(
            address.host, address.port, contexts=contexts, ae_title=address.title, ext_neg=roles,
            evt_handlers=handlers, tls_args=(self._tls, address.host) if self._tls else None,
        )  # fmt: skip
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

    def _heard(self, answers: Any, service: str) -> Iterator[tuple[int, Any]]:
        """Pass on the answers to a question, or say why there are none."""
        for status, row in answers:
            code = status.get("Status")
            if code is None:
                raise self._lost()
            if code in _PENDING:
                yield code, row
            elif code != _SUCCESS and not 0xB000 <= code <= 0xBFFF:
                comment = str(status.get("ErrorComment") or "no comment")
                raise LostError(
                    f"{self.address.name}: answers {service} with status 0x{code:04X} ({comment}); ask who "
                    "runs it."
                )

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
        return self._lost("does not answer as a DICOM archive")

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


def _identifier(level: str, keys: Any) -> Any:
    from pydicom import Dataset

    question = Dataset()
    question.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(question, keyword, value)
    return question
