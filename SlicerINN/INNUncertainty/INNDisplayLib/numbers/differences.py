"""The posterior of a difference of two results: numbers alone, no scene. `monai-inn compare` uses it too.

The two measurements err independently. Where their errors have a part in common, such as an error of the
model, the interval of the difference is too wide rather than too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "change_levels",
    "change_maps",
    "change_quantiles",
    "change_record",
    "difference_quantiles",
    "interval_places",
    "mean_direction",
    "share_apart",
    "wrapped",
]

Array = NDArray[np.floating]
Stored = tuple[Sequence[Array], Any]
"""Quantiles of a result, an array ``(K, J, I)`` each, and their levels; or samples and ``None``."""

_WIDE, _NARROW = 96, 16  # equally likely values of the wider posterior of a voxel, and of the narrower one
_PIECE = 1 << 13  # voxels at a time: their pairs take 50 MB
_STORED = 16


def difference_quantiles(
    first: Array, second: Array, wanted: Array, levels: tuple[Any, Any], turn: float = 0.0
) -> Array:
    """Return quantiles of second minus first for independent posteriors, in every row.

    All pairs of values are subtracted: of the samples, or of equally likely values between the quantiles, on
    which each posterior is linear in the normal score, also beyond the outermost ones. For normal posteriors
    the ends of a 95 % interval are then off by at most 2 % of the standard deviation of the difference.

    The circle of an angle is cut opposite to the mean direction of the difference. Its median is at most half
    a turn from 0. The other quantiles lie beside it, so that an interval never seems to be the rest of the
    circle.

    Args:
        first: samples in any order or ascending quantiles of the first result, shape ``(N, S)``.
        second: those of the second one, shape ``(N, T)``.
        wanted: levels of the quantiles to return, shape ``(L,)``.
        levels: levels of ``first`` and of ``second`` if these are quantiles, ``None`` if they are samples.
        turn: a whole turn in the unit of an angle; 0 for what lies on a line.

    Returns:
        Shape ``(N, L)``, ascending; NaN where a value is.
    """
    found = np.empty((len(first), len(wanted)), np.float32)
    for start in range(0, len(first), _PIECE):
        piece = slice(start, start + _PIECE)
        pairs = _pairs(np.asarray(first[piece]), np.asarray(second[piece]), levels, turn)
        pairs.sort(1)
        if turn:
            middle = pairs[:, [pairs.shape[1] // 2]]
            pairs += wrapped(middle, turn) - middle
        place = np.clip(np.asarray(wanted) * pairs.shape[1] - 0.5, 0, pairs.shape[1] - 1)
        low = place.astype(int)
        high, share = np.minimum(low + 1, pairs.shape[1] - 1), (place - low).astype(np.float32)
        found[piece] = pairs[:, low] * (1 - share) + pairs[:, high] * share
    return found


def wrapped(difference: Array, turn: float, center: Array | float = 0.0) -> Array:
    """Return differences of an angle moved by whole turns to within half a turn of a center.

    Those of what has no turn, 0, are returned as they are.
    """
    return difference - turn * np.round((difference - center) / turn) if turn else difference


def _pairs(first: Array, second: Array, levels: tuple[Any, Any], turn: float) -> Array:
    """All differences of values of the second and of the first, ``(N, pairs)``."""
    values, sign = [first.astype(np.float32), second.astype(np.float32)], np.float32(1)
    numbers = _WIDE, _WIDE
    if levels[0] is not None and levels[1] is not None:
        values, levels, is_swapped = _wider_first(values, levels)
        numbers, sign = (_WIDE, _NARROW), np.where(is_swapped, np.float32(-1), np.float32(1))[:, None]
    a, b = (
        each if own is None else each @ _weights(tuple(own), number)
        for each, own, number in zip(values, levels, numbers, strict=True)
    )
    pairs = (b[:, :, None] - a[:, None]).reshape(len(a), -1)
    if turn:
        pairs = wrapped(pairs, turn, (mean_direction(b, turn) - mean_direction(a, turn))[:, None])
    return sign * pairs


def mean_direction(angles: Array, turn: float) -> Array:
    """Return the mean direction of angles ``(..., S)``, within half a turn of 0, shape ``(...)``.

    That of a difference of independent angles is the difference of theirs.
    """
    radians = angles * (2 * math.pi / turn)
    return np.arctan2(np.sin(radians).mean(-1), np.cos(radians).mean(-1)) * (turn / (2 * math.pi))


def _wider_first(values: list[Array], levels: tuple[Any, Any]) -> tuple[list[Array], tuple[Any, Any], Array]:
    """Swap the two in rows where the second is wider, on common levels."""
    common = np.union1d(*levels)
    on_common = [
        each
        if len(own) == len(common)
        else each @ _at(tuple(own), tuple(NormalDist().inv_cdf(u) for u in common))
        for each, own in zip(values, levels, strict=True)
    ]
    width = [each[:, -1] - each[:, 0] for each in on_common]
    is_swapped = width[1] > width[0]
    rows = is_swapped[:, None]
    wide, narrow = np.where(rows, on_common[1], on_common[0]), np.where(rows, on_common[0], on_common[1])
    return [wide, narrow], (common, common), is_swapped


@lru_cache(maxsize=8)
def _weights(levels: tuple[float, ...], number: int) -> Array:
    """What makes equally likely values of quantiles, ``(L, number)``; normal scores keep a variance of 1."""
    scores = np.array([NormalDist().inv_cdf((k + 0.5) / number) for k in range(number)])
    return _at(levels, tuple(scores / scores.std()))


@lru_cache(maxsize=8)
def _at(levels: tuple[float, ...], scores: tuple[float, ...]) -> Array:
    """What makes values at normal scores of quantiles, ``(L, len(scores))``: linear in the score."""
    known, wanted = np.array([NormalDist().inv_cdf(level) for level in levels]), np.array(scores)
    low = np.clip(np.searchsorted(known, wanted) - 1, 0, len(known) - 2)
    share = (wanted - known[low]) / (known[low + 1] - known[low])
    weights = np.zeros((len(known), len(wanted)), np.float32)
    columns = np.arange(len(wanted))
    weights[low, columns], weights[low + 1, columns] = 1 - share, share
    return weights


def change_levels(mass: float) -> Array:
    """Return the levels of the quantiles that a change has: equally likely ones, median, ends."""
    tail = (1 - mass) / 2
    return np.unique([*((np.arange(_STORED) + 0.5) / _STORED), tail, 0.5, 1 - tail])


def change_quantiles(
    first: Stored,
    second: Stored,
    voxels: tuple[tuple[NDArray[np.intp], ...], ...],
    levels: Array,
    turn: float = 0.0,
) -> Generator[float, None, Array]:
    """Compute quantiles of second minus first, a piece at a time.

    Args:
        first: posteriors of the first result.
        second: those of the second one.
        voxels: places of the voxels to compare, in the first result and in the second.
        levels: of the quantiles to compute.
        turn: a whole turn of an angle, else 0.

    Yields:
        The share that is done.

    Returns:
        Shape ``(*shape of the first, L)``; NaN in the other voxels.
    """
    quantiles = np.full((*first[0][0].shape, len(levels)), np.float32(np.nan))
    number = len(voxels[0][0])
    for start in range(0, number, _PIECE):
        pieces = [tuple(axis[start : start + _PIECE] for axis in places) for places in voxels]
        values = [
            np.stack([array[piece] for array in arrays], -1)
            for (arrays, _), piece in zip((first, second), pieces, strict=True)
        ]
        quantiles[pieces[0]] = difference_quantiles(*values, levels, (first[1], second[1]), turn)
        yield min(1.0, (start + _PIECE) / number)
    return quantiles


def interval_places(levels: Array, mass: float) -> list[int]:
    """Places of low end, median and high end of the central interval, which are stored beside the others."""
    return [int(np.abs(levels - level).argmin()) for level in ((1 - mass) / 2, 0.5, (1 + mass) / 2)]


def share_apart(low: Array, high: Array) -> tuple[float, float]:
    """Return in which shares of voxels the interval lies below 0, and above; 0 if there are no voxels."""
    return (float((high < 0).mean()), float((low > 0).mean())) if low.size else (0.0, 0.0)


def change_record(
    records: Sequence[dict[str, Any]], names: Sequence[str], shown: Sequence[str], is_resampled: bool = False
) -> dict[str, Any]:
    """Return the record of a change, but for its files and summary.

    Args:
        records: of the first and of the second result.
        names: of the two, for people.
        shown: names of the parameters that were compared; those of the change are ``NAME_change``.
        is_resampled: whether the second lay on another grid.
    """
    first, second = records
    record = {k: v for k, v in first.items() if k not in ("curves", "pictures", "regions", "seconds")}
    record["bundle"] = record["bundle"] | {"path": ""}  # applying the bundle again must not replace this
    record["parameters"] = [_change_of(row) for row in first["parameters"] if row["name"] in shown]
    record["change"] = {"first": names[0], "second": names[1], "resampled": is_resampled}
    if synthetic := first.get("synthetic") or second.get("synthetic"):
        record["synthetic"] = synthetic
    return record


def _change_of(row: dict[str, Any]) -> dict[str, Any]:
    """A parameter's entry in the record as that of its change, which an angle has of at most half a turn."""
    span, width = row["high"] - row["low"], math.sqrt(2) * row["width"]
    changed = {"name": f"{row['name']}_change", "unit": row["unit"], "scale": "linear",
               "description": f"change of {row['description']}",
               "low": -span, "high": span, "width": width}  # fmt: skip
    if turn := row.get("turn"):
        changed |= {"turn": turn, "low": -turn / 2, "high": turn / 2, "width": min(width, turn)}
    return changed


def change_maps(
    row: dict[str, Any], quantiles: Array, places: Sequence[int], silent: NDArray[np.bool_]
) -> list[tuple[str, str, str, Array]]:
    """Return the maps of one parameter's change: kind, parameter, unit and voxels of each.

    Args:
        row: the parameter's entry in the record of the change.
        quantiles: of the change, ``(..., L)``, NaN where it is not known.
        places: of low end, median and high end among the quantiles.
        silent: voxels in which either measurement is not informative, ``(...)``.
    """
    low, median, high = (quantiles[..., place] for place in places)
    name, unit = row["name"], row["unit"]
    return [
        ("median", name, unit, median.copy()),
        ("interval_width", name, unit, high - low),
        ("quantiles", name, unit, quantiles),
        ("uninformative", name, "1", np.where(np.isnan(median), np.float32(np.nan), silent)),
    ]
