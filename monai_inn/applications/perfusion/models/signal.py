"""Signals of a spoiled gradient echo and concentrations of a contrast agent, either way; change of R2*.

Sources: Ernst and Anderson, Application of Fourier transform spectroscopy to magnetic resonance, 1966;
Fram et al., Rapid calculation of T1 using variable flip angle gradient refocused imaging, 1987, for T1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Echo",
    "concentration_of",
    "relative_signal",
    "relaxation_change",
    "rician",
    "t1_of_flip_angles",
]

_T1_S = (0.01, 20.0)  # what is looked for
_STEPS = 12


class Echo(NamedTuple):
    """Settings of a spoiled gradient echo and of the contrast agent, numbers or shapes that broadcast.

    Attributes:
        flip_deg: flip angle in degrees.
        tr_s: repetition time in s.
        relaxivity: of the contrast agent, in 1/mM/s.
    """

    flip_deg: Tensor | float
    tr_s: Tensor | float
    relaxivity: Tensor | float


def relative_signal(concentration: Tensor, t1_s: Tensor | float, echo: Echo) -> Tensor:
    """Return the signal over that without contrast agent.

    Args:
        concentration: in mM, shape ``(…)``.
        t1_s: longitudinal relaxation time without contrast agent in s, broadcast.
        echo: settings.
    """
    rate = 1 / _tensor(t1_s, concentration)
    angle, tr = _tensor(echo.flip_deg, concentration) * (math.pi / 180), _tensor(echo.tr_s, concentration)
    return _saturated(rate + _tensor(echo.relaxivity, concentration) * concentration, angle, tr) / _saturated(
        rate, angle, tr
    )


def concentration_of(signal: Tensor, baseline: Tensor | float, t1_s: Tensor | float, echo: Echo) -> Tensor:
    """Return the concentration in mM that gives a signal; NaN where none does.

    Args:
        signal: signal in any unit, shape ``(…)``.
        baseline: signal without contrast agent in the same unit, broadcast.
        t1_s: longitudinal relaxation time without contrast agent in s, broadcast.
        echo: settings.
    """
    angle, tr = _tensor(echo.flip_deg, signal) * (math.pi / 180), _tensor(echo.tr_s, signal)
    rate = 1 / _tensor(t1_s, signal)
    share = signal / _tensor(baseline, signal) * _saturated(rate, angle, tr)
    # share = (1 − E) / (1 − E cos), solved for E = exp(−TR R1)
    decay = (1 - share) / (1 - share * angle.cos())
    found = -torch.where((share < 1) & (decay > 0), decay, torch.nan).log() / tr
    return (found - rate) / _tensor(echo.relaxivity, signal)


def relaxation_change(signal: Tensor, baseline: Tensor, te_s: Tensor | float) -> Tensor:
    """Return the change of R2* in 1/s since the baseline, ``−ln(S / S₀) / TE``; NaN where there is no signal.

    Of two echoes take the ratio of the second to the first and the time between both: what T1 does to the
    signals is the same in both and cancels.

    Args:
        signal: signal in any unit, or that ratio, shape ``(…)``.
        baseline: the same without contrast agent, broadcast.
        te_s: echo time, or time between two echoes, in s, broadcast.
    """
    share = signal / baseline
    return -torch.where(share > 0, share, torch.nan).log() / te_s


def t1_of_flip_angles(signal: Tensor, flip_deg: Tensor, tr_s: float) -> tuple[Tensor, Tensor]:
    """Return relaxation time and equilibrium signal by least squares on signals at several flip angles.

    The usual straight line through ``S / sin α`` over ``S / tan α`` weights noise unevenly; it only starts
    Gauss–Newton steps on the signals themselves.

    Args:
        signal: signals in any unit, shape ``(…, A)``.
        flip_deg: flip angles in degrees, shape ``(A,)``, two at least.
        tr_s: repetition time in s.

    Returns:
        T1 in s and the signal at full relaxation and a flip angle of 90°, each of shape ``(…)``; NaN where
        no T1 between 10 ms and 20 s explains the signals.
    """
    angle = flip_deg.to(signal) * (math.pi / 180)
    sine, cosine = angle.sin(), angle.cos()
    x, y = signal / angle.tan(), signal / sine
    centred = x - x.mean(-1, keepdim=True)
    slope = (centred * y).sum(-1) / centred.square().sum(-1)
    low, high = (math.exp(-tr_s / t1) for t1 in _T1_S)
    decay = slope.clamp(low, high).nan_to_num(high)
    for _ in range(_STEPS):
        bottom = 1 - decay.unsqueeze(-1) * cosine
        shape = sine * (1 - decay.unsqueeze(-1)) / bottom
        change = sine * (cosine - 1) / bottom.square()  # derivative of the shape by the decay
        m0 = (signal * shape).sum(-1) / shape.square().sum(-1)
        left = signal - m0.unsqueeze(-1) * shape
        # The amplitude is linear: what it can absorb of a change of the decay is taken out (Kaufman).
        free = change - (change * shape).sum(-1, keepdim=True) / shape.square().sum(-1, keepdim=True) * shape
        step = (left * free).sum(-1) / (m0 * free.square().sum(-1))
        decay = (decay + step.nan_to_num(0.0)).clamp(low, high)
    inside = (decay > low) & (decay < high) & (m0 > 0)
    return torch.where(inside, -tr_s / decay.log(), torch.nan), torch.where(inside, m0, torch.nan)


def rician(signal: Tensor, sd: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """Return the magnitude of a signal with white noise of standard deviation ``sd`` in both its parts."""
    real, imaginary = (
        torch.randn(signal.shape, generator=generator, dtype=signal.dtype, device=signal.device)
        for _ in range(2)
    )
    return torch.hypot(signal + sd * real, sd * imaginary)


def _saturated(rate: Tensor, angle: Tensor, tr: Tensor) -> Tensor:
    """Signal over that of full relaxation at 90° and over the sine of the flip angle."""
    recovered = -torch.expm1(-tr * rate)
    return recovered / (1 - (1 - recovered) * angle.cos())


def _tensor(value: Tensor | float, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)
