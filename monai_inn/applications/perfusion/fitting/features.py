"""What a network sees of the curves of tissue and artery, frame by frame."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LEAST_ARTERY_MM", "NUM_FEATURES", "curve_features", "held"]

NUM_FEATURES = 8
"""Features of a frame, before its time."""

LEAST_ARTERY_MM = 0.02
"""Least peak of an artery in mM that tissues are compared with."""

_TISSUE_MM, _ARTERY_MM, _SHARE = 0.02, 0.2, 0.02  # linear below and logarithmic above
_MINUTE = 60.0


def _plain(tissue: Tensor, artery: Tensor) -> Tensor:
    """Return concentrations in mM ``(…, T)`` through ``asinh``, those of a frame last: ``(…, T, 2)``."""
    return torch.stack([torch.asinh(tissue / _TISSUE_MM), torch.asinh(artery / _ARTERY_MM)], -1)


def curve_features(tissue: Tensor, artery: Tensor, times_s: Tensor) -> Tensor:
    """Return concentrations and the areas below them, as they are and relative to the artery.

    Tissue, artery and their areas are all that a linear fit of the extended Tofts model needs; the network
    need not learn to integrate.

    Args:
        tissue: concentrations in mM, shape ``(…, T)``; NaN where nothing was measured.
        artery: those in the artery.
        times_s: times of the frames in s.

    Returns:
        Shape ``(…, T, NUM_FEATURES)``; NaN for NaN of the same curve.
    """
    areas = _area(tissue, times_s), _area(artery, times_s)
    peak = artery.nan_to_num(0.0).amax(-1, keepdim=True).clamp_min(LEAST_ARTERY_MM)
    relative = [
        torch.asinh(tissue / peak / _SHARE),
        artery / peak,
        torch.asinh(areas[0] / peak / _SHARE),
        torch.asinh(areas[1] / peak),
    ]
    return torch.cat([_plain(tissue, artery), _plain(*areas), torch.stack(relative, -1)], -1)


def held(values: Tensor, times_s: Tensor) -> tuple[Tensor, Tensor]:
    """Return values and times ``(…, T)`` in which one that is missing is that of the frame before, or 0.

    A frame without a time has no values either; the first has the time 0.
    """
    place = torch.arange(values.shape[-1], device=values.device).expand_as(values)
    last = torch.where(values.isfinite(), place, -1).cummax(-1).values
    kept = torch.where(last >= 0, values.nan_to_num(0.0).gather(-1, last.clamp_min(0)), 0.0)
    return kept, times_s.nan_to_num(-torch.inf).cummax(-1).values.clamp_min(0)


def _area(values: Tensor, times_s: Tensor) -> Tensor:
    """Area in mM min from the first frame on; a value that is missing counts as the one before it."""
    kept, times = held(values, times_s)
    parts = 0.5 * (kept[..., 1:] + kept[..., :-1]) * times.diff(dim=-1) / _MINUTE
    total = torch.cat([torch.zeros_like(kept[..., :1]), parts.cumsum(-1)], -1)
    return torch.where(values.isfinite(), total, torch.nan)
