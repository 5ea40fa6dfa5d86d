"""What codes of images mean, as a picture: each code moved by itself, and the factor it tells most about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from monai_inn.metrics.disentanglement import Disentanglement

__all__ = ["draw_traversals", "most_informative", "traversal_figure", "traversals"]

_ROW_IN = 0.6


@torch.no_grad()
def traversals(
    decode: Callable[[Tensor], Tensor], codes: Tensor, reach: float = 2.0, steps: int = 7
) -> Tensor:
    """Return what becomes of an image when one code changes and the others stay at their mean.

    Args:
        decode: from codes ``(N, J)`` to images ``(N, rows, columns)``.
        codes: those of many images, ``(n, J)``; their mean and spread are used.
        reach: how far the code goes to both sides, in standard deviations.
        steps: images of each code.

    Returns:
        Images of shape ``(J, steps, rows, columns)``.
    """
    places = torch.linspace(-reach, reach, steps).to(codes)
    moved = torch.diag(codes.std(0))[:, None] * places[:, None]
    return decode((codes.mean(0) + moved).flatten(0, 1)).unflatten(0, (codes.shape[1], steps))


def most_informative(found: Disentanglement) -> Tensor:
    """Return the numbers of codes ``(J,)``, those that tell most about a factor first."""
    return found.information.max(1).values.argsort(descending=True)


def draw_traversals(
    axes: Axes, images: Tensor, labels: Sequence[str], limits: tuple[float, float] | None = None
) -> None:
    """Draw traversals ``(J, steps, rows, columns)``, a row for each code, with its label beside it.

    ``limits`` are the values that are black and white, by default the least and the largest.
    """
    tiles = images.cpu().transpose(1, 2).flatten(2).flatten(0, 1)
    low, high = limits or (float(tiles.min()), float(tiles.max()))
    axes.imshow(tiles, cmap="gray", vmin=low, vmax=high)
    axes.set_xticks([])
    axes.set_yticks([images.shape[2] * (i + 0.5) for i in range(len(images))], labels, fontsize=8)
    axes.tick_params(length=0)


def traversal_figure(
    decode: Callable[[Tensor], Tensor],
    codes: Tensor,
    found: Disentanglement,
    factors: Sequence[str],
    path: str | PathLike[str],
    shown: int = 6,
) -> Path:
    """Draw a PNG of the most informative codes: their traversals, and what each tells most about, in nats.

    Args:
        decode: from codes ``(N, J)`` to images ``(N, rows, columns)``.
        codes: those of many images, ``(n, J)``.
        found: what ``metrics.disentanglement`` says of them.
        factors: names of the factors.
        path: file to write.
        shown: how many codes, at most.

    Raises:
        OSError: if the file cannot be written.
    """
    order = most_informative(found)[:shown]
    images = traversals(decode, codes)[order]
    nats, best = found.information[order].max(1)
    labels = [f"{factors[k]} {value:.2f} nat" for k, value in zip(best.tolist(), nats.tolist(), strict=True)]
    figure = Figure(
        figsize=(1.6 + _ROW_IN * images.shape[1], 0.5 + _ROW_IN * len(images)), layout="constrained"
    )
    axes = figure.add_subplot()
    draw_traversals(axes, images, labels)
    axes.set_title("one code from −2 to 2 standard deviations, the others at their mean", fontsize=8)
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    return Path(path)
