"""Blood flow and volume by deconvolution, as most programs find them: what posteriors are compared with.

Source: Wu et al., Tracer arrival timing-insensitive technique for estimating flow in MR perfusion-weighted
imaging using singular value decomposition with a block-circulant deconvolution matrix, 2003.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.perfusion.dsc import PLASMA_G_PER_ML

__all__ = ["Deconvolution", "deconvolve"]

_MOST_OSCILLATION = 0.095
_THRESHOLDS = torch.arange(0.0, 1.0, 0.01).double()  # of singular values, over the largest


class Deconvolution(NamedTuple):
    """What the residue that fits best says of tissues, each of shape ``(n,)``.

    Attributes:
        cbf: blood flow in ml/100 g/min, from the largest value of the residue.
        cbv: blood volume in ml/100 g, from the areas below tissue and artery.
        mtt_s: mean transit time in s, their ratio.
    """

    cbf: Tensor
    cbv: Tensor
    mtt_s: Tensor


def deconvolve(tissue: Tensor, artery: Tensor, interval_s: float) -> Deconvolution:
    """Deconvolve tissues by truncated singular values of a circulant matrix (oSVD).

    Of each tissue so many small singular values are left out that its residue oscillates little. The matrix
    is circulant, so that its singular vectors are waves: the Fourier transform has them all.

    Args:
        tissue: concentrations in mM, shape ``(n, T)``.
        artery: those in the plasma of the artery, shape ``(T,)``.
        interval_s: time between two frames in s.

    Raises:
        ValueError: if numbers are missing, or the artery has no tracer.
    """
    curves, blood = tissue.double(), artery.double()
    if not bool(curves.isfinite().all() and blood.isfinite().all()) or float(blood.sum()) <= 0:
        raise ValueError("deconvolution needs every value of tissues and artery, and tracer in the artery.")
    length = 2 * blood.shape[-1]  # a delay may be negative, and no wave comes round
    singular = torch.fft.rfft(blood, length) * interval_s
    waves = torch.fft.rfft(curves, length) / singular
    size = singular.abs() / singular.abs().max()
    best = torch.zeros(len(curves), length, dtype=torch.float64)
    is_open = torch.ones(len(curves), dtype=torch.bool)
    for threshold in _THRESHOLDS:
        residues = torch.fft.irfft(torch.where(size >= threshold, waves, 0.0), length)
        best = torch.where(is_open.unsqueeze(-1), residues, best)
        is_open = is_open & (_oscillation(residues) > _MOST_OSCILLATION)
    cbf = 6000 / PLASMA_G_PER_ML * best.amax(-1)
    cbv = 100 / PLASMA_G_PER_ML * curves.sum(-1) / blood.sum()
    return Deconvolution(cbf, cbv, 60 * cbv / cbf)


def _oscillation(residues: Tensor) -> Tensor:
    """Mean absolute second difference over the largest value, of residues ``(n, L)``."""
    changes = residues.diff(dim=-1).diff(dim=-1).abs().sum(-1)
    return changes / (residues.shape[-1] * residues.amax(-1))
