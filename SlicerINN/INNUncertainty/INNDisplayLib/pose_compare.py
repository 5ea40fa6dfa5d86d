"""X-ray and simulated X-ray in one picture: blended, as a checkerboard, or their difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from numpy.typing import NDArray

from .colors import color_node
from .marks import matrix_of, place, show_legend, span
from .pose_run import MODE, PoseRun

__all__ = ["COMPARISONS", "DIFFERENCE_LIMIT", "Comparing", "compared", "show_comparison"]

COMPARISONS = ("blend", "checkerboard", "difference")
DIFFERENCE_LIMIT = 0.2
"""Ends of the color scale of differences, as a share of the brightest line integral."""

_GRAY = "vtkMRMLColorTableNodeGrey"


@dataclass(frozen=True)
class Comparing:
    """How X-ray and DRR are put together.

    Args:
        kind: one of ``COMPARISONS``.
        share: of the DRR in a blend, 0 to 1.
        fields: of the checkerboard along the longer side.
    """

    kind: str = "blend"
    share: float = 0.5
    fields: int = 8


def compared(xray: NDArray[np.floating], drr: NDArray[np.floating], how: Comparing) -> NDArray[np.floating]:
    """Put two images ``(..., rows, columns)`` together.

    Raises:
        ValueError: if the kind is unknown.
    """
    if how.kind == "blend":
        return (1 - how.share) * xray + how.share * drr
    if how.kind == "checkerboard":
        rows, columns = xray.shape[-2:]
        side = max(rows, columns) / how.fields
        row, column = np.ogrid[:rows, :columns]
        return np.where((row // side + column // side) % 2 == 0, xray, drr)
    if how.kind == "difference":
        return xray - drr
    raise ValueError(f"{how.kind!r} is not a comparison; give one of {', '.join(COMPARISONS)}.")


def show_comparison(run: PoseRun, how: Comparing) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Refill the run's comparison; ``None`` while no pose is shown."""
    xray, drr, pose = run.find("xray"), run.find("drr"), run.shown
    if pose is None or xray is None or drr is None:
        return None
    node = run.node("comparison", "", "vtkMRMLScalarVolumeNode")
    values = compared(run.array("xray"), run.array("drr"), how)
    place(node, values.astype(np.float32), matrix_of(xray), xray)
    node.SetAttribute(MODE, str(pose.number))
    node.SetAttribute("INN.comparison", how.kind)
    display = node.GetDisplayNode()
    if how.kind == "difference":
        display.SetAndObserveColorNodeID(color_node(run.scene, "INN difference").GetID())
        span(display, -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT)
    else:
        display.SetAndObserveColorNodeID(_GRAY)
        span(display, 0.0, 1.0)
    _show_legend(node, how.kind == "difference")
    return node


def _show_legend(node: slicer.vtkMRMLScalarVolumeNode, is_visible: bool) -> None:
    """Differences have colors that need a scale; shades of gray do not."""
    if not is_visible:
        # Views do not draw a legend that is older than they are: it is made when it is needed.
        node.GetScene().RemoveNode(slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node))
        return
    legend = show_legend(node, "X-ray \u2212 DRR\n[share of\nbrightest]", "%.1f", 5)
    legend.SetVisibility3D(False)
    legend.Modified()  # that of a scene that was read is drawn only then
