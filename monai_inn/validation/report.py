"""A report: `report.json`, checked against its schema, and one page in words with nothing from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.files import check_record, read_json, write_json
from monai_inn.folders import check_target, new_folder
from monai_inn.metrics import ecdf_difference, rank_counts
from monai_inn.metrics.verdicts import Tolerance
from monai_inn.problems import labels
from monai_inn.reports.pages import rendered
from monai_inn.reports.printing import browser, print_page
from monai_inn.validation import plots
from monai_inn.validation.assess import validate
from monai_inn.validation.cases import Cases, basis, cases_of
from monai_inn.validation.conditional import CONDITIONS, conditional_plot
from monai_inn.validation.measures import CaseFigures, image_panels

__all__ = ["REPORT", "check_report", "report_page", "write_report"]

_WORST_SHOWN = 8
_PANELS = 20  # of one drawing, so that it fits a sheet of paper


def report_page(report: dict[str, Any], cases: Cases, figures: CaseFigures) -> str:
    """Return the page of a report as HTML.

    Args:
        report: content of ``report.json``.
        cases: what was validated.
        figures: the figures of every case.
    """
    rows = report["parameters"]
    described = [(p["name"], p["description"]) for p in rows]
    words = labels(described)
    ordered = sorted(report["conditional"], key=lambda e: min(e[k]["p"] for k in ("width", "shift")))
    return rendered(
        "validation/page.html",
        report=report,
        title=report["title"],
        words=words,
        inner=labels(described, begin=False),
        units={p["name"]: p["unit"] for p in rows},
        targets=[p for p in rows if p["name"] in report["targets"]],
        nuisances=[p for p in rows if p["name"] not in report["targets"]],
        basis=basis(report["source"]),
        kind=cases_of(report["source"]),
        sentence=lambda p: p["verdict"].removeprefix(f"{words[p['name']]}: ").removeprefix("calibrated: "),
        plots=_drawings(report, words, cases, figures),
        worst=[e["verdict"] for e in ordered if e["status"] == "miscalibrated"][:_WORST_SHOWN],
        colours=plots.STATUS_COLOURS,
        signed=plots.signed,
    )


def _drawings(
    report: dict[str, Any], words: dict[str, str], cases: Cases, figures: CaseFigures
) -> dict[str, Any]:
    """Drawings of the targets; all others have one row of a table, so that a report stays a few pages."""
    chosen = [d for d, p in enumerate(report["parameters"]) if p["name"] in report["targets"]]
    counts = rank_counts(figures.rank[:, chosen], cases.samples.shape[0])
    targets = [report["parameters"][d]["name"] for d in chosen]
    ecdf, shown = ecdf_difference(counts), [words[name] for name in targets]
    slices = _slices(len(targets), _PANELS)
    return {
        "width": [plots.width_plot(report, words, targets[part]) for part in slices],
        "coverage": [plots.coverage_plot(shown[part], counts[part]) for part in slices],
        "ecdf": [
            plots.ecdf_plot(shown[part], ecdf._replace(difference=ecdf.difference[part])) for part in slices
        ],
        "conditional": [
            conditional_plot(report["conditional"], words, targets[part], targets[by])
            for by in _slices(len(targets), CONDITIONS)
            for part in slices
            if report["conditional"]
        ],
        "reliability": plots.reliability_plot(report["classes"]["reliability"]) if report["classes"] else "",
        "tarp": plots.tarp_plot(report["joint"]["tarp"]),
        "images": [
            (heading, plots.image_plots(panels)) for heading, panels in image_panels(cases, figures, words)
        ],
    }


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


REPORT, PAGE, PRINTED = "report.json", "report.html", "report.pdf"


def write_report(
    cases: Cases,
    path: str | PathLike[str],
    *,
    title: str,
    tolerance: Tolerance | None = None,
    mode_tolerance: Mapping[str, float] | None = None,
    seed: int = 0,
    is_printed: bool = False,
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
        is_printed: also write ``report.pdf``, by a browser of the Chromium family.
        progress: called with the share that is done.

    Returns:
        The content of ``report.json``.

    Raises:
        ValueError: if the folder exists and is not a report, or there is no browser to print with.
        OSError: if it cannot be written.
    """
    check_target(path, REPORT, "a report")
    if is_printed:
        browser()  # asked now, before the work begins
    report, figures = validate(
        cases, tolerance=tolerance, mode_tolerance=mode_tolerance, seed=seed, progress=progress
    )
    report["title"] = title
    check_report(report)
    with new_folder(path, REPORT, "a report", (PRINTED,)) as draft:
        write_json(draft / REPORT, report)
        (draft / PAGE).write_text(report_page(report, cases, figures), encoding="utf-8")
        if is_printed:
            print_page(draft / PAGE, draft / PRINTED)
    return report


def check_report(report: dict[str, Any]) -> None:
    """Check the content of ``report.json`` against its schema.

    Raises:
        ValueError: if it does not follow the schema; the message names the place.
    """
    try:
        check_record(report, read_json(Path(__file__).with_name("schema.json")))
    except ValueError as error:
        raise ValueError(f"report: {error}; written by another version?") from None
