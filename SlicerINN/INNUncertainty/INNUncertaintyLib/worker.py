"""A process that stays alive between runs, so that they need not start Python, torch and MONAI again."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from . import child
from .child import Child, Process, python_path

__all__ = ["WORKER", "Worker"]

_STEP_S = 0.01


class Worker:
    """Runs commands of `monai-inn` one at a time, in a process that is started early, and again if it ends.

    What it cannot take, because it is at work or has ended before it began, runs in a process of its own. The
    process ends with this one, whatever happens to this one: its standard input then ends.
    """

    def __init__(self) -> None:
        self._process: Process | None = None
        self._run: _Run | None = None
        self._number = 0

    def start(self) -> None:
        """Start the process if there is none, so that it is ready when a run comes.

        Raises:
            OSError: if Python cannot be started.
        """
        if self._process is None or self._process.code is not None:
            self._process = Process(python_path(), ["-m", "monai_inn.worker"], is_told=True)

    def run(self, arguments: Sequence[str]) -> Child:
        """Start a command.

        Raises:
            OSError: if Python cannot be started.
        """
        if self._run is not None and self._run.is_lent:
            return Child(python_path(), arguments)
        self.start()
        self._number += 1
        self._run = _Run(self._process, self._number, arguments)
        return self._run

    def close(self) -> None:
        """End the process, and what it runs."""
        if self._process is not None:
            self._process.end()
        self._process = self._run = None


class _Run(Child):
    """A run in the process of the worker."""

    def __init__(self, worker: Process, number: int, arguments: Sequence[str]) -> None:
        self._worker: Process | None = worker
        self._number, self._has_begun = number, False
        super().__init__(python_path(), arguments)

    def _start(self, python: str, environment: dict[str, str] | None = None) -> None:
        self._worker.tell(json.dumps({"job": self._number, "arguments": self._arguments}))

    @property
    def is_lent(self) -> bool:
        """Whether the worker is at work on it."""
        return self._worker is not None and self._code is None and self.poll() and self._worker is not None

    def poll(self) -> bool:
        """Take in what the worker has said of it since; returns whether it goes on."""
        if self._worker is None:
            return super().poll()
        if self._code is not None:
            return False
        code = self._worker.code
        for is_output, line in self._worker.lines():
            self._take(line) if is_output else self.hear(line)
        if self._code is None and code is not None:
            if self._has_begun:
                self._code = code
            else:
                self._leave()
        return self._code is None

    def cancel(self) -> None:
        """Let the worker interrupt it; one that does not listen is ended."""
        if self._worker is None:
            super().cancel()
        elif self._code is None:
            self.is_cancelled = True
            self._worker.tell(json.dumps({"cancel": self._number}))
            end = time.monotonic() + child._GRACE_S
            while self.poll() and time.monotonic() < end:
                time.sleep(_STEP_S)
            if self._code is None:
                (self._worker or self._process).end()

    def _take(self, line: str) -> None:
        """Take in a line of the worker's standard output."""
        try:
            message: dict[str, Any] = json.loads(line)
            if message["job"] != self._number:
                return
            self._has_begun = True
            if "line" in message:
                self.hear(message["line"])
            elif "code" in message:
                self._output, self._code = [message["output"]], message["code"]
        except (ValueError, TypeError, KeyError):
            self.hear(line)

    def _leave(self) -> None:
        """Start over in a process of its own."""
        reason = self._errors[-1] if self._errors else _("no message")
        self.text = _("starting anew, for the waiting process has ended ({reason})").format(reason=reason)
        self._note(self.text)
        self._worker = None
        super()._start(python_path())


WORKER = Worker()
