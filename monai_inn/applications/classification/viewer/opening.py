"""Opening the classes of ``monai-inn classify`` in the viewer."""

from __future__ import annotations

from os import PathLike
from typing import Any

__all__ = ["open_result", "read_result"]


def read_result(folder: str | PathLike[str], display: Any) -> Any:
    """Return the classification in a folder, its record checked.

    Raises:
        ValueError: if the folder holds none or a damaged one.
    """
    return display.read_classes(folder)


def open_result(server: Any, result: Any, name: str) -> None:
    """Make the page of a classification."""
    from monai_inn.applications.classification.viewer.session import ClassSession

    ClassSession(server, result, name)
