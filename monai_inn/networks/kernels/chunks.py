"""Walking through many rows in pieces that stay in the processor's cache."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import platform
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = [
    "full_precision",
    "is_mkl_fast",
    "is_recorded",
    "is_traced",
    "map_chunks",
    "on_all_threads",
    "rows_per_chunk",
    "rows_per_strip",
    "single_thread",
]

T = TypeVar("T")
R = TypeVar("R")

_DEFAULT_L2 = 1 << 20
# Shares of the L2 cache, and the most bytes that pay, all measured. What a strip reads and writes stays in
# the cache; oneDNN blocks its products itself. A chunk's values are few beside that and may be larger: what
# is done once a chunk costs less then.
_STRIP = {"MKL": (0.8, 5 << 18), "oneDNN": (1.6, 1 << 30)}
_CHUNK = (16.0, 16 << 20)
_LEAST_SHARE = 1 / 32  # of a chunk, below which it is not cut for the sake of more threads
_GPU_BYTES = 256 << 20

ChunkFunction = Callable[[Tensor, Tensor | None], Tensor]


@functools.cache
def is_mkl_fast() -> bool:
    """Whether MKL is as fast as oneDNN: on Intel processors, and on AMD's before Zen 5.

    On AMD's it keeps to vectors of 256 bits and runs at half the speed of oneDNN since their units take more.
    """
    if not torch.backends.mkl.is_available():
        return False
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "Intel" in platform.processor()
    family = re.search(r"cpu family\s*:\s*(\d+)", text)
    return "GenuineIntel" in text or ("AuthenticAMD" in text and family is not None and int(family[1]) < 26)


@functools.cache
def l2_bytes() -> int:
    """Size of one core's second-level cache; 1 MiB where the system does not tell."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text()
    except OSError:
        return _DEFAULT_L2
    match = re.fullmatch(r"(\d+)([KM])\s*", text)
    return int(match[1]) << (10 if match[2] == "K" else 20) if match else _DEFAULT_L2


