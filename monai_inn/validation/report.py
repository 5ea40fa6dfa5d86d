"""Writing a report: ``report.json``, checked against its schema, and one page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import resources
from os import PathLike
from typing import Any

import numpy as np
from scipy.stats import beta
from torch import Tensor

from monai_inn.folders import check_target, new_folder
from monai_inn.metrics.calibration import curve_of_counts
from monai_inn.metrics.ecdf import ecdf_difference
from monai_inn.metrics.sbc import rank_counts
from monai_inn.validation import plots
from monai_inn.validation.assess import validate
from monai_inn.validation.cases import Cases
from monai_inn.validation.maps import image_panels
from monai_inn.validation.measures import CaseFigures
from monai_inn.validation.verdicts import Tolerance

__all__ = ["REPORT", "check_report", "write_report"]

REPORT, PAGE = "report.json", "report.html"
_WORST_SHOWN = 8


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
        path: folder to write; appears complete or not at all. An older report in it is replaced.
        title: what was validated, for people.
        tolerance: deviations that do not matter, see ``validate``.
        mode_tolerance: parameters whose modes are compared with the truth, see ``mode_figures``.
        seed: seed of everything random.
        progress: called with the share that is done.

    Returns:
        The content of ``report.json``.

    Raises:
        ValueError: if the folder exists and is no report.
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
        (draft / PAGE).write_text(_page(report, cases, figures), encoding="utf-8")
    return report


def check_report(report: dict[str, Any]) -> None:
    """Check the content of ``report.json`` against its schema.

    Raises:
        ValueError: if it does not follow the schema; the message names the place.
    """
    import jsonschema

    schema = json.loads(_resource("schema.json"))
    try:
        jsonschema.validate(report, schema)
    except jsonschema.ValidationError as error:
        place = "/".join(str(part) for part in error.absolute_path) or "the top level"
        raise ValueError(f"report: {error.message} at {place}; written by another version?") from error


def _page(report: dict[str, Any], cases: Cases, figures: CaseFigures) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    names = [entry["name"] for entry in report["parameters"]]
    counts = rank_counts(figures.rank, cases.samples.shape[0])
    worst = [
        entry["verdict"]
        for entry in sorted(report["conditional"], key=lambda e: min(e[k]["p"] for k in ("width", "shift")))
        if entry["status"] == "miscalibrated"
    ]
    drawn = {
        "width": plots.width_plot(report),
        "coverage": _coverage_plot(names, counts),
        "ecdf": plots.ecdf_plot(names, ecdf_difference(counts)),
        "conditional": [
            plots.conditional_plot(report["conditional"], names, by)
            for by in report["targets"]
            if report["conditional"]
        ],
        "tarp": plots.tarp_plot(report["joint"]["tarp"]),
        "images": [(name, plots.image_plots(panels)) for name, panels in image_panels(cases, figures)],
    }
    from markupsafe import Markup

    return environment.from_string(_resource("page.html")).render(
        report=report,
        title=report["title"],
        plots=_marked(drawn, Markup),
        worst=worst[:_WORST_SHOWN],
        colours=plots.STATUS_COLOURS,
        percent=lambda share, digits=0: f"{100 * share:.{digits}f} %",
    )


def _marked(value: Any, mark: Callable[[str], Any]) -> Any:
    """Our own SVG, which the template must not escape."""
    if isinstance(value, str):
        return mark(value) if value.startswith("<svg") else value
    if isinstance(value, dict):
        return {key: _marked(entry, mark) for key, entry in value.items()}
    return type(value)(_marked(entry, mark) for entry in value)


def _coverage_plot(names: list[str], counts: Tensor) -> str:
    curve = curve_of_counts(counts)
    level, n = curve.level.cpu().numpy(), int(counts[0].sum())
    # Where the share of n cases lies that an interval of exactly this level holds.
    low, high = (beta.ppf(q, np.clip(level * n, 1e-9, n), (1 - level) * n + 1e-9) for q in (0.025, 0.975))
    return plots.coverage_plot(names, level, curve.coverage.cpu().numpy(), low, high)


def _resource(name: str) -> str:
    return (resources.files("monai_inn.validation") / name).read_text(encoding="utf-8")
