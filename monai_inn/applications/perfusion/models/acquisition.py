"""When images are taken, and what noise does to curves of tissue and artery."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "ARTERY_NOISE",
    "BOLUS",
    "DYNAMIC",
    "FEWEST_WEIGHTINGS",
    "LARGEST_WEIGHTING",
    "LEAST_PEAK_MM",
    "TISSUE_NOISE",
    "Frames",
    "artery_scale",
    "draw_times",
    "log_uniform",
    "noise_level_of",
    "noisy_curves",
    "uniform",
]


class Frames(NamedTuple):
    """Between which limits the frames of the simulations lie.

    Attributes:
        fewest: least number of frames.
        most: largest number.
        interval_s: shortest and longest time between two frames, in s.
        lasting_s: shortest and longest acquisition, in s.
        slower: share of acquisitions that go on more slowly after a while.
        usual_s: a usual time between two frames, in s.
    """

    fewest: int
    most: int
    interval_s: tuple[float, float]
    lasting_s: tuple[float, float]
    slower: float
    usual_s: float


DYNAMIC = Frames(8, 60, (2.0, 20.0), (60.0, 1200.0), slower=0.3, usual_s=5.0)
"""Dynamic contrast-enhanced images."""
BOLUS = Frames(20, 128, (1.0, 3.0), (60.0, 384.0), slower=0.0, usual_s=1.5)
"""Images of the first pass of a bolus."""
TISSUE_NOISE = (0.001, 0.1)
"""Least and largest standard deviation of the noise of a tissue, in mM."""
ARTERY_NOISE = (0.005, 0.1)
"""Least and largest standard deviation of the noise of an artery, over ``artery_scale``."""

LEAST_PEAK_MM = 0.02
"""Least peak of a usable artery in mM: a tenth of the least of the family, as the first pass may fall between
two frames."""
FEWEST_WEIGHTINGS = 4
"""Least number of diffusion-weighted images."""
LARGEST_WEIGHTING = (300.0, 1500.0)
"""Between these is the largest b-value of every acquisition of the simulations, in s/mm²."""

_JITTER = (0.001, 0.1)  # relative standard deviation of the intervals of an acquisition
_SLOWER = 6.0
_LEAST_SCALE = 0.1  # mM, for arteries that the tracer does not reach in time
_LOSSY, _LOST = 0.1, 0.1  # share of acquisitions that lose values, and of the values that these lose


def draw_times(n: int, generator: torch.Generator, frames: Frames = DYNAMIC) -> Tensor:
    """Draw times of frames in s after the first, ``(n, frames.most)``; NaN beyond the last frame.

    Intervals are equal but for some jitter. Some acquisitions go on more slowly after a while, up to six
    times. Those that would last too short or too long are stretched to the limits.
    """
    number = torch.randint(frames.fewest, frames.most + 1, (n, 1), generator=generator)
    interval = log_uniform(frames.interval_s, (n, 1), generator)
    jitter = log_uniform(_JITTER, (n, 1), generator) * torch.randn(n, frames.most, generator=generator)
    steps = interval * (1 + jitter.clamp(-0.5, 0.5))
    turn = number * (0.2 + 0.7 * torch.rand(n, 1, generator=generator))
    slower = log_uniform((1.0, _SLOWER), (n, 1), generator)
    has_phases = torch.rand(n, 1, generator=generator) < frames.slower
    place = torch.arange(frames.most)
    steps = torch.where(has_phases & (place > turn), slower * steps, steps)
    steps[:, 0] = 0
    times = torch.where(place < number, steps.cumsum(1), torch.nan)
    last = times.nan_to_num(0.0).amax(1, keepdim=True)
    return times * (last.clamp(*frames.lasting_s) / last)


def noisy_curves(
    tissue: Tensor,
    artery: Tensor,
    share: float,
    generator: torch.Generator | None,
    of_magnitudes: Callable[[Tensor, Tensor, Tensor, torch.Generator | None], Tensor],
    levels: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return curves with noise, of a new level in every one.

    Args:
        tissue: concentrations in mM, shape ``(…, T)``; NaN where there is no frame.
        artery: same for the artery.
        share: share of the tissues whose noise is that of magnitudes from which concentrations were computed.
            The noise of all others is white, as is that of arteries.
        generator: source of all random numbers.
        of_magnitudes: draws concentrations that were computed from magnitudes, see ``Magnitudes.draw``.
        levels: standard deviations of both noises, in the units of ``TISSUE_NOISE`` and ``ARTERY_NOISE``,
            each ``(…, 1)``; drawn by default.

    Returns:
        Curves of the same shapes. A tenth of the pairs lose a tenth of their values.
    """
    one = tissue[..., :1]
    level = log_uniform(TISSUE_NOISE, one.shape, generator, one) if levels is None else levels[0]
    white = tissue + level * _normal(tissue, generator)
    magnitudes = of_magnitudes(tissue, (tissue == 0) & (artery == 0), level, generator)
    noisy = torch.where(uniform(one.shape, generator, one) < share, magnitudes, white)
    relative = log_uniform(ARTERY_NOISE, one.shape, generator, one) if levels is None else levels[1]
    scale = relative * artery_scale(artery).unsqueeze(-1)
    is_lossy = uniform(one.shape, generator, one) < _LOSSY
    curves = noisy, artery + scale * _normal(artery, generator)
    return tuple(  # type: ignore[return-value]
        torch.where(is_lossy & (uniform(tissue.shape, generator, one) < _LOST), torch.nan, curve)
        for curve in curves
    )


def noise_level_of(
    residual: Tensor, limits: tuple[float, float], generator: torch.Generator | None
) -> Tensor:
    """Draw levels of white noise ``(…, 1)`` that residuals ``(…, T)``, NaN where missing, may come from.

    Before the measurement the logarithm of the level is uniform: the sum of squares over that of the level is
    then chi-squared, but for the limits.
    """
    normal = torch.where(residual.isnan(), 0.0, _normal(residual, generator))
    squares = residual.square().nansum(-1, keepdim=True)
    return (squares / normal.square().sum(-1, keepdim=True)).sqrt().nan_to_num(limits[0]).clamp(*limits)


def artery_scale(artery: Tensor) -> Tensor:
    """Return what the noise of arteries ``(…, T)`` is relative to: the largest concentration in a frame."""
    return artery.nan_to_num(0.0).amax(-1).clamp_min(_LEAST_SCALE)


def log_uniform(
    limits: tuple[float, float],
    shape: torch.Size | tuple[int, ...],
    generator: torch.Generator | None,
    like: Tensor | None = None,
) -> Tensor:
    """Draw numbers whose logarithm is uniform between limits, in the number format of ``like``."""
    low, high = (math.log(limit) for limit in limits)
    like = torch.empty(0) if like is None else like
    return (low + (high - low) * uniform(shape, generator, like)).exp()


def uniform(shape: torch.Size | tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Draw numbers from 0 to 1 in the number format of ``like``."""
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
