"""Opening the classes of ``monai-inn classify`` in the viewer."""

from __future__ import annotations

from os import PathLike
from typing import Any

from monai_inn.applications.classification.record import Classification, read_classification

__all__ = ["open_result", "read_result"]


def read_result(folder: str | PathLike[str], display: Any) -> Classification:
    """Return the classification in a folder, its record checked.

    Raises:
        ValueError: if the folder holds none or a damaged one.
    """
    return read_classification(folder)


def open_result(server: Any, result: Classification, name: str) -> None:
    """Make the page of a classification."""
    from monai_inn.applications.classification.viewer.session import ClassSession

    ClassSession(server, result, name)
