"""The comparison of methods as tables in Markdown, one for each problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Report = dict[str, Any]

_UNKNOWN = "no reference"

_COLUMNS: dict[str, Callable[[Report], str]] = {
    "calibration error": lambda r: f"{r['calibration_error']:.3f}",
    "TARP": lambda r: f"{r['tarp_distance']:.3f}",
    "C2ST": lambda r: _known(r["c2st"], lambda v: f"{v['median']:.3f}"),
    "MMD² × 1000": lambda r: _known(r["mmd_squared"], lambda v: f"{1000 * v['median']:.2f}"),
    "log score, nats": lambda r: "no density" if r["log_score"] is None else f"{r['log_score']['nats']:.3f}",
    "KL from exact, nats": lambda r: _gap(r),
    "resimulation, mean / median": lambda r: (
        f"{_short(r['resimulation']['mean'])} / {_short(r['resimulation']['median'])}"
    ),
    "energy score": lambda r: f"{r['energy_score']:.4f}",
    "both branches found / mass error": lambda r: _known(
        r["branches"], lambda v: f"{v['found']:.1%} / {v['mass_error']:.3f}"
    ),
    "steps": lambda r: f"{r['steps']:,}" if r["steps"] else "–",
    "training, s": lambda r: f"{r['train_seconds']:.0f}",
    "sampling, s": lambda r: f"{r['sample_seconds']:.2f}",
    "weights": lambda r: f"{r['weights']:,}" if r["weights"] else "–",
}


def table(title: str, results: Mapping[str, Report]) -> str:
    """Return the table of one problem.

    Args:
        title: shown above.
        results: for each method's name its report, or ``{"note": why there is none}``.
    """
    reports = [report for report in results.values() if "note" not in report]
    # A problem without a reference has nothing to say in some columns.
    columns = {
        heading: cell
        for heading, cell in _COLUMNS.items()
        if any(cell(report) != _UNKNOWN for report in reports)
    }
    lines = [f"### {title}", ""]
    if reports:
        r = reports[0]
        lines += [
            f"{r['settings']['observations']} observations, {r['settings']['samples']} samples each. A "
            f"perfect posterior has a calibration error of {r['calibration_noise_floor']:.3f} (mean over "
            f"parameters), TARP below {r['tarp_noise_floor']:.3f} in 95 % of the cases, C2ST 0.5, "
            "resimulation 1 / 1.",
            "",
        ]
    lines.append("| method | " + " | ".join(columns) + " |")
    lines.append("|---|" + "---:|" * len(columns))
    for name, report in results.items():
        if "note" in report:
            lines.append(f"| {name} | {report['note']} |" + " |" * (len(columns) - 1))
        else:
            lines.append(f"| {name} | " + " | ".join(cell(report) for cell in columns.values()) + " |")
    return "\n".join(lines)


def _known(value: Any, shown: Callable[[Any], str]) -> str:
    return _UNKNOWN if value is None else shown(value)


def _gap(report: Report) -> str:
    if report["nll_gap"] is None:
        return _UNKNOWN if report["c2st"] is None else "no density"
    return f"{report['nll_gap']['nats']:.3f} ± {report['nll_gap']['standard_error']:.3f}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.1e}"
