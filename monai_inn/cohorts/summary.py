"""The record of a cohort: what it was run with, and one row per case, as JSON and as a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_inn.drafts import replacing
from monai_inn.files import cell_text, one_line, read_json
from monai_inn.folders import check_target, new_folder

__all__ = ["COHORT", "TABLE", "read_summary", "write_summary"]

COHORT, TABLE = "cohort.json", "cohort.csv"
_FORMAT_VERSION = 1
_KIND = "a cohort"
_FIRST, _LAST = ("case", "path", "status", "seconds"), ("error",)

Rows = dict[str, dict[str, Any]]


def read_summary(out: Path, run: Mapping[str, Any]) -> Rows:
    """Return the rows of a cohort by case; none for a folder that is new or empty.

    Args:
        out: the folder.
        run: what the cohort must have been run with.

    Raises:
        ValueError: if it holds something else, or was run with something else.
        OSError: if it cannot be written.
    """
    if not (out / COHORT).is_file():
        check_target(out, COHORT, _KIND)
        return {}
    try:
        content = read_json(out / COHORT)
        before, rows = dict(content["run"]), {row["case"]: row for row in content["cases"]}
        if not all({"path", "status", "seconds", "figures"} <= row.keys() for row in rows.values()):
            raise ValueError("a case is not described")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{out / COHORT}: is damaged ({one_line(error)}); choose another folder, or delete this one."
        ) from error
    differing = [name for name in sorted({*before, *run}) if before.get(name) != run.get(name)]
    if differing:
        values = "; ".join(f"{n} {_short(before.get(n))} there, {_short(run.get(n))} now" for n in differing)
        raise ValueError(
            f"{out}: holds {_KIND} of another run ({values}); choose another folder, or delete it."
        )
    return rows


def write_summary(out: Path, run: Mapping[str, Any], rows: Rows) -> None:
    """Write both files; a process that is killed leaves the old ones or the new ones, never half.

    Raises:
        OSError: if they cannot be written.
    """
    text = ",\n".join(json.dumps(row, allow_nan=False) for row in rows.values())
    about = json.dumps({"format_version": _FORMAT_VERSION, "run": run})
    content = f'{about[:-1]}, "cases": [\n{text}\n]}}\n'
    if (out / COHORT).is_file():
        with replacing(out / COHORT) as draft:
            draft.write_text(content, encoding="utf-8")
    else:
        with new_folder(out, COHORT, _KIND) as folder:
            (folder / COHORT).write_text(content, encoding="utf-8")
    names = list(dict.fromkeys(name for row in rows.values() for name in row["figures"]))
    with replacing(out / TABLE) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*_FIRST, *names, *_LAST], extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for row in rows.values():
            cells = row["figures"] | row  # a name of a figure must not hide one of ours
            table.writerow({n: cell_text(v) if isinstance(v, str) else v for n, v in cells.items()})


def _short(value: Any) -> str:
    """A value for a message, not too long."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:40]}…{text[-15:]}"
