"""The arterial curve of a patient: from a table with units in its header, onto the times of a series."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_inn.files import BadFileError, require_file
from monai_inn.physics.tables import Table, read_table

__all__ = ["ArteryTable", "arrival_of", "read_artery", "read_times"]

Curve = NDArray[np.float64]

_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
            "ms": 1e-3, "msec": 1e-3}  # fmt: skip
_MM = {"mm": 1.0, "mmol": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "umol": 1e-3, "µmol": 1e-3, "μmol": 1e-3}
_FLUIDS = {"plasma": "plasma", "cp": "plasma", "blood": "blood", "cb": "blood"}
_RISEN = 0.1  # share of the way to the peak, above the noise of most curves
_ROUNDING = 0.02  # share of the time between frames that a table may end early by


class ArteryTable(NamedTuple):
    """An arterial curve as it was given.

    Attributes:
        path: where from, for messages.
        times_s: ascending, in s.
        values_mm: concentrations in mM, same length.
        fluid: ``"plasma"``, ``"blood"``, or empty if the table does not say.
    """

    path: Path
    times_s: Curve
    values_mm: Curve
    fluid: str

    def at(self, times_s: Curve) -> Curve:
        """Return concentrations in mM at times in s, linearly between those of the table.

        Raises:
            BadFileError: if the table does not cover them.
        """
        slack = _ROUNDING * float(np.diff(times_s).min())
        first, last = self.times_s[0], self.times_s[-1]
        if times_s[0] < first - slack or times_s[-1] > last + slack:
            is_short = 10 * last < times_s[-1] <= 60 * last + slack
            mend = "this looks like minutes, so name the column time_min, or " if is_short else ""
            raise BadFileError(
                f"{self.path}: the curve runs from {first:g} to {last:g} s, but the frames from "
                f"{times_s[0]:g} to {times_s[-1]:g} s after the first; {mend}give a curve that covers them, "
                "with the time of the first frame as 0."
            )
        return np.interp(times_s, self.times_s, self.values_mm)


def read_artery(path: str | PathLike[str]) -> ArteryTable:
    """Read an arterial curve: a CSV of times and concentrations, whose header says the units.

    Columns are such as ``time_s,plasma_mM`` or ``Time (min);Cb [mmol/L]``. Concentrations without a unit are
    taken as mM.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a table, the unit of its times is missing, or times do not ascend.
    """
    table = _table(path)
    name, factor = _time_column(table)
    others = [column for column in table.header if column != name]
    if len(others) > 1:
        others = [c for c in others if _first(_FLUIDS, c) or _first(_MM, c)]
    if len(others) != 1:
        raise BadFileError(
            f"{table.path}: columns {', '.join(table.header)}, expected a time and one concentration, as "
            "time_s,plasma_mM; remove the others."
        )
    times, values = table.numbers(name, others[0]).T
    _check_ascending(table.path, factor * times)
    return ArteryTable(
        table.path, factor * times, _MM.get(_first(_MM, others[0]), 1.0) * values,
        _FLUIDS.get(_first(_FLUIDS, others[0]), ""),
    )  # fmt: skip


def read_times(path: str | PathLike[str]) -> tuple[float, ...]:
    """Return times of frames in s from a CSV with a column such as ``time_s``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a table, the unit is missing, or times do not ascend.
    """
    table = _table(path)
    name, factor = _time_column(table)
    times = factor * table.numbers(name)[:, 0]
    _check_ascending(table.path, times)
    return tuple(times.tolist())


def arrival_of(curve: Curve) -> int:
    """Return the first frame that tracer has reached in a curve ``(T,)`` of an artery or of its signal.

    It is found backwards from the peak, where noise before the arrival cannot be taken for it.
    """
    peak = int(np.nanargmax(curve))
    lowest = float(np.nanmin(curve[: peak + 1]))
    before = np.flatnonzero(~(curve[:peak] > lowest + _RISEN * (curve[peak] - lowest)))
    return int(before[-1]) + 1 if len(before) else 0


def _table(path: str | PathLike[str]) -> Table:
    return read_table(require_file(path, "a CSV of times"))


def _words(column: str) -> list[str]:
    return re.findall(r"[a-zµμ]+", column.lower())


def _first(known: dict[str, float] | dict[str, str], column: str) -> str:
    """The first word of a column's name that is known, or nothing."""
    return next((word for word in _words(column) if word in known), "")


def _time_column(table: Table) -> tuple[str, float]:
    """Name of the column of times, and how many seconds its unit has."""
    found = [column for column in table.header if _words(column)[:1] in (["time"], ["times"], ["t"])]
    if len(found) != 1:
        raise BadFileError(
            f"{table.path}: columns {', '.join(table.header)}, expected one of times; name it time_s or "
            "time_min."
        )
    unit = _first(_SECONDS, found[0])
    if not unit:
        raise BadFileError(
            f"{table.path}: the unit of the column {found[0]!r} is not given; name it time_s or time_min."
        )
    return found[0], _SECONDS[unit]


def _check_ascending(path: Path, times: Curve) -> None:
    if len(times) < 2 or not (np.diff(times) > 0).all():
        raise BadFileError(f"{path}: expected two times at least, each later than the one before; sort them.")
