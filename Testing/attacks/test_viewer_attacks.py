"""What a page would never send: the viewer refuses it in one answer, says nothing, and goes on."""

from __future__ import annotations

import random
import socket
import struct
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTING = Path(__file__).parents[1]
sys.path += [str(TESTING / "web"), str(TESTING / "slicer")]  # driver; made_results, which needs no Slicer

from driver import LIMIT, Viewer  # noqa: E402

GIGABYTE = 10**9
TEXT, BINARY, CLOSE, UNKNOWN = 1, 2, 8, 7
FINAL, COMPRESSED, MASKED = 0x80, 0x40, 0x80
PROTOCOL_ERROR, UNSUPPORTED, TOO_LARGE = 1002, 1003, 1009
HELLO = {"id": "system:c0:0", "method": "wslink.hello", "args": [{"secret": "wslink-secret"}]}


class Attacked:
    """A viewer, what it prints as errors, and raw connections to it."""

    def __init__(self, viewer: Viewer, log: Path) -> None:
        self.viewer, self.log = viewer, log
        self.port = urlsplit(viewer.origin).port or 0
        self.host = b"Host: 127.0.0.1:%d\r\n" % self.port
        self.cookie = f"Cookie: monai_inn_viewer_{self.port}={viewer.token}\r\n".encode()

    def connect(self, data: bytes) -> socket.socket:
        link = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)
        link.sendall(data)
        return link

    def status(self, data: bytes) -> int:
        """The status that a request is answered with."""
        with self.connect(data) as link:
            return int(link.makefile("rb").readline().split()[1])

    def lives(self) -> bool:
        return self.status(b"GET /index.html HTTP/1.1\r\n" + self.host + self.cookie + b"\r\n") == 200

    def closes(self, *frames: bytes, extensions: bytes = b"") -> int:
        """The code with which the server ends a websocket that these frames come through."""
        asked = (
            b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        )
        key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        with self.connect(asked + key + self.host + self.cookie + extensions + b"\r\n") as link:
            answer = link.makefile("rb")
            assert b"101" in answer.readline()
            while answer.readline().strip():
                pass
            link.sendall(b"".join(frames))
            while True:
                kind, payload = read_frame(answer)
                if kind & 0x0F == CLOSE:
                    return int(struct.unpack(">H", payload[:2])[0])


def read_frame(answer) -> tuple[int, bytes]:
    kind, length = answer.read(2)
    if length == 126:
        (length,) = struct.unpack(">H", answer.read(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", answer.read(8))
    return kind, answer.read(length)


def frame(kind: int, payload: bytes, claim: int | None = None, flags: int = FINAL) -> bytes:
    """A frame as a browser sends it, which may claim to be longer than it is."""
    size = len(payload) if claim is None else claim
    head = bytes([flags | kind])
    if size < 126:
        head += bytes([MASKED | size])
    elif size < 2**16:
        head += struct.pack(">BH", MASKED | 126, size)
    else:
        head += struct.pack(">BQ", MASKED | 127, size)
    return head + bytes(4) + payload


def message(content: object, claim: int | None = None) -> bytes:
    """A message of wslink, which may claim to be the first part of a longer one."""
    import msgpack

    packed = msgpack.packb(content)
    return frame(BINARY, struct.pack("<III", 1, 0, len(packed) if claim is None else claim) + packed)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    for package in ("trame_slicer", "SimpleITK", "msgpack"):
        pytest.importorskip(package, reason=f"the viewer needs {package}")
    from made_results import write_result

    place = tmp_path_factory.mktemp("attacked")
    write_result(place / "result")
    viewer = Viewer(place / "result", place / "log.txt")
    yield Attacked(viewer, place / "log.txt")
    viewer.stop()


@pytest.fixture(autouse=True)
def quiet(attacked: Attacked) -> Iterator[None]:
    """After every attack the server still answers, and has printed nothing."""
    before = attacked.log.read_text()
    yield
    assert attacked.lives()
    assert attacked.log.read_text() == before


@pytest.mark.parametrize("given", [b"\xff\xfe", b"\xc3\xa4", b"a" * 5000, b'"\\377"', b"=;;="])
def test_strange_cookies_are_forbidden(attacked: Attacked, given: bytes) -> None:
    name = b"Cookie: monai_inn_viewer_%d=" % attacked.port
    asked = b"GET /index.html HTTP/1.1\r\n" + attacked.host
    assert attacked.status(asked + name + given + b"\r\n\r\n") == 403
    assert attacked.status(b"GET /?token=%FF%FE HTTP/1.1\r\n" + attacked.host + b"\r\n") == 403


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"GET /" + b"a" * 10**5 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 10**5 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10**4 + b"\r\n",
    ],
    ids=["TLS", "path", "version", "header", "length", "lengths", "long path", "long header", "many headers"],
)
def test_malformed_and_oversized_requests_are_refused(attacked: Attacked, request_: bytes) -> None:
    assert attacked.status(request_) == 400


