"""The cluster that work is spread over: processes of this machine, or workers of a dask scheduler."""

from __future__ import annotations

import itertools
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from monai_inn.files import one_line

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connected", "spread"]

Item, Result = TypeVar("Item"), TypeVar("Result")

_RETRIES = 2  # of a task whose disk or network failed
_LEAST_AHEAD, _AHEAD = 64, 2  # tasks that wait at the scheduler: at least, and for each thread of a worker
_RECOUNTED = 5.0  # seconds after which workers that joined are counted


@contextmanager
def connected(scheduler: str | None, workers: int | None, tasks: int) -> Iterator[Client]:
    """Give a client of a scheduler, or of a cluster on this machine that lives as long as the block.

    Args:
        scheduler: its address; none for this machine.
        workers: processes on this machine, each with one thread; one per core by default.
        tasks: how many there are, which is the largest number of processes that is of use.

    Raises:
        ImportError: if dask is not installed.
        ConnectionError: if no scheduler answers there.
    """
    try:
        from dask.system import CPU_COUNT
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(
            "many files at a time need dask.distributed; install it with pip install \"monai_inn[cluster]\"."
        ) from error
    if scheduler is not None:
        try:
            client = Client(scheduler, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"--scheduler {scheduler}: no dask scheduler answers there ({one_line(error)}); start one by "
                "`dask scheduler`, or leave out --scheduler to use this machine."
            ) from error
        with client:
            yield client
        return
    # Encrypted: any user of this machine could send code to workers that trust whoever connects.
    local = LocalCluster(
        n_workers=min(workers or CPU_COUNT, tasks),
        threads_per_worker=1,
        dashboard_address=None,
        security=True,
        silence_logs=logging.CRITICAL,
    )
    with local, Client(local, set_as_default=False) as client:
        yield client


def spread(
    client: Client, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result | BaseException]]:
    """Yield each item with what the function returns for it on a worker, or its error, as they finish.

    The function is sent once, and few items are under way at a time, so that a million of them fit into the
    memory of client and scheduler. What an ``OSError`` or a killed worker ended is tried again, elsewhere if
    possible. Items that are under way when the generator is closed are cancelled.

    Raises:
        ConnectionError: if the scheduler is lost.
    """
    from distributed import as_completed

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # once, as intended
        # A task rather than data that are scattered: it runs again when the worker that has it is killed.
        shared = client.submit(_itself, function, pure=False)
    waiting, finished, under_way = iter(items), as_completed(), {}
    ahead, counted = _ahead(client), time.monotonic()
    try:
        while True:
            for item in itertools.islice(waiting, ahead - len(under_way)):
                future = client.submit(_call, shared, item, pure=False, retries=_RETRIES)
                under_way[future] = item
                finished.add(future)
            if not under_way:
                return
            future = next(finished)
            item = under_way.pop(future)
            if future.status in ("cancelled", "lost"):
                raise ConnectionError("the dask scheduler was lost; start it and run the same command again.")
            yield item, future.result() if future.status == "finished" else _reason(future.exception())
            if time.monotonic() - counted > _RECOUNTED:
                ahead, counted = _ahead(client), time.monotonic()
    finally:
        client.cancel([*under_way, shared])


def _ahead(client: Client) -> int:
    return max(_LEAST_AHEAD, _AHEAD * sum(client.nthreads().values()))


def _itself(function: Callable[[Item], Result]) -> Callable[[Item], Result]:
    return function


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    """Run one task in a worker."""
    return function(item)


def _reason(error: BaseException) -> BaseException:
    """The error of a task in words for people."""
    from distributed import KilledWorker

    if not isinstance(error, KilledWorker):
        return error
    return RuntimeError(
        f"killed {error.allowed_failures + 1} workers, maybe for lack of memory; try fewer workers, or workers "
        "with more memory"
    )
