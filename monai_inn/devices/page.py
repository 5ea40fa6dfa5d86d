"""The files of a comparison: a record that follows a schema, one page, one table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_inn.drafts import replacing
from monai_inn.files import check_record, read_json
from monai_inn.problems import labels
from monai_inn.reports.pages import rendered

__all__ = ["FILES", "bands_page", "page", "table", "write_pages"]

FILES = ("index.html", "devices.csv", "devices.json")
_BOUNDED = ("bits", "interval_width_95", "width_over_prior", "absolute_error", "share_multimodal")
_PLAIN = ("calibration_error", "calibration_error_noise_floor", "status")


def write_pages(record: Mapping[str, Any], folder: Path) -> None:
    """Write page, table and record into a folder, the record last.

    Raises:
        ValueError: if the record does not follow its schema.
        OSError: if a file cannot be written.
    """
    check_record(record, read_json(Path(__file__).with_name("schema.json")))
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for name, content in zip(FILES, (page(record), table(record), text), strict=True):
        with replacing(folder / name) as draft:
            draft.write_text(content, encoding="utf-8")


def table(record: Mapping[str, Any]) -> str:
    """Return the figures as CSV, one row for each device and parameter."""
    units = {p["name"]: p["unit"] for p in record["parameters"]}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    bounds = [f"{key}{end}" for key in _BOUNDED for end in ("", "_low", "_high")]
    writer.writerow(["device", "parameter", "unit", *bounds, *_PLAIN])
    for device in record["devices"]:
        for entry in device["parameters"]:
            numbers = [entry[key][end] for key in _BOUNDED for end in ("value", "low", "high")]
            plain = [entry[key] for key in _PLAIN]
            writer.writerow([device["name"], entry["name"], units[entry["name"]], *numbers, *plain])
    return buffer.getvalue()


def page(record: Mapping[str, Any]) -> str:
    """Return the page of a comparison as HTML that needs nothing from outside."""
    from monai_inn.devices import plots
    from monai_inn.devices.figures import AMBIGUOUS, HARDLY, WELL, entry_of

    words = labels((p["name"], p["description"]) for p in record["parameters"])
    drawings = {
        p["name"]: {
            "overview": plots.overview_plot(record, p),
            "regions": plots.regions_plot(record, p, words[p["name"]]),
            "differences": plots.differences_plot(record, p["name"]),
        }
        for p in record["parameters"]
    }
    return rendered(
        "devices/page.html",
        record=record,
        words=words,
        plots=drawings,
        rows=lambda name: [(device["name"], entry_of(device, name)) for device in record["devices"]],
        limits={"well": WELL, "hardly": HARDLY, "ambiguous": AMBIGUOUS},
    )


def bands_page(record: Mapping[str, Any]) -> str:
    """Return the page of a design of bands as HTML that needs nothing from outside."""
    from monai_inn.devices import plots

    words = labels(((p["name"], p["description"]) for p in record["parameters"]), begin=False)
    choices = record["choices"]
    return rendered(
        "devices/bands.html",
        record=record,
        words=words,
        names=plots.SETS,
        curve=plots.numbers_plot(record) if len(choices) > 1 else None,
        choices=[(choice, plots.bands_plot(record, choice)) for choice in choices],
    )
