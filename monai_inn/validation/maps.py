"""Maps of image problems: where the error is large and where the intervals miss the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_inn.validation.cases import Cases
from monai_inn.validation.measures import CaseFigures

__all__ = ["image_panels"]

_IMAGES_SHOWN = 4
_TAIL = 0.025


Panel = tuple[str, str, Any, float | None]


def image_panels(
    cases: Cases, figures: CaseFigures, words: Mapping[str, str]
) -> Iterator[tuple[str, list[Panel]]]:
    """Yield a heading and panels (title, unit, image, half range) for every image and target.

    Volumes are shown in their middle slice; ``words`` are the labels of the parameters by name.
    """
    images = cases.images
    if images is None:
        return
    rank, size = figures.rank.float(), cases.samples.shape[0]
    inside = ((rank > _TAIL * size) & (rank < (1 - _TAIL) * size)).float()
    for number in range(min(images.shape[0], _IMAGES_SHOWN)):
        for d, p in enumerate(cases.parameters):
            if p.name not in cases.targets:
                continue
            error, width, truth = (
                _plane(images.map(values.float())[number])
                for values in (
                    figures.median[:, d] - cases.truth[:, d], figures.width[:, d], cases.truth[:, d]
                )
            )  # fmt: skip
            cover = _plane(_local_mean(images.map(inside[:, d])[number]))
            limit = float(error[error.isfinite()].abs().quantile(0.98)) or 1.0
            yield (
                f"Image {number + 1}: {words[p.name]}",
                [
                    ("truth", f"[{p.unit}]", truth.numpy(), None),
                    ("error of the median", f"[{p.unit}]", error.numpy(), limit),
                    ("width of the 95 % interval", f"[{p.unit}]", width.numpy(), None),
                    ("truth inside the interval", "share of 3 × 3", cover.numpy(), None),
                ],
            )


def _plane(image: Tensor) -> Tensor:
    """Two axes: a profile as one row, the middle slice of a volume."""
    while image.ndim > 2:
        image = image[..., image.shape[-1] // 2]
    return image[None] if image.ndim == 1 else image


def _local_mean(image: Tensor) -> Tensor:
    """Mean over the known ones of 3 neighbours along each of the last two axes, NaN where the centre is."""
    flat = image.reshape(-1, 1, *image.shape[-2:]) if image.ndim > 1 else image.reshape(1, 1, 1, -1)
    known = flat.isfinite()
    kernel = flat.new_ones(1, 1, 3, 3)
    total = F.conv2d(flat.nan_to_num(), kernel, padding=1)
    mean = total / F.conv2d(known.to(flat), kernel, padding=1).clamp_min(1)
    return torch.where(known, mean, torch.nan).reshape(image.shape)
