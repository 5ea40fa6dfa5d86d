"""Extended Tofts by bounded least squares, as most programs fit it: what posteriors are compared with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

from monai_inn.applications.perfusion.models.kinetics import Artery, extended_tofts, tissue_curve

__all__ = ["HIGHEST", "LOWEST", "TissueFit", "fit_extended_tofts"]

LOWEST, HIGHEST = (0.0, 0.0, 0.0, -10.0), (5.0, 1.0, 1.0, 10.0)
"""Bounds of Ktrans in 1/min, ve, vp and delay in s that OSIPI's tests of such programs use."""

_START = (0.1, 0.2, 0.05, 0.0)
_STEP = 1e-5  # of a parameter's range, for differences
_AT_BOUND = 1e-3  # of a parameter's range
_LEAST_VE = 1e-6


class TissueFit(NamedTuple):
    """Best parameters of tissues.

    Attributes:
        parameters: Ktrans in 1/min, ve, vp and delay in s, shape ``(n, 4)``.
        is_at_bound: which of them are within a thousandth of a bound's range from it, same shape.
        rms: root of the mean squared residual in mM, shape ``(n,)``.
    """

    parameters: Tensor
    is_at_bound: Tensor
    rms: Tensor


def fit_extended_tofts(tissue: Tensor, artery: Tensor, times_s: Tensor) -> TissueFit:
    """Fit tissues one by one from one start; the artery is taken as measured, linear between frames.

    Args:
        tissue: concentrations in mM, shape ``(n, T)``.
        artery: those in the plasma of the artery, shape ``(T,)``.
        times_s: times of the frames in s, shape ``(T,)``.

    Raises:
        ValueError: if numbers are missing, or frames do not agree.
    """
    curves = torch.cat([tissue, torch.stack([artery, times_s]).to(tissue)]).double()
    if not bool(curves.isfinite().all()):
        raise ValueError("least squares need every value of tissue, artery and times; some are missing.")
    low, high = np.array(LOWEST), np.array(HIGHEST)
    blood, times = Artery(curves[-1], curves[-2]), curves[-1]
    steps = _STEP * (high - low)

    def made(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        ktrans, ve, vp, delay = torch.from_numpy(parameters).unbind(-1)
        response = extended_tofts(ktrans, ve.clamp_min(_LEAST_VE), vp)
        return tissue_curve(blood, response, times, delay).numpy()

    def slopes(parameters: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.float64]:
        ends = (np.clip(parameters + sign * np.diag(steps), low, high) for sign in (1, -1))
        above, below = ends
        return ((made(above) - made(below)) / (above - below).sum(1, keepdims=True)).T

    found, rms = [], []
    for curve in curves[:-2].numpy():
        best = least_squares(
            lambda p, c=curve: made(p) - c,
            _START,
            jac=lambda p, c=curve: slopes(p, c),
            bounds=(low, high),
            x_scale=high - low,
        )
        found.append(best.x)
        rms.append(np.sqrt(2 * best.cost / len(curve)))
    parameters = np.array(found)
    distance = np.minimum(parameters - low, high - parameters) / (high - low)
    return TissueFit(
        torch.from_numpy(parameters), torch.from_numpy(distance < _AT_BOUND), torch.tensor(rms).double()
    )
