"""Damaged files by seed, and what a reader may do with them.

A mutation is a function of the seed alone, so that a finding can be repeated: ``mutate(content, seed)``.
"""

from __future__ import annotations

import random
import re
import resource
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

# What readers may raise: the fault of the file, of the system, of a missing library.
ALLOWED = (ValueError, OSError, ImportError)
_INTEGERS = (0, 1, -1, 2**7, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_FLOATS = (0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e38, -1e-38)
_WORDS = (
    b"0", b"-1", b"999999999", b"99999999999999999999", b"nan", b"inf", b"1e308", b"", b"/etc/passwd",
    b"../x", b"null", b"[]", b"{}", b"[[1]]", b"\xff\xfe", b"%s%n", b"LIST", b"\0",
)  # fmt: skip


def mutate(content: bytes, seed: int) -> tuple[bytes, str]:
    """Return damaged content and what was done to it."""
    generator = random.Random(seed)
    data, done = bytearray(content), []
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        kind = generator.choice(_MUTATIONS)
        data, place = kind(data, generator)
        done.append(f"{kind.__name__} at {place}")
    return bytes(data), ", ".join(done)


def _place(data: bytearray, generator: random.Random) -> int:
    """A position; headers are at the start, or at the end as in ZIP and TIFF."""
    if not data:
        return 0
    near = min(len(data), 400)
    return generator.choice(
        (generator.randrange(len(data)), generator.randrange(near), len(data) - 1 - generator.randrange(near))
    )


def cut(data: bytearray, generator: random.Random) -> tuple[bytearray, int]:
    at = _place(data, generator)
    return data[:at], at


def flip(data: bytearray, generator: random.Random) -> tuple[bytearray, int]:
    at = _place(data, generator)
    if data:
        data[at] ^= 1 << generator.randrange(8)
    return data, at


def drop(data: bytearray, generator: random.Random) -> tuple[bytearray, int]:
    at = _place(data, generator)
    return data[:at] + data[at + generator.choice((1, 2, 4, 16, 100)) :], at


def double(data: bytearray, generator: random.Random) -> tuple[bytearray, int]:
    at = _place(data, generator)
    end = at + generator.choice((1, 4, 16, 200))
    return data[:end] + data[at:], at


def number(data: bytearray, generator: random.Random) -> tuple[bytearray, int]:
    """A number that no file should hold, at a multiple of its size."""
    order, is_float = generator.choice("<>"), generator.random() < 0.3
    if is_float:
        layout, value = generator.choice("fd"), generator.choice(_FLOATS)
    else:
        layout = generator.choice("HIQ")
        value = generator.choice(_INTEGERS) % 2 ** (8 * struct.calcsize(layout))
    packed = struct.pack(order + layout, value)
    at = _place(data, generator) // len(packed) * len(packed)
    data[at : at + len(packed)] = packed
    return data, at


def word(data: bytearray, generator: random.Random) -> tuple[bytearray, int]:
    """A word of a text header in place of a number or a name."""
    found = list(re.finditer(rb"[-+.\w]+", bytes(data[:4000])))
    if not found:
        return data, 0
    chosen = generator.choice(found)
    data[chosen.start() : chosen.end()] = generator.choice(_WORDS)
    return data, chosen.start()


def fill(data: bytearray, generator: random.Random) -> tuple[bytearray, int]:
    at, count = _place(data, generator), generator.choice((2, 8, 64, 1000))
    end = min(len(data), at + count)
    data[at:end] = bytes([generator.choice((0, 255, 32, 10))]) * (end - at)
    return data, at


_MUTATIONS = (cut, flip, flip, flip, drop, double, number, number, word, word, fill)


def attack(read: Callable[[Path], Any], path: Path, folder: Path) -> Any:
    """Read a file of a folder; return what was read, or None after a refusal.

    Raises:
        AssertionError: after another kind of error, or a message that is not one line with the file in it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read(path)
        except ALLOWED as error:
            message, cause = str(error), error
            while cause is not None:
                is_memory = isinstance(cause, MemoryError) or "alloc" in str(cause)
                assert not is_memory, f"memory was asked for: {cause}"
                cause = cause.__cause__
            assert "\n" not in message.strip(), f"several lines: {message!r}"
            assert folder.name in message, f"the file is not named: {message!r}"
            return None
        except (MemoryError, RecursionError, Exception) as error:
            raise AssertionError(f"{type(error).__name__}: {error}") from error


def numbers_of(found: Any) -> np.ndarray:
    """The numbers of an image, X-ray or volume, for a comparison."""
    values = found if isinstance(found, torch.Tensor) else found.values
    return np.asarray(values, np.float64)


def same_numbers(first: Any, second: Any) -> bool:
    """Whether two images hold the same numbers."""
    return np.array_equal(numbers_of(first), numbers_of(second), equal_nan=True)


@contextmanager
def little_memory(more: int) -> Iterator[None]:
    """Let this process have so many bytes more than it has, and no more."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
