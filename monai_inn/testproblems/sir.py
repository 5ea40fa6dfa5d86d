"""Rates of an epidemic from a few counts of infected people."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from scipy.interpolate import RectBivariateSpline
from torch import Tensor

from monai_inn.problems import Observation, Parameter
from monai_inn.problems.known import KnownPosterior, split_parameters
from monai_inn.problems.references import Grid, refined_grid

__all__ = ["Epidemic"]

_INFECTED_AT_START = 1e-6
_TESTED = 1000
_DAYS = tuple(range(0, 160, 17))
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

    The exact posterior: a grid over the logarithms of both rates is refined until it holds the mass on 128²
    cells. The model is not solved at their centres but interpolated by quintic splines between 257 × 129
    solutions, which are made once; the error is below 1e-4 of a nat.

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

    def forward(self, theta: Tensor) -> Tensor:
        """Return the expected counts ``(…, 10)`` of rates ``(…, 2)`` per day."""
        contact, recovery = split_parameters(theta, self.space)
        infected = _infected(contact.flatten(), recovery.flatten())
        return (_TESTED * infected).reshape(*theta.shape[:-1], -1).to(theta.dtype)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw binomial counts with expected counts ``(…, 10)``."""
        share = (y / _TESTED).clamp(0, 1)
        return torch.binomial(torch.full_like(share, _TESTED), share, generator=generator)

    def features(self, y: Tensor) -> Tensor:
        """Return √ of the counts ``(…, 10)``, whose noise hardly depends on their size."""
        return y.clamp_min(0).sqrt()

    def _grid(self, y: Tensor, cells: int = 128) -> Grid:
        """Posterior of the standardised log rates on a grid."""
        first, second, log_share, log_rest = _coarse_tables()

        def log_density(first: Tensor, second: Tensor) -> Tensor:
            return _log_normal(first, second) + _log_likelihood(y, *_interpolated(first, second))

        coarse = Grid(
            _log_normal(first, second) + _log_likelihood(y, log_share, log_rest),
            torch.stack([first[0], second[0]]) - (first[1] - first[0]) / 2,
            (first[1] - first[0]).expand(2),
        )
        return refined_grid(log_density, coarse, cells)

    def log_evidence(self, y: Tensor) -> float:
        """Log probability of the counts ``(10,)`` under the prior predictive law, nats."""
        return self._grid(y.cpu().double()).log_evidence

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 2)`` given one observation ``(10,)``."""
        return self.space.inverse(self._grid(y).sample(n))

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log density of counts ``(10,)`` given rates ``(n, 2)``, nats, ``(n,)``."""
        first, second = self.space.to_latent(theta).unbind(1)
        return _log_likelihood(y, *_interpolated(first, second, grid=False))


def _infected(contact: Tensor, recovery: Tensor) -> Tensor:
    """Infected share on each day of testing, ``(n, 10)``, for rates ``(n,)``; fourth-order Runge–Kutta."""
    pairs = zip(contact.split(_ROWS), recovery.split(_ROWS), strict=True)
    return torch.cat([_solve(*rows) for rows in pairs])


def _solve(contact: Tensor, recovery: Tensor) -> Tensor:
    # Nothing but products and sums, which round alike in any batch: counts are then the same in any batch.
    beta, gamma = contact / _STEPS_PER_DAY, recovery / _STEPS_PER_DAY
    i = torch.full_like(beta, _INFECTED_AT_START)
    s = 1 - i
    found = [i]
    for step in range(1, _DAYS[-1] * _STEPS_PER_DAY + 1):
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
        if step % (_DAYS[1] * _STEPS_PER_DAY) == 0:
            found.append(i)
    return torch.stack(found, -1)


def _log_normal(first: Tensor, second: Tensor) -> Tensor:
    """Log density of two standard normal numbers on a grid, ``(n,)`` and ``(m,)`` to ``(n, m)``."""
    return -0.5 * (first.square()[:, None] + second.square()) - math.log(2 * math.pi)


def _log_likelihood(y: Tensor, log_share: Tensor, log_rest: Tensor) -> Tensor:
    """Binomial log probability of counts ``(10,)`` for shares with logs ``(…, 10)``, shape ``(…)``."""
    choices = torch.lgamma(torch.full_like(y, _TESTED + 1.0)) - (y + 1).lgamma() - (_TESTED - y + 1).lgamma()
    return log_share @ y + log_rest @ (_TESTED - y) + choices.sum()


@lru_cache(maxsize=1)
def _splines() -> tuple[RectBivariateSpline, ...]:
    """Logarithm of the infected share on each day but the first, over both standardised log rates."""
    axes = [torch.linspace(-_REACH_SD, _REACH_SD, n, dtype=torch.float64) for n in _NODES]
    rates = [(p.mean + p.sd * z).exp() for p, z in zip(Epidemic.parameters, axes, strict=True)]
    infected = _infected(*torch.cartesian_prod(*rates).unbind(1)).clamp_min(1e-300).log()
    table = infected.reshape(*_NODES, -1).numpy()
    return tuple(
        RectBivariateSpline(axes[0].numpy(), axes[1].numpy(), table[..., k], kx=5, ky=5)
        for k in range(1, len(_DAYS))
    )


def _interpolated(first: Tensor, second: Tensor, grid: bool = True) -> tuple[Tensor, Tensor]:
    """Logs of infected and other shares ``(n, m, 10)`` for standardised log rates ``(n,)`` and ``(m,)``.

    Without ``grid`` for pairs of rates, ``(n, 10)``.
    """
    found = [torch.from_numpy(spline(first.numpy(), second.numpy(), grid=grid)) for spline in _splines()]
    start = torch.full_like(found[0], math.log(_INFECTED_AT_START))
    log_share = torch.stack([start, *found], -1).clamp_max(-1e-16)
    return log_share, torch.log1p(-log_share.exp())


@lru_cache(maxsize=1)
def _coarse_tables() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres of the cells of a grid over the prior, and the logs of both shares there."""
    centre = (torch.arange(_COARSE, dtype=torch.float64) + 0.5) / _COARSE
    axis = _REACH_SD * (2 * centre - 1)
    return axis, axis, *_interpolated(axis, axis)
