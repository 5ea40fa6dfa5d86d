"""The pictures of a registration and of a plan of views."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import gaussian_filter
from torch import Tensor

from monai_inn.applications.registration.poses.inference import PosePosterior
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.applications.registration.results.record import value_in_words
from monai_inn.applications.registration.views import ViewMap
from monai_inn.problems import Parameter

__all__ = ["aim_figure", "pose_figure", "view_figure"]

_DOT = 0.05  # of the prior's range
_DPI, _PANEL_IN, _MOST_ROWS = 130, 2.5, 3
_MOST_LINES = 150  # a mode
_AXES = {"lao": "RAO − · LAO + (°)", "cra": "CAU − · CRA + (°)"}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


def pose_figure(
    problem: PoseRegistration,
    observation: Tensor,
    answer: PosePosterior,
    drrs: Sequence[Tensor],
    record: dict[str, Any],
    path: Path,
    counted: Tensor | None = None,
) -> None:
    """Draw one PNG; at most the three heaviest poses have images, all are in the posterior.

    Args:
        problem: the registration.
        observation: the X-ray, shape ``(C,)``.
        answer: its posterior.
        drrs: simulated X-ray of each of its modes, shape ``(C,)``.
        record: what ``registration.json`` is going to say.
        path: file to write.
        counted: which pixels were compared, shape ``(rows, columns)``, boolean; all by default.
    """
    shown = record["modes"][:_MOST_ROWS]
    size = (4.7 * _PANEL_IN, (len(shown) + 0.55) * _PANEL_IN)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(3.1, 1.6))
    images, posterior = parts
    panels = images.subplots(len(shown), 3, squeeze=False)
    xray = observation.reshape(problem.observation.size)
    # Noise must not make bones dark.
    top = 1.1 * max(float(drr.max()) for drr in drrs)
    place = record.get("residual", {}).get("unexplained")
    for axes, mode, simulated in zip(panels, shown, drrs, strict=False):
        drr, limits = simulated.reshape(xray.shape), (0.0, top)
        pictures, left, most, title = (xray, drr), xray - drr, 0.5 * top, "X-ray"
        if counted is not None:
            pictures, title = (_evened(xray), _evened(drr)), "X-ray\n(brightness evened out)"
            inner = pictures[1][counted].quantile(torch.tensor([0.01, 0.995])).tolist()
            limits = inner[0], inner[1]
            most = max(0.02 * top, 1.2 * float(left[counted].abs().quantile(0.99)))
            left = left.masked_fill(~counted, torch.nan)
        pose = ", ".join(value_in_words(n, mode["pose"][n], mode["spread"][n]) for n in problem.targets[:2])
        _image(axes[0], pictures[0], title, limits, "gray")
        _image(axes[1], pictures[1], f"pose {mode['number']}: {mode['mass']:.0%}\n{pose}", limits, "gray")
        drawn = _image(axes[2], left, "X-ray − simulated", (-most, most), "RdBu_r")
        if place is not None:
            for shown_in in (axes[0], axes[2]):
                _framed(shown_in, place)
        bar = images.colorbar(drawn, ax=axes[2], fraction=0.046, pad=0.02)
        bar.ax.tick_params(labelsize=6)
        bar.set_label("share of the brightest", fontsize=6)
    _posterior(posterior.subplots(), problem, answer)
    colour = "black" if record["trust"]["is_trusted"] else "#b00020"
    told = [part["statement"] for part in (record["ambiguity"], record["trust"], place) if part is not None]
    told.append(record["intended_use"])
    text = "\n".join(textwrap.fill(line, 150) for line in told)
    figure.suptitle(text, fontsize=8, color=colour, x=0.01, ha="left")
    figure.savefig(path)


def _evened(image: Tensor) -> Tensor:
    """An image without most of its large-scale brightness, in which bones hide behind a thick patient."""
    smooth = gaussian_filter(image.numpy(), max(image.shape) / 12, mode="nearest")
    return image - 0.85 * torch.from_numpy(smooth)


def _image(axes: Axes, image: Tensor, title: str, limits: tuple[float, float], colours: str) -> Any:
    axes.set_title(title, fontsize=7)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#9a9a9a")  # of what was left out
    return axes.imshow(image.detach().cpu().numpy(), colours, vmin=limits[0], vmax=limits[1])


def _framed(axes: Axes, place: dict[str, Any]) -> None:
    """Mark the place that the poses leave unexplained."""
    (top, bottom), (left, right) = place["rows"], place["columns"]
    at, size = (left - 2.5, top - 2.5), (right - left + 5, bottom - top + 5)
    axes.add_patch(Rectangle(at, *size, fill=False, color="#e69f00", lw=1, ls="--"))


def _posterior(axes: Axes, problem: PoseRegistration, answer: PosePosterior) -> None:
    """Samples of the first two free parameters, or a histogram of the only one."""
    first = problem.space.parameters[0]
    second = problem.space.parameters[1] if len(problem.space) > 1 else None
    for number, mode in enumerate(answer.modes):
        own = answer.samples[mode.members].numpy()
        colour, label = _COLOURS[number % len(_COLOURS)], f"pose {number + 1}: {mode.mass:.0%}"
        if second is None:
            axes.hist(own[:, 0], np.linspace(first.low, first.high, 91).tolist(), color=colour, label=label)
        else:
            axes.scatter(own[:, 0], own[:, 1], s=3, alpha=0.5, color=colour, linewidths=0, label=label)
    axes.set_xlim(*_limits(first, answer.samples[:, 0]))
    axes.set_xlabel(_axis(first), fontsize=8)
    if second is not None:
        axes.set_ylim(*_limits(second, answer.samples[:, 1]))
        axes.set_ylabel(_axis(second), fontsize=8)
    axes.tick_params(labelsize=7)
    axes.set_title(f"{len(answer.samples)} posterior samples", fontsize=7)
    axes.legend(fontsize=7, markerscale=3, framealpha=0.9)


def _axis(parameter: Parameter) -> str:
    return _AXES.get(parameter.name, f"{parameter.name} ({parameter.unit.replace('deg', '°')})")


def _limits(parameter: Parameter, samples: Tensor) -> tuple[float, float]:
    """The prior's range, or that of the samples where they fill so little of it that they would be a dot."""
    low, high = float(samples.min()), float(samples.max())
    if high - low > _DOT * (parameter.high - parameter.low):
        return parameter.low, parameter.high
    margin = 0.5 * max(high - low, 1e-3)
    return low - margin, high + margin


