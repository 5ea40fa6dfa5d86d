"""One picture for each problem: posterior samples of every method beside the exact ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monai_inn.problems import InverseProblem
from monai_inn.problems.parameters import ParameterSpace

Samples = NDArray[np.float64]
Draw = Callable[[Axes, Samples, NDArray[np.float64]], None]

_ARMS_M = (0.5, 0.5, 1.0)
_SHOWN_ARMS, _COLUMNS = 100, 5
_PLANES = {"ballistics": ("angle", "speed"), "oximetry": ("vhb", "sao2")}
_UP, _DOWN, _POINT, _TARGET = "#2166ac", "#d6604d", "#2166ac", "#111111"


def draw(
    key: str, title: str, problem: InverseProblem, shown: Samples, samples: Mapping[str, Samples], file: Path
) -> None:
    """Write the picture of one problem.

    Args:
        key: which problem.
        title: shown above.
        problem: names and units of the parameters.
        shown: the observation ``(C,)``.
        samples: samples ``(S, D)`` in physical units of each method by its name, the exact ones first.
        file: where to write.
    """
    rows = -(-len(samples) // _COLUMNS)
    with mpl.rc_context(
        {"font.size": 8, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=(2.3 * _COLUMNS, 2.15 * rows + 0.5), layout="constrained")
        axes = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axis, (name, values) in zip(axes.flat, samples.items(), strict=False):
            axis.set_title(name)
            if key == "kinematics":
                _arms(axis, values, shown)
            else:
                _scatter(axis, values, problem.space, _PLANES[key])
        for axis in axes.flat[len(samples) :]:
            axis.set_visible(False)
        labels = _labels(key, problem)
        for axis in axes[:, 0]:
            axis.set_ylabel(labels[1])
        for column in range(_COLUMNS):
            lowest = (
                max(i for i in range(len(samples)) if i % _COLUMNS == column) if column < len(samples) else 0
            )
            bottom = axes.flat[lowest]
            bottom.set_xlabel(labels[0])
            bottom.tick_params(labelbottom=True)
        observed = ", ".join(
            f"{n} = {v:.3g} m" for n, v in zip(problem.observation_names, shown, strict=True)
        )
        figure.suptitle(f"{title}\n{observed}" if len(shown) < 3 else title, fontsize=10)
        figure.savefig(file, dpi=110)


def _labels(key: str, problem: InverseProblem) -> tuple[str, str]:
    if key == "kinematics":
        return "across the rail [m]", "along the rail [m]"
    found = []
    for name in _PLANES[key]:
        parameter = problem.parameters[problem.space.index(name)]
        found.append(f"{name} [{'°' if parameter.unit == 'rad' else parameter.unit}]")
    return found[0], found[1]


def _arms(axis: Axes, samples: Samples, hand: Samples) -> None:
    """Poses of the robot, coloured by the branch of its last arm."""
    rail, absolute = samples[:_SHOWN_ARMS, 0], samples[:_SHOWN_ARMS, 1:].cumsum(1)
    across = np.pad((np.cos(absolute) * _ARMS_M).cumsum(1), ((0, 0), (1, 0)))
    along = np.pad((np.sin(absolute) * _ARMS_M).cumsum(1), ((0, 0), (1, 0))) + rail[:, None]
    axis.axvline(0, color="0.85", linewidth=3, zorder=0)
    for x, y, angle in zip(across, along, absolute[:, 2], strict=True):
        axis.plot(x, y, color=_UP if math.sin(angle) > 0 else _DOWN, alpha=0.2, linewidth=0.8)
    axis.plot(across[:, -1], along[:, -1], ".", color="0.3", markersize=2)
    axis.plot(*hand, "+", color=_TARGET, markersize=10, markeredgewidth=1.5)
    axis.set(xlim=(-0.3, 2.1), ylim=(-1.3, 1.3), aspect="equal")


def _scatter(axis: Axes, samples: Samples, space: ParameterSpace, plane: tuple[str, str]) -> None:
    """Two parameters against each other."""
    values = []
    for name, setter in zip(plane, (axis.set_xlim, axis.set_ylim), strict=True):
        index = space.index(name)
        parameter, factor = space.parameters[index], 1.0
        if parameter.unit == "rad":
            factor = 180 / math.pi
        values.append(samples[:, index] * factor)
        if parameter.is_bounded:
            setter(parameter.low * factor, parameter.high * factor)
        else:
            setter(parameter.mean - 4 * parameter.sd, parameter.mean + 4 * parameter.sd)
    axis.plot(*values, ".", color=_POINT, alpha=0.25, markersize=3, markeredgewidth=0)
