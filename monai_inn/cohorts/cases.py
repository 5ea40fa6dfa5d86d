"""The cases of a cohort: which files match a pattern, and what their results are called."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Case", "is_pattern", "matching", "named"]

_MAGIC = re.compile(r"[*?[]")


class Case(NamedTuple):
    """One file of a cohort.

    Attributes:
        name: of its result folder, different for every case.
        path: the file, absolute.
    """

    name: str
    path: str

    def row(
        self,
        status: str,
        figures: Mapping[str, Any] | None = None,
        seconds: float | None = None,
        error: str = "",
    ) -> dict[str, Any]:
        """Return its row of the summary."""
        return {
            "case": self.name,
            "path": self.path,
            "status": status,
            "seconds": None if seconds is None else round(seconds, 2),
            "figures": dict(figures or {}),
            "error": error,
        }


def is_pattern(text: str) -> bool:
    """Whether a text stands for several files: it has ``*``, ``?`` or ``[``, and no file is called so."""
    return bool(_MAGIC.search(text)) and not os.path.lexists(text)


def matching(pattern: str, out: Path) -> list[str]:
    """Return the absolute paths of all files that match, in order, but those of the results themselves.

    Args:
        pattern: as of a shell; ``**`` stands for any number of folders.
        out: folder of the results.

    Raises:
        ValueError: if there is none.
    """
    results = os.path.join(os.path.abspath(out), "")
    found = {os.path.abspath(path) for path in glob.iglob(os.path.expanduser(pattern), recursive=True)}
    paths = sorted(path for path in found if not path.startswith(results))
    if not paths:
        raise ValueError(
            f"{pattern}: no file matches; check the folder, and keep the pattern in quotes, as in "
            "'images/*.hdr'."
        )
    return paths


def named(paths: Sequence[str], known: Mapping[str, str], reserved: Collection[str]) -> list[Case]:
    """Give every file a name of its own: its stem, or more of its path where that is taken.

    Args:
        paths: the files.
        known: names by path that files have from an earlier run; they stay.
        reserved: names that are not for cases.
    """
    taken = {name.casefold() for name in (*known.values(), *reserved)}  # some file systems ignore case
    cases = []
    for path in paths:
        name = known.get(path) or next(n for n in _candidates(path) if n.casefold() not in taken)
        taken.add(name.casefold())
        cases.append(Case(name, path))
    return cases


def _candidates(path: str) -> Iterator[str]:
    """Yield names for the result of a file, the shortest first."""
    *folders, file = (part for part in Path(path).parts if part != os.sep)
    stem = file.strip(".").removesuffix(".gz").rpartition(".")[0] or file.strip(".") or "case"
    yield stem
    yield file.strip(".") or stem
    for depth in range(1, len(folders) + 1):
        yield "_".join([*folders[-depth:], stem])
    yield from (f"{stem}-{number}" for number in itertools.count(2))
