"""Folders that appear whole under their name or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

__all__ = ["check_target", "new_folder"]


@contextmanager
def new_folder(
    path: str | PathLike[str],
    marker: str,
    kind: str,
    stale: Callable[[Path], Collection[str]] = lambda old: (),
) -> Iterator[Path]:
    """Give a draft folder to write into; it takes the place of ``path`` when the block ends without an error.

    An older folder of the same kind is replaced; what else lies in it stays. After an error or an interrupt
    everything is as before.

    Args:
        path: the folder that is to appear.
        marker: file, relative to the folder, that tells that an existing folder is of this kind.
        kind: what the folder is, for messages.
        stale: given the older folder, names of entries that must not stay.

    Raises:
        ValueError: if the folder exists, is not empty and is of another kind.
        OSError: if it cannot be written.
    """
    target = Path(path).absolute()
    draft = _draft(path, marker, kind)
    try:
        yield draft
        _publish(draft)
        _swap(draft, target, stale)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_target(path: str | PathLike[str], marker: str, kind: str) -> None:
    """Raise what ``new_folder`` would raise on entry; for use before a long computation."""
    _draft(path, marker, kind).rmdir()


def _draft(path: str | PathLike[str], marker: str, kind: str) -> Path:
    """Make an empty hidden folder beside the target, after checking that it may take the target's place."""
    target = Path(path).absolute()
    try:
        if (
            target.exists()
            and not (target / marker).is_file()
            and (not target.is_dir() or any(target.iterdir()))
        ):
            raise ValueError(
                f"{path}: exists and is no {kind} ({marker} is missing); choose another folder, or delete it."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        reason = f"cannot be written ({error.strerror}); choose a folder that you may write to"
        raise type(error)(error.errno, reason, str(path)) from error


def _publish(draft: Path) -> None:
    """Give folder and files the permissions that new ones have; temporary ones are private."""
    mask = os.umask(0)
    os.umask(mask)
    draft.chmod(0o777 & ~mask)
    for file in draft.rglob("*"):
        file.chmod((0o777 if file.is_dir() else 0o666) & ~mask)


def _swap(draft: Path, target: Path, stale: Callable[[Path], Collection[str]]) -> None:
    """Put a finished draft in the place of the target."""
    if not target.exists():
        os.replace(draft, target)
        return
    dropped = stale(target)
    old = draft.with_name(f"{draft.name}.old")
    os.replace(target, old)
    try:
        os.replace(draft, target)
    except BaseException:
        os.replace(old, target)
        raise
    for entry in old.iterdir():
        if entry.name not in dropped and not (target / entry.name).exists():
            os.replace(entry, target / entry.name)
    shutil.rmtree(old)
