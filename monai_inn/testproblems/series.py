"""Series and sets of any length whose posteriors are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from monai_inn.problems import Application, Observation, Parameter
from monai_inn.problems.known import WhiteNoise, check_positive

__all__ = ["GaussianMean", "LinearTrend", "few_or_many"]


def few_or_many(n: int, least: int, most: int, generator: torch.Generator | None) -> Tensor:
    """Draw how many entries series have, ``(n, 1)``: few as often as many."""
    share = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    return (least * (share * math.log((most + 1) / least)).exp()).long().clamp(least, most)


class _Normal(WhiteNoise):
    """Linear in standard normal parameters, with white noise on up to ``most`` entries."""

    most: int

    def reference_posterior(self, y: Tensor) -> MultivariateNormal:
        """Return the exact posterior of observations ``(…, C)``, which is normal."""
        values, measured, context = self.observation.parts(y.double())
        design = self._design(context) * measured
        precision = design.mT @ design / self.noise_sd**2 + torch.eye(design.shape[-1]).to(design)
        pull = (design.mT @ values).squeeze(-1) / self.noise_sd**2
        return MultivariateNormal(torch.linalg.solve(precision, pull), precision_matrix=precision)

    def _design(self, context: Tensor) -> Tensor:
        """How each entry depends on the parameters, ``(…, most, D)``."""
        raise NotImplementedError


class GaussianMean(_Normal):
    """Mean of a normal population, ``N(0, 1)`` a priori, from 1 to ``most`` draws from it.

    Args:
        most: largest number of draws.
        noise_sd: standard deviation of the population.

    Raises:
        ValueError: if a number is not positive.
    """

    name = "gaussian_mean"
    parameters = (Parameter("mean", "1", -torch.inf, torch.inf, "mean of the population"),)
    targets = ("mean",)

    def __init__(self, most: int = 200, noise_sd: float = 1.0) -> None:
        self.most, self.noise_sd = int(check_positive("most", most)), check_positive("noise_sd", noise_sd)
        self.observation = Observation.series(self.most, "draw")
        self.encoder = {"kind": "series", "mixing": "none", "width": 32, "layers": 1}

    def forward(self, theta: Tensor) -> Tensor:
        """Return the mean for each draw, ``(…, most)``."""
        return theta.expand(*theta.shape[:-1], self.most)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return draws ``(…, most)``, some of them, the others NaN."""
        numbers = few_or_many(math.prod(y.shape[:-1]), 1, self.most, generator).reshape(*y.shape[:-1], 1)
        return torch.where(torch.arange(self.most) < numbers, super().noise(y, generator), torch.nan)

    @property
    def application(self) -> Application:
        """The usual words; draws have no order."""
        return _OfDraws(self)

    def _design(self, context: Tensor) -> Tensor:
        return torch.ones(*context.shape[:-1], 1).to(context)


class _OfDraws(Application):
    are_channels_alike = True


class LinearTrend(_Normal):
    """Level and slope of a straight line, ``N(0, 1)`` a priori, from 1 to ``most`` irregular times in [0, 1].

    Args:
        most: largest number of times.
        noise_sd: standard deviation of each measurement.

    Raises:
        ValueError: if a number is not positive.
    """

    name = "linear_trend"
    parameters = (
        Parameter("level", "1", -torch.inf, torch.inf, "level at time 0"),
        Parameter("slope", "1/s", -torch.inf, torch.inf, "slope"),
    )
    targets = ("level", "slope")

    def __init__(self, most: int = 60, noise_sd: float = 0.5) -> None:
        self.most, self.noise_sd = int(check_positive("most", most)), check_positive("noise_sd", noise_sd)
        self.observation = Observation.series(self.most, "value", context=("time",))

    def draw_context(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ascending times in s, ``(n, most)``, NaN beyond the last."""
        there = torch.arange(self.most) < few_or_many(n, 1, self.most, generator)
        times = torch.rand(n, self.most, generator=generator)
        times = torch.where(there, times, torch.inf).sort(1).values
        return torch.where(there, times, torch.nan)

    def forward(self, theta: Tensor) -> Tensor:
        """Return values at even times, ``(…, most)``."""
        return self.forward_with_context(theta, torch.linspace(0, 1, self.most).to(theta))

    def forward_with_context(self, theta: Tensor, context: Tensor) -> Tensor:
        """Return values at times ``(…, most)``."""
        return theta[..., :1] + theta[..., 1:] * context

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy values; the times stay."""
        values, times = y.split(self.most, -1)
        return torch.cat([super().noise(values, generator), times], -1)

    def _design(self, context: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(context), context], -1)
