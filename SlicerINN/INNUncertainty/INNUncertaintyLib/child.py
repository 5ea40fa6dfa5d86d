"""`monai-inn` in a process of its own, and what it needs in Slicer's Python, installed only if asked for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import slicer.util
from slicer.i18n import tr as _

__all__ = ["REQUIREMENTS", "Child", "Process", "install", "is_installed", "python_path"]

_PREFIX = "monai-inn: "
_TAIL = 200
_EARLY_S, _EARLY_SHARE = 2.0, 0.02  # before, the pace is that of the start
_GRACE_S = 2.0
_ON_WINDOWS = os.name == "nt"


class Child:
    """One run of `monai-inn`; ask ``poll`` for news, a few times a second, from one thread.

    Args:
        python: the interpreter.
        arguments: those of `monai-inn`; ``--json --progress-lines`` are added.
        environment: of the child; that of this process by default.

    Raises:
        OSError: if the interpreter cannot be started.
    """

    def __init__(
        self, python: str, arguments: Sequence[str], environment: dict[str, str] | None = None
    ) -> None:
        self.share, self.text = 0.0, _("starting")
        self.is_cancelled = False
        self._begun_s = time.monotonic()
        self._errors: list[str] = []
        self._log: list[str] = []
        self._output: list[str] = []
        self._code: int | None = None
        self._arguments = [*arguments, "--json", "--progress-lines"]
        self._start(python, environment)

    def _start(self, python: str, environment: dict[str, str] | None = None) -> None:
        self._process = Process(python, ["-m", "monai_inn", *self._arguments], environment)

    def poll(self) -> bool:
        """Take in what the child has said since; returns whether it goes on."""
        # Whether it has ended is asked first: what it said before is then complete.
        code = self._process.code
        for is_output, line in self._process.lines():
            self._output.append(line) if is_output else self.hear(line)
        self._code = code
        return code is None

    @property
    def log(self) -> str:
        """The last steps and messages of the child, each with the seconds since the start."""
        return "\n".join(self._log[-_TAIL:])

    @property
    def left_s(self) -> float | None:
        """Seconds that it will take at its present pace; ``None`` while that cannot be told."""
        passed = time.monotonic() - self._begun_s
        if self.share < _EARLY_SHARE or passed < _EARLY_S:
            return None
        return passed * (1 - self.share) / self.share

    def result(self) -> dict[str, Any]:
        """What the command returned, once ``poll`` says that it is over.

        Raises:
            RuntimeError: if it failed or was canceled; the message is one line.
        """
        code = self._code
        if self.is_cancelled:
            raise RuntimeError(_("Canceled; nothing was changed."))
        if code == 0:
            try:
                found: dict[str, Any] = json.loads("".join(self._output))
                return found
            except ValueError:
                pass
        complaint = [line for line in self._errors if line.startswith(_PREFIX)]
        if complaint:
            raise RuntimeError(complaint[-1].removeprefix(_PREFIX))
        if any("No module named monai_inn" in line for line in self._errors):
            raise RuntimeError(_("monai_inn is not installed in this Python; press Install packages."))
        if not _ON_WINDOWS and code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            raise RuntimeError(
                _(
                    "The process was killed, most likely because memory ran out; use a smaller image or "
                    "fewer samples."
                )
            )
        last = self._errors[-1] if self._errors else _("no message")
        raise RuntimeError(_("The process ended with code {code}: {last}").format(code=code, last=last))

    def cancel(self) -> None:
        """Ask the child to stop, then end it and all that it has started."""
        self.is_cancelled |= self._process.end()

    def hear(self, line: str) -> None:
        """Take in a line of the command's standard error: progress, or what belongs into the log."""
        word, rest = (*line.split(" ", 1), "")[:2]
        number, text = (*rest.split(" ", 1), "")[:2]
        with suppress(ValueError):
            share = float(number)
            if word == "PROGRESS" and not math.isnan(share):
                if text != self.text:
                    self._note(text)
                self.share, self.text = min(max(share, 0.0), 1.0), text
                return
        if line.strip():
            self._errors.append(line)
            self._note(line)

    def _note(self, line: str) -> None:
        self._log.append(f"{time.monotonic() - self._begun_s:.1f} s  {line}")


