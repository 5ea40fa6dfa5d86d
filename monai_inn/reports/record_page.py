"""One page about a result, for a file or a printer: what was measured, with what, and what it is worth."""

from __future__ import annotations

import base64
from typing import Any

from monai_inn import __version__
from monai_inn.files import now, own_file
from monai_inn.problems import labels
from monai_inn.reports.pages import rendered
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
    names, trusted = [row["parameter"] for row in rows], int(result.trusted.sum())
    words = labels((row["parameter"], row["description"]) for row in rows)
    shares = ((words[name], int(result.uninformative(name).sum()) / trusted) for name in names)
    return rendered(
        "reports/record_page.html",
        result=result,
        record=result.record,
        image_name=result.image_name,
        words=words,
        usable=int(result.valid.sum()),
        withheld=int(result.withheld.sum()),
        uninformative=list(shares) if trusted else [],
        rows=rows,
        interval=f"{100 * result.record['settings']['interval']:g} %",
        number=lambda value: "–" if value is None else f"{value:#.4g}".rstrip("."),
        file_name=file_name,
        picture=_picture(result),
        exported=now(),
        exporter=f"monai_inn {__version__}",
    )


def _picture(result: StoredResult) -> str | None:
    """The picture of the maps as a data address."""
    names = result.record.get("pictures") or []
    if not names:
        return None
    content = own_file(result.folder, file_name(names[0])).read_bytes()
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
