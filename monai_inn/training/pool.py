"""The stream of training batches: a pool of noise-free simulations that gets fresh noise at every step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from monai_inn.problems import InverseProblem
from monai_inn.problems.drawing import BLOCK
from monai_inn.seeding import stream

__all__ = ["FIRST_BATCH", "Batch", "SimulationPool", "prefetched"]

FIRST_BATCH = 2**31 - 1
"""A step that no training reaches: that of what is drawn before it."""

_TIMES = 4  # that a simulation is drawn with fresh noise, more of which hardly tells more

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """One training batch; what networks see of it is computed when it is asked for, and put on the device.

    Args:
        problem: the inverse problem.
        parameters: in the flow's space, shape ``(N, D)``.
        noisy: observations, shape ``(N, C)``.
        clean: the same without noise, shape ``(N, C)``.
        device: where what is seen is put.
    """

    problem: InverseProblem
    parameters: Tensor
    noisy: Tensor
    clean: Tensor
    device: torch.device

    @cached_property
    def latent(self) -> Tensor:
        """Parameters in the flow's space, shape ``(N, D)``."""
        return self.parameters.to(self.device, torch.float32)

    @cached_property
    def features(self) -> Tensor:
        """Features of the noisy observations, shape ``(N, F)``."""
        return self.problem.features(self.noisy).to(self.device, torch.float32)

    @cached_property
    def density_features(self) -> Tensor:
        """What the density of the observations is over, shape ``(N, K)``."""
        return self.problem.density_features(self.noisy).to(self.device, torch.float32)

    @cached_property
    def explained(self) -> tuple[Tensor, Tensor]:
        """Features that parameters are to explain, of noisy and of clean observations, ``(N, E)`` each."""
        seen = (self.problem.explained_features(y) for y in (self.noisy, self.clean))
        noisy, clean = (features.to(self.device, torch.float32) for features in seen)
        return noisy, clean


class SimulationPool:
    """Noise-free simulations in memory; a batch is a function of the seed, its purpose and its step alone.

    That is what makes a resumed run equal to an uninterrupted one, without any state to save.

    Args:
        problem: the inverse problem.
        theta: parameters in physical units, shape ``(n, D)``.
        clean: noise-free observations, shape ``(n, C)``.
        device: where batches are put.
    """

    def __init__(self, problem: InverseProblem, theta: Tensor, clean: Tensor, device: torch.device) -> None:
        self.problem, self.device = problem, device
        is_whole = problem.observation.is_usable(clean)
        failed = int((~is_whole).sum())
        if failed == len(clean):
            raise ValueError(
                f"all {failed:,} simulations hold NaN; check the simulator and the prior's range."
            )
        if failed:
            warnings.warn(
                f"{failed:,} of {len(clean):,} simulations hold NaN and were left out.", stacklevel=2
            )
            theta, clean = theta[is_whole], clean[is_whole]
        self.latent, self.clean = problem.space.to_latent(theta), clean.to(problem.storage_dtype)

    @classmethod
    def simulate(
        cls,
        problem: InverseProblem,
        n: int,
        seed: int,
        device: torch.device,
        progress: Callable[[float], None] = lambda share: None,
    ) -> SimulationPool:
        """Simulate ``n`` pairs, rounded up to whole blocks, reporting the share done."""
        # A slow problem makes few simulations, and they are reported more often.
        step, parts = 8 * BLOCK if n >= 16 * BLOCK else BLOCK, []
        for start in range(0, n, step):
            theta, clean = problem.simulate_clean(min(step, n - start), seed, first_block=start // BLOCK)
            parts.append((theta, clean.to(problem.storage_dtype)))
            progress(min(1.0, (start + step) / n))
        theta, clean = (torch.cat(column) for column in zip(*parts, strict=True))
        return cls(problem, theta, clean, device)

    def __len__(self) -> int:
        return len(self.latent)

    @property
    def draws(self) -> int:
        """How many rows are worth drawing."""
        return _TIMES * len(self)

    def beyond(self, number: int, seed: int) -> Batch:
        """Return simulations that the pool does not hold, with noise: some that would follow its own."""
        block = -(-len(self) // BLOCK) + number
        more = SimulationPool(
            self.problem, *self.problem.simulate_clean(BLOCK, seed, first_block=block), self.device
        )
        return more.noisy(torch.arange(len(more)), stream(seed, block, "beyond the pool"))

    def batch(
        self, size: int, seed: int, purpose: str, step: int, rows: range | Tensor | None = None
    ) -> Batch:
        """Return the batch of one step: random rows of the pool (or of some of its rows) with fresh noise."""
        generator = stream(seed, step, purpose)
        rows = range(len(self)) if rows is None else rows
        index = torch.randint(len(rows), (size,), generator=generator)
        return self.noisy(index + rows.start if isinstance(rows, range) else rows[index], generator)

    def noisy(self, index: Tensor, generator: torch.Generator) -> Batch:
        """Return the simulations of rows ``(N,)`` with fresh noise."""
        clean = self.clean[index].float()
        y = self.problem.noise(clean, generator)
        valid = self.problem.is_valid(y)
        if not valid.all():  # too dark to be used; a neighbour takes the place, so that the size stays
            keep = torch.nonzero(valid).squeeze(1)
            chosen = keep[torch.arange(len(index)) % max(len(keep), 1)]
            index, y, clean = index[chosen], y[chosen], clean[chosen]
        return Batch(self.problem, self.latent[index], y, clean, self.device)


def prefetched(make: Callable[[int], T]) -> Callable[[int, int], Iterator[T]]:
    """Return ``batches(first, last)``: batches made in the background while the one before is used."""

    def batches(first: int, last: int) -> Iterator[T]:
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as ahead:
            pending = ahead.submit(make, first)
            for step in range(first, last):
                batch = pending.result()
                pending = ahead.submit(make, step + 1)
                yield batch

    return batches
