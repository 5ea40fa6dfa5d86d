"""How likely measured curves are under noise of an unknown level: what networks are compared with."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.perfusion.models.magnitudes import Conversion

__all__ = ["log_likelihood_of_any_level", "log_likelihood_of_magnitudes"]

# Sixty values tell the level of their noise to a tenth of a factor e; the nodes are a third of that apart at
# the ends of a range of a factor 100, and all of it in the middle.
_NODES = 64
_SMALL_MM = 1e-4
_LEAST_BASELINE = 0.1  # over that without noise
_VALUES = 2**16  # of curves that stay in the cache


def log_likelihood_of_any_level(
    clean: Tensor, measured: Tensor, levels: tuple[float, float], scale: Tensor | float = 1.0
) -> Tensor:
    """Log density of a curve with white noise, whose level is integrated out log-uniformly.

    Args:
        clean: noise-free curves, shape ``(…, T)``.
        measured: the measured curves, of a shape that broadcasts with theirs; NaN where nothing was measured.
        levels: least and largest standard deviation of the noise over ``scale``.
        scale: of each curve, ``(…)``, or of all.

    Returns:
        Log densities in nats, shape ``(…)``, float64.
    """
    there = measured.isfinite()
    number = there.sum(-1)
    scale = torch.as_tensor(scale, dtype=torch.float64)
    left = torch.where(there, measured.double() - clean.double(), 0.0) / scale.unsqueeze(-1)
    total = _over_levels(left.square().sum(-1), number, _log_levels(levels).exp())
    return total - number * (0.5 * math.log(2 * math.pi) + scale.log())


def log_likelihood_of_magnitudes(
    clean: Tensor,
    is_baseline: Tensor,
    measured: Tensor,
    levels: tuple[float, float],
    conversions: Sequence[Conversion],
) -> Tensor:
    """Log density of a curve that was computed from magnitudes, whatever their level of noise and conversion.

    The noise of each signal is normal about the mean of a magnitude. That of the mean baseline, by which all
    signals were divided, is common to the frames behind it: it is integrated out together with the level.

    Args:
        clean: noise-free curves in mM, shape ``(S, n, T)``.
        is_baseline: frames before the arrival of tracer, ``(S, n, T)``; there the signal is known to be 1.
        measured: the measured curves, ``(n, T)``; NaN where nothing was measured.
        levels: least and largest standard deviation of the noise in mM, where there is no tracer.
        conversions: settings, each as likely as the others.

    Returns:
        Log densities in nats, shape ``(S, n)``, float64.
    """
    rows = max(1, _VALUES // measured.numel())
    seen = [_Seen.under(conversion, measured, levels) for conversion in conversions]
    densities = [
        torch.stack([each.log_density(*part) for each in seen]).logsumexp(0)
        for part in zip(clean.split(rows), is_baseline.split(rows), strict=True)
    ]
    return torch.cat(densities) - math.log(len(conversions))


class _Seen(NamedTuple):
    """What was measured under one conversion.

    Attributes:
        conversion: the settings.
        signal: measured signals over the mean baseline, ``(n, T)``; 0 where nothing was measured.
        there: whether something was, ``(n, T)``.
        constant: of the log densities, ``(n,)``; minus infinity if signals cannot give the concentrations.
        noise: standard deviations of the signals' noise at the nodes of the level.
    """

    conversion: Conversion
    signal: Tensor
    there: Tensor
    constant: Tensor
    noise: Tensor

    @classmethod
    def under(cls, conversion: Conversion, measured: Tensor, levels: tuple[float, float]) -> _Seen:
        there, measured = measured.isfinite(), measured.nan_to_num(0.0).double()

        def slope(at: Tensor) -> Tensor:
            change = conversion.signal(at + _SMALL_MM) - conversion.signal(at - _SMALL_MM)
            return change.abs() / (2 * _SMALL_MM)

        signal = torch.where(there, conversion.signal(measured), 0.0)
        constant = (there * (slope(measured).log() - 0.5 * math.log(2 * math.pi))).nan_to_num(0.0).sum(-1)
        is_possible = (~there | (signal > 0)).all(-1)
        noise = slope(torch.zeros(1, dtype=torch.float64)) * _log_levels(levels).exp()
        return cls(
            conversion,
            signal.float(),
            there,
            constant.where(is_possible, -torch.inf),
            noise.clamp_max(conversion.most_noise),
        )

    def log_density(self, clean: Tensor, is_baseline: Tensor) -> Tensor:
        """Log densities ``(S, n)`` of curves ``(S, n, T)``."""
        number, before = self.there.sum(-1), is_baseline.sum(-1)
        has_baseline = before > 0
        # An error e of the mean baseline adds e · signal behind it: a part of rank one of the covariance.
        behind = torch.where(is_baseline | ~has_baseline.unsqueeze(-1), 0.0, self.signal)
        power, before = behind.square().sum(-1), before.clamp_min(1)

        def errors(mean: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor]:
            """Sum of squares of the noise, and the likeliest mean baseline."""
            left = torch.where(self.there, self.signal * baseline.unsqueeze(-1) - mean, 0.0)
            along = (left * behind).sum(-1)
            return left.square().sum(-1) - along.square() / (before + power), baseline - along / (
                before + power
            )

        made, one = self.conversion.signal(clean), torch.ones_like(power)
        # Magnitudes lie above small signals. By how much a first look tells well enough.
        variance = (errors(made, one)[0].clamp_min(0) / number).clamp_max(float(self.noise[-1]) ** 2)
        mean = (made.square() + variance.unsqueeze(-1)).sqrt()
        squares, baseline = errors(mean, torch.where(has_baseline, (1 + variance).sqrt(), one))
        scale = number * baseline.clamp_min(_LEAST_BASELINE).log() - 0.5 * (power / before).log1p()
        return self.constant + scale + _over_levels(squares.clamp_min(0).double(), number, self.noise)


def _over_levels(squares: Tensor, number: Tensor, noise: Tensor) -> Tensor:
    """Log of the mean of ``exp(−squares / 2 s²) / s^number`` over standard deviations ``s`` at the nodes."""
    exponent = -0.5 * squares.unsqueeze(-1) / noise.square() - number.unsqueeze(-1) * noise.log()
    return (exponent + (_quadrature()[1] / 2).log()).logsumexp(-1)


def _log_levels(levels: tuple[float, float]) -> Tensor:
    """Logarithms of the levels at the nodes, float64."""
    low, high = (math.log(level) for level in levels)
    return (high + low + (high - low) * _quadrature()[0]) / 2


@functools.cache
def _quadrature() -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss and Legendre, float64."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights)
