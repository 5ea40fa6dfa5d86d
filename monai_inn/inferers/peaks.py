"""Histograms of many rows of samples, and the peaks of each, in one walk over either.

On a CPU the walks are compiled by numba, which keeps the machine code on disk. Torch takes hundreds of small
steps for them, and with each the threads hand on Python's lock.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from monai_inn.networks.kernels.chunks import is_traced

__all__ = ["count_peaks", "histogram"]

# A dip counts as a gap between two peaks when the density falls below this share of the lower one.
_DIP = 0.6
_LEAST = 1e-9  # of the range of samples


def histogram(ordered: Tensor, bins: int) -> Tensor:
    """Return how many of ordered samples ``(…, S)`` lie in each bin between the ends, ``(…, bins)``."""
    counts = ordered.new_zeros(*ordered.shape[:-1], bins)
    if _is_compiled(ordered):
        _fill(_rows(ordered), np.float32(bins), _rows(counts))
        return counts
    low, high = ordered[..., :1], ordered[..., -1:]
    index = ((ordered - low) / (high - low).clamp_min(_LEAST) * bins).long().clamp_(0, bins - 1)
    return counts.scatter_add_(-1, index, ordered.new_ones(()).expand_as(index))


def count_peaks(density: Tensor, floor: Tensor) -> Tensor:
    """Count the peaks of densities ``(…, bins)``, at least one, ``(…)``.

    A peak is settled once the density has dropped far enough. It must be higher than ``floor``, ``(…)``.
    """
    count = torch.zeros_like(floor)
    if _is_compiled(density):
        _walk(_rows(density), floor.contiguous().view(-1).numpy(), count.view(-1).numpy())
        return count.clamp_min_(1)
    columns = F.pad(density, (0, 1)).movedim(-1, 0)  # a last bin of zero settles the last peak
    extreme = torch.zeros_like(floor)  # the highest value since the density rises, the lowest since it falls
    rising = torch.ones_like(floor, dtype=torch.bool)
    for value in columns.unbind():
        extreme = torch.where(rising, torch.maximum(extreme, value), torch.minimum(extreme, value))
        falls = (value < _DIP * extreme) & (extreme > floor)
        turns = torch.where(rising, falls, (value > floor) & (extreme < _DIP * value))
        count += turns & rising
        extreme = torch.where(turns, value, extreme)
        rising = rising ^ turns
    return count.clamp_min(1)


def _is_compiled(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype == torch.float32 and not is_traced()


def _rows(values: Tensor) -> np.ndarray:
    return values.detach().contiguous().view(-1, values.shape[-1]).numpy()


@numba.njit("void(float32[:, ::1], float32, float32[:, ::1])", nogil=True, cache=True)
def _fill(ordered: np.ndarray, bins: np.float32, counts: np.ndarray) -> None:
    for row in range(len(ordered)):
        low, high = ordered[row, 0], ordered[row, -1]
        span = max(high - low, np.float32(_LEAST))
        for value in ordered[row]:
            place = (value - low) / span * bins
            index = int(place) if place > 0 else 0  # of NaN the first, as of torch
            counts[row, min(index, counts.shape[1] - 1)] += 1


@numba.njit("void(float32[:, ::1], float32[::1], float32[::1])", nogil=True, cache=True)
def _walk(density: np.ndarray, floor: np.ndarray, count: np.ndarray) -> None:
    dip, bins = np.float32(_DIP), density.shape[1]
    for row in range(len(density)):
        extreme, is_rising = np.float32(0), True
        for k in range(bins + 1):
            value = density[row, k] if k < bins else np.float32(0)
            if is_rising:
                extreme = max(extreme, value)
                if value < dip * extreme and extreme > floor[row]:
                    count[row] += 1
                    extreme, is_rising = value, False
            else:
                extreme = min(extreme, value)
                if value > floor[row] and extreme < dip * value:
                    extreme, is_rising = value, True
