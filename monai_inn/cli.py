"""The command ``monai-inn``: parses, calls, prints; heavy imports happen inside the verbs."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from monai_inn import plain
from monai_inn.applications import installed
from monai_inn.arguments import Interrupted, is_helper
from monai_inn.parser import BAD_INPUT, parser_of, say
from monai_inn.settings_file import with_config

__all__ = ["main"]

_FAILED, _INTERRUPTED = 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; those of the process by default.

    Returns:
        0; 1 if some of many files or devices failed; 2 for bad input (one line on standard error says what);
        130 after Ctrl-C or SIGTERM.
    """
    if argv is None:  # a process of its own; schedulers and containers end it by SIGTERM
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    argv = sys.argv[1:] if argv is None else argv
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    try:
        parser, of_verb = parser_of(argv)
        arguments = parser.parse_args(with_config(argv, of_verb))
        result: dict[str, Any] = arguments.run(arguments)
    except KeyboardInterrupt as stop:
        advice = stop if isinstance(stop, Interrupted) else "nothing half-written is left."
        say(f"monai-inn: interrupted; {advice}", sys.stderr)
        return _INTERRUPTED
    except (ValueError, TypeError, RuntimeError, ImportError, OSError) as error:
        if not _is_expected(error):
            raise
        say(f"monai-inn: {' '.join(_message(error).split())}", sys.stderr)
        return BAD_INPUT
    if is_helper():
        return 0  # the first process speaks
    words = plain.cohort if "cohort" in result else arguments.words
    if arguments.json:
        say(json.dumps(result, indent=2), sys.stdout)
    else:
        say(plain.with_warnings(words(result), result), sys.stdout)
    has_failed = result.get("failures") or ("cohort" in result and result["cohort"]["failed"])
    return _FAILED if has_failed else 0


def _complete() -> None:
    """Answer the shell, which has called because somebody has pressed the tabulator key, and leave."""
    import argcomplete

    written = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    argcomplete.autocomplete(parser_of(shlex.split(written, posix=False)[1:])[0])


def _is_expected(error: BaseException) -> bool:
    """Whether an error is about the input: the system's, or one that an application raises on purpose."""
    if isinstance(error, OSError):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    package = frames[-1].f_globals.get("__name__", "").partition(".")[0]
    return package in {"monai_inn", *(module.__name__.partition(".")[0] for module in installed())}


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)
