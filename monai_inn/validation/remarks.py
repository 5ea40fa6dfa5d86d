"""Which limits the figures of a report cross, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from monai_inn.problems import labels
from monai_inn.reports.pages import percent

__all__ = ["remarks"]

_ALPHA = 0.05  # of each test: so often an exact posterior crosses its limit by chance
_MOST_NAMED = 6


def remarks(report: Mapping[str, Any]) -> list[str]:
    """Return one sentence or two for each limit that is crossed; none if all figures keep to theirs.

    Args:
        report: content of ``report.json``.
    """
    sections = (_of_parameters(report), _of_all_together(report["joint"]), _of_classes(report["classes"]),
                _of_trust(report["trust"]))  # fmt: skip
    return [text for section in sections for text in section]


def _of_parameters(report: Mapping[str, Any]) -> Iterator[str]:
    rows = report["parameters"]
    words = labels((p["name"], p["description"]) for p in rows)
    floor = rows[0]["calibration_error_noise_floor"]
    tests: tuple[tuple[str, Callable[[Any], bool], Callable[[Any], str]], ...] = (
        (
            f"Calibration error above {percent(floor, 2)}",
            lambda p: p["calibration_error"] > p["calibration_error_noise_floor"],
            lambda p: f" ({percent(p['calibration_error'], 2)})",
        ),
        (f"p-value of ranks below {_ALPHA}", lambda p: p["sbc_p"] < _ALPHA, lambda p: f" ({p['sbc_p']:.2g})"),
        ("Ranks outside the 95 % envelope", lambda p: not p["sbc_inside_envelope"], lambda p: ""),
    )
    for limit, is_crossed, value in tests:
        crossing = [words[p["name"]] + value(p) for p in rows if is_crossed(p)]
        if crossing:
            more = [f"{len(crossing) - _MOST_NAMED} more"] if len(crossing) > _MOST_NAMED else []
            named = ", ".join([*crossing[:_MOST_NAMED], *more])
            yield f"{limit}: {named}. {_by_chance(len(crossing), len(rows))}"


def _by_chance(crossing: int, count: int) -> str:
    if count == 1:
        return f"An exact posterior does so in {percent(_ALPHA)} of repetitions."
    return (
        f"That is {crossing} of {count} parameters; by chance {_ALPHA * count:.2g} of {count} are expected."
    )


def _of_all_together(joint: Mapping[str, Any]) -> Iterator[str]:
    if joint["tarp"]["p"] < _ALPHA:
        yield f"All parameters together: p-value of TARP {joint['tarp']['p']:.2g}, below {_ALPHA}."
    again = joint["resimulation"]
    if again and (again["p"] < _ALPHA or not again["low"] <= 1 <= again["high"]):
        yield (
            f"Resimulation: the misfit of posterior draws is {again['ratio']:.3f} times that of the truth "
            f"({again['low']:.3f} – {again['high']:.3f}), p = {again['p']:.2g}. An exact posterior has 1."
        )


def _of_classes(classes: Mapping[str, Any] | None) -> Iterator[str]:
    if not classes:
        return
    error, limit = classes["calibration_error"]["value"], classes["calibration_error_if_exact"]
    if error > limit:
        yield (
            f"Expected calibration error {error:.3f}, above {limit:.3f}, which exact probabilities cross in "
            f"{percent(_ALPHA)} of repetitions."
        )
    for entry in classes["sets"]:
        for name, row in entry["coverage"].items():
            if row["high"] < entry["level"]:
                bounds = f"{percent(row['low'], 1)} – {percent(row['high'], 1)}"
                yield (
                    f"Sets of classes for {percent(entry['level'])} of cases hold {name} in only "
                    f"{percent(row['value'], 1)} ({bounds}) of its cases."
                )


def _of_trust(trust: Mapping[str, Any] | None) -> Iterator[str]:
    if not trust:
        return
    for row in trust["false_alarms"]:
        if row["low"] > row["nominal"]:
            yield (
                f"False alarms: {percent(row['measured'], 2)} ({percent(row['low'], 2)} – "
                f"{percent(row['high'], 2)}), where {percent(row['nominal'])} are allowed."
            )
