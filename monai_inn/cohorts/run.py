"""A cohort: every case by the function that handles one, and what makes an interrupted run go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.cohorts.cases import Case, matching, named
from monai_inn.cohorts.cluster import connected, spread
from monai_inn.cohorts.summary import COHORT, TABLE, read_summary, write_summary
from monai_inn.drafts import sweep
from monai_inn.files import one_line, read_json

__all__ = ["run_cohort"]

Figures = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class _Work:
    """What is done to every case; it goes to each worker once. Attributes are arguments of ``run_cohort``."""

    function: Callable[..., Any]
    argument: str
    options: Mapping[str, Any]
    record: str
    figures: Figures
    out: Path

    def __call__(self, case: Case) -> dict[str, Any]:
        """Handle one case, unless a worker that was killed afterwards has; returns its row of the summary."""
        if not (self.out / COHORT).is_file():
            raise OSError(f"{self.out}: the worker does not see this folder; it must be on a shared disk")
        started, figures = time.monotonic(), self.found(case)
        if figures is None:
            self.function(**{self.argument: case.path}, out=self.out / case.name, **self.options)
            figures = self.found(case)
        return case.row("done", figures, time.monotonic() - started)

    def found(self, case: Case) -> Mapping[str, Any] | None:
        """Figures of a case whose result is complete; ``None`` for another."""
        try:
            return self.figures(read_json(self.out / case.name / self.record))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def kept(self, case: Case, row: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Row of a case that an earlier run has done, from what is known of it."""
        if row is not None and row["status"] == "done" and (self.out / case.name / self.record).is_file():
            return row
        figures = self.found(case)
        return None if figures is None else case.row("done", figures)


def run_cohort(
    function: Callable[..., Any],
    argument: str,
    pattern: str,
    out: str | PathLike[str],
    options: Mapping[str, Any],
    *,
    record: str,
    figures: Figures,
    run: Mapping[str, Any],
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[str, Any]:
    """Call a function for every file that matches a pattern, each with a result folder of its own.

    A case is done if its folder is complete; calling this again does the others, failed ones included.
    A case that fails leaves its error in the summary and does not stop the others.

    Args:
        function: handles one file; called as ``function(**{argument: path}, out=folder, **options)``.
        argument: name of the argument that takes the path.
        pattern: which files.
        out: folder to write or to continue: a folder per case, ``cohort.csv`` and ``cohort.json``.
        options: further arguments of the function, the same for all cases.
        record: file that is in a result folder if and only if that is complete.
        figures: takes a few numbers or words for the summary out of a record.
        run: what results depend on, down to what JSON can hold; a folder of a run with anything else is
            refused.
        scheduler: address of a dask scheduler whose workers see the same files; none for this machine.
        workers: processes on this machine, one per core by default.
        progress: called with the share of cases that are over, and words about them.

    Returns:
        Under ``"out"`` the folder; under ``"cohort"`` the numbers of ``cases``, of those ``done``, ``failed``
        and ``kept`` from an earlier run, and ``errors`` by case.

    Raises:
        ValueError: if no file matches, or the folder holds something else.
        ImportError: if dask is not installed.
        ConnectionError: if the scheduler does not answer, or is lost.
        OSError: if the folder cannot be written.
    """
    out, run = Path(out).absolute(), json.loads(json.dumps(run, default=vars))
    paths = matching(pattern, out)
    rows = read_summary(out, run)
    cases = named(paths, {row["path"]: name for name, row in rows.items()}, (COHORT, TABLE))
    work = _Work(function, argument, options, record, figures, out)
    rows |= {case.name: work.kept(case, rows.get(case.name)) or case.row("open") for case in cases}
    todo = [case for case in cases if rows[case.name]["status"] == "open"]
    if not todo:
        write_summary(out, run, rows)
        return _result(out, cases, rows, 0)
    failed = 0
    try:
        with connected(scheduler, workers, len(todo)) as client:
            write_summary(out, run, rows)
            for over, (case, answer) in enumerate(spread(client, work, todo), len(cases) - len(todo) + 1):
                if isinstance(answer, BaseException):
                    answer, failed = case.row("failed", error=one_line(answer)), failed + 1
                rows[case.name] = answer
                text = f"{over} of {len(cases)}"
                progress(over / len(cases), f"{text}, {failed} failed" if failed else text)
    finally:
        unheard = [case for case in todo if rows[case.name]["status"] == "open"]
        rows |= {case.name: row for case in unheard if (row := work.kept(case))}
        if (out / COHORT).is_file():
            write_summary(out, run, rows)
        if scheduler is None:  # its workers have ended, and with them what was under way
            sweep(out)
    return _result(out, cases, rows, len(todo))


def _result(out: Path, cases: list[Case], rows: dict[str, dict[str, Any]], new: int) -> dict[str, Any]:
    errors = {case.name: rows[case.name]["error"] for case in cases if rows[case.name]["status"] == "failed"}
    counts = {"cases": len(cases), "done": len(cases) - len(errors), "failed": len(errors)}
    return {"out": str(out), "cohort": counts | {"kept": len(cases) - new, "errors": errors}}
