"""Reading records and writing files so that damage is noticed and nothing half-written is left."""

from __future__ import annotations

import json
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = ["BadFileError", "parse_json", "read_json", "replacing", "require_file"]

_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class BadFileError(ValueError):
    """A file that cannot be used; the message names the file and says how to mend it."""


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
        ValueError: if it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: str | PathLike[str]) -> Any:
    """Return what a JSON file holds.

    Raises:
        ValueError: if it is not UTF-8 or not JSON, or nested too deeply to be read.
        OSError: if it cannot be read.
    """
    return parse_json(require_file(path, "a JSON file").read_text(encoding="utf-8"))


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder, which takes the place of ``path`` when the block ends.

    It ends as ``path`` does, since some writers go by the ending. After an error nothing of it is left.
    """
    target = Path(path)
    draft = target.with_name(f".{uuid.uuid4().hex}-{target.name}")
    try:
        yield draft
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
