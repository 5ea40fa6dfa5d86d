"""How likely a spectrum of unknown brightness is, exactly: what networks are compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["spectrum_log_likelihood"]

# Noise levels that are averaged: a tenth of a factor e apart, where 21 wavelengths tell them by a sixth.
_NODES = 24


def spectrum_log_likelihood(
    clean: Tensor, y: Tensor, noise: tuple[float, float], calibration_sd: float
) -> Tensor:
    """Log density of the shape of spectra, whatever their brightness, under noise of an unknown level.

    Brightness, which depends on the gain of the device, is integrated out over all scales, and the level of
    the noise over its range, log-uniformly.

    Args:
        clean: noise-free spectra, shape ``(n, C)``, in any unit.
        y: one measured spectrum, shape ``(C,)``.
        noise: least and largest standard deviation of the noise, over the mean of the spectrum.
        calibration_sd: relative standard deviation of each wavelength's gain.

    Returns:
        Log densities up to a constant that is the same for all rows, nats, shape ``(n,)``.
    """
    m = clean.double() / clean.double().mean(-1, keepdim=True)
    x = y.double() / y.double().mean()
    low, high = (math.log(level) for level in noise)
    steps = (torch.arange(_NODES, dtype=torch.float64) + 0.5) / _NODES
    levels = (low + (high - low) * steps).exp() if high > low else torch.tensor([noise[0]]).double()
    variance = (calibration_sd * m).square().unsqueeze(-2) + levels.square().unsqueeze(-1)
    # With u = 1 / brightness the integrand is u^(C-1) exp(-(a u² - 2 b u + c) / 2): one narrow peak.
    a, b, c = ((v.unsqueeze(-2) / variance).sum(-1) for v in (x.square().expand_as(m), x * m, m.square()))
    power = x.shape[-1] - 1
    u = (b + (b.square() + 4 * a * power).sqrt()) / (2 * a)
    peak = power * u.log() - (a * u.square() - 2 * b * u + c) / 2 - variance.log().sum(-1) / 2
    return (peak - (power / u.square() + a).log() / 2).logsumexp(-1)
