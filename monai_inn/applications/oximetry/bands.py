"""Neighbouring bands: smooth deviations along the wavelength, and groups of bands."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["band_groups", "smooth_deviations"]


def smooth_deviations(centre_nm: Tensor, sd: float, length_nm: float) -> Tensor:
    """Basis ``(K, C)`` of a Gaussian process along the wavelength: white draws times it are its paths."""
    covariance = sd**2 * torch.exp(-0.5 * ((centre_nm[:, None] - centre_nm) / length_nm).square())
    variance, axes = torch.linalg.eigh(covariance)
    kept = variance > 1e-6 * variance[-1]
    return (axes[:, kept] * variance[kept].sqrt()).T


def band_groups(centre_nm: Tensor, limit: int) -> Tensor:
    """Averaging matrix ``(K, C)`` of at most ``limit`` groups of neighbouring bands."""
    order, count = centre_nm.argsort(), min(limit, len(centre_nm))
    groups = torch.zeros(count, len(centre_nm), dtype=torch.float64)
    for row, members in zip(groups, order.tensor_split(count), strict=True):
        row[members] = 1 / len(members)
    return groups
