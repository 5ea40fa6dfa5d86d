"""Training sets on disk: a Zarr group that knows what it holds and what is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from monai_inn import __version__
from monai_inn.drafts import replacing
from monai_inn.files import one_line, read_json
from monai_inn.folders import new_folder
from monai_inn.problems.base import InverseProblem

__all__ = ["Simulations", "open_simulations", "what_differs"]

_RECORD = "completed.json"
_ARRAYS = ("theta", "y")
# Parts of a problem's identity; where one differs, those behind it may differ for that reason.
_PARTS = {
    "config": "other arguments",
    "tensors": "other data (a CT, an image, finished simulations)",
    "prior": "another prior",
    "simulator": "another simulator",
    "values": "a simulator with another value of {}",
    "answers": "a simulator that answers otherwise",
}
_AGAIN = "run the same simulation again, which makes them anew"


@dataclass(frozen=True)
class Simulations:
    """A finished training set.

    Attributes:
        theta: Zarr array of parameters in physical units, shape ``(n, D)``, float32.
        y: Zarr array of noise-free observations, shape ``(n, C)``, float32; add noise when training.
        folder: where it lies.
        problem: what was simulated, see ``InverseProblem.identity``.
        seed: seed of the prior draws.
    """

    theta: Any
    y: Any
    folder: Path
    problem: dict[str, Any]
    seed: int

    def __len__(self) -> int:
        return int(self.theta.shape[0])

    def require_problem(self, problem: InverseProblem) -> None:
        """Raise a ``ValueError`` if these are simulations of another problem, or of other arguments of it."""
        found, wanted = self.problem, problem.identity
        if found == wanted:
            return
        detail = f" with {what_differs(found, wanted)}" if found["name"] == problem.name else ""
        raise ValueError(
            f"{self.folder}: holds simulations of the problem {found['name']!r}{detail}, expected those of "
            f"{problem!r}; simulate this problem, or fit that one."
        )

    def load(self) -> tuple[Tensor, Tensor]:
        """Return parameters ``(n, D)`` and observations ``(n, C)`` in memory.

        Raises:
            ValueError: if a chunk is damaged.
        """
        try:
            return torch.from_numpy(self.theta[:]), torch.from_numpy(self.y[:])
        except Exception as error:  # each codec raises types of its own
            raise ValueError(f"{self.theta.store}: damaged chunks ({one_line(error)}); {_AGAIN}.") from error


def open_simulations(path: str | PathLike[str]) -> Simulations:
    """Open a training set for reading; nothing is loaded until its arrays are indexed.

    Args:
        path: folder that ``simulate_to_zarr`` wrote.

    Returns:
        The training set.

    Raises:
        ValueError: if the folder holds no training set, or a damaged one.
        RuntimeError: if the simulation has not finished.
    """
    folder = Path(path)
    attributes = read_attributes(folder)
    total = -(-attributes["n"] // attributes["chunk"])
    recorded = completed(folder, total)
    if len(recorded) < total:
        raise RuntimeError(
            f"{folder} is not finished: {total - len(recorded)} of {total} chunks are missing. Run the same "
            "simulation again; it continues where it stopped."
        )
    lost = [i for i in sorted(recorded) if not _is_on_disk(folder, i)]
    if lost:
        raise ValueError(
            f"{folder}: {len(lost)} of {total} finished chunks are no longer there (the first is number "
            f"{lost[0]}); {_AGAIN}."
        )
    theta, y = open_arrays(folder, "r", attributes)
    return Simulations(theta, y, folder, attributes["problem"], attributes["seed"])


def what_differs(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return in words what differs first of two identities of problems, see ``InverseProblem.identity``."""
    if found["name"] != wanted["name"]:
        return f"{found['name']!r} there, {wanted['name']!r} asked for"
    keys = (*_PARTS, *sorted(found.keys() | wanted.keys()))
    first = next(key for key in keys if found.get(key) != wanted.get(key))
    there, asked = (set(each.get("values", {}).items()) for each in (found, wanted))
    place = min((place for place, _ in there ^ asked), default="")
    return _PARTS.get(first, f"other {first}").format(place)


def describe(problem: InverseProblem, n: int, seed: int) -> dict[str, Any]:
    """What identifies a run, as it reads after a round trip through JSON."""
    return {"problem": problem.identity, "seed": seed, "n": n, "version": __version__}


def difference(found: dict[str, Any], wanted: dict[str, Any], keys: list[str]) -> str:
    """Short values of what differs; a whole problem is too long for a message."""
    short = [f"{key} {found.get(key)} there, {wanted[key]} asked for" for key in keys if key != "problem"]
    if "problem" in keys:
        short.insert(0, f"problem: {what_differs(found['problem'], wanted['problem'])}")
    return f" ({'; '.join(short)})"


