"""Folders that results are written into: what is there is complete, or says that it is not.

A folder of results has a *record*, a file that is there if and only if the rest of the folder is complete.

- A folder that does not exist yet is written beside its place and gets its name by one rename.
- Into a folder that exists, the finished files are moved one by one, from a hidden draft inside it: it may be
  a mount point, the folder that a shell is in, or what a symbolic link points at, none of which can be
  replaced. The older record goes first and the new one comes last. A process that is killed while it computes
  leaves the complete old folder; one that is killed while it moves files leaves a folder without a record,
  and the next write finishes the moves.

Files that the older record does not list are never removed. One of the same name as a new file is replaced.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.drafts import abandoned, drafted, is_draft
from monai_inn.files import own_file, read_json

__all__ = ["check_target", "new_folder"]

_OLDER = ".older"  # where the older record lies in a draft while files that it lists are removed
_INSIDE = "draft"


@contextmanager
def new_folder(
    path: str | PathLike[str],
    record: str,
    kind: str,
    parts: Collection[str] = (),
    source: str | PathLike[str] | None = None,
) -> Iterator[Path]:
    """Give a draft folder to write into; its files appear in ``path`` when the block ends without an error.

    After an error or an interrupt in the block everything is as before. If only the last step fails, the
    finished draft is kept and the error says where.

    Args:
        path: the folder that is to appear or to be renewed.
        record: its record, relative to the folder; a folder that has it is of this kind. Files that it lists
            under ``files`` and ``pictures`` are removed with it, unless they are written anew.
        kind: what the folder is, with its article, for messages.
        parts: files that are removed too, for records that list none.
        source: file or folder that the result is of, whose path its record holds. An older result of the same
            is replaced, one of another is refused.

    Raises:
        ValueError: if the folder exists, is not empty and is of another kind, or of another source.
        OSError: if it cannot be written.
    """
    place = _Place(Path(path), record, kind, frozenset(parts), source)
    with place.drafted() as draft:
        try:
            yield draft
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        assert (draft / record).is_file()
        place.finish(draft)


def check_target(path: str | PathLike[str], record: str, kind: str) -> None:
    """Raise what ``new_folder`` would raise on entry; for use before a long computation."""
    with _Place(Path(path), record, kind, frozenset()).drafted() as draft:
        draft.rmdir()


@dataclass
class _Place:
    """Where a folder is to be."""

    path: Path
    record: str
    kind: str
    parts: frozenset[str]
    source: str | PathLike[str] | None = None

    @contextmanager
    def drafted(self) -> Iterator[Path]:
        """Check that the folder may be written, and make the draft in the same file system as its place."""
        with ExitStack() as stack:
            try:
                self.target = Path(os.path.realpath(self.path))
                self.target.parent.mkdir(parents=True, exist_ok=True)
                self._recover()
                if not self._is_free():
                    raise ValueError(
                        f"{self.path}: exists and is not {self.kind} ({self.record} is missing); choose "
                        "another folder, or delete it."
                    )
                if self._is_of_another():
                    raise ValueError(
                        f"{self.path}: holds {self.kind} of something else than {self.source}; choose "
                        "another folder, or delete it."
                    )
                is_new = not self.target.exists()
                home, name = (self.target.parent, self.target.name) if is_new else (self.target, _INSIDE)
                draft = stack.enter_context(drafted(home, name, Path.mkdir))
            except OSError as error:
                reason = f"cannot be written ({error.strerror}); choose a folder that you may write to"
                raise OSError(error.errno or errno.EIO, reason, str(self.path)) from error
            yield draft

    def _is_free(self) -> bool:
        """Whether the folder is not there, empty, or an older one of the kind."""
        target = self.target
        if not target.is_dir():
            return not os.path.lexists(target)
        return (target / self.record).is_file() or all(is_draft(entry) for entry in target.iterdir())

    def _is_of_another(self) -> bool:
        """Whether there is an older record that does not name the source."""
        if self.source is None or not (self.target / self.record).is_file():
            return False
        names = {str(self.source), str(Path(self.source).resolve())}
        try:
            return names.isdisjoint(_texts(read_json(self.target / self.record)))
        except ValueError:  # damaged, so that it can say nothing
            return True

    def _recover(self) -> None:
        """Finish the moves of a process that was killed meanwhile, and remove drafts that others left."""
        for home, name in ((self.target.parent, self.target.name), (self.target, _INSIDE)):
            for draft in abandoned(home, name):
                if not draft.is_dir():
                    continue
                if not draft.name.startswith(".ready-"):
                    shutil.rmtree(draft, ignore_errors=True)
                elif (draft / self.record).is_file():
                    self.finish(draft)
                elif {entry.name for entry in _files(draft)} <= {_OLDER}:
                    shutil.rmtree(draft, ignore_errors=True)

    def finish(self, draft: Path) -> None:
        """Put a complete draft in its place, whatever interrupts that."""
        is_ready = draft.name.startswith(".ready-")
        ready = draft if is_ready else draft.with_name(f".ready-{draft.name[1:]}")
        interrupt: KeyboardInterrupt | None = None
        while draft.exists() or ready.exists():
            try:
                if not ready.exists():
                    os.replace(draft, ready)
                if (ready / self.record).is_file():
                    self._publish(ready)
                shutil.rmtree(ready, ignore_errors=True)
                break
            except KeyboardInterrupt as stop:
                interrupt = stop  # each step can be done again
            except OSError as error:
                kept = ready if ready.exists() else draft
                reason = (
                    f"{self.kind} was computed but could not be put there ({error.strerror}); it is kept in "
                    f"{kept}, move its content to {self.target}"
                )
                raise OSError(error.errno or errno.EIO, reason, str(self.path)) from error
        if interrupt is not None:
            raise interrupt

    def _publish(self, draft: Path) -> None:
        target, older = self.target, draft / _OLDER
        if not target.exists():
            try:
                os.replace(draft, target)
                return
            except OSError:
                if not target.is_dir():  # else another process was faster
                    raise
        if (target / self.record).is_file():
            os.replace(target / self.record, older)
        new = [file.relative_to(draft) for file in _files(draft)]
        if older.is_file():
            for name in (_listed(older) | self.parts) - {file.as_posix() for file in new}:
                _remove(target, name)
            older.unlink()
        for file in new:
            if file not in (Path(self.record), Path(_OLDER)):
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(draft / file, target / file)
        (target / self.record).parent.mkdir(parents=True, exist_ok=True)
        os.replace(draft / self.record, target / self.record)


def _files(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.rglob("*") if not entry.is_dir())


def _listed(record: Path) -> set[str]:
    """Names of the files that a record lists; what cannot be read lists none."""
    try:
        content = read_json(record)
        return {str(entry["file"]) for entry in content.get("files", ())} | set(content.get("pictures", ()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _texts(content: Any) -> Iterator[str]:
    """Every text that a record holds as a value, on any level; names of entries are none."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _texts(value)


def _remove(folder: Path, name: str) -> None:
    """Remove a file of a folder, and the folders in it that this leaves empty."""
    try:
        path = own_file(folder, name)
    except (OSError, ValueError):
        return  # not a file of this folder
    path.unlink()
    for parent in path.parents:
        if parent == folder:
            break
        with suppress(OSError):
            parent.rmdir()
