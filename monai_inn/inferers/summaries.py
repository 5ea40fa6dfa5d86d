"""Summaries of posterior samples, one pixel at a time: quantiles, mean, probabilities, number of modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.quasirandom import SobolEngine

from monai_inn.inferers.circles import Circles
from monai_inn.inferers.levels import QuantileLevels
from monai_inn.inferers.peaks import count_peaks, histogram
from monai_inn.networks.kernels.chunks import is_recorded
from monai_inn.problems.parameters import ParameterSpace

__all__ = [
    "calibrated_quantiles",
    "count_modes",
    "interval_levels",
    "quantiles",
    "shared_latents",
    "sorted_last",
    "stored_levels",
    "summarise",
]

_BINS = 48
_TAIL = 1e-6


def shared_latents(num_samples: int, channels: int, seed: int) -> Tensor:
    """Return standard normal latents ``(S, 1, D)`` from a scrambled Sobol sequence.

    One latent per sample index serves all pixels: a sample is then a coherent image, and the summaries of
    neighbouring pixels share their sampling error. Sobol points need about a quarter of the samples of
    independent draws for the same median.
    """
    points = SobolEngine(channels, scramble=True, seed=seed).draw(num_samples, dtype=torch.float64)
    return torch.special.ndtri(points.clamp(_TAIL, 1 - _TAIL)).float().unsqueeze(1)


def sorted_last(samples: Tensor) -> Tensor:
    """Return samples ``(S, n, D)`` as ``(n, D, S)``, sorted along the last axis."""
    moved = samples.permute(1, 2, 0).contiguous()
    if moved.device.type == "cpu" and not is_recorded():
        return torch.from_numpy(np.sort(moved.numpy(), -1))  # vectorised, several times torch's speed
    return moved.sort(-1).values


def quantiles(ordered: Tensor, levels: Sequence[float]) -> Tensor:
    """Return quantiles ``(L, n, D)`` of ordered samples ``(n, D, S)``.

    Midpoint rule: the k-th of S equidistributed samples stands for the level ``(k − ½) / S``.
    """
    size = ordered.shape[-1]
    result = []
    for level in levels:
        position = min(max(level * size - 0.5, 0.0), size - 1.0)
        low = min(int(position), size - 2) if size > 1 else 0
        high = min(low + 1, size - 1)
        result.append(torch.lerp(ordered[..., low], ordered[..., high], position - low))
    return torch.stack(result)


def interval_levels(interval: float) -> tuple[float, float, float]:
    """Return the levels of the low end, the median and the high end of a central interval."""
    return (1 - interval) / 2, 0.5, (1 + interval) / 2


def stored_levels(number: int, interval: float) -> tuple[float, ...]:
    """Return the levels of so many equally likely quantiles, and of a central interval and the median.

    Each of the equally likely ones stands in the middle of its share; no number gives no levels at all.
    """
    if number == 0:
        return ()
    levels = (*interval_levels(interval), *((k + 0.5) / number for k in range(number)))
    return tuple(sorted({round(level, 9) for level in levels}))  # 0.975 is not to be there twice


def calibrated_quantiles(ordered: Tensor, nominal: Sequence[float], levels: QuantileLevels | None) -> Tensor:
    """Return quantiles ``(L, n, D)`` of ordered samples ``(n, D, S)``.

    With ``levels`` they are taken where held-out cases say, each parameter at levels of its own.
    """
    if levels is None:
        return quantiles(ordered, nominal)
    size = ordered.shape[-1]
    position = (levels.at(nominal) * size - 0.5).clamp(0, size - 1).T.expand(ordered.shape[0], -1, -1)
    low = position.floor().clamp_max(size - 2)
    index = low.long()
    ends = torch.lerp(ordered.gather(-1, index), ordered.gather(-1, index + 1), (position - low).to(ordered))
    return ends.movedim(-1, 0)


def count_modes(ordered: Tensor) -> Tensor:
    """Count the modes of each one-dimensional marginal from ordered samples ``(n, D, S)``; shape ``(n, D)``.

    A histogram over the sampled range is smoothed with Silverman's bandwidth and scanned for peaks that are
    separated by a dip below 60 % of the lower one and that hold more than a few per cent of the samples.
    """
    size, span = ordered.shape[-1], (ordered[..., -1:] - ordered[..., :1]).clamp_min(1e-9)
    smooth = _smooth(histogram(ordered, _BINS) / size, _smoothing_width(ordered, span, size))
    return count_peaks(smooth, floor=0.05 * smooth.amax(-1))


def _smoothing_width(ordered: Tensor, span: Tensor, size: int) -> Tensor:
    """Silverman's bandwidth in bins, from the smaller of standard deviation and interquartile range."""
    quarter = ordered[..., (3 * size) // 4] - ordered[..., size // 4]
    mean = ordered.mean(-1, keepdim=True)
    deviation = ((ordered - mean).square_().sum(-1) / (size - 1)).sqrt_()  # torch's std takes thrice as long
    spread = torch.minimum(deviation, quarter / 1.349 + 1e-9)
    return (0.9 * spread * size**-0.2 / span.squeeze(-1) * _BINS).clamp(0.5, _BINS / 4)


def _smooth(density: Tensor, width: Tensor) -> Tensor:
    """Gaussian smoothing of ``(…, bins)`` with its own width in bins for each row."""
    bins = torch.arange(_BINS, device=density.device, dtype=density.dtype)
    # The transfer function of a Gaussian: smoothing with many different widths is one pair of transforms.
    frequency = torch.fft.rfftfreq(2 * _BINS, device=density.device, dtype=density.dtype)
    transfer = torch.exp(-2 * (torch.pi * frequency * width.unsqueeze(-1)).square())
    padded = F.pad(density, (0, len(bins)))
    return torch.fft.irfft(torch.fft.rfft(padded) * transfer, n=2 * _BINS)[..., :_BINS].clamp_min(0)


def summarise(
    samples: Tensor,
    space: ParameterSpace,
    interval: float,
    below: Mapping[str, float],
    levels: QuantileLevels | None = None,
    stored: Sequence[float] = (),
) -> dict[str, Tensor]:
    """Summarise latent posterior samples of many pixels in physical units.

    Quantiles are taken in the flow's space and then mapped, which is exact because the map is monotone. Those
    of a periodic parameter are taken around its mean direction, and may lie beyond its bounds, see
    ``Circles.physical``; its median and mean do not.

    Args:
        samples: shape ``(S, n, D)`` in the flow's space.
        space: bijection to physical parameters, ``D`` of them.
        interval: probability inside the reported central interval.
        below: thresholds in physical units, by parameter name.
        levels: those of a recalibrated network; median, interval and probabilities follow them.
        stored: levels of the quantiles that are wanted themselves.

    Returns:
        ``median``, ``mean``, ``interval_low``, ``interval_high``, ``interval_width``, ``mode_count`` of shape
        ``(n, D)``, ``probability_below`` of shape ``(n, len(below))`` if thresholds were given,
        ``quantiles`` of shape ``(n, D · len(stored))``, parameter by parameter, if levels were, and
        ``class_probability``, for every class of every parameter that is one, if there are some.
    """
    circles = Circles(samples, space)
    ordered = sorted_last(circles.cut(samples))
    ends = calibrated_quantiles(ordered, interval_levels(interval), levels)
    low, median, high = circles.physical(ends, ends[1])
    maps = {
        "median": median,
        "mean": circles.within(circles.physical(ordered.movedim(-1, 0), ends[1]).mean(0)),
        "interval_low": low,
        "interval_high": high,
        "interval_width": high - low,
        "mode_count": count_modes(ordered),
    }
    if stored:
        values = circles.physical(calibrated_quantiles(ordered, stored, levels), ends[1])
        maps["quantiles"] = values.permute(1, 2, 0).flatten(1)
    if below:
        shares = []
        for name, threshold in below.items():
            column = space.index(name)
            latent = space.subset([name]).to_latent(samples.new_full((1, 1), threshold)).squeeze()
            share = (samples[..., column] < latent).to(median.dtype).mean(0)
            shares.append(share if levels is None else levels.probability(share, column))
        maps["probability_below"] = torch.stack(shares, -1)
    kinds = [(column, len(p.categories)) for column, p in enumerate(space.parameters)]
    classes = [_class_shares(samples[..., column], number) for column, number in kinds if number]
    return maps | ({"class_probability": torch.cat(classes, -1)} if classes else {})


def _class_shares(samples: Tensor, number: int) -> Tensor:
    """Share of each class ``(n, K)`` among latent samples ``(S, n)`` of one parameter."""
    index = (number * torch.special.ndtr(samples)).long().clamp(0, number - 1)
    return F.one_hot(index, number).to(samples).mean(0)