def view_figure(found: ViewMap, record: dict[str, Any], path: Path) -> None:
    """Draw error, number of modes and mass of wrong poses over the angles, the best view marked.

    Args:
        found: what is to be expected of each view.
        record: what ``views.json`` is going to say.
        path: PNG file to write.
    """
    is_second = record["settings"]["after"] is not None
    height = 1.9 + 3 * min(2.1, 0.5 + 0.4 * len(found.cra))
    figure = Figure(figsize=(8.5, height), dpi=_DPI, layout="constrained")
    panels = (  # values, title, colours, and both ends of a scale that at least holds these
        (found.error_mm, "expected error of a posterior sample at bone (mTRE, mm)", "viridis_r", None),
        (found.num_modes, "plausible poses", "cividis_r", (1.0, 2.0)),
        (found.wrong_mass, "mass of poses more than 10 mm wrong", "magma_r", (0.0, 0.1)),
    )
    change = "turn: " if is_second else ""
    for axes, (values, title, colours, ends) in zip(figure.subplots(3, 1, sharex=True), panels, strict=True):
        shown = np.ma.masked_invalid(values.T.numpy())
        drawn = axes.pcolormesh(_edges(found.lao), _edges(found.cra), shown, cmap=colours)
        if ends is not None:
            drawn.set_clim(ends[0], max(ends[1], float(shown.max())))
        axes.set_facecolor("#c8c8c8")
        axes.plot(record["best"]["lao_deg"], record["best"]["cra_deg"], "w*", ms=13, mec="black")
        axes.set_title(title, fontsize=9)
        axes.set_ylabel(f"{change}{_AXES['cra']}".replace(" (°)", "\n(°)"), fontsize=9)
        if len(found.cra) == 1:
            axes.set_yticks(found.cra.tolist())
        axes.tick_params(labelsize=8)
        figure.colorbar(drawn, ax=axes, pad=0.01).ax.tick_params(labelsize=8)
    axes.set_xlabel(
        f"{change}{_AXES['lao']}; star: best view" + "; grey: outside of the prior" * is_second,
        fontsize=9,
    )
    _headed(figure, record)
    figure.savefig(path)


def aim_figure(
    plan: Tensor, places: Tensor, axes: Tensor, mode: Tensor, record: dict[str, Any], path: Path
) -> None:
    """Draw a planned point or line as each pose places it, as the detector sees it and from the side.

    Args:
        plan: the points, RAS in mm, shape ``(P, 3)``.
        places: where each pose has them, shape ``(S, P, 3)``.
        axes: of the first pose's camera, columns right, down, along the beam.
        mode: of each pose, from 1.
        record: what ``aim.json`` is going to say.
        path: PNG file to write.
    """
    seen, planned = ((p - plan[-1]) @ axes for p in (places, plan))
    figure = Figure(figsize=(8.5, 4.9), dpi=_DPI, layout="constrained")
    views = (("right in the image (mm)", 0), ("along the beam, away from the source (mm)", 2))
    for panel, (title, across) in zip(figure.subplots(1, 2), views, strict=True):
        for k in mode.unique().tolist():
            own = seen[mode == k][:_MOST_LINES]
            colour = _COLOURS[(k - 1) % len(_COLOURS)] if k else "#808080"
            name = f"pose {k}" if k else "between poses"
            panel.plot(own[..., across].T, own[..., 1].T, "-", color=colour, lw=0.6, alpha=0.25)
            panel.plot(own[:, -1, across], own[:, -1, 1], ".", color=colour, ms=3, label=name)
        panel.plot(planned[:, across], planned[:, 1], "k-", lw=1.5)
        panel.plot(planned[-1, across], planned[-1, 1], "k+", ms=11, mew=1.5, label="planned target")
        panel.set_xlabel(title, fontsize=9)
        panel.set_ylabel("down in the image (mm)", fontsize=9)
        panel.set_aspect("equal", adjustable="datalim")
        panel.invert_yaxis()
        panel.tick_params(labelsize=8)
        panel.grid(color="#e6e6e6", lw=0.6)
    panel.legend(fontsize=8, loc="best")
    _headed(figure, record)
    figure.savefig(path)


def _headed(figure: Figure, record: dict[str, Any]) -> None:
    """Write above a figure what its record says."""
    text = f"{record['statement']}\n{record['intended_use']}"
    figure.suptitle("\n".join(textwrap.fill(line, 110) for line in text.splitlines()), fontsize=9)


def _edges(centres: Tensor) -> np.ndarray:
    """Borders of the cells about evenly spaced centres."""
    at = centres.double().numpy()
    step = at[1] - at[0] if len(at) > 1 else 1.0
    return np.append(at - step / 2, at[-1] + step / 2)
