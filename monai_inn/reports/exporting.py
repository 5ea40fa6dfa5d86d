"""What others can open: maps, tables, a page for the record, and DICOM objects of one result."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_inn import __version__
from monai_inn.files import cell_text, now, write_json
from monai_inn.folders import new_folder
from monai_inn.reports.records import middle_of
from monai_inn.reports.schemas import RESULT
from monai_inn.reports.stored import StoredResult, read_stored

__all__ = ["DEFAULT_FORMATS", "EXPORT", "FORMATS", "export_result", "summary_rows"]

EXPORT = "export.json"
FORMATS = ("nifti", "csv", "html", "pdf", "dicom")
DEFAULT_FORMATS = ("nifti", "csv", "html")
_COPIED = (
    "mean", "median", "interval_width", "interval_low", "interval_high", "probability_below", "ood",
    "adequacy", "valid",
)  # fmt: skip
_NUMBER = "%.7g"  # float32 holds no more

Entry = dict[str, Any]


def export_result(
    folder: str | PathLike[str],
    out: str | PathLike[str],
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    source: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """Write a result of ``infer`` in formats that other programs and people read.

    ``nifti`` copies the maps, in the parameter's units, with their ``result.json`` into ``nifti/``: values of
    withheld pixels are in them, marked by ``ood.nii.gz``. ``csv`` writes ``summary.csv``, a row a parameter,
    and ``pixels.csv.gz``, a row a usable pixel; units are in the heads, positions are RAS millimetres. Heads
    of values that nobody acquired begin with ``SYNTHETIC``. ``html`` writes ``record.html``, one printable
    page, and ``pdf`` that page printed by Chromium. ``dicom`` writes objects into ``dicom/``, see
    ``monai_inn.reports.dicom.maps``: no value of a withheld pixel is in them.

    Args:
        folder: folder that ``infer`` wrote.
        out: folder to write; it has its record once it is complete. An older export in it is replaced.
        formats: any of ``nifti``, ``csv``, ``html``, ``pdf``, ``dicom``.
        source: folder of the DICOM series that the image came from; only for ``dicom``.

    Returns:
        The content of ``export.json``, which lists the files.

    Raises:
        ValueError: if the folder is not a complete result, a format is unknown, or the source does not fit.
        OSError: if ``out`` cannot be written.
        ImportError: if a package is missing that a format needs; the message names it.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"formats = {list(formats)}; give some of {', '.join(FORMATS)}.")
    if source is not None and "dicom" not in formats:
        raise ValueError("a source series was given without the format dicom; add --format dicom.")
    result = read_stored(folder)
    if (Path(out) / EXPORT).is_file() and Path(folder).resolve().is_relative_to(Path(out).resolve()):
        raise ValueError(f"{out}: holds the result {folder}, which would be lost; give another folder.")
    writers: dict[str, Callable[[Path, StoredResult], list[Entry]]] = {
        "nifti": _write_nifti,
        "csv": _write_csv,
        "html": _write_page,
        "pdf": _write_printed,
        "dicom": lambda draft, stored: _write_dicom(draft, stored, source),
    }
    with new_folder(out, EXPORT, "an export") as draft:
        files = [{**e, "format": f} for f in FORMATS if f in formats for e in writers[f](draft, result)]
        report = {
            "format_version": 1,
            "created": now(),
            "intended_use": result.record["intended_use"],
            **({"synthetic": result.synthetic} if result.synthetic else {}),
            "monai_inn": __version__,
            "result": result.folder.resolve().name,
            "image": result.image_name,
            "formats": [name for name in FORMATS if name in formats],
            "pixels": {
                "all": int(result.valid.size),
                "usable": int(result.valid.sum()),
                "withheld": int(result.withheld.sum()),
            },
            "files": files,
        }
        write_json(draft / EXPORT, report)
    return report


def summary_rows(result: StoredResult) -> list[dict[str, Any]]:
    """Return a few numbers of each parameter over the trusted pixels, values in the parameter's unit.

    Medians are the lower of the two middle values, as in ``result.json``; None where no pixel is trusted, and
    of classes.
    """
    trusted, usable = result.trusted, int(result.valid.sum())
    withheld = float(result.withheld.sum() / usable) if usable else None
    rows = []
    for row in result.record["parameters"]:
        name = row["name"]
        modes = result.maps.get(("mode_count", name))
        several = None if modes is None or not trusted.any() else float((modes[trusted] > 1).mean())
        median, width = (result.maps[kind, name][trusted] for kind in ("median", "interval_width"))
        if row.get("is_class"):  # a class has neither middle nor width
            several, median, width = None, median[:0], width[:0]
        rows.append(
            {
                "parameter": name,
                "unit": row["unit"],
                "description": row["description"],
                "median_of_medians": middle_of(median, row["low"], row.get("turn")),
                "median_interval_width": middle_of(width),
                "share_multimodal": several,
                "share_untrusted": withheld,
                "interval": result.record["settings"]["interval"],
                "trusted_pixels": int(trusted.sum()),
            }
        )
    return rows


