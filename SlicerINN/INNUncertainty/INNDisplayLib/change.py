"""What has changed between two results: the posterior of the difference of a parameter, voxel by voxel.

The two measurements err independently. Where their errors have a part in common, such as an error of the
model, the interval of the difference is too wide rather than too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .made import made_result
from .marks import matrix_of
from .measuring import interval_places, other_voxels
from .result import Result
from .run import Run
from .sequences import sample_arrays
from .translating import tr as _

__all__ = ["change_text", "difference_quantiles", "posterior_of_change"]

Array = NDArray[np.floating]

_WIDE, _NARROW = 96, 16  # equally likely values of the wider posterior of a voxel, and of the narrower one
_PIECE = 1 << 13  # voxels at a time: their pairs take 50 MB
_STORED = 16


def difference_quantiles(first: Array, second: Array, wanted: Array, levels: tuple[Any, Any]) -> Array:
    """Return quantiles of second minus first for independent posteriors, in every row.

    All pairs of values are subtracted: of the samples, or of equally likely values between the quantiles, on
    which each posterior is linear in the normal score, also beyond the outermost ones. For normal posteriors
    the ends of a 95 % interval are then off by at most 2 % of the standard deviation of the difference.

    Args:
        first: samples in any order or ascending quantiles of the first result, shape ``(N, S)``.
        second: those of the second one, shape ``(N, T)``.
        wanted: levels of the quantiles to return, shape ``(L,)``.
        levels: levels of ``first`` and of ``second`` if these are quantiles, ``None`` if they are samples.

    Returns:
        Shape ``(N, L)``, ascending; NaN where a value is.
    """
    found = np.empty((len(first), len(wanted)), np.float32)
    for start in range(0, len(first), _PIECE):
        piece = slice(start, start + _PIECE)
        pairs = _pairs(np.asarray(first[piece]), np.asarray(second[piece]), levels)
        pairs.sort(1)
        place = np.clip(np.asarray(wanted) * pairs.shape[1] - 0.5, 0, pairs.shape[1] - 1)
        low = place.astype(int)
        high, share = np.minimum(low + 1, pairs.shape[1] - 1), (place - low).astype(np.float32)
        found[piece] = pairs[:, low] * (1 - share) + pairs[:, high] * share
    return found


def _pairs(first: Array, second: Array, levels: tuple[Any, Any]) -> Array:
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
    return sign * (b[:, :, None] - a[:, None]).reshape(len(a), -1)


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


def posterior_of_change(run: Run, other: Run, parameter: str) -> Generator[float, None, Result]:
    """Compute the posterior of a parameter of another run minus that of a run, on the grid of the run.

    Quantiles are used where they are stored, for they stand for all samples of an inference, else the stored
    samples. A run on another grid, or under another linear transform, gives its nearest voxel. A voxel is
    withheld where it is in either run.

    Yields:
        The share that is done, so that a panel stays alive.

    Returns:
        A result for ``store``, with one parameter ``NAME_change``.

    Raises:
        ValueError: if the other run does not have the parameter in the same unit, if either has neither
            quantiles nor samples of it, or if they do not overlap.
    """
    shown = next(p for p in run.parameters if p.name == parameter)
    if not any((p.name, p.unit) == (shown.name, shown.unit) for p in other.parameters):
        raise ValueError(
            f"{other.name} has no {shown.label} in the unit {shown.unit}; select another result."
        )
    index, is_resampled = other_voxels(run, other, run.find("median", parameter) or run.find("valid"))
    inside = index[0] >= 0
    valid = run.usable() & inside & other.usable(index)
    if not valid.any():
        raise ValueError(
            f"{run.name} and {other.name} do not overlap where both are usable; move one by a transform."
        )
    (first, own_levels), (second, other_levels) = (_stored(each, parameter) for each in (run, other))
    tail = (1 - run.interval) / 2
    levels = np.unique([*((np.arange(_STORED) + 0.5) / _STORED), tail, 0.5, 1 - tail])
    quantiles = np.full((*run.shape, len(levels)), np.float32(np.nan))
    where, there = np.nonzero(valid), tuple(each[valid] for each in index)
    for start in range(0, len(where[0]), _PIECE):
        piece, of_other = (tuple(each[start : start + _PIECE] for each in at) for at in (where, there))
        values = [
            np.stack([layer[at] for layer in layers], -1)
            for layers, at in ((first, piece), (second, of_other))
        ]
        quantiles[piece] = difference_quantiles(*values, levels, (own_levels, other_levels))
        yield min(1.0, (start + _PIECE) / len(where[0]))
    ood = valid & (run.untrusted() | other.untrusted(index))
    silent = valid & (run.uninformative(parameter) | other.uninformative(parameter, index))
    return _result(run, other, shown, levels, quantiles, (valid, ood, silent), is_resampled)


def _stored(run: Run, parameter: str) -> tuple[list[Array], Any]:
    """Quantiles, an array ``(K, J, I)`` a level, and their levels; or samples and ``None``."""
    if (found := run.layers(parameter)) is not None:
        return found
    samples = [*sample_arrays(run, parameter)]
    if len(samples) < 2:
        label = run.parameter(parameter).label
        raise ValueError(
            f"{run.name}: neither quantiles nor samples of {label} are stored; apply the bundle again."
        )
    return samples, None


def _result(
    run: Run,
    other: Run,
    shown: Any,
    levels: Array,
    quantiles: Array,
    flags: tuple[Array, ...],
    resampled: bool,
) -> Result:
    valid, ood, silent = flags
    name, span = f"{shown.name}_change", shown.high - shown.low
    low, middle, high = (quantiles[..., column] for column in interval_places(levels, run.interval))
    record = {key: value for key, value in run.result.record.items() if key not in ("curves", "pictures")}
    record |= {
        "bundle": record["bundle"] | {"path": ""},  # applying the bundle again must not replace this result
        "parameters": [
            {"name": name, "unit": shown.unit, "description": f"change of {shown.description}", "low": -span,
             "high": span, "width": math.sqrt(2) * shown.width, "scale": "linear"}
        ],
        "change": {"first": run.name, "second": other.name, "resampled": resampled},
    }  # fmt: skip
    if synthetic := run.synthetic or other.synthetic:
        record["synthetic"] = synthetic
    floats = [np.where(valid, flag, np.nan).astype(np.float32) for flag in (ood, silent)]
    maps = [
        ("median", name, shown.unit, middle.copy()),
        ("interval_width", name, shown.unit, high - low),
        ("quantiles", name, shown.unit, quantiles),
        ("uninformative", name, "1", floats[1]),
        ("ood", "ood", "1", floats[0]),
        ("valid", "valid", "1", valid.astype(np.uint8)),
    ]
    like = run.find("median", shown.name) or run.find("valid")
    return made_result(record, maps, matrix_of(like), levels)


def change_text(run: Run) -> str:
    """What a change says as a whole, in words; empty for other runs."""
    about = run.result.record.get("change")
    if about is None:
        return ""
    shown, trusted = run.parameters[0], ~run.withheld()
    layers, levels = run.layers(shown.name)
    low, _median, high = interval_places(levels, run.interval)
    sides = layers[high][trusted] < 0, layers[low][trusted] > 0
    text = _(
        "{second} minus {first}: lower in {lower:.1%}, higher in {higher:.1%} of {number:,} trusted voxels "
        "({mass:.0%} interval without 0). The errors of the two are taken as independent."
    ).format(
        second=about["second"],
        first=about["first"],
        lower=sides[0].mean() if trusted.any() else 0.0,
        higher=sides[1].mean() if trusted.any() else 0.0,
        number=int(trusted.sum()),
        mass=run.interval,
    )
    resampled = _("The second lay on another grid: its nearest voxels.") if about["resampled"] else ""
    return f"{text} {resampled}".strip()
