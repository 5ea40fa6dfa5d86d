"""Processes that find their imports done: forks of the process of the tests.

Starting Python, torch and MONAI takes longer than most of what a test asks of another process.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import runpy
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

import monai_inn
from monai_inn import applications, registry

if TYPE_CHECKING:
    from collections.abc import Callable

# Once for all forks; the last is what torch imports at the first step of a training.
IMPORTED = (
    "monai_inn.bundles.fitting",
    "monai_inn.reports.results",
    "monai_inn.validation.commands",
    "torch._dynamo",
)


class Forked:
    """A process that runs a function, and pipes to its standard input, output and error.

    Its exit code is 0, that of a ``SystemExit``, or 1 after any other exception.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        if sys.platform != "linux":
            pytest.skip("elsewhere than on Linux a fork of a process with threads may hang")
        pipes = [os.pipe() for _ in range(3)]
        (read, tell), (hear, write), (hear_errors, write_errors) = pipes
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            for descriptor, end in enumerate((read, write, write_errors)):
                os.dup2(end, descriptor)
            for end in (end for pipe in pipes for end in pipe):
                os.close(end)
            _run(function)
        for end in (read, write, write_errors):
            os.close(end)
        self.stdin, self.stdout, self.stderr = open(tell, "w"), open(hear), open(hear_errors)  # noqa: SIM115
        self._code: int | None = None

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it if it still runs."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; ``None`` while it runs."""
        return self._reaped(os.WNOHANG)

    def communicate(self) -> tuple[str, str]:
        """What it writes to standard output and error until it ends."""
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read()))
        reader.start()
        output = self.stdout.read()
        reader.join()
        return output, errors[0]

    def wait(self) -> int:
        """Its exit code, once it has ended; what it writes until then must fit into its pipes."""
        code = self._reaped(0)
        assert code is not None
        return code

    def _reaped(self, options: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


def _run(function: Callable[[], object]) -> NoReturn:
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        function()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.flush()
        os._exit(code)


def command(*words: object) -> Callable[[], object]:
    """``python -m monai_inn`` with these words."""

    def run() -> object:
        sys.argv = ["monai-inn", *map(str, words)]
        return runpy.run_module("monai_inn", run_name="__main__", alter_sys=True)

    return run


def python(code: str, cwd: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in a folder, with further folders first on its path."""

    def run() -> None:
        os.chdir(cwd)
        sys.path[:0] = map(str, path)
        registry._distributions.cache_clear()
        applications.installed.cache_clear()
        exec(compile(textwrap.dedent(code), "<child>", "exec"), {"__name__": "__main__"})

    if sys.platform != "linux":
        paths = {"PYTHONPATH": os.pathsep.join(map(str, [*path, Path(monai_inn.__file__).parents[1]]))}
        words = [sys.executable, "-c", textwrap.dedent(code)]
        return subprocess.run(words, cwd=cwd, env=os.environ | paths, capture_output=True, text=True)
    for name in IMPORTED:
        importlib.import_module(name)
    with Forked(run) as process:
        output, errors = process.communicate()
        return subprocess.CompletedProcess(code, process.wait(), output, errors)
