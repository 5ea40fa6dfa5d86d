"""What the attacks on written folders share: results of known content, and one way to run a verb."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "reports"))

from known_result import write_result

from monai_inn.cli import main

__all__ = ["attempt", "files_in", "made_result"]


def made_result(folder: Path) -> Path:
    """A small complete result of `infer`."""
    return write_result(folder, np.eye(4), shape=(4, 3, 2))


def attempt(capsys, *arguments) -> tuple[int, str, str]:
    """Run a verb; returns its exit code, what it printed, and what it complained of."""
    capsys.readouterr()
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def files_in(folder: Path) -> set[str]:
    """Every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file()
    }
