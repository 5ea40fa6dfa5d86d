"""Several processes that train one network: each takes its share of every batch, gradients are averaged.

``torchrun`` starts them. Gradients are averaged before the optimiser sees them, so that it takes the same
step in every process and no state of it needs to be exchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

__all__ = ["Ranks", "together"]

T = TypeVar("T")


class Ranks:
    """The processes of a training as one of them sees them; a single one if there is no process group."""

    def __init__(self) -> None:
        is_one_of_many = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if is_one_of_many else 0
        self.count = distributed.get_world_size() if is_one_of_many else 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, batch: Any, axis: int) -> tuple[Any, float]:
        """Return the rows of a batch that this process works on, and their part of all.

        Args:
            batch: a tensor or several, each with the same number of rows.
            axis: where the rows are.
        """
        if self.count == 1:
            return batch, 1.0
        if isinstance(batch, Tensor):
            own = batch.tensor_split(self.count, axis)[self.rank]
            return own, own.shape[axis] / batch.shape[axis]
        shares = [self.share(one, axis) for one in batch]
        return tuple(own for own, _ in shares), shares[0][1]

    def add(self, parameters: Sequence[nn.Parameter], seconds: float, is_stopped: bool) -> tuple[float, bool]:
        """Add up the gradients of all processes, in place; all of them go on from the same time.

        Args:
            parameters: what has the gradients, each of this process's part of the mean loss.
            seconds: what the clock of this process shows.
            is_stopped: whether it was told to stop.

        Returns:
            What the clock of the first process shows, and whether any process was told to stop.
        """
        if self.count == 1:
            return seconds, is_stopped
        gradients = [p.grad for p in parameters if p.grad is not None]
        about = gradients[0].new_tensor([seconds if self.is_first else 0.0, float(is_stopped)])
        flat = torch.cat([*(g.reshape(-1) for g in gradients), about]).cpu()
        distributed.all_reduce(flat)
        *sums, about = flat.split([*(g.numel() for g in gradients), 2])
        for gradient, total in zip(gradients, sums, strict=True):
            gradient.copy_(total.view_as(gradient))
        return float(about[0]), bool(about[1])

    def agreed(self, value: T) -> T:
        """Return what the first process has."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


@contextmanager
def together() -> Iterator[Ranks]:
    """Join the other processes that ``torchrun`` has started, until the block ends; alone there are none."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or distributed.is_initialized():
        yield Ranks()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("gloo")
    try:
        yield Ranks()
    finally:
        distributed.destroy_process_group()
