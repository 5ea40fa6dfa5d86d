"""The cluster that work is spread over: processes of this machine, or workers of a dask scheduler."""

from __future__ import annotations

import itertools
import logging
import queue
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from monai_inn.files import one_line

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connected", "spread"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_RETRIES = 2  # of a task whose disk or network failed
_LEAST_AHEAD, _AHEAD = 64, 2  # tasks that wait at the scheduler: at least, and for each thread of a worker
_TURN = 5.0  # seconds after which workers are counted


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
            'many files at a time need dask.distributed; install it with pip install "monai_inn[cluster]".'
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
        dashboard_address="127.0.0.1:0",
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
    possible; other errors would come again. An item whose workers were killed again and again may have waited
    behind the guilty one: such items are tried once more at the end, one at a time. Items that are under way
    when the generator is closed are cancelled.

    Raises:
        ConnectionError: if the scheduler is lost.
    """
    from distributed import KilledWorker, TimeoutError

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # once, as intended
        # A task rather than data that are scattered: it runs again when the worker that has it is killed.
        shared = client.submit(_itself, function, pure=False)
    waiting, finished = iter(items), queue.SimpleQueue[Any]()
    under_way: dict[Any, Item] = {}
    suspects: list[Item] = []
    is_alone, due = False, 0.0
    try:
        while True:
            if time.monotonic() > due:
                ahead, due = _ahead(client), time.monotonic() + _TURN
            batch = list(itertools.islice(waiting, max(0, ahead - len(under_way))))
            if not batch and not under_way:
                batch, suspects, is_alone = suspects[:1], suspects[1:], True
            if not batch and not under_way:
                return
            for item in batch:
                future = client.submit(_call, shared, item, pure=False, retries=_RETRIES)
                under_way[future] = item
                future.add_done_callback(finished.put)
            try:
                future = finished.get(timeout=_TURN)
                answer = _answer(future)
            except queue.Empty:
                continue
            except TimeoutError:  # the worker that had it died; dask has it done again
                finished.put(future)
                continue
            item = under_way.pop(future)
            if isinstance(answer, KilledWorker) and not is_alone:
                suspects.append(item)
                continue
            yield item, _in_words(answer)
    finally:
        client.cancel([*under_way, shared])


def _ahead(client: Client) -> int:
    """How many tasks may be under way; workers of this machine that are gone are replaced first.

    Dask itself gives up a worker that is killed while it starts; without any, nothing would ever finish.
    """
    if client.cluster is not None:
        client.cluster.scale(len(client.cluster.worker_spec))
    return max(_LEAST_AHEAD, _AHEAD * sum(client.nthreads().values()))


def _itself(function: Callable[[Item], Result]) -> Callable[[Item], Result]:
    return function


def _call(function: Callable[[Item], Result], item: Item) -> Result | RuntimeError:
    """Run one task in a worker; only an error that may pass is raised, for then dask tries again."""
    try:
        return function(item)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        return RuntimeError(one_line(error))  # not all types of errors can be sent


def _answer(future: Any) -> Any:
    """What a task that has finished returned, or its error; it times out if that was lost with its worker."""
    if future.status == "cancelled":
        raise ConnectionError("the dask scheduler was lost; start it and run the same command again.")
    return future.exception(timeout=_TURN) or future.result(timeout=_TURN)


def _in_words(answer: Any) -> Any:
    """The answer of a task; of one that was given up, an error for people."""
    from distributed import KilledWorker

    if not isinstance(answer, KilledWorker):
        return answer
    return RuntimeError(
        "kills its workers, even if it runs alone; maybe they lack memory: try fewer workers, or workers "
        "with more of it"
    )
