"""Simulation of training sets to disk: bounded memory, resumable, in several processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from monai_inn.cohorts.cluster import connected, spread
from monai_inn.files import one_line
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.drawing import BLOCK
from monai_inn.training import simulation_store
from monai_inn.training.simulation_store import Simulations, open_simulations

__all__ = ["Simulations", "open_simulations", "simulate_to_zarr"]


def simulate_to_zarr(
    problem: InverseProblem,
    n: int,
    path: str | PathLike[str],
    seed: int = 0,
    workers: int = 1,
    chunk: int = 8 * BLOCK,
    progress: Callable[[int, int], None] | None = None,
    scheduler: str | None = None,
) -> Simulations:
    """Draw parameters, simulate their noise-free observations and stream both to a Zarr group.

    A killed run continues where it stopped when it is started again; chunks that were damaged since are made
    anew. Row ``i`` is the same number for any
    chunk size and any number of workers. Scripts that ask for several workers need the usual
    ``if __name__ == "__main__"`` guard, since workers are started afresh (spawned).

    Args:
        problem: what to simulate; cloudpickle must be able to send it to workers.
        n: number of rows.
        path: folder of the group: arrays ``theta`` and ``y``; attributes say what was simulated.
        seed: seed of the prior draws.
        workers: processes; each writes its own chunks and uses its share of the cores.
        chunk: rows of a chunk, a multiple of 1024; memory is proportional to it. An interrupted run keeps its
            own.
        progress: called with the number of finished rows and ``n`` after each chunk.
        scheduler: address of a dask scheduler whose workers, which see ``path``, simulate.

    Returns:
        The training set.

    Raises:
        ValueError: if a number is out of range, the rows are more than the disk holds, or the folder holds
            something else, damaged metadata, or a run of another problem, seed or ``n``.
        RuntimeError: if a worker fails; what is finished is kept, and a further call continues.
        ConnectionError: if the scheduler does not answer, or is lost.
    """
    if n < 1 or workers < 1:
        raise ValueError(f"n = {n} and workers = {workers} must both be positive.")
    if scheduler is not None and workers > 1:
        raise ValueError(f"workers = {workers} are for this machine; those of a scheduler are its own.")
    if chunk < 1 or chunk % BLOCK:
        raise ValueError(
            f"chunk = {chunk} must be a positive multiple of {BLOCK}, the rows that share a random stream."
        )
    folder = Path(path)
    _check_space(problem, n, folder)
    description = simulation_store.describe(problem, n, seed)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        simulation_store.create(folder, problem, n, chunk, description)
    attributes = simulation_store.read_attributes(folder)
    differing = [key for key in description if key != "version" and attributes.get(key) != description[key]]
    if differing:
        raise ValueError(
            f"{folder} holds a run with another {' and '.join(differing)}"
            f"{simulation_store.difference(attributes, description, differing)}. Choose another path, or "
            "delete the folder."
        )
    rows = attributes["chunk"]
    recorded = simulation_store.completed(folder, -(-n // rows))
    done = simulation_store.intact(folder, simulation_store.open_arrays(folder, "r", attributes), recorded)
    todo = [i for i in range(-(-n // rows)) if i not in done]
    chunks = _Chunks(problem, folder.absolute(), n, seed, rows)
    finished = _run(chunks, todo, workers) if scheduler is None else _run_on(scheduler, chunks, todo)
    for index in finished:
        done.add(index)
        simulation_store.record_completed(folder, done)
        if progress is not None:
            progress(sum(min(rows, n - i * rows) for i in done), n)
    return open_simulations(folder)


def _check_space(problem: InverseProblem, n: int, folder: Path) -> None:
    """Refuse rows that the whole disk cannot hold: the list of their chunks alone could fill the memory."""
    needed = 4 * n * (len(problem.parameters) + len(problem.observation))
    place = next(parent for parent in folder.absolute().parents if parent.exists())
    total = shutil.disk_usage(place).total
    if needed > total:
        raise ValueError(
            f"{n:,} simulations of {problem.name} take {needed / 1e9:,.0f} GB, the disk of {folder} holds "
            f"{total / 1e9:,.0f} GB; ask for fewer."
        )


@dataclass(frozen=True)
class _Chunks:
    """The chunks of one run, each simulated and stored by a call; gives back its number."""

    problem: InverseProblem
    folder: Path
    n: int
    seed: int
    rows: int
    threads: int | None = None

    def __call__(self, index: int) -> int:
        import zarr

        if self.threads is not None:
            os.environ["MONAI_INN_THREADS"] = str(self.threads)
            torch.set_num_threads(self.threads)
        first = index * self.rows
        last = min(self.n, first + self.rows)
        theta, y = self.problem.simulate_clean(last - first, self.seed, first_block=first // BLOCK)
        group: Any = zarr.open_group(str(self.folder), mode="r+")
        group["theta"][first:last] = theta.numpy()
        group["y"][first:last] = y.numpy()
        return index


def _run(chunks: _Chunks, todo: list[int], workers: int) -> Iterator[int]:
    """Yield the index of each chunk once processes of this machine have put it on disk."""
    workers = min(workers, len(todo))
    if workers <= 1:
        yield from map(chunks, todo)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    task = delayed(replace(chunks, threads=max(1, (os.cpu_count() or 1) // workers)))
    parallel = Parallel(n_jobs=workers, return_as="generator_unordered")
    try:
        yield from parallel(task(index) for index in todo)
    except TerminatedWorkerError as error:
        raise RuntimeError(
            "a simulation worker died, maybe for lack of memory. Run again with fewer workers or a smaller "
            "chunk; it continues."
        ) from error
    except Exception as error:  # whatever the simulator raises
        raise _failed(error) from error


def _run_on(scheduler: str, chunks: _Chunks, todo: list[int]) -> Iterator[int]:
    """Yield the index of each chunk once workers of a dask scheduler have put it on disk."""
    if not todo:
        return
    with connected(scheduler, None, len(todo)) as client:
        for index, answer in spread(client, replace(chunks, threads=1), todo):
            if isinstance(answer, BaseException):
                raise _failed(answer) from answer
            yield index


def _failed(error: BaseException) -> RuntimeError:
    return RuntimeError(
        f"a simulation worker failed ({one_line(error)}); finished chunks are kept, and a further run "
        "continues."
    )
