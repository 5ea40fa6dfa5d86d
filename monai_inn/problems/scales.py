"""Scales of parameters: from a prior to the standard normal and back, elementwise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from monai_inn.problems.parameters import Parameter

__all__ = ["LEAST", "MOST_SDS", "SCALES", "cumulative", "of_normal", "quantile", "to_normal"]

SCALES = ("linear", "log", "square", "lognormal", "above")
# The prior mass that is cut at each end, so that no float32 parameter maps to infinity.
_TAIL = 1e-6
LEAST = torch.finfo(torch.float32).tiny
"""Of what a logarithm is taken."""
MOST_SDS = 4.7534
"""The standard normal's quantile there."""


def to_normal(p: Parameter, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return standard normal numbers of parameters with one prior, and the logarithm of the slope."""
    if p.is_gaussian:
        distance = x - p.low if p.scale == "above" else x
        log_x = distance.clamp_min(LEAST).log() if p.scale in ("lognormal", "above") else None
        z = ((x if log_x is None else log_x) - p.mean) / p.sd
        return z, -math.log(p.sd) - (torch.zeros_like(x) if log_x is None else log_x)
    u, log_density = cumulative(p, x)
    z = torch.special.ndtri(u.clamp(_TAIL, 1 - _TAIL))
    return z, log_density + 0.5 * z.square() + 0.5 * math.log(2 * math.pi)


def cumulative(p: Parameter, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flat prior's cumulative probability of ``x``, and its log density, both elementwise.

    It goes on beyond the bounds, below 0 and above 1.
    """
    width = p.high - p.low
    if p.scale == "log":
        ratio = math.log(p.high / p.low)
        u = (x / p.low).clamp_min(1e-30).log() / ratio
        log_density = -x.clamp_min(p.low * 1e-6).log() - math.log(ratio)
    elif p.scale == "square":
        u = ((x - p.low) / width).clamp_min(0).sqrt()
        log_density = -(2 * u.clamp_min(_TAIL)).log() - math.log(width)
    else:
        u = (x - p.low) / width
        log_density = torch.full_like(x, -math.log(width))
    return u, log_density


def of_normal(p: Parameter, z: Tensor) -> Tensor:
    """Return the parameters of standard normal numbers, the inverse of ``to_normal``."""
    if p.scale == "lognormal":
        return (p.mean + p.sd * z.clamp(-MOST_SDS, MOST_SDS)).exp()
    if p.scale == "above":
        return p.low + (p.mean + p.sd * z).exp()
    if not p.is_bounded:
        return p.mean + p.sd * z
    return quantile(p, torch.special.ndtr(z).clamp(_TAIL, 1 - _TAIL))


def quantile(p: Parameter, u: Tensor) -> Tensor:
    """Return the value at a cumulative probability of a flat prior, the inverse of ``cumulative``."""
    if p.scale == "log":
        return p.low * (u * math.log(p.high / p.low)).exp()
    if p.scale == "square":
        u = u.square()
    return p.low + (p.high - p.low) * u
