"""``python -m monai_inn.worker``: the command ``monai-inn`` again and again, in one process.

For programs that have many commands, since starting Python, torch and MONAI takes seconds. Each line on
standard input is a JSON object. ``{"job": 7, "arguments": ["infer", …]}`` runs a command, one after another;
``{"cancel": 7}`` interrupts it as Ctrl-C does. Lines on standard output say ``{"job": 7}`` when it begins,
``{"job": 7, "line": …}`` for a line of its standard error, ``{"job": 7, "code": 0, "output": …}`` at its end.
The process ends with its standard input, after half an hour without work, and, where the system tells its
memory, after a command that left it more than an idle process should keep. After the first command it loads
what most inferences load as they begin.
"""

from __future__ import annotations

import _thread
import functools
import importlib
import io
import json
import os
import queue
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from monai_inn import cli

__all__ = ["main"]

_INTERRUPTED = 130
_IDLE_S = 1800.0
_MOST_BYTES = 2 << 30
# What most commands import. Importing does nothing else, so that a job finds the state of a new process.
_EARLY = (
    "monai_inn.inferers.posterior",
    "monai_inn.reports",
    "monai_inn.reports.figures",
    "monai_inn.transforms.array",
)

_BINS = 8  # of splines, unless somebody asks for others

Say = Callable[..., None]


class _Jobs:
    """Commands as they come in, and the one that runs."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._wanted: list[Any] = []  # numbers of those that wait and are not canceled
        self._running: list[Any] = []  # number of the one that runs, if there is one

    def listen(self) -> None:
        """Take in lines until there are no more; what is not a command is not answered."""
        # Not sys.stdin, which nobody else may hold when the process ends.
        for line in open(0, encoding="utf-8", errors="replace", closefd=False):  # noqa: SIM115
            with suppress(Exception):
                message = json.loads(line)
                if isinstance(message.get("arguments"), list):
                    with self._lock:
                        self._wanted.append(message.get("job"))
                    self.waiting.put(message)
                else:
                    self._cancel(message["cancel"])
        with self._lock:
            self._wanted.clear()  # the one that is just about to begin as well
            self._interrupt()
        self.waiting.put(None)

    def run(self, job: Any, arguments: list[str]) -> int:
        """Run a command, and return the code that a process of its own would end with."""
        try:
            if not self._begin(job):
                return _INTERRUPTED
            code = cli.main(arguments)
            self._end()
            time.sleep(0)  # where an interruption that comes late is raised, so that it hits no other job
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        except Exception:
            traceback.print_exc()
            code = 1
        self._end()
        return code

    def _begin(self, job: Any) -> bool:
        with self._lock:
            if job not in self._wanted:
                return False
            self._wanted.remove(job)
            self._running = [job]
            return True

    def _end(self) -> None:
        with self._lock:
            self._running = []

    def _cancel(self, job: Any) -> None:
        with self._lock:
            if [job] == self._running:
                self._interrupt()
            elif job in self._wanted:
                self._wanted.remove(job)

    def _interrupt(self) -> None:
        """Interrupt the job that runs, once: not while it tidies up."""
        if self._running:
            self._running = []
            _thread.interrupt_main()


class _Lines(io.TextIOBase):
    """Standard error of a job: each line becomes a message."""

    def __init__(self, say: Say) -> None:
        self._say, self._rest = say, ""

    def write(self, text: str) -> int:
        """Say what is complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._say(line=line)
        return len(text)


def main() -> None:
    """Run commands until there are no more."""
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not come between the messages
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what they start behind ignore it
    jobs = _Jobs()
    threading.Thread(target=jobs.listen, daemon=True).start()
    for name in _EARLY:
        importlib.import_module(name)
    with suppress(queue.Empty, BrokenPipeError, KeyboardInterrupt):
        while _resident_bytes() < _MOST_BYTES and (message := jobs.waiting.get(timeout=_IDLE_S)) is not None:
            _answer(jobs, message, stdout)
            _load_late()


@functools.cache
def _load_late() -> None:
    """Load compiled splines and the reader of images: half a second that nobody should wait for.

    Not at the start, because the first command lists bundles, and a new installation compiles for seconds.
    """
    with suppress(Exception):  # which the command that needs it will tell
        from monai_inn.networks.kernels.spline import spline

        for is_inverse in (False, True):
            spline(_BINS, is_inverse)
        importlib.import_module("SimpleITK")


def _answer(jobs: _Jobs, message: dict[str, Any], stdout: TextIO) -> None:
    """Run a job and say what comes of it."""
    number, output = message.get("job"), io.StringIO()

    def say(**more: Any) -> None:
        stdout.write(json.dumps({"job": number, **more}) + "\n")
        stdout.flush()

    say()
    # Warnings are shown once a process; in a context of its own, each job shows its own.
    with redirect_stdout(output), redirect_stderr(_Lines(say)), warnings.catch_warnings():
        code = jobs.run(number, [str(argument) for argument in message["arguments"]])
    say(code=code, output=output.getvalue())


def _resident_bytes() -> int:
    """Memory that this process has now; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
