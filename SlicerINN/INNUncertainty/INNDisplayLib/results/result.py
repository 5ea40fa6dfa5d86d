"""Reading the folder that `monai-inn` leaves: its record, and the maps of `infer` with units and scales."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
from numpy.typing import NDArray

from ..translating import tr as _

__all__ = ["MapFile", "RecordKind", "Result", "ResultError", "Shown", "parse_result", "read_result"]

_FORMAT = 1


class ResultError(ValueError):
    """A result folder that cannot be shown; the message says why and what to do."""


@dataclass(frozen=True)
class RecordKind:
    """What is the same in all records of one kind.

    Args:
        file: name of the file.
        command: the command that writes it.
        again: says how to get a new one, in the language of the moment.
        needed: entries that every one has.
    """

    file: str
    command: str
    again: Callable[[], str]
    needed: tuple[str, ...]

    def read(self, folder: Path | str) -> Any:
        """Return the content of the file in a folder.

        Raises:
            ResultError: if there is none, or it is not JSON.
        """
        path = Path(folder) / self.file
        self._check_place(Path(folder), [self.file])
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            text = _("{folder}: no {file} in it; give the folder that `{command}` wrote.")
            raise ResultError(text.format(folder=folder, file=self.file, command=self.command)) from error
        except (OSError, ValueError, RecursionError) as error:
            text = _("{path}: cannot be read ({error}). {again}")
            raise ResultError(text.format(path=path, error=error, again=self.again())) from error

    def check(self, folder: Path, record: Any) -> None:
        """Raise a ``ResultError`` if an entry is missing, or the format is another release's."""
        missing = [key for key in self.needed if not isinstance(record, dict) or key not in record]
        if missing:
            text = _("{folder}: {file} lacks {missing}; it is of an older monai_inn or damaged. {again}")
            raise ResultError(
                text.format(folder=folder, file=self.file, missing=", ".join(missing), again=self.again())
            )
        if record["format_version"] != _FORMAT:
            text = _(
                "{folder}: {file} has format {format}, this module shows {known}; update the older of "
                "monai_inn and the extension."
            )
            found = record["format_version"]
            raise ResultError(text.format(folder=folder, file=self.file, format=found, known=_FORMAT))

    def damaged(self, folder: Path, why: object) -> ResultError:
        """Return the error of a record whose entries are not what they should be."""
        text = _("{folder}: {file} is damaged ({why}). {again}")
        return ResultError(text.format(folder=folder, file=self.file, why=why, again=self.again()))

    def check_files(self, folder: Path, names: list[str]) -> None:
        """Raise a ``ResultError`` if a file that belongs to the record is missing or lies elsewhere."""
        self._check_place(folder, names)
        absent = [name for name in names if not (folder / name).is_file()]
        if absent:
            text = _("{folder}: {files} is missing; copy the folder as a whole.")
            raise ResultError(text.format(folder=folder, files=", ".join(absent)))

    def _check_place(self, folder: Path, names: list[str]) -> None:
        """Raise a ``ResultError`` if a link leads out of a folder, which may come from somebody else."""
        home = folder.resolve()
        # Not `resolve`, which raises where links go in a circle.
        outside = [n for n in names if not Path(os.path.realpath(folder / n)).is_relative_to(home)]
        if outside:
            text = _("{folder}: {files} leads out of the folder; copy the file there.")
            raise ResultError(text.format(folder=folder, files=", ".join(outside)))


_HEADER, _FLOAT32 = 348, 16


def _again() -> str:
    return _("Run the inference again.")


_KIND = RecordKind(
    "result.json", "monai-inn infer", _again,
    ("bundle", "files", "format_version", "intended_use", "parameters", "settings", "summary", "trust"),
)  # fmt: skip


_OF_CURVES = ("quantity", "unit", "axis", "axis_unit")


@dataclass(frozen=True)
class Shown:
    """A parameter that is shown: its meaning, its unit, and scales that do not depend on the image.

    Args:
        name: short name, as in files.
        unit: physical unit; ``"1"`` for a pure number.
        description: what it is.
        low: lower end of the color scale of values.
        high: upper end.
        width: upper end of the color scale of interval widths: that of the prior.
        scale: ``"log"`` where values span decades.
        turn: a whole turn in the unit of an angle; 0 for what lies on a line.
        is_class: whether its integer part says which of several classes it is.
        label: what people read in place of the name, the description in short; the name by default.
    """

    name: str
    unit: str
    description: str
    low: float
    high: float
    width: float
    scale: str
    turn: float = 0.0
    is_class: bool = False
    label: str = ""

    def __post_init__(self) -> None:
        """Fall back to the name."""
        object.__setattr__(self, "label", self.label or self.name)

    def text(self, value: float) -> str:
        """A value for people: three digits, and the unit unless it is a pure number."""
        return f"{value:.3g}{self.suffix}"

    @property
    def suffix(self) -> str:
        """The unit as it follows a number."""
        return "" if self.unit == "1" else f" {self.unit}"

    @property
    def bracket(self) -> str:
        """The unit as it follows a heading."""
        return "" if self.unit == "1" else f" [{self.unit}]"


