"""Reading of the small CSV tables that physics is built from: ``#`` comments, one header line, then rows."""

from __future__ import annotations

import csv
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import require_file

__all__ = ["DATA", "Table", "read_table"]

DATA = Path(__file__).parent / "data"
"""Folder of the tables that are shipped with the package."""


class Table(NamedTuple):
    """A CSV file as text: comment lines without ``#``, column names, and rows of one string a column."""

    path: Path
    comments: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def numbers(self, *columns: str) -> NDArray[np.float64]:
        """Return columns (all of them if none is named) as finite numbers, shape ``(rows, columns)``.

        Raises:
            ValueError: if a column is missing or a cell is not a finite number; the message says which.
        """
        missing = [name for name in columns if name not in self.header]
        if missing:
            raise ValueError(f"{self.path} has no column {missing[0]!r}; it has {', '.join(self.header)}.")
        picked = [self.header.index(name) for name in columns or self.header]
        values = np.empty((len(self.rows), len(picked)))
        for i, row in enumerate(self.rows):
            for j, k in enumerate(picked):
                try:
                    values[i, j] = float(row[k])
                except ValueError:
                    values[i, j] = np.nan
                if not np.isfinite(values[i, j]):
                    raise ValueError(
                        f"{self.path}, data row {i + 1}, column {self.header[k]!r}: {row[k]!r} is not a "
                        "number. Every cell below the header line must be a finite number."
                    )
        return values


def read_table(path: str | PathLike[str]) -> Table:
    """Read a CSV file with ``#`` comment lines and one header line.

    Args:
        path: the file.

    Returns:
        The table as text; take its columns with ``Table.numbers``.

    Raises:
        ValueError: if the file does not exist, has no header line, no rows, or rows of unequal length.
    """
    try:
        path = require_file(path, "a CSV text file")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"cannot read the table {path}: {error}. Give the path of a CSV text file."
        ) from error
    comments = tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))
    try:
        rows = [row for row in csv.reader(x for x in lines if not x.startswith("#")) if row]
    except csv.Error as error:
        raise ValueError(f"{path}: is not a CSV text file ({error}); give one.") from error
    cells = [[cell.strip() for cell in row] for row in rows]
    if len(cells) < 2:
        raise ValueError(f"{path} is empty; expected a header line and at least one row of numbers.")
    header, rows = tuple(cells[0]), cells[1:]
    if all(_is_number(cell) for cell in header):
        raise ValueError(
            f"{path} has no header line: its first line is {','.join(header)!r}. Put the column names there, "
            "for example 'wavelength_nm,band1,band2'."
        )
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(
                f"{path}, data row {i + 1} has {len(row)} cells, but the header names {len(header)}."
            )
    return Table(path, comments, header, tuple(map(tuple, rows)))


def _is_number(text: str) -> bool:
    """Whether a cell is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
