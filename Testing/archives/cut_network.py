"""A network that can be cut: a proxy in front of a server, byte by byte under control of the test."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Network:
    """Passes connections on to a port of this computer; counts what it passes.

    ``cut_sent`` and ``cut_answered`` are the numbers of bytes, to and from the server, at which all
    connections break, once; ``hold_sent`` is where they stand still, and ``held`` is set. While ``is_down``
    none is passed on.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.sent = self.answered = 0
        self.cut_sent = self.cut_answered = self.hold_sent = None
        self.is_down, self.held, self.stays_down = False, threading.Event(), False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()
        self.break_all()

    def break_all(self) -> None:
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.is_down:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            for one in (client, server):  # small pieces need not wait for one another
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            for way in ((client, server, "sent"), (server, client, "answered")):
                threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, count: str) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                limit = getattr(self, f"cut_{count}")
                room = len(data) if limit is None else limit - getattr(self, count)
                setattr(self, count, getattr(self, count) + len(data[:room]))
                target.sendall(data[:room])
                if count == "sent" and self.hold_sent is not None and self.sent >= self.hold_sent:
                    self.held.set()
                    return
                if room < len(data):
                    setattr(self, f"cut_{count}", None)
                    self.is_down = self.stays_down
                    self.break_all()
                    return
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
