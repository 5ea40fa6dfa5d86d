"""Curves of pixels: what was measured, and where another observation of the same pixel would lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.inferers.summaries import interval_levels, sorted_last
from monai_inn.problems import InverseProblem

__all__ = ["PARTS", "Curves", "band", "band_interval", "curve_axis", "curve_values"]

PARTS = ("measured", "low", "median", "high")
"""Curves of a pixel: the measured values, and the ends and the middle of the posterior-predictive band."""


class Curves(NamedTuple):
    """Where the curves of an image go, a piece of its pixels at a time.

    Attributes:
        columns: which values of ``curve_values`` are kept, in ascending order of the axis, shape ``(T,)``.
        interval: probability that is wanted inside the band, see ``band_interval``.
        write: takes numbers of pixels ``(n,)`` and their curves ``(n, 4, T)``, in the order of ``PARTS``;
            called by several threads at once, each with other pixels.
    """

    columns: Tensor
    interval: float
    write: Callable[[Tensor, Tensor], None]


def curve_values(problem: InverseProblem, y: Tensor) -> Tensor:
    """Return what people see as a curve of observations ``(…, C)``, shape ``(…, n)``, NaN where missing.

    That is the first value of each entry of a series, and each channel of a pixel, of
    ``curve_features`` if these are rows as observations are: a scale that means nothing is then gone.
    """
    observation, features = problem.observation, problem.curve_features(y)
    rows = features if features.shape[-1] == len(observation) else y
    return rows[..., : observation.num_values : len(observation.names) if observation.kind == "series" else 1]


def curve_axis(problem: InverseProblem, image: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the columns of ``curve_values`` along the axis, and where on it they lie, both ``(T,)``.

    ``None`` if the problem has no curves, or pixels differ in their axis.

    Args:
        problem: the inverse problem.
        image: shape ``(C, *spatial)``; NaN in pixels that are not to be inferred.
    """
    if problem.application.curve is None:
        return None
    if problem.observation.kind == "series":
        settings = image.as_subclass(Tensor)[problem.observation.num_values :].flatten(1)
        # One entry at a time: the image must not be in memory twice.
        ends = [row[row.isfinite()].aminmax() for row in settings if row.isfinite().any()]
        there = torch.tensor([bool(row.isfinite().any()) for row in settings])
        if any(low != high for low, high in ends):
            return None
        columns, axis = there.nonzero()[:, 0], torch.tensor([float(low) for low, _ in ends])
    else:
        axis = torch.as_tensor(problem.application.wavelengths_nm)
        columns = torch.arange(len(axis))
    order = axis.argsort(stable=True)
    return (columns[order], axis[order]) if len(axis) > 1 else None


def band(draws: Tensor, interval: float) -> Tensor:
    """Return low end, median and high end ``(n, 3, T)`` of the central interval of draws ``(S, n, T)``.

    The k-th smallest of S draws stands for the level ``k / (S + 1)``, below which another independent draw
    falls with that probability. Draws that are NaN do not count.
    """
    ordered = sorted_last(draws)
    last = (~ordered.isnan()).sum(-1, keepdim=True) - 1  # NaN is sorted to the end
    ends = []
    for level in interval_levels(interval):
        place = (level * (last + 2) - 1).clamp_min(0).minimum(last).clamp_min(0)
        below = place.long()
        above = (below + 1).minimum(last).clamp_min(0)
        ends.append(torch.lerp(ordered.gather(-1, below), ordered.gather(-1, above), place - below))
    return torch.cat(ends, -1).movedim(-1, 1)


def band_interval(interval: float, samples: int) -> float:
    """Return the probability inside ``band`` of so many draws: theirs reach no further than the outermost."""
    return min(interval, (samples - 1) / (samples + 1))
