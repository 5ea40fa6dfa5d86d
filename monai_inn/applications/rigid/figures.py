"""The picture of an alignment: the moving image in the fixed one, once for each mode."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from torch import Tensor

from monai_inn.applications.rigid.motion import Motions
from monai_inn.applications.rigid.posterior import Alignment
from monai_inn.applications.rigid.volumes import Volume, mapped

__all__ = ["alignment_figure"]

_DPI, _PANEL_IN, _MOST = 120, 3.0, 3
_STEP_MM, _SMOOTH_MM = 1.0, 1.5
_LINE = 0.93  # share of the moving image's voxels below the line that is drawn
_COLOURS = ("#e69f00", "#56b4e9", "#cc79a7", "#009e73", "#0072b2", "#d55e00")
_OTHERS = "#808080"
_PLANES = (("sagittal", 1, "anterior (mm)"), ("coronal", 0, "right (mm)"))


def alignment_figure(
    fixed: Volume,
    moving: Volume,
    alignment: Alignment,
    drawn: Tensor,
    label: Tensor,
    record: dict[str, Any],
    path: Path,
) -> None:
    """Draw one PNG: sagittal and coronal slices of at most three modes, and the samples' places.

    Args:
        fixed: the larger image.
        moving: the smaller one.
        alignment: the posterior.
        drawn: its samples, shape ``(S, 6)``.
        label: number of the mode of each, from 0, shape ``(S,)``.
        record: what ``alignment.json`` is going to say.
        path: file to write.
    """
    count = min(_MOST, len(alignment.masses))
    figure = Figure(figsize=((count + 1.0) * _PANEL_IN, 2.35 * _PANEL_IN), dpi=_DPI, layout="constrained")
    panels = figure.subplots(2, count + 1, squeeze=False)
    matrices = Motions.of(alignment.mean).matrix(moving.centre)
    for k in range(count):
        mass = record["modes"][k]["mass"]
        for row, (name, axis, across) in enumerate(_PLANES):
            axes = panels[row, k]
            centre = moving.centre + alignment.mean[k, 3:]
            _slice(axes, fixed, moving, matrices[k], centre, axis, _COLOURS[k])
            axes.set_title(f"alignment {k + 1}: {mass:.1%}, {name}", fontsize=8)
            axes.set_xlabel(across, fontsize=7)
            axes.set_ylabel("superior (mm)" if k == 0 else "", fontsize=7)
    places = moving.centre + drawn[:, 3:]
    for row, (_, axis, across) in enumerate(_PLANES):
        axes = panels[row, count]
        for k, mass in enumerate(alignment.masses.tolist()):
            own = places[label == k].numpy()
            axes.scatter(own[:, axis], own[:, 2], s=3, color=dict(enumerate(_COLOURS)).get(k, _OTHERS),
                         alpha=0.5, linewidths=0, label=f"alignment {k + 1}: {mass:.1%}")  # fmt: skip
        axes.set_title(f"centre of the moving image,\n{len(drawn)} posterior samples", fontsize=8)
        axes.set_xlabel(across, fontsize=7)
        axes.set_ylabel("superior (mm)", fontsize=7)
        axes.legend(fontsize=6, markerscale=3)
        axes.ticklabel_format(useOffset=False)
    for axes in panels.flat:
        axes.tick_params(labelsize=6)
        axes.invert_xaxis()  # the patient's right, or front, on the left, as in all pictures
    text = (record["ambiguity"]["statement"], record["trust"]["statement"],
            "Coloured: the moving image's frame and an isoline.", record["intended_use"])  # fmt: skip
    figure.suptitle(
        "\n".join(textwrap.fill(line, 38 * (count + 1)) for line in text), fontsize=8, x=0.01, ha="left",
        color="black" if record["trust"]["is_trusted"] else "#b00020",
    )  # fmt: skip
    figure.savefig(path)


def _slice(
    axes: Axes, fixed: Volume, moving: Volume, matrix: Tensor, centre: Tensor, across: int, colour: str
) -> None:
    """Draw a plane through a point: ``across`` is the axis to the right of the page, the third goes up."""
    corners = fixed.corners()
    low, high = corners.min(0).values, corners.max(0).values
    x, z = (torch.arange(float(low[a]), float(high[a]), _STEP_MM).double() for a in (across, 2))
    points = centre.repeat(len(z) * len(x), 1)
    points[:, 2], points[:, across] = z.repeat_interleave(len(x)), x.repeat(len(z))
    shape = (len(z), len(x))
    grey = fixed.at(points).reshape(shape)
    seen = grey[grey.isfinite()]
    extent = (float(x[0]), float(x[-1]), float(z[0]), float(z[-1]))
    limits = seen.quantile(torch.tensor([0.2, 0.995])).tolist()
    axes.imshow(grey.numpy(), "gray", origin="lower", extent=extent, vmin=limits[0], vmax=limits[1])
    inverse = matrix.inverse()
    smooth = gaussian_filter(moving.values.numpy(), (_SMOOTH_MM / moving.spacing_mm).tolist())
    own = Volume(torch.from_numpy(smooth), moving.affine).at(mapped(points, inverse))
    own = own.reshape(shape)
    if not bool(own.isfinite().any()):
        return
    level = float(own[own.isfinite()].quantile(_LINE))
    axes.contour(
        x.numpy(), z.numpy(), np.ma.masked_invalid(own.numpy()), [level], colors=colour, linewidths=0.7
    )
    axes.contour(x.numpy(), z.numpy(), own.isfinite().double().numpy(), [0.5], colors=colour, linewidths=1.2)
