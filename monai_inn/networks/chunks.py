"""Walking through many rows in pieces that stay in the processor's cache."""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["is_mkl_fast", "is_recorded", "is_traced", "map_chunks", "on_all_threads", "rows_per_chunk"]

T = TypeVar("T")
R = TypeVar("R")

_DEFAULT_L2 = 1 << 20
# An activation in shares of the L2 cache. Products are blocked, so that some excess costs nothing: measured,
# throughput rises up to about 2 and falls again above.
_L2_SHARE = 1.6
_GPU_BYTES = 256 << 20

ChunkFunction = Callable[[Tensor, Tensor | None], Tensor]


@functools.cache
def is_mkl_fast() -> bool:
    """Whether MKL is as fast as oneDNN: on Intel processors; on those of AMD it runs at half the speed."""
    if not torch.backends.mkl.is_available():
        return False
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return "Intel" in platform.processor()


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
    """Rows whose widest activation fits: one member's about a core's L2 cache, all into 256 MB of a GPU."""
    if device.type == "cpu":
        return max(32, int(_L2_SHARE * l2_bytes() / (channels * item_bytes)))
    return max(32, _GPU_BYTES // (channels * members * item_bytes))


def is_recorded() -> bool:
    """Whether torch is recording the operations for export, which can follow neither threads nor chunks."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def is_traced() -> bool:
    """Whether torch follows the operations to export or compile them, which it cannot in kernels by hand."""
    return torch.compiler.is_compiling() or is_recorded()


def map_chunks(
    function: ChunkFunction, rows: Tensor, condition: Tensor | None, shape: tuple[int, ...], limit: int
) -> Tensor:
    """Apply a function to pieces of ``rows`` and put the results together, without gradients.

    On a CPU every thread takes whole pieces of its own: that keeps a piece in one core's cache and costs no
    synchronisation inside the layers. The result does not depend on the number of threads.

    Args:
        function: maps ``(s, n, K)`` and the condition ``(n, F)`` to ``(s, n, …)``.
        rows: shape ``(S, N, K)``.
        condition: shape ``(N, F)``, or ``None``.
        shape: ``…``, the shape of what the function gives for one row.
        limit: most rows ``s × n`` in a piece.

    Returns:
        Shape ``(S, N, …)``.
    """
    pieces = list(_pieces(rows.shape[0], rows.shape[1], limit))

    def run(piece: tuple[slice, slice]) -> Tensor:
        samples, pixels = piece
        with torch.no_grad():
            return function(rows[samples, pixels], None if condition is None else condition[pixels])

    if len(pieces) == 1:
        return run(pieces[0])
    out = rows.new_empty(*rows.shape[:2], *shape)

    def store(piece: tuple[slice, slice]) -> None:
        out[piece] = run(piece)

    for _ in on_all_threads(store, pieces, rows.device):
        pass
    return out


def on_all_threads(function: Callable[[T], R], tasks: Sequence[T], device: torch.device) -> Iterator[R]:
    """Yield ``function(task)`` in the order of the tasks, each task on one thread of its own.

    Inside a task torch runs single-threaded, so nested walks do not start threads again. On a GPU, or where
    torch has one thread, the tasks run one after the other.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(tasks) == 1:
        yield from map(function, tasks)
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(function, tasks)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the workers' setting becomes the default of later threads


def _pieces(samples: int, pixels: int, limit: int) -> Iterator[tuple[slice, slice]]:
    per_piece = max(1, limit // max(samples, 1))
    step = min(samples, limit)
    for start in range(0, pixels, per_piece):
        for first in range(0, samples, step):
            yield slice(first, first + step), slice(start, start + per_piece)