def create(folder: Path, problem: InverseProblem, n: int, chunk: int, description: dict[str, Any]) -> None:
    """Make an empty group in a folder; a half-made one has no attributes there."""
    import zarr

    is_old = zarr.__version__.startswith("2.")
    with new_folder(folder, ".zattrs" if is_old else "zarr.json", "a training set") as draft:
        group = zarr.open_group(str(draft), mode="w")
        # Zarr 3 renamed the method.
        create = getattr(group, "create_array", None) or group.create_dataset
        for name, columns in (("theta", len(problem.parameters)), ("y", len(problem.observation))):
            # What was never written reads as NaN, and a chunk of zeros is written like any other.
            shape, chunks = (n, columns), (min(chunk, n), columns)
            create(name, shape=shape, chunks=chunks, dtype="float32", fill_value=math.nan)
        group.attrs.update({**description, "chunk": chunk})


def read_attributes(folder: Path) -> dict[str, Any]:
    """Attributes of a group that this module wrote.

    Raises:
        ValueError: if it is none, or is damaged.
    """
    import zarr

    try:
        attributes = dict(zarr.open_group(str(folder), mode="r").attrs)
    except Exception as error:  # damaged metadata raise whatever they happen to hit
        raise ValueError(
            f"{folder} holds no training set ({one_line(error)}). Make one by `monai-inn simulate`."
        ) from error
    if not {"problem", "seed", "n", "chunk"} <= attributes.keys():
        raise ValueError(f"{folder} is a Zarr group, but no training set. Choose another path.")
    numbers: list[Any] = [attributes[key] for key in ("n", "chunk", "seed")]
    problem = attributes["problem"]
    is_whole = (
        all(type(number) is int for number in numbers)
        and min(numbers[:2]) > 0
        and isinstance(problem, dict)
        and isinstance(problem.get("name"), str)
        and isinstance(problem.get("config"), dict)
    )
    if not is_whole:
        raise ValueError(f"{folder}: its attributes are damaged; delete the folder and simulate again.")
    return attributes


def open_arrays(folder: Path, mode: Literal["r", "r+"], attributes: dict[str, Any]) -> tuple[Any, Any]:
    """Return the arrays of parameters and of observations.

    Raises:
        ValueError: if one is missing, or not of the shape that the attributes tell.
    """
    import zarr

    n, rows = attributes["n"], min(attributes["chunk"], attributes["n"])
    try:
        group = zarr.open_group(str(folder), mode=mode)
        arrays: list[Any] = [group[name] for name in _ARRAYS]
        shapes = [(*a.shape, *a.chunks, str(a.dtype)) for a in arrays]
        wrong = [shape for shape in shapes if shape != (n, shape[1], rows, shape[1], "float32")]
        if wrong:
            raise ValueError(f"shape, chunks and type {wrong[0]} do not belong to {n} rows")
    except Exception as error:  # damaged metadata raise whatever they happen to hit
        raise ValueError(
            f"{folder}: its arrays are damaged ({one_line(error)}); delete the folder and simulate again."
        ) from error
    return arrays[0], arrays[1]


def completed(folder: Path, total: int) -> set[int]:
    """Chunks that were written in full, of ``total``.

    Raises:
        ValueError: if the record of them is damaged.
    """
    record = folder / _RECORD
    if not record.exists():
        return set()
    try:
        done = read_json(record)
        if not isinstance(done, list) or not all(type(i) is int and 0 <= i < total for i in done):
            raise ValueError(f"not a list of numbers from 0 to {total - 1}")
    except ValueError as error:
        raise ValueError(
            f"{record} is damaged ({one_line(error)}); delete this file and run the same simulation again, "
            "which makes all chunks anew."
        ) from error
    return set(done)


def intact(folder: Path, arrays: tuple[Any, Any], recorded: Collection[int]) -> set[int]:
    """Those of the finished chunks that are still there and can be read; the files of others are removed."""
    rows, whole = arrays[0].chunks[0], set()
    for i in recorded:
        try:
            if _is_on_disk(folder, i):
                for array in arrays:
                    array[i * rows : (i + 1) * rows]
                whole.add(i)
        except Exception:  # each codec raises types of its own
            for file in _files(folder, i):  # a chunk at the edge is read before it is written
                file.unlink(missing_ok=True)
    return whole


def record_completed(folder: Path, done: set[int]) -> None:
    """Write down the finished chunks; a killed process leaves the old or the new record, never half."""
    with replacing(folder / _RECORD) as draft:
        draft.write_text(json.dumps(sorted(done)))


def _files(folder: Path, index: int) -> list[Path]:
    """The files of a chunk, of Zarr formats 3 and 2."""
    names = (f"c/{index}/0", f"{index}.0")
    return [folder / array / name for array in _ARRAYS for name in names if (folder / array / name).exists()]


def _is_on_disk(folder: Path, index: int) -> bool:
    return len(_files(folder, index)) == len(_ARRAYS)
