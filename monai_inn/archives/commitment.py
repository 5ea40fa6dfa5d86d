"""Storage commitment: an archive says that it keeps objects, and has not only received them (PS3.4 J)."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from monai_inn.archives.errors import ArchiveError, LostError
from monai_inn.archives.objects import Instance

if TYPE_CHECKING:
    from monai_inn.archives.dimse import DimseArchive

__all__ = ["ask_to_keep"]

# The service, the one instance of it that there is, and what is asked of it.
_SERVICE, _ONE, _REQUEST = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 1
_REPORT_S = 60.0  # archives may keep things hours later; nobody waits so long


def ask_to_keep(archive: DimseArchive, instances: Iterable[Instance]) -> list[Instance]:
    """Ask an archive to commit to objects that it has, and wait for its report on a connection of its own.

    Args:
        archive: whose address names a port at which we listen.
        instances: the objects.

    Returns:
        Those to which it does not commit.

    Raises:
        ArchiveError: if it does not offer this, or does not report in time.
    """
    from pydicom.uid import generate_uid
    from pynetdicom import build_context, evt

    asked = {one.uid: one for one in instances}
    reports: queue.Queue[Any] = queue.Queue()
    transaction = generate_uid()

    def reported(event: Any) -> tuple[int, None]:
        if event.event_information.get("TransactionUID") == transaction:
            reports.put(event.event_information)
        return 0x0000, None

    handlers = [(evt.EVT_N_EVENT_REPORT, reported)]
    with archive.listening([_SERVICE], None, handlers):
        with archive.associated("storage commitment", [build_context(_SERVICE)]) as association:
            request = _request(transaction, asked.values())
            status = association.send_n_action(request, _REQUEST, _SERVICE, _ONE)[0]
        if status.get("Status") != 0x0000:
            code = status.get("Status")
            why = "the connection was lost" if code is None else f"status 0x{code:04X}"
            raise LostError(f"{archive.address.name}: does not take the request to keep the objects ({why}).")
        try:
            report = reports.get(timeout=_REPORT_S)
        except queue.Empty:
            raise ArchiveError(
                f"{archive.address.name}: has not said within {_REPORT_S:.0f} s whether it keeps the "
                f"objects. It must know our title {archive.address.our_title} with this computer and the "
                f"port {archive.address.listen}. Run the same command again later, which sends nothing."
            ) from None
    kept = {str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence", ())}
    return [one for uid, one in asked.items() if uid not in kept]


def _request(transaction: str, instances: Iterable[Instance]) -> Any:
    from pydicom import Dataset

    request = Dataset()
    request.TransactionUID, request.ReferencedSOPSequence = transaction, []
    for one in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class, one.uid
        request.ReferencedSOPSequence.append(item)
    return request
