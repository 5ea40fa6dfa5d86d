"""Opening the poses of ``monai-inn register`` in the viewer."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.applications.registration.results.schema import REGISTRATION, REGISTRATION_RECORD
from monai_inn.reports.schemas import read_record

__all__ = ["open_result", "read_result"]


def read_result(folder: str | PathLike[str], display: Any) -> Any:
    """Return the registration in a folder, its record checked.

    Raises:
        ValueError: if the folder holds none or a damaged one.
    """
    read_record(Path(folder), REGISTRATION, REGISTRATION_RECORD, "monai-inn register")
    return display.read_poses(folder)


def open_result(server: Any, result: Any, name: str) -> None:
    """Make the page of a registration."""
    from monai_inn.applications.registration.viewer.session import PoseSession, PoseStage

    PoseSession(server, PoseStage(result, name, server), name)
