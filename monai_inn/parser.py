"""The parser of ``monai-inn``: what all verbs share. Their own options stand beside it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TextIO

from monai_inn import __version__
from monai_inn.answer_options import add_archives, add_files, add_inferring, add_sharing, add_testing
from monai_inn.applications import offered
from monai_inn.learning_options import add_designing, add_learning, add_listing
from monai_inn.settings_file import add_config
from monai_inn.spelling import nearest

__all__ = ["BAD_INPUT", "parser_of", "say"]

BAD_INPUT = 2
"""What the command returns if its input cannot be used."""
_NOBODY_READS = 141  # 128 and SIGPIPE, which Windows lacks


def say(text: str, stream: TextIO) -> None:
    """Print; a character that the stream cannot show, as a file name may have, is shown by its number.

    The process ends quietly if nobody reads on, as behind ``| head``.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes once more at its end
        sys.exit(_NOBODY_READS)


class _Parser(argparse.ArgumentParser):
    """Parser whose complaint is one line."""

    def _print_message(self, message: str, file: Any = None) -> None:
        say(message.removesuffix("\n"), file or sys.stderr)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As Python's, with the name that was probably meant."""
        if action.choices is not None and value not in action.choices:
            names = [str(name) for name in action.choices]
            hint = nearest(str(value), names)
            message = f"invalid choice: {value!r}{hint}, choose from {', '.join(names)}"
            raise argparse.ArgumentError(action, message)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with the exit code of bad input."""
        say(f"monai-inn: {' '.join(message.split())}; see `{self.prog} --help`.", sys.stderr)
        sys.exit(BAD_INPUT)


def parser_of(
    argv: Sequence[str],
) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the command, and those of its verbs."""
    parser = _Parser(
        prog="monai-inn",
        description="Calibrated posteriors and trust maps for inverse problems in medical imaging. "
        "Research only.",
    )
    parser.add_argument("--version", action="version", version=f"monai-inn {__version__}")
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        name: str,
        run: Callable[[argparse.Namespace], dict[str, Any]],
        text: str,
        words: Callable[[Mapping[str, Any]], str],
        is_random: bool = True,
    ) -> argparse.ArgumentParser:
        if name in commands.choices:  # argparse itself is silent before Python 3.11
            raise ValueError(
                f"{run.__module__} adds the verb {name!r}, which exists already; uninstall its package."
            )
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run, words=words)
        sub.add_argument("--json", action="store_true", help="print the result as JSON")
        sub.add_argument(
            "--progress-lines",
            action="store_true",
            help="report progress as lines `PROGRESS SHARE WHAT` on standard error, for programs",
        )
        add_config(sub)
        if is_random:
            sub.add_argument("--seed", type=_seed, default=0, help="seed of everything random (0)")
        return sub

    add_listing(verb)
    add_learning(verb, argv)
    add_inferring(verb)
    add_testing(verb)
    add_designing(verb, argv)
    add_files(verb)
    add_archives(verb)
    add_sharing(verb)
    for place in offered("COMMANDS"):
        importlib.import_module(place).add(verb)
    return parser, commands.choices


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative, give 0 or a positive number")
    if value >= 2**62:
        raise argparse.ArgumentTypeError(f"{value} is too large, give a number below 2^62")
    return value