class Process:
    """Python in a process of its own, whose lines are heard without waiting for them.

    Python in Slicer is started by a launcher, so that killing the process that was started would leave Python
    running: it gets a process group, and the group is what ends.

    Args:
        python: the interpreter.
        words: its arguments.
        environment: of the process; that of this one by default.
        is_told: whether it reads lines that ``tell`` gives it.

    Raises:
        OSError: if the interpreter cannot be started.
    """

    def __init__(
        self,
        python: str,
        words: Sequence[str],
        environment: dict[str, str] | None = None,
        is_told: bool = False,
    ) -> None:
        self._lines: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()
        group: dict[str, Any] = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
            if _ON_WINDOWS
            else {"start_new_session": True}
        )
        self._process = subprocess.Popen(
            [python, *words],
            stdin=subprocess.PIPE if is_told else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={
                **(os.environ if environment is None else environment),
                "PYTHONUNBUFFERED": "1",
                "PYTHONSAFEPATH": "1",
            },
            **group,
        )
        self._readers = [
            threading.Thread(target=self._listen, args=(pipe, pipe is self._process.stdout), daemon=True)
            for pipe in (self._process.stdout, self._process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def code(self) -> int | None:
        """With what it has ended, once all that it wrote can be had from ``lines``; ``None`` before."""
        code = self._process.poll()
        return None if any(reader.is_alive() for reader in self._readers) else code

    def lines(self) -> Iterator[tuple[bool, str]]:
        """What it has written since: whether to its standard output or its standard error, and the line."""
        while not self._lines.empty():
            yield self._lines.get()

    def tell(self, line: str) -> None:
        """Give it a line to read; one that has ended reads nothing."""
        with suppress(OSError, ValueError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def end(self) -> bool:
        """Ask it to stop, then end it and all that it has started; returns whether it was running."""
        was_running = self._process.poll() is None
        if was_running:
            for _ in range(2):  # a launcher that is about to start Python may swallow the first
                self._end(force=False)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_GRACE_S / 2)
                    break
        self._end(force=True)  # also what has outlived the one that was asked
        self._process.wait()
        return was_running

    def _end(self, force: bool) -> None:
        if _ON_WINDOWS:
            if force:
                command = ["taskkill", "/T", "/F", "/PID", str(self._process.pid)]
                subprocess.run(command, capture_output=True, check=False)
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL if force else signal.SIGINT)

    def _listen(self, pipe: TextIO, is_output: bool) -> None:
        for line in pipe:
            self._lines.put((is_output, line.rstrip("\n")))


REQUIREMENTS = ["monai_inn[io]>=0.1"]


def python_path() -> str:
    """The Python of this application, for child processes.

    Raises:
        FileNotFoundError: if it is not where Slicer has it.
    """
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    path = Path(slicer.app.slicerHome) / "bin" / name
    if not path.exists():
        raise FileNotFoundError(_("{path} is missing; install Slicer again.").format(path=path))
    return str(path)


def is_installed(*further: str) -> bool:
    """Whether `monai-inn` can be started; looks at metadata and imports nothing.

    Args:
        further: modules that a verb needs besides.
    """
    try:
        importlib.metadata.version("monai_inn")
    except importlib.metadata.PackageNotFoundError:
        return False
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "monai", *further))


def install(requirements: Sequence[str] = tuple(REQUIREMENTS), further: Sequence[str] = ()) -> bool:
    """Ask, then install what is missing; returns whether it is all there.

    PyTorch comes by the extension of that name, which finds the build for the graphics card.

    Args:
        requirements: packages for pip.
        further: modules that must be there afterwards.
    """
    if is_installed(*further):
        return True
    text = _(
        "This module needs these packages in Slicer's own Python:\n\n"
        "  PyTorch (200 MB to 3 GB, by the PyTorch extension)\n"
        "  {packages} with MONAI, SciPy, nibabel (about 150 MB)\n\n"
        "They are downloaded from the Python package index. Download and install them now?"
    ).format(packages=", ".join(requirements))
    if not slicer.util.confirmOkCancelDisplay(text, windowTitle=_("Install packages")):
        return False
    _install_torch()
    _pip_install([*requirements])
    importlib.invalidate_caches()
    return is_installed(*further)


def _pip_install(requirements: list[str]) -> None:
    """By Slicer's package manager where there is one: from 5.11 on."""
    try:
        from slicer.packaging import pip_install
    except ImportError:
        from slicer.util import pip_install
    pip_install(requirements)


def _install_torch() -> None:
    if importlib.util.find_spec("torch") is not None:
        return
    try:
        import PyTorchUtils
    except ImportError as error:
        raise RuntimeError(
            _("The PyTorch extension is missing; install it with the Extensions Manager and restart Slicer.")
        ) from error
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=">=2.8") is None:
        raise RuntimeError(_("PyTorch could not be installed; see the Python console for the reason."))
