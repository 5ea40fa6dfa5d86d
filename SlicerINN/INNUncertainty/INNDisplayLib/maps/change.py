"""What has changed between two results of a scene: the posterior of the difference of a parameter."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ..numbers.differences import (
    change_levels,
    change_maps,
    change_quantiles,
    change_record,
    interval_places,
    share_apart,
)
from ..results.made import made_result
from ..results.result import Result
from ..results.run import Run
from ..results.sequences import posterior_layers
from ..scene.marks import matrix_of
from ..translating import tr as _
from .measuring import other_voxels, shared_parameter

__all__ = ["change_text", "posterior_of_change"]


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
        ValueError: if the other run does not have the parameter in the same unit, if it is a class, if either
            has neither quantiles nor samples of it, or if they do not overlap.
    """
    turn = shared_parameter(run, other, parameter).turn
    index, is_resampled = other_voxels(run, other, run.find("median", parameter) or run.find("valid"))
    inside = index[0] >= 0
    valid = run.usable() & inside & other.usable(index)
    if not valid.any():
        text = _("{run} and {other} do not overlap where both are usable; move one by a transform.")
        raise ValueError(text.format(run=run.name, other=other.name))
    stored = [posterior_layers(each, parameter) for each in (run, other)]
    levels = change_levels(run.interval)
    voxels = np.nonzero(valid), tuple(axis[valid] for axis in index)
    quantiles = yield from change_quantiles(*stored, voxels, levels, turn)
    silent = run.uninformative(parameter) | other.uninformative(parameter, index)
    ood = np.where(valid, run.untrusted() | other.untrusted(index), np.float32(np.nan))
    records = [each.result.record for each in (run, other)]
    record = change_record(records, [run.name, other.name], [parameter], is_resampled)
    maps = [
        *change_maps(record["parameters"][0], quantiles, interval_places(levels, run.interval), silent),
        ("ood", "ood", "1", ood.astype(np.float32)),
        ("valid", "valid", "1", valid.astype(np.uint8)),
    ]
    like = run.find("median", parameter) or run.find("valid")
    return made_result(record, maps, matrix_of(like), levels)


def change_text(run: Run, parameter: str = "") -> str:
    """What a change says of a parameter as a whole, in words; empty for other runs."""
    about = run.result.record.get("change")
    if about is None:
        return ""
    trusted = ~run.withheld()
    layers, levels = run.layers(run.parameter(parameter).name)
    low, _median, high = interval_places(levels, run.interval)
    lower, higher = share_apart(layers[low][trusted], layers[high][trusted])
    text = _(
        "{second} minus {first}: lower in {lower:.1%}, higher in {higher:.1%} of {number:,} trusted voxels "
        "({mass:.0%} interval without 0). The errors of the two are taken as independent."
    ).format(
        second=about["second"],
        first=about["first"],
        lower=lower,
        higher=higher,
        number=int(trusted.sum()),
        mass=run.interval,
    )
    resampled = _("The second lay on another grid: its nearest voxels.") if about["resampled"] else ""
    return f"{text} {resampled}".strip()