@dataclass(frozen=True)
class MapFile:
    """One file of the result: a map of a kind, for a parameter; ``again`` says how to get a new one."""

    path: Path
    kind: str
    parameter: str
    unit: str
    levels: tuple[float, ...]
    again: Callable[[], str] = _again

    def read(self) -> NDArray[Any]:
        """Voxels in Slicer's order, ``(K, J, I)``, or ``(K, J, I, C)`` for a stack."""
        return self.load()[0]

    def load(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Voxels as ``read`` gives them, and index to RAS millimeters, ``(4, 4)``."""
        image = _read(self.path, self.again)
        array = sitk.GetArrayFromImage(image)
        size = image.GetDimension()
        matrix = np.eye(4)
        direction = np.asarray(image.GetDirection()).reshape(size, size)[:3, :3]
        matrix[:3, :3] = direction * np.asarray(image.GetSpacing())[:3]
        matrix[:3, 3] = np.asarray(image.GetOrigin())[:3]
        stacked_last = np.moveaxis(array, 0, -1) if array.ndim == 4 else array
        return stacked_last, np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix

    def mapped(self) -> NDArray[np.float32]:
        """Voxels of an uncompressed stack ``(K, J, I, C)`` as they lie on the disk, read when looked at.

        Missing values stay NaN, which ITK turns into 0.
        """
        try:
            header = np.fromfile(self.path, "<i2", _HEADER // 2)  # of NIfTI-1, which counts in bytes
            if len(header) < _HEADER // 2 or header[70 // 2] != _FLOAT32:
                raise ValueError(_("not a file of float32"))
            (offset,) = header[108 // 2 : 112 // 2].view("<f4")
            size = tuple(header[42 // 2 : 50 // 2][::-1].tolist())
            return np.moveaxis(np.memmap(self.path, "<f4", "r", int(offset), size), 0, -1)
        except (OSError, OverflowError, ValueError) as error:
            raise _unreadable(self.path, self.again) from error


@dataclass(frozen=True)
class Result:
    """What inference left in a folder.

    Args:
        folder: where it lies.
        record: content of its ``result.json``.
        parameters: the parameters that it has maps of.
        files: its maps.
    """

    folder: Path
    record: dict[str, Any]
    parameters: tuple[Shown, ...]
    files: tuple[MapFile, ...]

    def find(self, kind: str, parameter: str | None = None) -> MapFile | None:
        """The file of a kind of map, of a parameter if the kind has one for each."""
        for file in self.files:
            if file.kind == kind and parameter in (None, file.parameter):
                return file
        return None


def read_result(folder: Path | str) -> Result:
    """Read a result folder; its maps are read when asked for.

    Raises:
        ResultError: if it is none, is damaged, or was written by a release that this one does not know.
    """
    result = parse_result(Path(folder), _KIND.read(folder))
    _KIND.check_files(result.folder, [file.path.name for file in result.files])
    return result


def parse_result(folder: Path, record: Any) -> Result:
    """Check the record of a result, and say where its files should be."""
    _KIND.check(folder, record)
    try:
        words = _labels(record["parameters"])
        parameters = tuple(
            Shown(**row, label=label) for row, label in zip(record["parameters"], words, strict=True)
        )
        if not all(math.isfinite(value) for p in parameters for value in (p.low, p.high, p.width)):
            raise ValueError(_("a scale is not finite"))
        record["bundle"]["name"], record["bundle"]["path"], record["trust"]["waic_scale"]
        if "curves" in record:
            "".join(record["curves"][key] for key in _OF_CURVES)
            numbers = np.array([*record["curves"]["positions"], record["curves"]["interval"]], float)
            if not np.isfinite(numbers).all():
                raise ValueError(_("a number of the curves is not finite"))
        files = tuple(
            MapFile(
                folder / Path(entry["file"]).name,
                entry["map"],
                entry["parameter"],
                entry["unit"],
                tuple(entry.get("levels", ())),
            )
            for entry in record["files"]
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _KIND.damaged(folder, error) from error
    return Result(folder, record, parameters, files)


def _labels(rows: list[dict[str, Any]]) -> list[str]:
    """What people read in place of names: the description up to a comma outside brackets, as in reports.

    The name stands behind a label that several parameters share.
    """
    words = [re.split(r"[,;]\s(?![^(]*\))", row["description"])[0].strip() for row in rows]
    whole = [word[:1].upper() + word[1:] for word in words]
    return [
        f"{word} ({row['name']})" if whole.count(word) > 1 else word
        for word, row in zip(whole, rows, strict=True)
    ]


def _read(path: Path, again: Callable[[], str]) -> sitk.Image:
    try:
        _check_whole(path)
        return sitk.ReadImage(str(path))
    except (RuntimeError, OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, again) from error


_NIFTI_HEADER = 348  # bytes, which is its first number


def _check_whole(path: Path) -> None:
    """Refuse NIfTI files that end early or are damaged: ITK fills up what it cannot read with zeros."""
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass
    elif path.suffix.lower() == ".nii":
        with path.open("rb") as stream:
            header = stream.read(_NIFTI_HEADER).ljust(_NIFTI_HEADER)
        if header[:4] != _NIFTI_HEADER.to_bytes(4, "little"):
            return
        dimensions, bits = np.frombuffer(header, "<i2", 8, 40), np.frombuffer(header, "<i2", 1, 72)
        count = math.prod(int(n) for n in dimensions[1 : dimensions[0] + 1])
        if 8 * path.stat().st_size < count * int(bits[0]):
            raise EOFError(path)


def _unreadable(path: Path, again: Callable[[], str]) -> ResultError:
    text = _("{path}: cannot be read; the file is truncated or damaged. {again}")
    return ResultError(text.format(path=path, again=again()))