def test_a_body_of_a_gigabyte_is_refused_before_it_is_sent(attacked: Attacked) -> None:
    length = f"Content-Length: {GIGABYTE}\r\n\r\n".encode()
    asked = b"POST /paraview/ HTTP/1.1\r\n" + attacked.host
    assert attacked.status(asked + length) == 403
    assert attacked.status(asked + attacked.cookie + length) == 413


@pytest.mark.parametrize("content", [1, "id", {"id": 1}, {"id": "a"}, {"id": 1, "method": "m"}, {"id": []}])
def test_messages_without_sense_end_their_connection(attacked: Attacked, content: object) -> None:
    assert attacked.closes(message(content)) == UNSUPPORTED


@pytest.mark.parametrize("content", [b"", b"ab", b"\xff" * 64, struct.pack("<III", 1, 0, 1) + b"\xc1"])
def test_frames_without_a_message_end_their_connection(attacked: Attacked, content: bytes) -> None:
    assert attacked.closes(frame(BINARY, content)) == UNSUPPORTED


def test_a_message_of_a_gigabyte_is_refused_before_it_is_sent(attacked: Attacked) -> None:
    """As one frame, as the first of many frames, as the first part of a message of wslink, and compressed."""
    assert attacked.closes(frame(BINARY, b"x" * 100, claim=GIGABYTE)) == TOO_LARGE
    part = frame(BINARY, bytes(2**19), flags=0)
    assert attacked.closes(part, frame(0, bytes(2**19), flags=0), frame(0, bytes(2**19))) == TOO_LARGE
    assert attacked.closes(message(HELLO), message({}, claim=GIGABYTE)) == UNSUPPORTED
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(2**26)) + packer.flush(zlib.Z_SYNC_FLUSH)
    bomb = frame(BINARY, packed[:-4], flags=FINAL | COMPRESSED)
    deflate = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    assert attacked.closes(bomb, extensions=deflate) == TOO_LARGE


def test_frames_that_break_the_protocol_end_their_connection(attacked: Attacked) -> None:
    assert attacked.closes(frame(TEXT, b"hello")) == UNSUPPORTED
    assert attacked.closes(frame(UNKNOWN, b"hello")) == PROTOCOL_ERROR
    assert attacked.closes(frame(0, b"no start")) == PROTOCOL_ERROR
    assert attacked.closes(frame(9, b"p" * 126)) == PROTOCOL_ERROR


def test_random_requests_and_frames(attacked: Attacked) -> None:
    generator = random.Random(0)
    asked = b"GET /index.html?token=a HTTP/1.1\r\n" + attacked.host + attacked.cookie + b"Origin: x\r\n\r\n"
    for _ in range(60):
        mutated = bytearray(asked)
        for _ in range(generator.randrange(1, 6)):
            mutated[generator.randrange(len(asked) - 4)] = generator.randrange(256)
        assert attacked.status(bytes(mutated)) in (400, 403, 404, 405)
    for _ in range(60):
        payload = generator.randbytes(generator.randrange(200))
        whole = struct.pack("<III", 1, 0, len(payload)) + payload
        sent = frame(BINARY, generator.choice((payload, whole)))
        # What says nothing to anybody is ignored; the text after it is not.
        assert attacked.closes(sent, frame(TEXT, b"end")) == UNSUPPORTED
