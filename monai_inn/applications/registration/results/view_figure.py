"""The picture of a plan of views."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from monai_inn.applications.registration.views import ViewMap

__all__ = ["view_figure"]

_DPI = 130


def view_figure(found: ViewMap, record: dict[str, Any], path: Path) -> None:
    """Draw error, number of modes and mass of wrong poses over the angles, the best view marked.

    Args:
        found: what is to be expected of each view.
        record: what ``views.json`` is going to say.
        path: PNG file to write.
    """
    is_second = record["settings"]["after"] is not None
    figure = Figure(figsize=(8.5, 8.2), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = (
        (found.error_mm, "expected error of a posterior sample at bone (mTRE, mm)", "viridis_r"),
        (found.num_modes, "plausible poses", "cividis_r"),
        (found.wrong_mass, "mass of poses more than 10 mm wrong", "magma_r"),
    )
    change = "turn to " if is_second else ""
    for axes, (values, title, colours) in zip(figure.subplots(3, 1, sharex=True), panels, strict=True):
        drawn = axes.pcolormesh(
            _edges(found.lao), _edges(found.cra), np.ma.masked_invalid(values.T.numpy()), cmap=colours
        )
        axes.set_facecolor("#c8c8c8")
        axes.plot(record["best"]["lao_deg"], record["best"]["cra_deg"], "w*", ms=13, mec="black")
        axes.set_title(title, fontsize=9)
        axes.set_ylabel(f"{change}CRA (°)", fontsize=9)
        axes.tick_params(labelsize=8)
        figure.colorbar(drawn, ax=axes, pad=0.01).ax.tick_params(labelsize=8)
    axes.set_xlabel(
        f"{change}LAO (°); star: best view" + ("; grey: outside the bundle's prior" * is_second), fontsize=9
    )
    text = f"{record['statement']}\n{record['intended_use']}"
    figure.suptitle("\n".join(textwrap.fill(line, 110) for line in text.splitlines()), fontsize=9)
    figure.savefig(path)


def _edges(centres: Tensor) -> np.ndarray:
    """Borders of the cells about evenly spaced centres."""
    at = centres.double().numpy()
    step = at[1] - at[0] if len(at) > 1 else 1.0
    return np.append(at - step / 2, at[-1] + step / 2)
