"""Rates of an epidemic from a few counts of infected people."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.interpolate import RectBivariateSpline
from torch import Tensor

from monai_inn.problems import Observation, Parameter
from monai_inn.problems.exact.references import Grid, refined_grid
from monai_inn.problems.known import KnownPosterior, check_positive, split_parameters
from monai_inn.testproblems.series import few_or_many

__all__ = ["Epidemic"]

_INFECTED_AT_START = 1e-6
_TESTED = 1000
_DAYS = tuple(range(0, 160, 17))
_LAST = _DAYS[-1]
_STEPS_PER_DAY = 10
_ROWS = 8192

_REACH_SD = 4.7534
_NODES = (257, 129)
_COARSE = 256


class Epidemic(KnownPosterior):
    """Contact and recovery rate of an epidemic in a closed population, from ten counts of infected people.

    Susceptible, infected and recovered shares follow ``s' = −βsi``, ``i' = βsi − γi``, ``r' = γi`` from one
    infected in a million on. Every 17 days, from day 0 to day 153, a thousand people are tested; the count
    is binomial. The noise-free observation is the expected count.

    With ``most``, the tests are on 1 to so many whole days of these, in any number and at any distance; the
    days are known and stand behind the counts.

    The exact posterior: a grid over the logarithms of both rates is refined until it holds the mass on 128²
    cells. The model is not solved at their centres but interpolated by quintic splines between 257 × 129
    solutions, which are made once; the error is below 1e-4 of a nat.

    Args:
        most: largest number of tests; the ten of the source if not given.

    Raises:
        ValueError: if the number is not positive.

    Source: Lueckmann et al., Benchmarking simulation-based inference, 2021 ("SIR").
    """

    name = "epidemic"
    observation = Observation.pixel(*(f"infected_day_{day}" for day in _DAYS))
    parameters = (
        Parameter(
            "contact_rate",
            "1/day",
            0.03,
            5.0,
            "infections by one infected person in a day at the start",
            "lognormal",
            mean=math.log(0.4),
            sd=0.5,
        ),
        Parameter(
            "recovery_rate",
            "1/day",
            0.04,
            0.4,
            "share of the infected who recover in a day",
            "lognormal",
            mean=math.log(0.125),
            sd=0.2,
        ),
    )
    targets = ("contact_rate", "recovery_rate")

    def __init__(self, most: int | None = None) -> None:
        self.most = most if most is None else int(check_positive("most", most))
        if self.most is not None:
            self.observation = Observation.series(self.most, "infected", context=("day",))

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, none for the ten days, as in bundles of former releases."""
        return {} if self.most is None else super().to_config()

    def draw_context(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ascending days of tests up to any day, ``(n, most)``, NaN behind the last test."""
        if self.most is None:
            return super().draw_context(n, generator)
        there = torch.arange(self.most) < few_or_many(n, 1, self.most, generator)
        until = 1 + _LAST * torch.rand(n, 1, generator=generator)
        days = (until * torch.rand(n, self.most, generator=generator)).floor().clamp_max(_LAST)
        days = torch.where(there, days, torch.inf).sort(1).values
        return torch.where(there, days, torch.nan)

    def forward(self, theta: Tensor) -> Tensor:
        """Return the expected counts ``(…, 10)``, or ``(…, most)``, at even times, of rates ``(…, 2)``."""
        days = torch.linspace(0, _LAST, self.observation.num_values).round()
        return self.forward_with_context(theta, days.expand(*theta.shape[:-1], -1))

    def forward_with_context(self, theta: Tensor, context: Tensor) -> Tensor:
        """Return the expected counts on days ``(…, most)``, NaN for NaN; on the ten days without any."""
        if not context.shape[-1]:
            return self.forward(theta)
        contact, recovery = split_parameters(theta, self.space)
        infected = _infected(contact.flatten(), recovery.flatten(), context.reshape(-1, context.shape[-1]))
        return (_TESTED * infected).reshape(context.shape).to(theta.dtype)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw binomial counts with expected counts ``(…, 10)``; days and what is missing stay."""
        expected, days = y.tensor_split([self.observation.num_values], -1)
        share = (expected.nan_to_num(0.0) / _TESTED).clamp(0, 1)
        count = torch.binomial(torch.full_like(share, _TESTED), share, generator=generator)
        return torch.cat([torch.where(expected.isnan(), torch.nan, count), days], -1)

    def features(self, y: Tensor) -> Tensor:
        """Return √ of the counts ``(…, 10)``, whose noise hardly depends on their size; days stay."""
        counts, days = y.tensor_split([self.observation.num_values], -1)
        return torch.cat([counts.clamp_min(0).sqrt(), days], -1)

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether there are counts, and days, if any, are whole ones from 0 to 153, ``(…)``."""
        days = y[..., self.observation.num_values :]
        is_known = days.isnan() | ((days >= 0) & (days <= _LAST) & (days == days.round()))
        return super().is_valid(y) & is_known.all(-1)

    def _counted(self, y: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Counts of one observation, without those that are missing, and their days."""
        if self.most is None:
            return y, _DAYS
        counts, days = y.split(self.most)
        return counts[counts.isfinite()], tuple(days[counts.isfinite()].long().tolist())

    def _grid(self, y: Tensor, cells: int = 128) -> Grid:
        """Posterior of the standardised log rates on a grid."""
        counts, days = self._counted(y)
        first, second, log_share, log_rest = _coarse_tables(days)

        def log_density(first: Tensor, second: Tensor) -> Tensor:
            return _log_normal(first, second) + _log_likelihood(counts, *_interpolated(first, second, days))

        coarse = Grid(
            _log_normal(first, second) + _log_likelihood(counts, log_share, log_rest),
            torch.stack([first[0], second[0]]) - (first[1] - first[0]) / 2,
            (first[1] - first[0]).expand(2),
        )
        return refined_grid(log_density, coarse, cells)

    def log_evidence(self, y: Tensor) -> float:
        """Log probability of one observation ``(C,)`` under the prior predictive law, nats."""
        return self._grid(y.cpu().double()).log_evidence

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 2)`` given one observation ``(C,)``."""
        return self.space.inverse(self._grid(y).sample(n))

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of an observation ``(C,)`` given rates ``(n, 2)``, nats, ``(n,)``."""
        first, second = self.space.to_latent(theta).unbind(1)
        counts, days = self._counted(y.double())
        return _log_likelihood(counts, *_interpolated(first, second, days, grid=False))


