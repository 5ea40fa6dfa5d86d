"""Simulation of training sets to disk: bounded memory, resumable, in several processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from monai_inn.problems.base import BLOCK, InverseProblem
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
) -> Simulations:
    """Draw parameters, simulate their noise-free observations and stream both to a Zarr group.

    A killed run continues where it stopped when it is started again; chunks that were damaged since are made
    anew. Row ``i`` is the same number for any
    chunk size and any number of workers. Scripts that ask for several workers need the usual
    ``if __name__ == "__main__"`` guard, since workers are started afresh (spawned).

    Args:
        problem: what to simulate; must be picklable if ``workers > 1``.
        n: number of rows.
        path: folder of the group: arrays ``theta`` and ``y``; attributes say what was simulated.
        seed: seed of the prior draws.
        workers: processes; each writes its own chunks and uses its share of the cores.
        chunk: rows of a chunk, a multiple of 1024; memory is proportional to it. An interrupted run keeps its
            own.
        progress: called with the number of finished rows and ``n`` after each chunk.

    Returns:
        The training set.

    Raises:
        ValueError: if a number is out of range, or the folder holds something else, damaged metadata, or a
            run of another problem, seed or ``n``.
        RuntimeError: if a worker fails; what is finished is kept, and a further call continues.
    """
    if n < 1 or workers < 1:
        raise ValueError(f"n = {n} and workers = {workers} must both be positive.")
    if chunk < 1 or chunk % BLOCK:
        raise ValueError(
            f"chunk = {chunk} must be a positive multiple of {BLOCK}, the rows that share a random stream."
        )
    folder = Path(path)
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
    finished = _run(problem, folder, n, seed, rows, todo, workers)
    for index in finished:
        done.add(index)
        simulation_store.record_completed(folder, done)
        if progress is not None:
            progress(sum(min(rows, n - i * rows) for i in done), n)
    return open_simulations(folder)


def _write_chunk(problem: InverseProblem, group: Any, n: int, seed: int, rows: int, index: int) -> None:
    """Simulate and store one chunk."""
    first = index * rows
    last = min(n, first + rows)
    theta, y = problem.simulate_clean(last - first, seed, first_block=first // BLOCK)
    group["theta"][first:last] = theta.numpy()
    group["y"][first:last] = y.numpy()


def _run(
    problem: InverseProblem, folder: Path, n: int, seed: int, rows: int, todo: list[int], workers: int
) -> Iterator[int]:
    """Yield the index of each chunk once it is on disk."""
    import zarr

    workers = min(workers, len(todo))
    if workers <= 1:
        group = zarr.open_group(str(folder), mode="r+")
        for index in todo:
            _write_chunk(problem, group, n, seed, rows, index)
            yield index
        return
    context = multiprocessing.get_context("spawn")
    processes = {}
    for k in range(workers):
        receiver, sender = context.Pipe(duplex=False)
        arguments = (sender, problem, folder, n, seed, rows, todo[k::workers], workers)
        process = context.Process(target=_worker, args=arguments, daemon=True)
        process.start()
        # Only the worker holds this end now, so its death shows as end of file.
        sender.close()
        processes[receiver] = process
    try:
        remaining = len(todo)
        while remaining:
            for connection in [c for c in processes if c in wait(list(processes))]:
                message = _receive(connection)
                if isinstance(message, int):
                    remaining -= 1
                    yield message
                elif isinstance(message, str):
                    raise RuntimeError(f"a simulation worker failed; finished chunks are kept.\n{message}")
                else:
                    process = processes.pop(connection)
                    process.join()
                    if process.exitcode:
                        raise RuntimeError(
                            f"a simulation worker died (exit code {process.exitcode}), maybe for lack of "
                            "memory. Run again with fewer workers or a smaller chunk; it continues."
                        )
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _receive(connection: Connection) -> int | str | None:
    """Finished chunk, traceback of a failure, or ``None`` once the worker has closed its end."""
    try:
        return connection.recv()  # type: ignore[no-any-return]
    except EOFError:
        return None


def _worker(
    sender: Connection,
    problem: InverseProblem,
    folder: Path,
    n: int,
    seed: int,
    rows: int,
    todo: list[int],
    workers: int,
) -> None:
    """Simulate some chunks in a process of its own; ends by itself when nobody listens any more."""
    import zarr

    from monai_inn.physics.layers_kernel import num_threads

    threads = max(1, num_threads() // workers)
    os.environ["MONAI_INN_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    with contextlib.suppress(BrokenPipeError):
        try:
            group = zarr.open_group(str(folder), mode="r+")
            for index in todo:
                _write_chunk(problem, group, n, seed, rows, index)
                sender.send(index)
        except BrokenPipeError:
            raise
        except Exception:  # the parent raises it again with the worker's traceback
            sender.send(traceback.format_exc())
