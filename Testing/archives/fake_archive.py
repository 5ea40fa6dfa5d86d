"""A small archive in this process that speaks both protocols, for what Orthanc cannot be made to do."""

from __future__ import annotations

import base64
import functools
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qsl, urlsplit

import pydicom
from archive_files import MAP, MR, SEGMENTATION
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel as Commitment
from pynetdicom.sop_class import StorageCommitmentPushModelInstance
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as Find,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as Get,
)

TITLE = "ARCHIVE"
SHOWN = ("Modality", "StudyDate", "SeriesDescription", "SeriesInstanceUID", "StudyInstanceUID", "PatientID")
OWN = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


class FakeArchive:
    """Holds files by UID; ``received`` are the UIDs that came, one for each time.

    Attributes:
        refused: by SOP class, the status with which objects of it are not taken.
        forgets: UIDs that are acknowledged and then not listed.
        answers: by the beginning of a path, what the web service answers in its place: code, headers, body.
        titles: application entities that may call.
        reports_to: port at which it says what it commits to; 0 to say nothing.
        keeps_not: UIDs to which it does not commit.
        answer_to_commitment: its status.
        credentials: header that the web service wants.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.received: list[str] = []
        self.refused: dict[str, int] = {}
        self.forgets: set[str] = set()
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.credentials: str | None = None
        self.reports_to, self.answer_to_commitment = 0, 0
        self.keeps_not: set[str] = set()
        self.web = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"archive": self}))
        self.web.daemon_threads = True
        self.web.socket.settimeout(1)  # a caller may be gone before it is let in
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        self.entity = AE(TITLE)
        self.entity.require_called_aet = True
        for kind in (MR, MAP, SEGMENTATION):
            self.entity.add_supported_context(kind, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
        self.entity.add_supported_context(Find)
        self.entity.add_supported_context(Get)
        self.entity.add_supported_context(Commitment)
        self.serve_dimse()

    def serve_dimse(self, **options) -> None:
        """Listen for associations at a free port."""
        handlers = [
            (evt.EVT_CONN_OPEN, self._on_connection),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_C_GET, self._on_get),
            (evt.EVT_N_ACTION, self._on_commitment),
        ]
        self.dimse = self.entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, **options)

    def without(self, *services: str) -> None:
        """Serve as before, without some services or kinds of objects."""
        self.dimse.shutdown()
        for service in services:
            self.entity.remove_supported_context(service)
        self.serve_dimse()

    def close(self) -> None:
        self.web.shutdown()
        self.web.server_close()
        self.dimse.shutdown()

    def images(self) -> list[Dataset]:
        return [_parsed(content) for uid, content in self.files.items() if uid not in self.forgets]

    def take(self, content: bytes) -> tuple[Dataset, int]:
        """Keep a file, unless its class is refused; its header and the status."""
        image = pydicom.dcmread(BytesIO(content))
        status = self.refused.get(str(image.SOPClassUID), 0)
        if not status:
            self.received.append(str(image.SOPInstanceUID))
            self.files[str(image.SOPInstanceUID)] = content
        return image, status

    def find(self, level: str, keys: dict[str, str]) -> list[Dataset]:
        """One row for each study, series or image with the values of the keys; an empty value matches all."""
        rows = {}
        for image in self.images():
            if all(value in ("", str(image.get(key))) for key, value in keys.items() if key in image):
                row = Dataset()
                for key in {*keys, OWN[level], "SOPClassUID"}:
                    if key in image:
                        setattr(row, key, image[key].value)
                rows[str(image[OWN[level]].value)] = row
        return list(rows.values())

    def _on_connection(self, event):
        """The parts of an answer do not wait for one another."""
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_store(self, event):
        return self.take(event.encoded_dataset())[1]

    def _on_find(self, event):
        question = event.identifier
        keys = {
            e.keyword: str(e.value or "") for e in question if e.keyword not in ("QueryRetrieveLevel", "")
        }
        for row in self.find(question.QueryRetrieveLevel, keys):
            yield 0xFF00, row
        yield 0x0000, None

    def _on_get(self, event):
        wanted = event.identifier.SOPInstanceUID
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        found = [image for image in self.images() if image.SOPInstanceUID in wanted]
        yield len(found)
        for image in found:
            yield 0xFF00, image

    def _on_commitment(self, event):
        if self.reports_to:
            threading.Thread(target=self._report, args=(event.action_information,)).start()
        return self.answer_to_commitment, None

    def _report(self, request: Dataset) -> None:
        """Say on a connection of its own to which objects it commits, after the report on another request."""
        report, other = Dataset(), Dataset()
        report.TransactionUID, other.TransactionUID = request.TransactionUID, "1.2.3"
        kept = [i for i in request.ReferencedSOPSequence if i.ReferencedSOPInstanceUID not in self.keeps_not]
        report.ReferencedSOPSequence = other.ReferencedSOPSequence = kept
        association = AE(TITLE).associate(
            "127.0.0.1", self.reports_to, [build_context(Commitment)], ae_title="MONAI_INN",
            ext_neg=[build_role(Commitment, scp_role=True)],
        )  # fmt: skip
        for information in (other, report):
            association.send_n_event_report(information, 1, Commitment, StorageCommitmentPushModelInstance)
        association.release()


class _Handler(BaseHTTPRequestHandler):
    archive: FakeArchive
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for the client to acknowledge its header

    def log_message(self, *_) -> None:
        pass

    def _reply(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _is_told(self, path: str) -> bool:
        """Whether the test has said what to answer, or credentials are missing."""
        archive = self.archive
        if archive.credentials not in (None, self.headers.get("Authorization")):
            self._reply(401)
            return True
        for start, (code, headers, body) in archive.answers.items():
            if path.startswith(start):
                self._reply(code, body, **headers)
                return True
        return False

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if self._is_told(parts.path):
            return
        keys = {k: v for k, v in parse_qsl(parts.query) if k not in ("limit", "offset", "includefield")}
        within = dict(re.findall(r"/(studies|series|instances)/([0-9.]+)", parts.path))
        names = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}
        keys |= {names[place]: uid for place, uid in within.items()}
        if "instances" in within:
            boundary = b"simple-boundary"
            content = self.archive.files[within["instances"]]
            body = b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--%s--" % (
                boundary,
                content,
                boundary,
            )
            self._reply(200, body, Content_Type='multipart/related; boundary="simple-boundary"')
            return
        level = {"studies": "STUDY", "series": "SERIES", "instances": "IMAGE"}[parts.path.rpartition("/")[2]]
        first = int(dict(parse_qsl(parts.query)).get("offset", 0))
        shown = (
            "Modality",
            "StudyDate",
            "SeriesDescription",
            "SeriesInstanceUID",
            "StudyInstanceUID",
            "PatientID",
        )
        keys = dict.fromkeys(shown, "") | keys
        rows = [row.to_json_dict() for row in self.archive.find(level, keys)[first:]]
        self._reply(200, json.dumps(rows).encode(), Content_Type="application/dicom+json")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._is_told(urlsplit(self.path).path + "!"):
            return
        content = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
        image, status = self.archive.take(content)
        item, answer = Dataset(), Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        if status:
            item.FailureReason = status
            answer.FailedSOPSequence = [item]
        else:
            answer.ReferencedSOPSequence = [item]
        text = json.dumps(answer.to_json_dict()).encode()
        self._reply(409 if status else 200, text, Content_Type="application/dicom+json")


@functools.lru_cache(100)
def _parsed(content: bytes) -> Dataset:
    """A file's content, which every question looks at."""
    return pydicom.dcmread(BytesIO(content))


def basic(user: str, password: str) -> str:
    """The header of a user and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