def _write_nifti(draft: Path, result: StoredResult) -> list[Entry]:
    """Copy the maps byte by byte; their ``result.json`` lists what was copied, so that it stays a result."""
    target = draft / "nifti"
    target.mkdir()
    kept = [entry for entry in result.record["files"] if entry["map"] in _COPIED]
    for entry in kept:
        shutil.copyfile(result.files[entry["map"], entry["parameter"]], target / Path(entry["file"]).name)
    record = result.record | {"files": kept, "pictures": []}
    write_json(target / RESULT, record)
    return [*({**entry, "file": f"nifti/{Path(entry['file']).name}"} for entry in kept),
            {"file": f"nifti/{RESULT}", "map": "record"}]  # fmt: skip


def _write_csv(draft: Path, result: StoredResult) -> list[Entry]:
    rows = summary_rows(result)
    with (draft / "summary.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        heads = [_marked(name, result) if name.startswith("median") else name for name in rows[0]]
        table.writerows(map(_cell, values) for values in (heads, *(row.values() for row in rows)))
    columns = _pixel_columns(result)
    formats = ["%d" if values.dtype.kind in "iub" else _NUMBER for values in columns.values()]
    # Neither name nor time in the header: equal results give equal files.
    with (draft / "pixels.csv.gz").open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        head = io.StringIO(newline="")
        csv.writer(head, lineterminator="\n").writerow(map(_cell, columns))
        file.write(head.getvalue().encode())
        values = [column.tolist() for column in columns.values()]
        line = ",".join(formats) + "\n"
        for cells in zip(*values, strict=True):
            file.write((line % cells).encode())
    return [{"file": "summary.csv", "rows": len(rows)},
            {"file": "pixels.csv.gz", "rows": int(result.valid.sum())}]  # fmt: skip


def _cell(value: Any) -> Any:
    """What stands in a cell of a table; no spreadsheet takes text of it for a formula.

    Names and units come from files of others; a leading apostrophe keeps them text.
    """
    if isinstance(value, str):
        return cell_text(value)
    return _NUMBER % value if isinstance(value, float) else value


def _pixel_columns(result: StoredResult) -> dict[str, NDArray[Any]]:
    """Columns of the table of usable pixels by their head, which names the unit."""
    valid = result.valid
    index = np.argwhere(valid)
    position = index @ result.affine[:3, :3].T + result.affine[:3, 3]
    columns: dict[str, NDArray[Any]] = {name: index[:, a] for a, name in enumerate("ijk")}
    columns |= {f"{name} [mm]": position[:, a] for a, name in enumerate("xyz")}
    columns["ood"] = result.withheld[valid].astype(np.uint8)
    for row in result.record["parameters"]:
        name, unit = row["name"], row["unit"]
        head = _marked(name, result)
        columns[f"{head}_median [{unit}]"] = result.maps["median", name][valid]
        for end, values in zip(("low", "high"), result.bounds.get(name, ()), strict=False):
            columns[f"{head}_{end} [{unit}]"] = values[valid]
        columns[f"{head}_interval_width [{unit}]"] = result.maps["interval_width", name][valid]
    return columns


def _marked(head: str, result: StoredResult) -> str:
    """The head of a column of values, which says so if nobody acquired them."""
    return f"SYNTHETIC {head}" if result.synthetic else head


def _write_page(draft: Path, result: StoredResult) -> list[Entry]:
    from monai_inn.reports.record_page import record_page

    (draft / "record.html").write_text(record_page(result, summary_rows(result)), encoding="utf-8")
    return [{"file": "record.html"}]


def _write_printed(draft: Path, result: StoredResult) -> list[Entry]:
    from monai_inn.reports.printing import print_page

    page = draft / "record.html"
    is_wanted = page.exists()
    _write_page(draft, result)
    print_page(page, draft / "record.pdf")
    if not is_wanted:
        page.unlink()
    return [{"file": "record.pdf"}]


def _write_dicom(draft: Path, result: StoredResult, source: str | PathLike[str] | None) -> list[Entry]:
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'DICOM export needs highdicom; install it with pip install "monai_inn[dicom]".'
        ) from error
    from monai_inn.reports.dicom.maps import write_dicom

    target = draft / "dicom"
    target.mkdir()
    return [{**entry, "file": f"dicom/{entry['file']}"} for entry in write_dicom(target, result, source)]