def _infected(contact: Tensor, recovery: Tensor, days: Tensor) -> Tensor:
    """Infected share on days ``(n, T)``, NaN for NaN, for rates ``(n,)``; fourth-order Runge–Kutta."""
    found = []
    for beta, gamma, some in zip(*(x.split(_ROWS) for x in (contact, recovery, days)), strict=True):
        share = _solve(beta, gamma).gather(1, some.nan_to_num(0.0).long())
        found.append(torch.where(some.isnan(), torch.nan, share))
    return torch.cat(found)


def _solve(contact: Tensor, recovery: Tensor) -> Tensor:
    """Infected share on every day, ``(n, 154)``."""
    # Nothing but products and sums, which round alike in any batch: counts are then the same in any batch.
    # NumPy starts these thousands of small operations several times faster than torch.
    beta, gamma = contact.numpy() / _STEPS_PER_DAY, recovery.numpy() / _STEPS_PER_DAY
    i = np.full_like(beta, _INFECTED_AT_START)
    s = 1 - i
    found = [i]
    for step in range(1, _LAST * _STEPS_PER_DAY + 1):
        f1 = beta * s * i
        g1 = f1 - gamma * i
        s2, i2 = s - 0.5 * f1, i + 0.5 * g1
        f2 = beta * s2 * i2
        g2 = f2 - gamma * i2
        s3, i3 = s - 0.5 * f2, i + 0.5 * g2
        f3 = beta * s3 * i3
        g3 = f3 - gamma * i3
        s4, i4 = s - f3, i + g3
        f4 = beta * s4 * i4
        g4 = f4 - gamma * i4
        s = s - (f1 + 2 * (f2 + f3) + f4) / 6
        i = i + (g1 + 2 * (g2 + g3) + g4) / 6
        if step % _STEPS_PER_DAY == 0:
            found.append(i)
    return torch.from_numpy(np.stack(found, -1))


def _log_normal(first: Tensor, second: Tensor) -> Tensor:
    """Log density of two standard normal numbers on a grid, ``(n,)`` and ``(m,)`` to ``(n, m)``."""
    return -0.5 * (first.square()[:, None] + second.square()) - math.log(2 * math.pi)


def _log_likelihood(y: Tensor, log_share: Tensor, log_rest: Tensor) -> Tensor:
    """Binomial log probability of counts ``(T,)`` for shares with logs ``(…, T)``, shape ``(…)``."""
    choices = torch.lgamma(torch.full_like(y, _TESTED + 1.0)) - (y + 1).lgamma() - (_TESTED - y + 1).lgamma()
    return log_share @ y + log_rest @ (_TESTED - y) + choices.sum()


@lru_cache(maxsize=1)
def _solutions() -> tuple[Tensor, Tensor, Tensor]:
    """Axes of both standardised log rates, and the log of the infected share on every day at their nodes."""
    axes = [torch.linspace(-_REACH_SD, _REACH_SD, n, dtype=torch.float64) for n in _NODES]
    rates = [(p.mean + p.sd * z).exp() for p, z in zip(Epidemic.parameters, axes, strict=True)]
    pairs = zip(*(column.split(_ROWS) for column in torch.cartesian_prod(*rates).unbind(1)), strict=True)
    infected = torch.cat([_solve(*rows) for rows in pairs]).clamp_min(1e-300).log()
    return axes[0], axes[1], infected.reshape(*_NODES, -1)


@lru_cache(maxsize=_LAST)
def _spline(day: int) -> RectBivariateSpline:
    """Logarithm of the infected share on a day over both standardised log rates."""
    first, second, infected = _solutions()
    return RectBivariateSpline(first.numpy(), second.numpy(), infected[..., day].numpy(), kx=5, ky=5)


def _interpolated(
    first: Tensor, second: Tensor, days: tuple[int, ...], grid: bool = True
) -> tuple[Tensor, Tensor]:
    """Logs of infected and other shares ``(n, m, T)`` for standardised log rates ``(n,)`` and ``(m,)``.

    Without ``grid`` for pairs of rates, ``(n, T)``.
    """
    start = first.new_full((len(first), len(second)) if grid else first.shape, math.log(_INFECTED_AT_START))
    at = first.numpy(), second.numpy()
    found = [torch.from_numpy(_spline(day)(*at, grid=grid)) if day else start for day in days]
    log_share = torch.stack(found, -1).clamp_max(-1e-16)
    return log_share, torch.log1p(-log_share.exp())


@lru_cache(maxsize=1)
def _coarse_tables(days: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres of the cells of a grid over the prior, and the logs of both shares there on each day."""
    centre = (torch.arange(_COARSE, dtype=torch.float64) + 0.5) / _COARSE
    axis = _REACH_SD * (2 * centre - 1)
    return axis, axis, *_interpolated(axis, axis, days)
