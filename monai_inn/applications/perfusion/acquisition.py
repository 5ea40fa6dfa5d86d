"""When images are taken, and what noise does to curves of tissue and artery."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.perfusion.signal import (
    Echo,
    concentration_of,
    relative_signal,
    relaxation_change,
    rician,
)

__all__ = [
    "ARTERY_NOISE",
    "BOLUS",
    "DYNAMIC",
    "FEWEST_WEIGHTINGS",
    "LARGEST_WEIGHTING",
    "LEAST_PEAK_MM",
    "TISSUE_NOISE",
    "Frames",
    "Magnitudes",
    "artery_scale",
    "draw_times",
    "log_uniform",
    "noise_level_of",
    "noisy_curves",
    "spoiled_magnitudes",
    "susceptibility_magnitudes",
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


Magnitudes = Callable[[Tensor, Tensor, Tensor, torch.Generator | None], Tensor]
"""Concentrations from noisy magnitudes: of concentrations ``(…, T)`` in mM, whether a frame has no tracer,
and the standard deviation of the noise where there is none, ``(…, 1)``."""

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
_FLIP_DEG, _TR_S, _T1_S, _RELAXIVITY = (8.0, 30.0), (0.002, 0.008), (0.4, 2.0), (3.5, 5.0)
_SMALL_MM = 1e-3
_DEPTH_PER_MM, _MOST_NOISE = (0.3, 6.0), 0.1  # echo time times relaxivity; of the signal, over the signal
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
    of_magnitudes: Magnitudes,
    levels: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return curves with noise, of a new level in every one.

    Args:
        tissue: concentrations in mM, shape ``(…, T)``; NaN where there is no frame.
        artery: same for the artery.
        share: share of the tissues whose noise is that of magnitudes from which concentrations were computed.
            The noise of all others is white, as is that of arteries.
        generator: source of all random numbers.
        of_magnitudes: draws concentrations that were computed from magnitudes.
        levels: standard deviations of both noises, in the units of ``TISSUE_NOISE`` and ``ARTERY_NOISE``,
            each ``(…, 1)``; drawn by default.

    Returns:
        Curves of the same shapes. A tenth of the pairs lose a tenth of their values.
    """
    one = tissue[..., :1]
    level = log_uniform(TISSUE_NOISE, one.shape, generator, one) if levels is None else levels[0]
    white = tissue + level * _normal(tissue, generator)
    magnitudes = of_magnitudes(tissue, (tissue == 0) & (artery == 0), level, generator)
    noisy = torch.where(_uniform(one.shape, generator, one) < share, magnitudes, white)
    relative = log_uniform(ARTERY_NOISE, one.shape, generator, one) if levels is None else levels[1]
    scale = relative * artery_scale(artery).unsqueeze(-1)
    is_lossy = _uniform(one.shape, generator, one) < _LOSSY
    curves = noisy, artery + scale * _normal(artery, generator)
    return tuple(  # type: ignore[return-value]
        torch.where(is_lossy & (_uniform(tissue.shape, generator, one) < _LOST), torch.nan, curve)
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
    return (low + (high - low) * _uniform(shape, generator, like)).exp()


def spoiled_magnitudes(
    tissue: Tensor, is_baseline: Tensor, level: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Return concentrations from a spoiled gradient echo, of any settings; see ``Magnitudes``."""
    one = tissue[..., :1]

    def between(limits: tuple[float, float]) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * _uniform(one.shape, generator, one)

    echo, t1 = Echo(between(_FLIP_DEG), between(_TR_S), between(_RELAXIVITY)), between(_T1_S)
    slope = (relative_signal(torch.full_like(one, _SMALL_MM), t1, echo) - 1) / _SMALL_MM
    signal = rician(relative_signal(tissue, t1, echo), level * slope, generator)
    return concentration_of(signal, _baseline(signal, is_baseline), t1, echo)


def susceptibility_magnitudes(
    tissue: Tensor, is_baseline: Tensor, level: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Return concentrations from a T2*-weighted echo, of any time and relaxivity; see ``Magnitudes``.

    The noise is a tenth of the signal at most; beyond, images are not used.
    """
    depth = log_uniform(_DEPTH_PER_MM, level.shape, generator, level)
    sd = (level * depth).clamp_max(_MOST_NOISE)
    signal = rician(torch.exp(-depth * tissue), sd, generator)
    return relaxation_change(signal, _baseline(signal, is_baseline), depth)


def _baseline(signal: Tensor, is_baseline: Tensor) -> Tensor:
    """Mean of what was measured before the arrival of tracer, if anything was, and 1 otherwise."""
    before = torch.where(is_baseline, signal, 0.0).sum(-1, keepdim=True)
    number = is_baseline.sum(-1, keepdim=True)
    return torch.where(number > 0, before / number.clamp_min(1), 1.0)


def _uniform(shape: torch.Size | tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
