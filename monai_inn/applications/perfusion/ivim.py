"""Diffusion and microscopic perfusion from diffusion-weighted signals (intravoxel incoherent motion)."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from monai_inn.applications.perfusion.application import DiffusionApplication
from monai_inn.applications.perfusion.models.acquisition import (
    FEWEST_WEIGHTINGS,
    LARGEST_WEIGHTING,
    log_uniform,
    noise_level_of,
)
from monai_inn.applications.perfusion.models.signal import rician
from monai_inn.problems.base import InverseProblem
from monai_inn.problems.derived import Derived
from monai_inn.problems.exact.tempering import TemperedSamples, tempered_samples
from monai_inn.problems.known import split_parameters
from monai_inn.problems.observation import Observation
from monai_inn.problems.parameters import Parameter

__all__ = ["IntravoxelMotion"]

_MOST = 32
_SIGNAL_TO_NOISE = (8.0, 250.0)
_LEAST_B = 1.0
_UNIT = 1e-3  # mm²/s, of diffusion coefficients
_NODES, _SCALES, _REACH = 24, 32, 8.0


class IntravoxelMotion(InverseProblem):
    """Diffusion in tissue and the faster one in its capillaries, from signals at several b-values.

    ``S(b) / S(0) = f exp(−b D*) + (1 − f) exp(−b D)``. Signals are magnitudes, whose noise is Rician; its
    level is anywhere between two limits, the scale of the signals is unknown. b-values are settings: from 4
    to 32, in any order, any of them repeated, at least one of them 0.

    Source: Le Bihan et al., Separation of diffusion and perfusion in intravoxel incoherent motion MR imaging,
    1988.
    """

    name: ClassVar[str] = "ivim"
    targets = ("d", "f", "d_star")
    parameters = (
        Parameter("d", "1e-3 mm²/s", 0.1, 3.5, "diffusion coefficient of the tissue (D)"),
        Parameter("f", "1", 0.0, 1.0, "perfusion fraction (f)", "square"),
        Parameter(
            "d_star", "1e-3 mm²/s", 4.0, 500.0, "pseudo-diffusion coefficient of the blood (D*)", "log"
        ),
    )
    derived = (
        Derived(
            "f_d_star", "1e-3 mm²/s", 0.1, 100.0, "product of f and D*, which grows with blood flow", "log",
            of=lambda theta: theta[..., 1] * theta[..., 2],
        ),
    )  # fmt: skip
    observation = Observation.series(_MOST, "signal", context=("b",))
    encoder = MappingProxyType({"kind": "series", "mixing": "none", "width": 64})

    def draw_context(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ascending b-values in s/mm², ``(n, 32)``; NaN beyond the last."""
        number = torch.randint(FEWEST_WEIGHTINGS, _MOST + 1, (n, 1), generator=generator)
        share, split = (torch.rand(n, size, generator=generator) for size in (_MOST, 1))
        largest = log_uniform(LARGEST_WEIGHTING, (n, 1), generator)
        # Some protocols have most b-values where blood still gives signal, some nearly none.
        low = log_uniform((_LEAST_B, 200.0), (n, _MOST), generator)
        is_low = torch.rand(n, _MOST, generator=generator) < split
        b = torch.where(is_low, low.minimum(largest), largest * share)
        # Often the same b-values are taken again, as for several directions.
        is_again = torch.rand(n, 1, generator=generator) < 0.3
        b = torch.where(is_again, b[:, torch.arange(_MOST) % (_MOST // 4)], b)
        b[:, 0], b[:, 1:2] = 0.0, largest
        b[:, 2] = torch.where(torch.rand(n, generator=generator) < 0.3, 0.0, b[:, 2])
        there = torch.arange(_MOST) < number
        b = torch.where(there, b, torch.inf).sort(1).values
        return torch.where(there, b, torch.nan)

    def forward(self, theta: Tensor) -> Tensor:
        """Return signals at even b-values from 0 to 1000 s/mm², ``(…, 32)``."""
        b = torch.linspace(0, 1000, _MOST, dtype=theta.dtype, device=theta.device)
        return self.forward_with_context(theta, b.expand(*theta.shape[:-1], -1))

    def forward_with_context(self, theta: Tensor, context: Tensor) -> Tensor:
        """Return signals over that at b = 0, ``(…, 32)``, at b-values in s/mm² of that shape."""
        d, f, d_star = (column.unsqueeze(-1) for column in split_parameters(theta, self.space))
        fast, slow = (torch.exp(-_UNIT * context.double() * rate) for rate in (d_star, d))
        return (f * fast + (1 - f) * slow).to(theta.dtype)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return magnitudes with Rician noise of a new level in every row; b-values stay."""
        signal, b = y.split(_MOST, -1)
        low, high = (math.log(level) for level in _SIGNAL_TO_NOISE)
        level = torch.rand(y.shape[:-1], generator=generator, dtype=y.dtype, device=y.device).unsqueeze(-1)
        return torch.cat([rician(signal, torch.exp(-low - (high - low) * level), generator), b], -1)

    def noise_again(self, made: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return magnitudes with Rician noise of the level that residuals of ``y`` tell; b-values stay."""
        signal, b = made.split(_MOST, -1)
        seen = y[..., :_MOST]
        scale = (signal * seen).nansum(-1, keepdim=True) / signal.square().nansum(-1, keepdim=True)
        limits = 1 / _SIGNAL_TO_NOISE[1], 1 / _SIGNAL_TO_NOISE[0]
        level = noise_level_of(seen / scale - signal, limits, generator)
        return torch.cat([rician(signal, level, generator), b], -1)

    def features(self, y: Tensor) -> Tensor:
        """Return signals over the mean of those at b = 0, and the cube root of b-values, ``(…, 64)``."""
        signal, b = y.split(_MOST, -1)
        return torch.cat([signal / _unweighted(signal, b).unsqueeze(-1), b.pow(1 / 3)], -1)

    def explained_features(self, y: Tensor) -> Tensor:
        """Return signals over their root mean square, which all of them tell, and b-values, ``(…, 64)``."""
        signal, b = y.split(_MOST, -1)
        return torch.cat([signal / signal.square().nanmean(-1, keepdim=True).sqrt(), b], -1)

    def curve_features(self, y: Tensor) -> Tensor:
        """Return signals over the mean of those at b = 0, as ``features`` does."""
        return self.features(y)

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether rows have four signals, none below zero, one of them positive and at b = 0."""
        signal, b = y.split(_MOST, -1)
        number = signal.isfinite().sum(-1)
        is_magnitude = ~(signal < 0).any(-1) & ~(b < 0).any(-1)
        return (
            self.observation.is_usable(y)
            & (number >= FEWEST_WEIGHTINGS)
            & is_magnitude
            & (_unweighted(signal, b) > 0)
        )

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Log density of the shape of an observation ``(64,)`` given parameters ``(n, D)``, nats, ``(n,)``.

        Up to a constant. Scale and level of the noise are integrated out, the logarithm of the scale evenly.
        """
        signal, b = y.double().split(_MOST, -1)
        there = signal.isfinite()
        signal = signal[there] / _unweighted(signal, b)
        clean = self.forward_with_context(theta.double(), b[there].expand(len(theta), -1))
        nodes = (torch.arange(_NODES, dtype=torch.float64) + 0.5) / _NODES
        low, high = (math.log(level) for level in _SIGNAL_TO_NOISE)
        ratio = torch.exp(low + (high - low) * nodes).reshape(-1, 1, 1)
        # Least squares tell the scale to some standard errors, over which its logarithm runs; noise without
        # a sign pulls it up by a few.
        best = (clean * signal).sum(-1) / clean.square().sum(-1)
        error = 1 / (ratio.reshape(-1, 1) * clean.square().sum(-1).sqrt())  # of the scale's logarithm
        total = []
        for step in torch.linspace(-_REACH, _REACH, _SCALES, dtype=torch.float64):
            scale = (best * torch.exp(step * error)).unsqueeze(-1)
            density = _rician_log_density(signal, scale * clean, scale / ratio).sum(-1)
            total.append(density + error.log())
        return torch.stack(total).logsumexp(0).logsumexp(0)

    def exact_samples(self, y: Tensor, n: int, seed: int = 0) -> TemperedSamples:
        """Draw from the exact posterior of one observation ``(64,)`` by tempered Monte Carlo.

        Returns:
            Samples in the flow's space, ``(n, D)``; ``space.inverse`` gives physical units.
        """
        return tempered_samples(
            lambda latent: self.log_likelihood(self.space.inverse(latent), y), len(self.parameters), n, seed
        )

    @property
    def application(self) -> DiffusionApplication:
        """Signals and their limits."""
        return DiffusionApplication(self)


def _unweighted(signal: Tensor, b: Tensor) -> Tensor:
    """Mean of the signals ``(…, n)`` at the b-values of 0; NaN where there is none."""
    return torch.where(b == 0, signal, torch.nan).nanmean(-1)


def _rician_log_density(magnitude: Tensor, signal: Tensor, sd: Tensor) -> Tensor:
    """Log density in nats of magnitudes of signals with noise of standard deviation ``sd`` in both parts."""
    product = magnitude * signal / sd.square()
    exponent = -(magnitude - signal).square() / (2 * sd.square())
    # i0e is I0 without its exponential, which the exponent has taken.
    return (magnitude / sd.square()).log() + exponent + torch.special.i0e(product).log()
