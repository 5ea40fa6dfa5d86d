"""Processes of Python that find their imports done: forks of a server that has imported everything once.

Imports take longer than most of what a test asks of another process.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import traceback
from pathlib import Path
from typing import NoReturn

import monai_inn

IMPORTED = (
    *(f"monai_inn.{name}" for name in ("cli", "bundles.fitting", "reports.results", "validation.commands")),
    "torch._dynamo",  # which torch imports at the first step of a training
)


def python(code: str, cwd: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in a folder, with further folders first on its path."""
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder) / "out", Path(folder) / "errors"
        asked = [textwrap.dedent(code), *map(str, (cwd, out, errors, *path))]
        print(json.dumps(asked), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(code, status, out.read_text(), errors.read_text())


@functools.cache
def _server() -> subprocess.Popen[str]:
    """It ends when its input does, with this process."""
    root = str(Path(monai_inn.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONPATH": root},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _serve() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(code: str, cwd: str, out: str, errors: str, *path: str) -> NoReturn:
    for descriptor, name in ((1, out), (2, errors)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(cwd)
    sys.path[:1] = path  # in the place of this file's folder
    status = 1
    try:
        exec(compile(code, "<child>", "exec"), {"__name__": "__main__"})
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
