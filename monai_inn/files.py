"""Reading records and writing files so that damage is noticed and nothing half-written is left."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json", "replacing"]


def parse_json(text: str) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: if it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: str | PathLike[str]) -> Any:
    """Return what a JSON file holds.

    Raises:
        ValueError: if it is not UTF-8 or not JSON, or nested too deeply to be read.
        OSError: if it cannot be read.
    """
    return parse_json(Path(path).read_text(encoding="utf-8"))


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder, which takes the place of ``path`` when the block ends.

    It ends as ``path`` does, since some writers go by the ending. After an error nothing of it is left.
    """
    target = Path(path)
    draft = target.with_name(f".{uuid.uuid4().hex}-{target.name}")
    try:
        yield draft
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
