"""Pictures of a classified image: its evidence, its counterfactual, the middles of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from monai_inn.applications.classification.problem import LabelledImages, classifier_of
from monai_inn.networks.classes.evidence import class_images, counterfactual, evidence_map

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior

__all__ = ["draw", "draw_classes", "draw_into", "evidence_of"]

_PANEL_IN = 2.3


def evidence_of(fitted: FittedPosterior, row: Tensor) -> tuple[Tensor, int, int]:
    """Return the evidence at each place ``(*size)`` for the most probable class against the next, nats.

    Args:
        fitted: posterior of a class.
        row: one image ``(C,)``, grey levels.

    Returns:
        The map, whose sum is the log odds of both classes at equal shares, and the numbers of both classes.
    """
    problem, density = classifier_of(fitted)
    features = problem.features(row[None].to(fitted.device, torch.float32))
    with torch.no_grad():
        first, second = density.logits(features)[0].topk(2).indices.tolist()
    found = evidence_map(density, features, first, second)[0]
    return found.unflatten(0, (*problem.size, -1)).sum(-1).cpu(), first, second


def draw(fitted: FittedPosterior, row: Tensor, entry: Mapping[str, Any], path: Path) -> None:
    """Draw an image ``(C,)``, its evidence, and the same image in the next class."""
    figure = Figure(figsize=(3 * _PANEL_IN + 0.6, _PANEL_IN + 0.6), layout="constrained")
    draw_into(figure.subplots(1, 3), fitted, row, entry)
    _save(figure, path)


def draw_into(axes: Any, fitted: FittedPosterior, row: Tensor, entry: Mapping[str, Any]) -> None:
    """Draw what ``draw`` does into three axes; ``entry`` is what ``answers`` says of the image."""
    problem, density = classifier_of(fitted)
    found, first, second = evidence_of(fitted, row)
    names = problem.classes
    features = problem.features(row[None].to(fitted.device, torch.float32))
    other = 255 * counterfactual(density, features, torch.tensor([second], device=fitted.device))[0]
    strange = ", of no class" if entry["is_of_no_class"] else ""
    _show(axes[0], row, problem, f"{names[first]} {entry['probability'][names[first]]:.2f}{strange}")
    limit = float(found.abs().max()) or 1.0
    shown = axes[1].imshow(_plane(found), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes[1].set_title(f"evidence for {names[first]}:\n{float(found.sum()):+.1f} nats", fontsize=9)
    axes[1].set_axis_off()
    axes[1].figure.colorbar(shown, ax=axes[1], label="nats a pixel", shrink=0.8)
    _show(axes[2], other, problem, f"the same as {names[second]}\n(computed, not taken)")


def draw_classes(fitted: FittedPosterior, path: Path) -> None:
    """Draw the image in the middle of each class."""
    problem, density = classifier_of(fitted)
    images = 255 * class_images(density).cpu()
    figure = Figure(figsize=(len(images) * _PANEL_IN, _PANEL_IN + 0.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(images)))
    for axis, image, name in zip(axes, images, problem.classes, strict=True):
        _show(axis, image, problem, f"middle of {name}\n(computed)")
    _save(figure, path)


def _show(axis: Any, row: Tensor, problem: LabelledImages, title: str) -> None:
    image = row.cpu().clamp(0, 255).unflatten(0, (*problem.size, -1))
    if image.ndim == 4:  # of a volume the slice in the middle, as the viewer shows it: rows are y
        image = image[:, :, image.shape[2] // 2].transpose(0, 1)
    grey = image.shape[-1] == 1
    axis.imshow(image[..., 0] if grey else image / 255, cmap="gray" if grey else None, vmin=0, vmax=255)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


def _plane(found: Tensor) -> Tensor:
    return found[..., found.shape[-1] // 2].T if found.ndim == 3 else found


def _save(figure: Figure, path: Path) -> None:
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
