"""The report of the out-of-distribution benchmark as text, and the sentences that say where WAIC loses."""

from __future__ import annotations

import itertools
from typing import Any

__all__ = ["losses", "table"]

Report = dict[str, Any]


def table(report: Report) -> str:
    """Return the report as text."""
    names = list(report["false_alarm"])
    lines = [
        "AUROC against real organs [95 % bootstrap interval]; * = best; lower block: FPR at 95 % TPR",
        "",
    ]
    for statistic, best in (("auroc", max), ("fpr_at_95_tpr", min)):
        lines.append(f"{statistic:<26}" + "".join(f"{name:>19}" for name in names))
        for name, entry in report["sets"].items():
            if not entry["scores"]:
                lines.append(f"{name:<26}every spectrum is marked invalid before any score is asked")
                continue
            top = best(entry["scores"][s][statistic][0] for s in names)
            cells = (entry["scores"][s][statistic] for s in names)
            lines.append(
                f"{name:<26}"
                + "".join(f" {'*' if v == top else ' '}{v:.3f}[{a:.3f} {b:.3f}]" for v, a, b in cells)
            )
        lines.append("")
    asked = report["false_alarm"]["waic"]["asked"]
    lines.append(f"False alarms at {asked} on fresh simulations [99 % interval by theory]")
    for name, entry in report["false_alarm"].items():
        low, high = entry["expected_99"]
        lines.append(f"  {name:<18}{entry['measured']:.4f}  [{low:.4f} {high:.4f}]")
    lines += ["", f"{'median WAIC, nats':<28}{'WAIC':>13}{'variance':>13}{'p of median':>13}{'flagged':>9}"]
    for row in report["order"]:
        mark = "  " if row["kind"] == "organ" else "> "
        lines.append(
            f"{mark}{row['set']:<26}{row['median_waic']:>13.1f}"
            f"{row['median_variance_term']:>13.1f}{row['p_value_of_median']:>13.4f}{row['flagged']:>9.3f}"
        )
    return "\n".join([*lines, "", *losses(report)])


def losses(report: Report) -> list[str]:
    """Return one line for each set on which another score beats WAIC, and the verdicts on the order."""
    lines = []
    for name, entry in report["sets"].items():
        rivals = sorted(entry["beats_waic"].items(), key=lambda item: -item[1][0])
        if rivals:
            gains = ", ".join(
                f"{rival} {value:+.3f} [{low:+.3f} {high:+.3f}]" for rival, (value, low, high) in rivals
            )
            lines.append(f"WAIC loses on {name}, AUROC {entry['scores']['waic']['auroc'][0]:.3f}: {gains}")
    waic = {row["set"]: row["median_waic"] for row in report["order"]}
    furthest = max(row["median_waic"] for row in report["order"] if row["kind"] == "organ")
    for name, value in waic.items():
        if (name.endswith("icg") or name.startswith("phantom")) and value <= furthest:
            lines.append(
                f"{name} does not score further out than every organ ({value:.1f} against {furthest:.1f})"
            )
    dial = [
        e["scores"]["waic"]["auroc"][0]
        for n, e in report["sets"].items()
        if n.startswith("dye ") and e["scores"]
    ]
    rises = all(a <= b + 0.01 for a, b in itertools.pairwise(dial))
    lines.append(
        f"AUROC of WAIC along the dye's concentration {'rises' if rises else 'does NOT rise'} throughout"
    )
    return lines
