"""Random numbers under a seed for code that draws from torch's global generators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["seeded", "seeded_everywhere", "stream"]


def stream(*words: int | str) -> torch.Generator:
    """Return a random stream, independent of those of other words and of what the seed gives elsewhere.

    Samples are often drawn after ``torch.manual_seed(0)``; a generator of seed 0 would repeat their numbers.

    Args:
        *words: the seed, what tells this stream from others of its kind, and what is drawn.
    """
    parts = [part for word in words for part in (word.encode() if isinstance(word, str) else (word,))]
    entropy = np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(entropy) % 2**63)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's global generators under a seed, and leave them as they were.

    ``torch.distributions`` and some linear algebra take no generator. Seeding the global one would repeat the
    random numbers of whoever calls us.

    Args:
        seed: seed of the CPU's generator, and of those of CUDA devices if CUDA is in use.
    """
    uses_cuda = torch.cuda.is_initialized()  # asking for the state of a device would start CUDA
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if uses_cuda else ()):
        if uses_cuda:
            torch.cuda.manual_seed_all(seed)
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def seeded_everywhere(seed: int) -> Iterator[None]:
    """As ``seeded``, for code of others that may draw from NumPy's or Python's global generators instead."""
    numbers, python = np.random.get_state(), random.getstate()
    with seeded(seed % 2**62):
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numbers)
            random.setstate(python)