def rows_per_chunk(channels: int, members: int, device: torch.device, item_bytes: int = 4) -> int:
    """Rows of a chunk by its widest activation: a CPU's L2 cache decides, on a GPU 256 MB for all members."""
    if device.type == "cpu":
        return _rows(_CHUNK, channels * item_bytes)
    return max(32, _GPU_BYTES // (channels * members * item_bytes))


def rows_per_strip(channels: int, item_bytes: int = 4) -> int:
    """Rows of a CPU's chunk that go through a subnet together: their input and output stay in the cache."""
    return _rows(_STRIP["MKL" if is_mkl_fast() else "oneDNN"], channels * item_bytes)


def _rows(size: tuple[float, int], row_bytes: int) -> int:
    """Rows of a size, in a share of the L2 cache and at most so many bytes."""
    share, most = size
    return max(32, int(min(share * l2_bytes(), most) / row_bytes))


def is_recorded() -> bool:
    """Whether torch is recording the operations for export, which can follow neither threads nor chunks."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def is_traced() -> bool:
    """Whether torch follows the operations to export or compile them, which it cannot in kernels by hand."""
    return torch.compiler.is_compiling() or is_recorded()


def full_precision(
    device: torch.device, trained: nn.Module | None = None
) -> contextlib.AbstractContextManager[Any]:
    """Context without autocast, which keeps 8 bits: a log density of 100 nats would be off by 0.2 nats.

    Args:
        device: where the work is done.
        trained: module that keeps autocast while gradients are recorded in its training mode, because mixed
            precision is meant for training.
    """
    if trained is not None and trained.training and torch.is_grad_enabled():
        return contextlib.nullcontext()
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


@contextlib.contextmanager
def single_thread(device: torch.device) -> Iterator[None]:
    """Work on one thread: small steps run several times slower when cores wait for one another."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def map_chunks(
    functions: Sequence[ChunkFunction],
    rows: Tensor,
    condition: Tensor | None,
    shape: tuple[int, ...],
    limit: int,
    least: int = 1,
) -> Tensor:
    """Apply each function to pieces of ``rows`` and put the results together, without gradients.

    On a CPU every thread takes whole pieces of its own: that keeps a piece in one core's cache and costs no
    synchronisation inside the layers.

    Args:
        functions: each maps ``(s, n, K)`` and the condition ``(n, F)`` to ``(s, n, *shape)``.
        rows: shape ``(S, N, K)``.
        condition: shape ``(N, F)``, or ``None``.
        shape: shape of what a function gives for one row.
        limit: most rows ``s × n`` in a piece, about.
        least: fewest rows of a piece that is cut for the sake of more threads.

    Returns:
        Shape ``(S, N, len(functions), *shape)``.
    """
    threads = torch.get_num_threads() if rows.device.type == "cpu" else 1
    pieces = _pieces(rows.shape[0], rows.shape[1], limit, -(-threads // len(functions)), least)
    tasks = list(itertools.product(range(len(functions)), pieces))
    out = rows.new_empty(*rows.shape[:2], len(functions), *shape)

    def run(task: tuple[int, tuple[slice, slice]]) -> None:
        number, (samples, pixels) = task
        with torch.no_grad():
            given = None if condition is None else condition[pixels]
            out[samples, pixels, number] = functions[number](rows[samples, pixels], given)

    for _ in on_all_threads(run, tasks, rows.device):
        pass
    return out


def on_all_threads(function: Callable[[T], R], tasks: Sequence[T], device: torch.device) -> Iterator[R]:
    """Yield ``function(task)`` in the order of the tasks, each task on one thread of its own.

    A task has the caller's gradient and inference mode, and never autocast. Inside a task torch runs
    single-threaded, so nested walks do not start threads again. On a GPU, or where torch has one thread, the
    tasks run one after the other.
    """
    run, threads = _in_modes_of_caller(function, device), torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(tasks) == 1:
        yield from map(run, tasks)
        return
    yield from _pool(threads, os.getpid()).map(run, tasks)


def _in_modes_of_caller(function: Callable[[T], R], device: torch.device) -> Callable[[T], R]:
    """The function for another thread, which does not inherit torch's modes."""
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def run(task: T) -> R:
        # Inference mode comes first, for it sets the gradient mode as well.
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(gradients),
            full_precision(device),
        ):
            return function(task)

    return run


@functools.lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Workers kept for the next call, since the first products of a new thread take milliseconds.

    Those of a parent process do not live on in a fork, hence one pool for each ``process``.
    """
    del process
    barrier = threading.Barrier(threads)

    def single_threaded() -> None:
        torch.get_num_threads()  # a thread's first use copies the setting of all, so it comes first
        torch.set_num_threads(1)
        barrier.wait()

    _protect_forks()
    pool = ThreadPoolExecutor(threads, "monai_inn", initializer=single_threaded)
    list(pool.map(str, range(threads)))  # starts all
    torch.set_num_threads(threads)  # what a worker sets becomes the default of later threads
    return pool


@functools.cache
def _protect_forks() -> None:
    """Give every fork one thread, as a data loader does: GNU OpenMP waits there for ever for its others."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


def _pieces(samples: int, pixels: int, limit: int, threads: int, least: int) -> Iterator[tuple[slice, slice]]:
    """Pieces of about equal size, whole pixels if they fit, a multiple of the threads if they are large."""
    total = samples * pixels
    count = threads * -(-total // (limit * threads))
    limit = max(int(_LEAST_SHARE * limit), min(least, limit), -(-total // max(count, 1)), 1)
    per_piece = max(1, -(-pixels // max(-(-total // limit), 1)))
    step = min(samples, limit)
    for start in range(0, pixels, per_piece):
        for first in range(0, samples, step):
            yield slice(first, first + step), slice(start, start + per_piece)
