"""One page about a result, for a file or a printer: what was measured, with what, and what it is worth."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from monai_inn import __version__
from monai_inn.files import now, own_file
from monai_inn.problems import labels
from monai_inn.reports.pages import percent, rendered
from monai_inn.reports.stored import StoredResult, file_name

__all__ = ["record_page"]


def record_page(result: StoredResult, rows: list[dict[str, Any]]) -> str:
    """Return the page as HTML that needs no other file and asks nothing of any network.

    Args:
        result: the result that it is about.
        rows: numbers of its parameters in their units, as ``summary_rows`` gives them.

    Raises:
        ValueError: if a picture of the result is missing.
    """
    record = result.record
    words = labels((row["parameter"], row["description"]) for row in rows)
    return rendered(
        "reports/record_page.html",
        intended_use=record["intended_use"],
        image_name=result.image_name,
        words=words,
        facts=_facts(result, words),
        calibration=_calibration(record["bundle"], words),
        withheld=_withheld(result),
        uninformative=_uninformative(result, words),
        rows=rows,
        interval=f"{100 * record['settings']['interval']:g} %",
        number=lambda value: "–" if value is None else f"{value:#.4g}".rstrip("."),
        picture=_picture(result),
        versions=record.get("versions", {}),
        created=record.get("created", "unknown"),
        exported=now(),
        exporter=f"monai_inn {__version__}",
    )


def _facts(result: StoredResult, words: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Heads and lines of the upper table."""
    record = result.record
    image, bundle, settings = record["image"], record["bundle"], record["settings"]
    below = ", ".join(f"{words.get(n, n)} < {value:g}" for n, value in (settings.get("below") or {}).items())
    prepared = [
        f"{k} {file_name(str(settings[k]))}" for k in ("mask", "white", "dark") if settings.get(k) is not None
    ]
    shrink = settings.get("shrink", 1)
    change = record.get("change")
    prepared += [f"averaged over {shrink} pixels along each axis"] if shrink > 1 else []
    size = " × ".join(str(n) for n in result.valid.shape)
    facts = [
        ("Synthetic", [result.synthetic] if result.synthetic else []),
        ("Change", [f"{change['second']} minus {change['first']}"] if change else []),
        ("Image", [f"{result.image_name}, maps of {size} pixels", *prepared]),
        ("SHA-256 of files", [f"{name}: {value}" for name, value in image.get("sha256", {}).items()]),
        ("Bundle", [f"{bundle.get('name', 'unknown')}, version {bundle.get('version', 'unknown')}"]),
        ("SHA-256 of weights", [bundle.get("weights_sha256", "unknown")]),
        ("Device", [bundle["camera"]] if bundle.get("camera") else []),
        (
            "Settings",
            [
                f"{settings.get('samples', 'unknown')} posterior samples per pixel, interval "
                f"{100 * settings['interval']:g} %, false alarms allowed "
                f"{100 * settings['false_alarm']:g} %, "
                f"seed {settings.get('seed', 'unknown')}" + (f", probability of {below}" if below else "")
            ],
        ),
    ]
    return [(head, lines) for head, lines in facts if lines]


def _calibration(bundle: dict[str, Any], words: dict[str, str]) -> str:
    """The measured error of the intervals' coverage, in one sentence."""
    calibration = bundle.get("calibration") or {}
    errors = calibration.get("errors") or {}
    if not errors:
        return "Not measured: nobody has checked how often this bundle's intervals hold the truth."
    measured = ", ".join(
        f"{word} {percent(errors[n], 2) if n in errors else 'not measured'}" for n, word in words.items()
    )
    cases = f" on {calibration['simulations']:,} simulations" if calibration.get("simulations") else ""
    noise = (
        f"; an exact posterior stays below {percent(calibration['noise'], 2)}"
        if calibration.get("noise")
        else ""
    )
    recalibrated = " Recalibrated." if calibration.get("recalibrated") else ""
    return (
        f"Error of the intervals' coverage{cases}: {measured}{noise}.{recalibrated} "
        "Real images may differ from simulations."
    )


def _withheld(result: StoredResult) -> str:
    usable, withheld = int(result.valid.sum()), int(result.withheld.sum())
    without = f"{result.valid.size - usable:,} of {result.valid.size:,} pixels hold no usable measurement"
    if not usable:
        return f"All: {without}."
    found = result.record["summary"].get("reasons", {})
    why = f" (of all usable ones: {_listed(found.items())})" if found else ""
    return (
        f"{percent(withheld / usable, 2)} ({withheld:,} of {usable:,} usable pixels) are not explained by "
        f"the model{why} and do not enter the table; {without}."
    )


def _uninformative(result: StoredResult, words: dict[str, str]) -> str:
    """Where intervals are hardly narrower than before the measurement, as shares of the trusted pixels."""
    trusted = int(result.trusted.sum())
    if not trusted:
        return "No pixel can be judged."
    shares = ((words[name], int(result.uninformative(name).sum()) / trusted) for name in words)
    return f"Interval hardly narrower than before the measurement: {_listed(shares)}."


def _listed(shares: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{word} {percent(share, 2)}" for word, share in shares)


def _picture(result: StoredResult) -> str | None:
    """The picture of the maps as a data address."""
    names = result.record.get("pictures") or []
    if not names:
        return None
    content = own_file(result.folder, file_name(names[0])).read_bytes()
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
