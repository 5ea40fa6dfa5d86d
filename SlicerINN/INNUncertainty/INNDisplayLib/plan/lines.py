"""Planned lines of a scene through a posterior: what they cross, and their order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import slicer.util
from numpy.typing import NDArray
from scipy.special import betaincinv

from ..numbers.posteriors import probability_below, share_above
from ..numbers.trajectories import Risk, VoxelPath, carried_points, path_through, risk_along, tube_radius
from ..poses.run import PoseRun
from ..results.run import Run
from ..results.sequences import posterior_layers, sample_arrays
from ..scene.marks import indices_at
from ..translating import tr as _
from .line_reading import LineReading

__all__ = ["line_ends", "rank_lines", "read_line"]

Array = NDArray[np.float64]

_LEAST_MM = 1e-3
_STEPS_A_VOXEL = 4  # where a bent transform lies over the volume
_MOST_POSES = 200


def line_ends(line: slicer.vtkMRMLMarkupsLineNode) -> Array:
    """Return both ends of a line, RAS in mm, ``(2, 3)``.

    Raises:
        ValueError: if it has not two points, or they are the same.
    """
    count = line.GetNumberOfDefinedControlPoints()
    if count < 2:
        text = _("{line}: {count} of 2 points are placed; place entry and target.")
        raise ValueError(text.format(line=line.GetName(), count=count))
    ends = np.zeros((2, 3))
    for number, end in enumerate(ends):
        line.GetNthControlPointPositionWorld(number, end)
    if np.linalg.norm(ends[1] - ends[0]) < _LEAST_MM:
        text = _("{line}: entry and target are the same point; move one of them.")
        raise ValueError(text.format(line=line.GetName()))
    return ends


def read_line(
    run: Run,
    line: slicer.vtkMRMLMarkupsLineNode,
    parameter: str,
    threshold: float,
    is_above: bool = False,
    poses: PoseRun | None = None,
) -> LineReading:
    """Read a run's posterior along a line.

    Args:
        run: the run.
        line: a line with two points, entry and target.
        parameter: name of the parameter.
        threshold: in its unit.
        is_above: whether values above the threshold are what is not to be crossed; below it by default.
        poses: a registration that the line relies on: the risk is then averaged over its samples.

    Raises:
        ValueError: if the line has no length or lies outside the image, or no posterior is stored.
    """
    run.check_threshold(parameter, threshold)
    ends = line_ends(line)
    path = _path(run, parameter, ends)
    if not path.inside.any():
        text = _("{line}: lies outside the image of {run}; move it, or select another result.")
        raise ValueError(text.format(line=line.GetName(), run=run.name))
    risk, interval, is_joint = _read(run, path, parameter, threshold, is_above)
    others = None if poses is None else _carried(poses, ends)
    if others is not None:
        risk = _averaged(run, others, parameter, threshold, is_above, risk)
        risk = replace(risk, tube_mm=tube_radius(others, ends))
    shown = run.parameter(parameter)
    return LineReading(line, ends, shown, threshold, is_above, path, interval, run.interval, risk, is_joint)


def _path(run: Run, parameter: str, ends: Array) -> VoxelPath:
    """Voxels of a run's volume along a line, through whatever transforms the volume is under."""
    volume = run.find("median", parameter)
    if volume is None:
        text = _("{run}: the median of {parameter} was deleted; apply the bundle again.")
        raise ValueError(text.format(run=run.name, parameter=run.parameter(parameter).label))
    parent, places = volume.GetParentTransformNode(), ends
    if parent is not None and not parent.IsTransformToWorldLinear():
        steps = int(_STEPS_A_VOXEL * np.abs(np.diff(indices_at(volume, ends), axis=0)).sum()) + 2
        places = ends[0] + np.linspace(0, 1, steps)[:, None] * (ends[1] - ends[0])
    return path_through(indices_at(volume, places), places, run.shape)


def _read(
    run: Run, path: VoxelPath, parameter: str, threshold: float, is_above: bool
) -> tuple[Risk, NDArray[np.floating], bool]:
    """Risk and interval along a path, and whether the risk is that of joint samples."""
    at = tuple(path.voxels[path.inside].T)
    trusted = path.inside.copy()
    trusted[path.inside] = run.usable(at) & ~run.untrusted(at)
    arrays, levels = posterior_layers(run, parameter)
    samples = [values[at] for values in sample_arrays(run, parameter)]
    below = np.full(len(path.voxels), np.nan)
    interval = np.full((3, len(path.voxels)), np.nan)
    if levels is not None:
        rows = np.stack([layer[at] for layer in arrays], -1)
        below[path.inside] = probability_below(rows, levels, threshold)
        wanted = (1 - run.interval) / 2, 0.5, (1 + run.interval) / 2
        interval[:, path.inside] = np.array([np.interp(wanted, levels, row) for row in rows]).T
    else:
        below[path.inside] = 1 - share_above(samples, threshold)
        ends = [run.array(kind, parameter) for kind in ("interval_low", "median", "interval_high")]
        interval[:, path.inside] = [np.nan * at[0] if e is None else e[at] for e in ends]
    interval[:, ~trusted] = np.nan
    risk = risk_along(path, 1 - below if is_above else below, trusted)
    if samples:
        known = trusted[path.inside]
        crossed = sum(bool(((s > threshold) if is_above else (s < threshold))[known].any()) for s in samples)
        risk = replace(risk, joint=(crossed, len(samples)))
        if levels is None:
            low, high = _share_bounds(crossed, len(samples))
            risk = replace(risk, low=low, high=high)
    return risk, interval, levels is None


def _share_bounds(count: int, total: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share, of which ``count`` of ``total`` were seen."""
    low = 0.0 if count == 0 else float(betaincinv(count, total - count + 1, 0.025))
    high = 1.0 if count == total else float(betaincinv(count + 1, total - count, 0.975))
    return low, high


def _carried(poses: PoseRun, ends: Array) -> Array | None:
    """Where a line would lie if other samples of the shown pose's posterior were true, ``(S, 2, 3)``."""
    shown, samples = poses.shown, poses.samples
    if shown is None or samples is None:
        return None
    chosen = samples.camera_to_world[:: max(1, len(samples.camera_to_world) // _MOST_POSES)]
    return carried_points(chosen, shown.camera_to_world, ends)


def _averaged(
    run: Run, others: Array, parameter: str, threshold: float, is_above: bool, planned: Risk
) -> Risk:
    """The risk of the planned line averaged over where it may lie; of lengths the worst."""
    risks = [_read(run, _path(run, parameter, ends), parameter, threshold, is_above)[0] for ends in others]
    low, high = (float(np.mean([getattr(risk, end) for risk in risks])) for end in ("low", "high"))
    unknown = max(planned.unknown_mm, *(risk.unknown_mm for risk in risks))
    return replace(planned, low=low, high=high, unknown_mm=unknown, joint=None)


def rank_lines(
    run: Run,
    lines: Iterable[slicer.vtkMRMLMarkupsLineNode],
    parameter: str,
    threshold: float,
    is_above: bool = False,
    poses: PoseRun | None = None,
) -> tuple[list[LineReading], list[str]]:
    """Read lines, the least risk first: in the worst case, what is not trusted crosses the event.

    Returns:
        The readings, and for each line that cannot be read why.
    """
    readings, complaints = [], []
    for line in lines:
        try:
            readings.append(read_line(run, line, parameter, threshold, is_above, poses))
        except ValueError as error:
            complaints.append(str(error))
    return sorted(readings, key=lambda reading: reading.risk.order), complaints
