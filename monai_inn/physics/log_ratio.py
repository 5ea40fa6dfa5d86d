"""Isometric log-ratio: spectra as compositions, free of the unknown exposure."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

__all__ = ["helmert_basis", "isometric_log_ratio"]


@functools.lru_cache(maxsize=32)
def helmert_basis(num_bands: int) -> Tensor:
    """Orthonormal basis of the vectors that sum to zero, shape ``(num_bands - 1, num_bands)``, float64.

    Raises:
        ValueError: if there are fewer than two bands, so that no ratio exists.
    """
    if num_bands < 2:
        raise ValueError(f"a log-ratio needs at least 2 bands, got {num_bands}.")
    k = torch.arange(1, num_bands, dtype=torch.float64)[:, None]
    j = torch.arange(num_bands, dtype=torch.float64)
    return ((j < k).double() - k * (j == k).double()) / (k * (k + 1)).sqrt()


def isometric_log_ratio(y: Tensor, floor: float = 1e-3) -> Tensor:
    """Coordinates of a spectrum that do not change when it is multiplied by any positive number.

    Distance, exposure and shading multiply all bands of a pixel alike. Log-ratios remove that factor without
    the singular covariance that division by the sum leaves, and keep the geometry: distances between the
    coordinates are the distances between centred log spectra.

    Args:
        y: spectrum, shape ``(…, C)``.
        floor: values below this share of the pixel's mean are raised to it, since noise can make a dark band
            zero or negative.

    Returns:
        Coordinates, shape ``(…, C - 1)``, in the dtype of ``y``.

    Raises:
        ValueError: if there are fewer than two bands.

    Source: Egozcue et al., Mathematical Geology 35, 279 (2003).
    """
    basis = helmert_basis(y.shape[-1]).to(y)
    # A pixel whose mean is not positive is not a spectrum; it stays finite here and is masked by the problem.
    mean = y.mean(-1, keepdim=True).clamp_min(torch.finfo(y.dtype).tiny)
    return (y / mean).clamp(min=floor, max=y.shape[-1] / floor).log() @ basis.T
