"""Working through rows in threads, so that each gives the same number in whatever company it is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from monai_inn.physics.transport.layers_kernel import num_threads

__all__ = ["by_rows"]


def by_rows(work: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> Tensor:
    """Return ``work`` of rows ``(n, …)``, ``size`` of them at a time.

    Torch rounds differently with the shape of a batch and the place in it. The last chunk is filled up, so
    that all are of one size; where ``size`` divides the block that a simulation draws, every row is then the
    same number however many are asked for.
    """

    def padded(chunk: Tensor) -> Tensor:
        return work(chunk[torch.arange(size).clamp_max(len(chunk) - 1)])[: len(chunk)]

    chunks = rows.split(size)
    with ThreadPoolExecutor(max(1, min(num_threads(), len(chunks)))) as pool:
        return torch.cat(list(pool.map(padded, chunks)))
