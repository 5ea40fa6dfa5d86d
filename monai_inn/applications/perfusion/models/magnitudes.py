"""Concentrations that were computed from magnitude images: drawing them, and how likely they are."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.perfusion.models.acquisition import log_uniform, uniform
from monai_inn.applications.perfusion.models.signal import (
    Echo,
    concentration_of,
    relative_signal,
    relaxation_change,
    rician,
)

__all__ = ["SPOILED", "SUSCEPTIBILITY", "Conversion", "Magnitudes"]

_FLIP_DEG, _TR_S, _T1_S, _RELAXIVITY = (8.0, 30.0), (0.002, 0.008), (0.4, 2.0), (3.5, 5.0)
_SMALL_MM = 1e-3
_DEPTH_PER_MM, _MOST_NOISE = (0.3, 6.0), 0.1  # echo time times relaxivity; of the signal, over the signal
_CONVERSIONS, _CANDIDATES = 10, 4096  # that stand for all settings; of which they are chosen


class Conversion(NamedTuple):
    """Settings under which signals became concentrations.

    Attributes:
        signal: signal over that without tracer, of concentrations in mM; 0 where no signal gives them.
        most_noise: largest standard deviation of the noise, over the signal without tracer.
    """

    signal: Callable[[Tensor], Tensor]
    most_noise: float


class Magnitudes(NamedTuple):
    """What noise of magnitudes does to concentrations.

    Attributes:
        draw: concentrations from noisy magnitudes, of concentrations ``(…, T)`` in mM, whether a frame has no
            tracer, and the standard deviation of the noise where there is none, ``(…, 1)``.
        conversions: settings that stand for those that are drawn, each as likely as the others.
    """

    draw: Callable[[Tensor, Tensor, Tensor, torch.Generator | None], Tensor]
    conversions: Callable[[], tuple[Conversion, ...]]


def _spoiled_magnitudes(
    tissue: Tensor, is_baseline: Tensor, level: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Return concentrations from a spoiled gradient echo, of any settings; see ``Magnitudes``."""
    *echo, t1 = _settings(tissue[..., :1], generator)
    slope = (relative_signal(torch.full_like(t1, _SMALL_MM), t1, Echo(*echo)) - 1) / _SMALL_MM
    signal = rician(relative_signal(tissue, t1, Echo(*echo)), level * slope, generator)
    return concentration_of(signal, _baseline(signal, is_baseline), t1, Echo(*echo))


def _susceptibility_magnitudes(
    tissue: Tensor, is_baseline: Tensor, level: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Return concentrations from a T2*-weighted echo, of any time and relaxivity; see ``Magnitudes``.

    The noise is a tenth of the signal at most; beyond, images are not used.
    """
    depth = log_uniform(_DEPTH_PER_MM, level.shape, generator, level)
    sd = (level * depth).clamp_max(_MOST_NOISE)
    signal = rician(torch.exp(-depth * tissue), sd, generator)
    return relaxation_change(signal, _baseline(signal, is_baseline), depth)


@functools.cache
def _spoiled_conversions() -> tuple[Conversion, ...]:
    """Settings evenly over how soon the signal saturates, which is all that they change but for its scale."""
    like = torch.empty(_CANDIDATES, 1, dtype=torch.float64)
    *echo, t1 = settings = _settings(like, torch.Generator().manual_seed(0))
    at = relative_signal(torch.tensor([_SMALL_MM, 1.0], dtype=torch.float64), t1, Echo(*echo)) - 1
    order = (at[:, 1] / at[:, 0]).argsort()
    each = _CANDIDATES // _CONVERSIONS
    chosen = torch.cat(settings, 1)[order[each // 2 :: each][:_CONVERSIONS]].tolist()
    return tuple(
        Conversion(functools.partial(_spoiled_signal, echo=Echo(*echo), t1_s=t1_s), math.inf)
        for *echo, t1_s in chosen
    )


@functools.cache
def _susceptibility_conversions() -> tuple[Conversion, ...]:
    low, high = (math.log(depth) for depth in _DEPTH_PER_MM)
    places = (torch.arange(_CONVERSIONS, dtype=torch.float64) + 0.5) / _CONVERSIONS
    depths = (low + (high - low) * places).exp().tolist()
    return tuple(Conversion(functools.partial(_lost_signal, depth=depth), _MOST_NOISE) for depth in depths)


SPOILED = Magnitudes(_spoiled_magnitudes, _spoiled_conversions)
"""Spoiled gradient echoes."""
SUSCEPTIBILITY = Magnitudes(_susceptibility_magnitudes, _susceptibility_conversions)
"""T2*-weighted echoes."""


def _spoiled_signal(concentration: Tensor, echo: Echo, t1_s: float) -> Tensor:
    # Below no relaxation at all there is no signal.
    return relative_signal(concentration.clamp_min(-1 / (t1_s * float(echo.relaxivity))), t1_s, echo)


def _lost_signal(concentration: Tensor, depth: float) -> Tensor:
    return torch.exp(-depth * concentration)


def _settings(like: Tensor, generator: torch.Generator | None) -> tuple[Tensor, ...]:
    """Draw the settings of a spoiled gradient echo and then T1 in s, each of the shape of ``like``."""
    return tuple(
        low + (high - low) * uniform(like.shape, generator, like)
        for low, high in (_FLIP_DEG, _TR_S, _RELAXIVITY, _T1_S)
    )


def _baseline(signal: Tensor, is_baseline: Tensor) -> Tensor:
    """Mean of what was measured before the arrival of tracer, if anything was, and 1 otherwise."""
    before = torch.where(is_baseline, signal, 0.0).sum(-1, keepdim=True)
    number = is_baseline.sum(-1, keepdim=True)
    return torch.where(number > 0, before / number.clamp_min(1), 1.0)
