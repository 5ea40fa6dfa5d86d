"""Writing under another name first: a killed process leaves the old content or the new, never half."""

from __future__ import annotations

import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

__all__ = ["abandoned", "alone", "drafted", "is_draft", "replacing", "sweep"]

_DRAFT = re.compile(r"\.(?:ready-)?[0-9a-f]{32}-(?P<name>.*)", re.DOTALL)


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder, which takes the place of ``path`` when the block ends.

    It ends as ``path`` does, since some writers go by the ending. A link stays, and what it points at is
    written. After an error nothing of it is left; what a killed process left is removed when the same file
    is written again.

    Raises:
        OSError: if the file cannot be written.
    """

    def touch(draft: Path) -> None:
        try:
            draft.touch(exist_ok=False)
        except OSError as error:
            reason = f"cannot be written ({error.strerror}); choose a folder that you may write to"
            raise OSError(error.errno, reason, str(path)) from error

    target, name = Path(os.path.realpath(path)), Path(path).name
    sweep(target.parent, name)
    with drafted(target.parent, name, touch) as draft:
        try:
            yield draft
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def drafted(home: Path, name: str, make: Callable[[Path], object]) -> Iterator[Path]:
    """Make a hidden file or folder, and lock it until the block ends, by which others see that it is in use.

    A lock ends with its process, whatever kills that; a number of the process would mean another one in
    another container. An interrupt leaves nothing of the draft, whenever it comes.
    """
    while True:
        draft, lock = home / f".{uuid.uuid4().hex}-{name}", None
        try:
            make(draft)
            lock = _lock(draft, wait=True)
            if draft.exists():  # not swept before it was locked
                yield draft
                return
        except (KeyboardInterrupt, GeneratorExit):  # maybe before the block has begun, which tidies up
            _remove(draft)
            raise
        finally:
            _release(lock)


def is_draft(path: Path) -> bool:
    """Whether a path has the form of a draft."""
    return _DRAFT.fullmatch(path.name) is not None


def abandoned(home: Path, name: str | None = None) -> Iterator[Path]:
    """Yield the drafts of a name, or of any, in a folder whose process has ended, each locked meanwhile."""
    found: list[Path] = []
    with suppress(OSError):
        drafts = [(path, m["name"]) for path in home.iterdir() if (m := _DRAFT.fullmatch(path.name))]
        found = [path for path, of in drafts if name in (None, of)]
    for path in found:
        lock = None if path.is_symlink() else _lock(path, wait=False)
        if lock is not None:
            try:
                yield path
            finally:
                _release(lock)


def sweep(home: Path, name: str | None = None) -> None:
    """Remove the drafts of a name, or of any, whose process has ended."""
    for draft in abandoned(home, name):
        _remove(draft)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):
            draft.unlink()


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Lock a file until the block ends; gives whether no other process has it, as far as locks tell here."""
    lock = _lock(path, wait=False)
    try:
        yield lock is not None or sys.platform == "win32"
    finally:
        _release(lock)


def _lock(path: Path, *, wait: bool) -> int | None:
    """Lock a file or folder; ``None`` if another holds it, or there are no such locks here."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
