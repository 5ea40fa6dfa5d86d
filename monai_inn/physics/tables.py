"""Reading of the small CSV tables that physics is built from: ``#`` comments, one header line, then rows.

Spreadsheets write them in several ways. Columns are separated by commas, semicolons or tabs; behind the last
two the decimal sign may be a comma.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import require_file

__all__ = ["DATA", "Table", "read_table"]

DATA = Path(__file__).parent / "data"
"""Folder of the tables that are shipped with the package."""

_SEPARATORS = (";", "\t")  # in a file where every line has one; a comma elsewhere
_COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*%?")
_POINT_NUMBER = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?\s*%?")
_DECIMAL_ADVICE = "If it has decimal commas, separate the columns by semicolons, or write decimal points."


class Table(NamedTuple):
    """A CSV file as text: comment lines without ``#``, column names, and rows of one string a column.

    Numbers in the rows have a decimal point, whatever the file has.
    """

    path: Path
    comments: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def numbers(self, *columns: str) -> NDArray[np.float64]:
        """Return columns (all of them if none is named) as finite numbers, shape ``(rows, columns)``.

        A cell such as ``12.5%`` is the number 0.125.

        Raises:
            ValueError: if a column is missing or a cell is not a finite number; the message says which.
        """
        self._require(columns)
        picked = [self.header.index(name) for name in columns or self.header]
        values = np.empty((len(self.rows), len(picked)))
        for i, row in enumerate(self.rows):
            for j, k in enumerate(picked):
                try:
                    values[i, j] = _number(row[k])
                except ValueError:
                    values[i, j] = np.nan
                if not np.isfinite(values[i, j]):
                    raise ValueError(
                        f"{self.path}, data row {i + 1}, column {self.header[k]!r}: {row[k]!r} is not a "
                        "number. Every cell below the header line must be a finite number."
                    )
        return values

    def records(self, *columns: str) -> list[dict[str, str]]:
        """Return each row as text by its column, all columns of it.

        Raises:
            ValueError: if one of the named columns is missing; the message says which.
        """
        self._require(columns)
        return [dict(zip(self.header, row, strict=True)) for row in self.rows]

    def _require(self, columns: Iterable[str]) -> None:
        missing = [name for name in columns if name not in self.header]
        if missing:
            raise ValueError(f"{self.path} has no column {missing[0]!r}; it has {', '.join(self.header)}.")


def read_table(path: str | PathLike[str]) -> Table:
    """Read a table with ``#`` comment lines and one header line.

    Columns without a name and without values at the end of the lines are left out, as are empty rows.

    Args:
        path: text file in UTF-8, or in UTF-16 with a byte-order mark.

    Returns:
        The table as text; take its columns with ``Table.numbers``.

    Raises:
        ValueError: if the file does not exist, has no header line, no rows, or rows of unequal length, or if
            its decimal commas cannot be told from its separators.
    """
    try:
        path = require_file(path, "a CSV text file")
        content = path.read_bytes()
        is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        lines = content.decode("utf-16" if is_wide else "utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"cannot read the table {path}: {error}. Give the path of a CSV text file in UTF-8."
        ) from error
    comments = tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    separator = next((sign for sign in _SEPARATORS if lines and all(sign in line for line in lines)), ",")
    try:
        rows = list(csv.reader(lines, delimiter=separator))
    except csv.Error as error:
        raise ValueError(f"{path}: is not a CSV text file ({error}); give one.") from error
    header, *cells = _named_columns(path, [[cell.strip() for cell in row] for row in rows])
    cells = _with_points(path, cells, separator)
    if all(_is_number(cell) for cell in _with_points(path, [header], separator)[0]):
        raise ValueError(
            f"{path} has no header line: its first line is {separator.join(header)!r}. Put the column names "
            "there, for example 'wavelength_nm,band1,band2'."
        )
    return Table(path, comments, tuple(header), tuple(map(tuple, cells)))


def _named_columns(path: Path, rows: list[list[str]]) -> list[list[str]]:
    """The rows that hold something, header first, without the empty columns that spreadsheets leave."""
    rows = [row for row in rows if any(row)]
    if len(rows) < 2:
        raise ValueError(f"{path} is empty; expected a header line and at least one row of numbers.")
    width = max(k for k, name in enumerate(rows[0], 1) if name)
    for i, row in enumerate(rows[1:], 1):
        filled = max(k for k, cell in enumerate(row, 1) if cell)
        if len(row) < width or filled > width:
            raise ValueError(
                f"{path}, data row {i} has {filled if filled > width else len(row)} cells, but the header "
                f"names {width}. {_DECIMAL_ADVICE}"
            )
    return [row[:width] for row in rows]


def _with_points(path: Path, rows: list[list[str]], separator: str) -> list[list[str]]:
    """Rows with decimal points in the place of decimal commas."""
    comma = next((cell for row in rows for cell in row if _COMMA_NUMBER.fullmatch(cell)), None)
    if comma is None:
        return rows
    if separator == ",":
        raise ValueError(
            f"{path}: {comma!r} has a decimal comma, and commas separate the columns. {_DECIMAL_ADVICE}"
        )
    point = next((cell for row in rows for cell in row if _POINT_NUMBER.fullmatch(cell)), None)
    if point is not None:
        raise ValueError(
            f"{path}: {comma!r} has a decimal comma and {point!r} a decimal point. Write one of them "
            "everywhere."
        )
    return [[c.replace(",", ".") if _COMMA_NUMBER.fullmatch(c) else c for c in row] for row in rows]


def _number(text: str) -> float:
    """The number in a cell; a ValueError if there is none."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def _is_number(text: str) -> bool:
    """Whether a cell is a number."""
    try:
        _number(text)
    except ValueError:
        return False
    return True
