"""Reading files that may come from anybody: what is wrong is said in one line. Writing records."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = [
    "BadFileError",
    "cell_text",
    "check_record",
    "damage_named",
    "now",
    "one_line",
    "own_file",
    "parse_json",
    "read_json",
    "require_file",
    "versions",
    "write_json",
]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_MAX_DEPTH = 64
_MAX_INTEGER = 1 << 63
_MAX_MESSAGE = 160
_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class BadFileError(ValueError):
    """A file that cannot be used; the message names the file and says how to mend it."""


@contextmanager
def damage_named(path: Path, kind: str, advice: str) -> Iterator[None]:
    """Turn what a library says of a damaged file into one line.

    Args:
        path: the file.
        kind: format that it is read as.
        advice: what may be wrong, and how to mend it.

    Raises:
        BadFileError: if anything but that, or a missing file or library, is raised inside.
    """
    try:
        yield
    except (BadFileError, ImportError, FileNotFoundError):
        raise
    except Exception as error:  # on a damaged file each library raises types of its own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BadFileError(f"{path}: cannot be read as {kind} ({reason[-1].strip()}); {advice}") from error


def require_file(path: str | PathLike[str], expected: str) -> Path:
    """Return the path of a regular file; a named pipe would block for ever, a device never ends.

    Args:
        path: what a user gave.
        expected: what is wanted, for the message.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        BadFileError: if it is a folder, a named pipe, a socket or a device.
    """
    target = Path(path)
    try:
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{target}: no such file; check the path.") from None
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "special file")
        also = "" if kind == "folder" else ", not a regular file"
        raise BadFileError(f"{target}: is a {kind}{also}, expected {expected}.")
    return target


def parse_json(text: str) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: if it is not JSON, is nested too deeply, or holds numbers or texts that JSON cannot mean.
    """
    try:
        content = json.loads(
            text, parse_constant=_no_number, parse_float=_finite_number, parse_int=_bounded_integer
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    layer = [content]
    for _ in range(_MAX_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in layer if isinstance(v, (dict, list)))
        layer = [value for values in inner for value in values]
        if not layer:
            break
    else:
        raise ValueError("nested too deeply")
    if "\\ud" in text.lower():  # half of a character, which no file can hold
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a text is not Unicode") from None
    return content


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _bounded_integer(text: str) -> int:
    # Beyond these, a conversion to float may overflow, and libraries cannot hold them.
    if len(text) > 20 or not -_MAX_INTEGER <= int(text) < _MAX_INTEGER:
        raise ValueError(f"the number {text[:20]} is too large")
    return int(text)


def read_json(path: str | PathLike[str]) -> Any:
    """Return what a JSON file holds.

    Raises:
        ValueError: if it is not UTF-8 or not JSON, or as for ``parse_json``.
        OSError: if it cannot be read.
    """
    return parse_json(require_file(path, "a JSON file").read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a record; numbers that JSON lacks are an error.

    Raises:
        ValueError: if a number is not finite.
        OSError: if it cannot be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def check_record(content: Any, schema: Mapping[str, Any]) -> None:
    """Check the content of a JSON file against a JSON schema.

    Raises:
        ValueError: if it does not follow the schema; a short message names the place.
    """
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(schema).iter_errors(content):
        place = "/".join(str(part) for part in error.absolute_path)
        message = error.message
        if len(message) > _MAX_MESSAGE:
            message = f"{message[: _MAX_MESSAGE // 2]} … {message[-_MAX_MESSAGE // 2 :]}"
        raise ValueError(f"{message}, at {place[:_MAX_MESSAGE]}" if place else message)


def own_file(folder: str | PathLike[str], name: str) -> Path:
    """Return the path of a file of a folder that may come from somebody else.

    A link in such a folder could name any file of this computer, which would then be shown or sent with the
    content of the folder; a pipe or a device could be read without end.

    Args:
        folder: a result or a bundle.
        name: path inside it.

    Raises:
        FileNotFoundError: if it is missing.
        BadFileError: if it leads out of the folder, or is not a regular file.
    """
    path = Path(folder) / name
    try:
        home, real = Path(folder).resolve(), Path(os.path.realpath(path))
    except (ValueError, RuntimeError):  # a zero byte in the name, or links in a circle
        raise BadFileError(f"{name!r} is not the name of a file; copy the folder again.") from None
    if not real.is_relative_to(home):
        raise BadFileError(f"{path}: leads out of its folder; put the file itself there.")
    if not os.path.lexists(real):
        raise FileNotFoundError(f"{path}: is missing; copy the folder as a whole.")
    require_file(real, "a file of the folder; copy it again")
    return path


def cell_text(text: str) -> str:
    """Return a text as a cell of a table whose text no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks and not too long, for a message of our own."""
    return " ".join((str(error) or type(error).__name__).split())[:300]


def now() -> str:
    """Return date and time of the moment in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of installed packages, by name."""
    return {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages}
