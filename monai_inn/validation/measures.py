"""The figures of every case, in one walk over the samples that keeps memory small, and maps of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_inn.inferers.summaries import count_modes, quantiles, sorted_last
from monai_inn.metrics import crps, sbc_ranks
from monai_inn.metrics.cases import unwrap
from monai_inn.networks.kernels.chunks import on_all_threads
from monai_inn.validation.cases import Cases

__all__ = ["CaseFigures", "image_panels", "measure_cases"]

_VALUES = 4_000_000  # samples of one piece


class CaseFigures(NamedTuple):
    """One row a case, each of shape ``(N, D)``; lengths in the parameters' units.

    Attributes:
        rank: samples below the truth, ties broken at random.
        centre: median of truth and samples together (for angles after cutting the circle): what cases may be
            sorted by without spoiling their ranks.
        median: median of the samples.
        width: width of the central 95 % interval.
        spread: standard deviation of the samples.
        crps: continuous ranked probability score.
        modes: modes of the marginal.
    """

    rank: Tensor
    centre: Tensor
    median: Tensor
    width: Tensor
    spread: Tensor
    crps: Tensor
    modes: Tensor


def measure_cases(
    cases: Cases, seed: int = 0, progress: Callable[[float], None] = lambda share: None
) -> CaseFigures:
    """Return the figures of every case; pieces of cases run on all threads."""
    period = cases.period
    count = len(cases)
    size = max(1, _VALUES // (cases.samples.shape[0] * cases.samples.shape[2]))
    pieces = [slice(start, min(start + size, count)) for start in range(0, count, size)]

    def measure(piece: slice) -> CaseFigures:
        samples, truth = cases.samples[:, piece], cases.truth[piece]
        score = crps(samples, truth, period=period)
        samples, truth = unwrap(samples, truth, period)
        ordered = sorted_last(samples)
        low, median, high = quantiles(ordered, (0.025, 0.5, 0.975))
        return CaseFigures(
            rank=sbc_ranks(samples, truth, seed=seed + piece.start),
            centre=_pool_median(ordered, truth),
            median=median,
            width=high - low,
            spread=ordered.std(-1),
            crps=score,
            modes=count_modes(ordered),
        )

    parts = []
    for done, part in enumerate(on_all_threads(measure, pieces, cases.truth.device), 1):
        parts.append(part)
        progress(done / len(pieces))
    return CaseFigures(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _pool_median(ordered: Tensor, truth: Tensor) -> Tensor:
    """Median of ordered samples ``(n, D, S)`` and the truth ``(n, D)`` together, shape ``(n, D)``."""
    size = ordered.shape[-1]
    middle = size // 2  # rank of the (upper) median among S + 1
    below, at = ordered[..., middle - 1], ordered[..., min(middle, size - 1)]
    return truth.clamp(below, at)


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
