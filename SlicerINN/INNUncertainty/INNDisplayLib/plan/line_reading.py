"""What a line goes through, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from numpy.typing import NDArray

from ..numbers.trajectories import Risk, VoxelPath
from ..results.result import Shown
from ..translating import tr as _

__all__ = ["LineReading"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LineReading:
    """What a line goes through, voxel by voxel.

    Args:
        node: the line.
        ends: its ends, RAS in mm, ``(2, 3)``.
        parameter: whose posterior it is.
        threshold: in the parameter's unit.
        is_above: whether values above the threshold are what is not to be crossed.
        path: its voxels.
        interval: low end, median and high end in each voxel, ``(3, V)``; NaN where they are not trusted.
        mass: probability inside the interval.
        risk: what it crosses.
        is_joint: whether the risk is that of joint samples, else it is bounded by both ends of dependence.
    """

    node: slicer.vtkMRMLMarkupsLineNode
    ends: Array
    parameter: Shown
    threshold: float
    is_above: bool
    path: VoxelPath
    interval: NDArray[np.floating]
    mass: float
    risk: Risk
    is_joint: bool

    @property
    def event(self) -> str:
        """What is not to be crossed."""
        return f"{self.parameter.label} {'>' if self.is_above else '<'} {self.parameter.text(self.threshold)}"

    @property
    def at(self) -> tuple[float, float, float]:
        """World position at which the event is most likely."""
        share = self.risk.at_mm / self.risk.length_mm
        x, y, z = (float(v) for v in self.ends[0] + share * (self.ends[1] - self.ends[0]))
        return x, y, z

    @property
    def text(self) -> str:
        """The reading in words."""
        risk = self.risk
        low, high = f"{risk.low:.1%}", f"{risk.high:.1%}"
        crosses = _(
            "Crosses {event}: {low} if errors are fully shared, {high} if they are independent; the truth "
            "lies between the two."
        )
        if self.is_joint:
            crosses = _("Crosses {event}: {low} to {high}, of the joint samples (95 %).")
        said = [
            _("{name}, {length:.1f} mm.").format(name=self.node.GetName(), length=risk.length_mm),
            crosses.format(event=self.event, low=low, high=high),
        ]
        if risk.joint is not None:
            text = _("{crossing} of {number} stored samples cross it.")
            said.append(text.format(crossing=risk.joint[0], number=risk.joint[1]))
        said.append(_("Most likely {place:.1f} mm from its start.").format(place=risk.at_mm))
        if risk.unknown_mm:
            text = _("{length:.1f} mm are not trusted or outside the image: nothing is known there.")
            said.append(text.format(length=risk.unknown_mm))
        if risk.tube_mm:
            text = _("Averaged over the poses; 95 % of them stay within {radius:.1f} mm of the line.")
            said.append(text.format(radius=risk.tube_mm))
        return " ".join(said)
