"""One picture for each problem: posterior samples of every method beside the exact ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monai_inn.problems import InverseProblem
from monai_inn.problems.parameters import ParameterSpace

Samples = NDArray[np.float64]

_ARMS_M = (0.5, 0.5, 1.0)
_SHOWN_ARMS, _COLUMNS = 100, 5
_PLANES = {"ballistics": ("angle", "speed"), "oximetry": ("vhb", "sao2")}
_UP, _DOWN, _TARGET = "#2166ac", "#d6604d", "#111111"
_STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


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
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2.3 * _COLUMNS, 2.15 * rows + 0.5), layout="constrained")
        axes = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axis, (name, values) in zip(axes.flat[: len(samples)], samples.items(), strict=True):
            axis.set_title(name)
            if key == "kinematics":
                _arms(axis, values, shown)
            else:
                _scatter(axis, values, problem.space, _PLANES[key])
        _label(axes, len(samples), _labels(key, problem))
        if len(shown) < 3:
            named = zip(problem.observation.columns, shown, strict=True)
            title += "\n" + ", ".join(f"{name} = {value:.3g} m" for name, value in named)
        figure.suptitle(title, fontsize=10)
        figure.savefig(file, dpi=110)


def _label(axes: NDArray[Any], used: int, labels: tuple[str, str]) -> None:
    """Labels at the left, and below the lowest panel of each column; unused panels vanish."""
    for axis in axes.flat[used:]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel(labels[1])
    for axis in axes.flat[max(0, used - _COLUMNS) : used]:
        axis.set_xlabel(labels[0])
        axis.tick_params(labelbottom=True)


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
    """Two parameters against each other, each on the scale of its prior."""
    values = []
    for side, name in zip("xy", plane, strict=True):
        index = space.index(name)
        parameter = space.parameters[index]
        factor = 180 / math.pi if parameter.unit == "rad" else 1.0
        low, high = parameter.low, parameter.high
        if not parameter.is_bounded:
            low, high = (parameter.mean + k * parameter.sd for k in (-4, 4))
        scale = "log" if parameter.scale == "log" else "linear"
        axis.set(**{f"{side}scale": scale, f"{side}lim": (low * factor, high * factor)})
        values.append(samples[:, index] * factor)
    axis.plot(*values, ".", color=_UP, alpha=0.45, markersize=4, markeredgewidth=0)
