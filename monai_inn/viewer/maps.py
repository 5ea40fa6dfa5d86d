"""Opening the maps of ``monai-inn infer`` in the viewer."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.reports.schemas import RESULT, RESULT_RECORD, read_record

__all__ = ["open_result", "read_result"]


def read_result(folder: str | PathLike[str], display: Any) -> Any:
    """Return the result in a folder, its record checked.

    Raises:
        ValueError: if the folder holds no result or a damaged one.
    """
    read_record(Path(folder), RESULT, RESULT_RECORD, "monai-inn infer")
    return display.read_result(folder)


def open_result(server: Any, result: Any, name: str) -> None:
    """Make the page of a result."""
    from monai_inn.viewer.session import Session
    from monai_inn.viewer.stage import Stage

    Session(server, Stage(result, name, server), name)
