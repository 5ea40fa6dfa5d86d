"""Light fields of textured layers: band-limited Gaussian textures that shift from view to view.

Views ``s`` are numbered from the middle one; a layer of disparity ``d`` shows ``f(u + d s)`` at column ``u``
of view ``s``. The columns and views around a pixel are its epipolar plane image (EPI), in which a layer is a
set of lines of one slope.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["beams", "covariance", "draw_layers", "places"]

_PERIOD_PX = 64
_FINEST = 4.2  # frequency times length, beyond which the spectrum is cut: e⁻⁹ of its peak


def places(views: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return the columns and views of an EPI in the order of its numbers, both ``(columns · views,)``."""
    u = torch.arange(columns, dtype=torch.float64) - columns // 2
    s = torch.arange(views, dtype=torch.float64) - views // 2
    return u.repeat_interleave(views), s.repeat(columns)


def _spectrum(length_px: float) -> tuple[Tensor, Tensor]:
    """Angular frequencies in 1/px and the variance at each, which add up to one, both ``(J,)``."""
    frequency = 2 * math.pi / _PERIOD_PX * torch.arange(1, _PERIOD_PX // 2, dtype=torch.float64)
    frequency = frequency[frequency * length_px < _FINEST]
    variance = torch.exp(-0.5 * (frequency * length_px).square())
    return frequency, variance / variance.sum()


def covariance(disparity: Tensor, views: int, columns: int, length_px: float) -> Tensor:
    """Covariance of the EPI of one layer of unit contrast, ``(…, C, C)``, for disparities ``(…)`` in px."""
    frequency, variance = _spectrum(length_px)
    u, s = places(views, columns)
    phase = (u + disparity.unsqueeze(-1) * s).unsqueeze(-1) * frequency
    waves = torch.cat([phase.cos(), phase.sin()], -1) * variance.sqrt().repeat(2)
    return waves @ waves.mT


def draw_layers(
    disparity: Tensor, views: int, columns: int, length_px: float, generator: torch.Generator | None
) -> Tensor:
    """Draw a texture for each disparity ``(n,)`` in px; return the EPIs of unit contrast, ``(n, C)``.

    Textures are Gaussian and repeat after 64 px, which no EPI of ours reaches.
    """
    frequency, variance = (values.float() for values in _spectrum(length_px))
    white = torch.randn(len(disparity), 2, len(frequency), generator=generator)
    texture = torch.complex(white[:, 0], white[:, 1]) * variance.sqrt()
    u = torch.arange(columns) - columns // 2
    s = torch.arange(views) - views // 2
    shift = torch.polar(torch.ones(()), disparity.float()[:, None, None] * s * frequency[:, None])
    across = torch.polar(torch.ones(()), u[:, None] * frequency)
    return (across @ (texture.unsqueeze(-1) * shift)).real.flatten(1)


@lru_cache(maxsize=4)
def beams(views: int, columns: int, most_px: float) -> Tensor:
    """Waves along lines of many disparities, cosines before sines, of unit length: ``(C, 2 · F)``, float32.

    The finer a wave, the narrower its beam and the more disparities it has: two for each width of the beam.
    Fine waves of disparities a wavelength apart are the same in all views; they are there once.
    """
    u, s = places(views, columns)
    phases = []
    for order in range(1, columns // 2 + 1):
        step = columns / (2 * views * order)
        most = min(int(most_px / step), views)
        beam = torch.arange(-most, min(most, views - 1) + 1, dtype=torch.float64)
        phases.append(2 * math.pi / columns * order * (u[:, None] + s[:, None] * step * beam))
    phase = torch.cat(phases, 1)
    return torch.cat([phase.cos(), phase.sin()], 1).div(math.sqrt(len(u))).float()
