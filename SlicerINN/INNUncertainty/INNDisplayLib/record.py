"""The JSON record in a folder that `monai-inn` leaves, and what is said if it is not what it should be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["RecordKind", "ResultError"]

_FORMAT = 1


class ResultError(ValueError):
    """A result folder that cannot be shown; the message says why and what to do."""


@dataclass(frozen=True)
class RecordKind:
    """What is the same in all records of one kind.

    Args:
        file: name of the file.
        what: what people call it.
        command: the command that writes it.
        again: how to get a new one.
        needed: entries that every one has.
    """

    file: str
    what: str
    command: str
    again: str
    needed: tuple[str, ...]

    def read(self, folder: Path | str) -> Any:
        """Return the content of the file in a folder.

        Raises:
            ResultError: if there is none, or it is not JSON.
        """
        path = Path(folder) / self.file
        self._check_place(Path(folder), [self.file])
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ResultError(
                f"{folder}: no {self.file} in it; give the folder that `{self.command}` wrote."
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise ResultError(f"{path}: cannot be read ({error}). {self.again}") from error

    def check(self, folder: Path, record: Any) -> None:
        """Raise a ``ResultError`` if an entry is missing, or the format is another release's."""
        missing = [key for key in self.needed if not isinstance(record, dict) or key not in record]
        if missing:
            raise ResultError(
                f"{folder}: the {self.what} lacks {', '.join(missing)}; it is of an older monai_inn or "
                f"damaged. {self.again}"
            )
        if record["format_version"] != _FORMAT:
            raise ResultError(
                f"{folder}: the {self.what} has format {record['format_version']}, this module shows "
                f"{_FORMAT}; update the older of monai_inn and the extension."
            )

    def damaged(self, folder: Path, why: object) -> ResultError:
        """Return the error of a record whose entries are not what they should be."""
        return ResultError(f"{folder}: {self.file} is damaged ({why}). {self.again}")

    def check_files(self, folder: Path, names: list[str]) -> None:
        """Raise a ``ResultError`` if a file that belongs to the record is missing or lies elsewhere."""
        self._check_place(folder, names)
        absent = [name for name in names if not (folder / name).is_file()]
        if absent:
            raise ResultError(f"{folder}: {', '.join(absent)} is missing; copy the folder as a whole.")

    def _check_place(self, folder: Path, names: list[str]) -> None:
        """Raise a ``ResultError`` if a link leads out of a folder, which may come from somebody else."""
        home = folder.resolve()
        outside = [name for name in names if not (folder / name).resolve().is_relative_to(home)]
        if outside:
            raise ResultError(f"{folder}: {', '.join(outside)} leads out of the folder; copy the file there.")
