"""What problems with white noise and those with a known posterior have in common, and ask of arguments."""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor

from monai_inn.problems.base import InverseProblem
from monai_inn.problems.exact.references import ReferencePosterior
from monai_inn.problems.parameters import ParameterSpace

__all__ = ["KnownPosterior", "WhiteNoise", "check_positive", "split_parameters"]


class WhiteNoise(InverseProblem):
    """A problem whose noise is normal and independent, of one standard deviation, ``noise_sd``."""

    noise_sd: float

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return observations ``(…, C)`` with white noise added."""
        return y + self.noise_sd * torch.randn(y.shape, generator=generator, dtype=y.dtype, device=y.device)

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of an observation ``(C,)`` given parameters ``(n, D)``, nats, ``(n,)``."""
        seen, context = y.to(theta).tensor_split([self.observation.num_values], -1)
        made = self.forward_with_context(theta, context.expand(*theta.shape[:-1], -1))
        there = seen.isfinite()
        white = torch.where(there, (seen - made) / self.noise_sd, 0.0)
        return -0.5 * white.square().sum(-1) - 0.5 * there.sum(-1) * math.log(2 * math.pi * self.noise_sd**2)


class KnownPosterior(InverseProblem):
    """A problem whose posterior can be drawn from and has a density."""

    @abc.abstractmethod
    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of an observation ``(C,)`` given parameters ``(n, D)``, nats, ``(n,)``."""

    @abc.abstractmethod
    def log_evidence(self, y: Tensor) -> float:
        """Return the log of the prior predictive density of one observation ``(C,)``, nats."""

    @abc.abstractmethod
    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return independent samples ``(n, D)``, float64, given one observation ``(C,)``."""

    def log_joint(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of parameters ``(n, D)`` and an observation ``(C,)``, nats, ``(n,)``."""
        return self.prior.log_prob(theta) + self.log_likelihood(theta, y)

    def reference_posterior(self, y: Tensor) -> ReferencePosterior:
        """Return the posterior of observations ``(…, C)``; how it is drawn says ``draw_posterior``."""
        return ReferencePosterior(
            y,
            len(self.parameters),
            self.draw_posterior,
            self.log_joint,
            self.log_evidence,
            self.observation.may_miss,
        )


def check_positive(name: str, value: float) -> float:
    """Return the value.

    Raises:
        ValueError: if it is not a positive, finite number.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{name} = {value}; give a positive, finite number.")
    return float(value)


def split_parameters(theta: Tensor, space: ParameterSpace) -> tuple[Tensor, ...]:
    """Return the columns of parameters ``(…, D)`` in float64, each of shape ``(…)``.

    Raises:
        ValueError: if the last axis is not one entry a parameter.
    """
    if theta.ndim == 0 or theta.shape[-1] != len(space):
        raise ValueError(
            f"theta has shape {tuple(theta.shape)}, expected (…, {len(space)}): {', '.join(space.names)}."
        )
    return theta.double().unbind(-1)
