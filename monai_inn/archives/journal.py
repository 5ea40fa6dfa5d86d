"""What an archive has acknowledged, written down before anything else happens."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_inn.drafts import alone
from monai_inn.files import parse_json

__all__ = ["JOURNAL", "Journal", "open_journal"]

JOURNAL = "archive_journal.jsonl"


class Journal:
    """Lines of JSON, one for each object that an archive has taken or refused; none is ever changed."""

    def __init__(self, path: Path, archive: str) -> None:
        self.path, self._archive = path, archive
        self.acknowledged: set[str] = set()
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:  # a process was killed within a line, which acknowledges nothing
            with path.open("r+b") as file:
                file.truncate(len(whole))
        for line in whole.decode(errors="replace").splitlines():
            self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = parse_json(line)
            if entry["archive"] == self._archive and entry["event"] != "refused":
                self.acknowledged.add(entry["sop_instance_uid"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{self.path}: is not a journal of `monai-inn store`; move it away. What the archive holds "
                "already will not be sent again."
            ) from None

    def write(self, event: str, uid: str, file: str, reason: str = "") -> None:
        """Write a line and wait until the disk has it.

        Args:
            event: ``stored``, ``found`` where the archive had it already, or ``refused``.
            uid: SOP Instance UID.
            file: name of the file.
            reason: why it was refused.
        """
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        entry = {"time": now, "archive": self._archive, "event": event, "sop_instance_uid": uid, "file": file}
        line = json.dumps(entry | ({"reason": reason} if reason else {}), ensure_ascii=False)
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            reason = f"cannot be written ({error.strerror}); make room, and run the same command again"
            raise OSError(error.errno, reason, str(self.path)) from error
        if event != "refused":
            self.acknowledged.add(uid)


@contextmanager
def open_journal(folder: Path, archive: str) -> Iterator[Journal]:
    """Give the journal of a folder, which no other process may have meanwhile.

    Raises:
        OSError: if it cannot be written.
        ValueError: if it is damaged.
        RuntimeError: if another process has it.
    """
    path = folder / JOURNAL
    try:
        path.open("a").close()
    except OSError as error:
        reason = f"cannot be written ({error.strerror}); nothing was sent, since it could not be written down"
        raise OSError(error.errno, reason, str(path)) from error
    with alone(path) as is_ours:
        if not is_ours:
            raise RuntimeError(
                f"{folder}: another `monai-inn store` is at work on it; wait until it has ended."
            )
        yield Journal(path, archive)
