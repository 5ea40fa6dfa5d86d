"""Writing a report: ``report.json``, checked against its schema, and one page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import resources
from os import PathLike
from typing import Any

from monai_inn.folders import check_target, new_folder
from monai_inn.validation.assess import validate
from monai_inn.validation.cases import Cases
from monai_inn.validation.page import report_page
from monai_inn.validation.verdicts import Tolerance

__all__ = ["REPORT", "check_report", "write_report"]

REPORT, PAGE = "report.json", "report.html"


def write_report(
    cases: Cases,
    path: str | PathLike[str],
    *,
    title: str,
    tolerance: Tolerance | None = None,
    mode_tolerance: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Validate cases and write ``report.json`` and ``report.html`` into a folder.

    Args:
        cases: posterior samples and truth.
        path: folder to write; it has its record once it is complete. An older report in it is replaced.
        title: what was validated, for people.
        tolerance: deviations that do not matter, see ``validate``.
        mode_tolerance: parameters whose modes are compared with the truth, see ``mode_figures``.
        seed: seed of everything random.
        progress: called with the share that is done.

    Returns:
        The content of ``report.json``.

    Raises:
        ValueError: if the folder exists and is not a report.
        OSError: if it cannot be written.
    """
    check_target(path, REPORT, "a report")
    report, figures = validate(
        cases, tolerance=tolerance, mode_tolerance=mode_tolerance, seed=seed, progress=progress
    )
    report["title"] = title
    check_report(report)
    with new_folder(path, REPORT, "a report") as draft:
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
        (draft / REPORT).write_text(text + "\n", encoding="utf-8")
        (draft / PAGE).write_text(report_page(report, cases, figures), encoding="utf-8")
    return report


def check_report(report: dict[str, Any]) -> None:
    """Check the content of ``report.json`` against its schema.

    Raises:
        ValueError: if it does not follow the schema; the message names the place.
    """
    import jsonschema

    schema = json.loads((resources.files("monai_inn.validation") / "schema.json").read_text(encoding="utf-8"))
    try:
        jsonschema.validate(report, schema)
    except jsonschema.ValidationError as error:
        place = "/".join(str(part) for part in error.absolute_path) or "the top level"
        raise ValueError(f"report: {error.message} at {place}; written by another version?") from error
