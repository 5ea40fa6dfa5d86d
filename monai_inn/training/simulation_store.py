"""Training sets on disk: a Zarr group that knows what it holds and what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from monai_inn.problems.base import InverseProblem

__all__ = ["Simulations", "open_simulations"]

_RECORD = "completed.json"


@dataclass(frozen=True)
class Simulations:
    """A finished training set.

    Attributes:
        theta: Zarr array of parameters in physical units, shape ``(n, D)``, float32.
        y: Zarr array of noise-free observations, shape ``(n, C)``, float32; add noise when training.
        problem_name: name of the problem.
        problem_config: its constructor's arguments, JSON-ready.
        seed: seed of the prior draws.
    """

    theta: Any
    y: Any
    problem_name: str
    problem_config: dict[str, Any]
    seed: int

    def __len__(self) -> int:
        return int(self.theta.shape[0])


def open_simulations(path: str | PathLike[str]) -> Simulations:
    """Open a training set for reading; nothing is loaded until its arrays are indexed.

    Args:
        path: folder that ``simulate_to_zarr`` wrote.

    Returns:
        The training set.

    Raises:
        ValueError: if the folder holds no training set.
        RuntimeError: if the simulation has not finished.
    """
    import zarr

    folder = Path(path)
    attributes = read_attributes(folder)
    total = -(-int(attributes["n"]) // int(attributes["chunk"]))
    missing = total - len(completed(folder))
    if missing:
        raise RuntimeError(
            f"{folder} is not finished: {missing} of {total} chunks are missing. Run the same simulation "
            "again; it continues where it stopped."
        )
    group = zarr.open_group(str(folder), mode="r")
    problem = attributes["problem"]
    return Simulations(
        group["theta"], group["y"], problem["name"], problem["config"], int(attributes["seed"])
    )


def describe(problem: InverseProblem, n: int, seed: int) -> dict[str, Any]:
    """What identifies a run, as it reads after a round trip through JSON."""
    try:
        version = importlib.metadata.version("monai_inn")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    content = {
        "problem": {"name": problem.name, "config": problem.to_config()},
        "seed": seed,
        "n": n,
        "version": version,
    }
    return json.loads(json.dumps(content))  # type: ignore[no-any-return]


def difference(found: dict[str, Any], wanted: dict[str, Any], keys: list[str]) -> str:
    """Short values of what differs; a whole problem is too long for a message."""
    short = [f"{key} {found.get(key)} there, {wanted[key]} asked for" for key in keys if key != "problem"]
    if "problem" in keys:
        short.insert(
            0, f"problem {found['problem']['name']!r} there, {wanted['problem']['name']!r} asked for"
        )
    return f" ({'; '.join(short)})"


def create(folder: Path, problem: InverseProblem, n: int, chunk: int, description: dict[str, Any]) -> None:
    """Make an empty group under a temporary name, so that a half-made one never carries the real one."""
    import zarr

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        group = zarr.open_group(str(temporary), mode="w")
        # Zarr 3 renamed the method.
        create = getattr(group, "create_array", None) or group.create_dataset
        for name, columns in (("theta", len(problem.parameters)), ("y", len(problem.observation_names))):
            create(name, shape=(n, columns), chunks=(min(chunk, n), columns), dtype="float32")
        group.attrs.update({**description, "chunk": chunk})
        os.chmod(temporary, 0o755)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_attributes(folder: Path) -> dict[str, Any]:
    """Attributes of a group that this module wrote."""
    import zarr

    try:
        attributes = dict(zarr.open_group(str(folder), mode="r").attrs)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder} holds no training set ({error}). Make one by `monai-inn simulate`."
        ) from error
    if not {"problem", "seed", "n", "chunk"} <= attributes.keys():
        raise ValueError(f"{folder} is a Zarr group, but no training set. Choose another path.")
    return attributes


def completed(folder: Path) -> set[int]:
    """Chunks that are on disk in full."""
    record = folder / _RECORD
    return set(json.loads(record.read_text())) if record.exists() else set()


def record_completed(folder: Path, done: set[int]) -> None:
    """Write down the finished chunks; a killed process leaves the old or the new record, never half."""
    path = folder / _RECORD
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(sorted(done)))
    os.replace(temporary, path)
