"""Populations that change at random from day to day and are counted on any of the days."""

from __future__ import annotations

import abc
import math
from typing import ClassVar

import torch
from torch import Tensor

from monai_inn.problems import InverseProblem, Observation, Parameter
from monai_inn.problems.exact.particles import particle_log_likelihood
from monai_inn.problems.exact.references import ReferencePosterior
from monai_inn.problems.exact.tempering import tempered_posterior
from monai_inn.problems.known import check_positive
from monai_inn.testproblems.series import few_or_many

__all__ = ["Daily", "Ricker"]

_LEAST = 5
_MOST_MISSING = 0.3
_STATES = 1 << 17  # that are moved at once, so that they stay in the cache


class Daily(InverseProblem):
    """A hidden state with a random step a day, and Poisson counts on up to ``most`` days; gaps are allowed.

    The exact posterior: tempered Monte Carlo over the likelihoods that a particle filter estimates.

    Args:
        most: last day that is counted on.
        particles: states of the particle filter for each parameter. Any number is exact; with more of them
            the moves of the Monte Carlo are accepted more often.

    Raises:
        ValueError: if a number is not positive, or there are too few days.
    """

    has_noise = False
    count_name: ClassVar[str]

    def __init__(self, most: int, particles: int) -> None:
        self.most = int(check_positive("most", most))
        self.particles = int(check_positive("particles", particles))
        if self.most < _LEAST:
            raise ValueError(f"most = {most} days; give at least {_LEAST}.")
        self.observation = Observation.series(self.most, self.count_name, context=("day",))

    @property
    @abc.abstractmethod
    def start(self) -> tuple[float, ...]:
        """State before the first day."""

    @abc.abstractmethod
    def _step(self, theta: Tensor, states: Tensor) -> Tensor:
        """Draw the states ``(n, P, K)`` of the next day, given parameters ``(n, 1, D)``."""

    @abc.abstractmethod
    def _expected(self, theta: Tensor, states: Tensor) -> Tensor:
        """Counts ``(n, P)`` that are expected in states ``(n, P, K)``, given parameters ``(n, 1, D)``."""

    def _log_noise(self, count: Tensor, expected: Tensor) -> Tensor:
        """Log probability in nats of a count where so many are expected."""
        return torch.xlogy(count, expected) - expected - (count + 1).lgamma()

    def _counts(self, expected: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw counts, given the expected ones, same shape."""
        return torch.poisson(expected, generator=generator)

    def draw_context(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw days ``(n, most)``: 1, 2, … in their places, NaN behind the last and in gaps, as half have."""
        days = torch.arange(1.0, self.most + 1)
        last = few_or_many(n, _LEAST, self.most, generator)
        missing = _MOST_MISSING * (2 * torch.rand(n, 1, generator=generator) - 1)
        is_there = torch.rand(n, self.most, generator=generator) >= missing
        return torch.where((days == last) | (days < last) & is_there, days, torch.nan)

    def forward(self, theta: Tensor) -> Tensor:
        """Return the expected counts of one random course of states, ``(…, most)``."""
        return self.forward_with_context(theta, torch.arange(1.0, self.most + 1))

    def forward_with_context(self, theta: Tensor, context: Tensor) -> Tensor:
        """Return the same on days ``(…, most)``, NaN for NaN."""
        rows, expected = theta.reshape(-1, 1, theta.shape[-1]).float(), []
        states = torch.tensor(self.start).expand(len(rows), 1, -1)
        for _ in range(self.most):
            states = self._step(rows, states)
            expected.append(self._expected(rows, states))
        course = torch.cat(expected, 1).reshape(*theta.shape[:-1], self.most).to(theta.dtype)
        days = context.expand(course.shape)
        return torch.where(days.isnan(), torch.nan, course.gather(-1, (days.nan_to_num(1.0) - 1).long()))

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw counts; the days, and what is missing, stay."""
        expected, days = y.split(self.most, -1)
        counts = self._counts(expected.nan_to_num(0.0), generator)
        return torch.cat([torch.where(expected.isnan(), torch.nan, counts), days], -1)

    def features(self, y: Tensor) -> Tensor:
        """Return log(1 + count), and the days as a share of ``most``, ``(…, 2 most)``."""
        counts, days = y.split(self.most, -1)
        return torch.cat([counts.clamp_min(0).log1p(), days / self.most], -1)

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether there are counts, at most one a day, on whole days from 1 to ``most``, ``(…)``."""
        number = y[..., : self.most].isfinite().sum(-1)
        return super().is_valid(y) & (self._by_day(y).isfinite().sum(-1) == number)

    def _by_day(self, y: Tensor) -> Tensor:
        """Counts on day 1, 2, …, ``most``, NaN where there is none, of observations ``(…, 2 most)``."""
        counts, days = y.split(self.most, -1)
        is_day = counts.isfinite() & (days >= 1) & (days <= self.most) & (days == days.round())
        place = torch.where(is_day, days - 1, self.most).long()
        empty = counts.new_full((*counts.shape[:-1], self.most + 1), torch.nan)
        return empty.scatter(-1, place, counts)[..., :-1]

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return logs of unbiased estimates of the likelihoods of parameters ``(n, D)``, nats, ``(n,)``.

        ``y`` is one observation ``(2 most,)``.
        """
        counts = self._by_day(y).float()
        counts = counts[: int(counts.isfinite().nonzero().max()) + 1]

        def estimated(rows: Tensor) -> Tensor:
            return particle_log_likelihood(
                counts,
                torch.tensor(self.start).expand(len(rows), self.particles, -1),
                lambda states: self._step(rows, states),
                lambda states, count: self._log_noise(count, self._expected(rows, states)),
            )

        parts = theta.float().unsqueeze(1).split(math.ceil(_STATES / self.particles))
        return torch.cat([estimated(rows) for rows in parts])

    def reference_posterior(self, y: Tensor) -> ReferencePosterior:
        """Return the posterior of observations ``(…, 2 most)``: samples in up to minutes, no density."""

        def draw(row: Tensor, n: int) -> Tensor:
            return self.space.inverse(tempered_posterior(self, row, n).samples)

        return ReferencePosterior(y, len(self.parameters), draw, may_miss=True)


class Ricker(Daily):
    """Growth of a population, its random variation and the share that is caught, from catches on any days.

    ``N' = r N exp(−N + σ e)`` with normal ``e`` from one time step, here a day, to the next, from ``N = 10``
    on. Catches are Poisson with mean ``φ N``. For most growth rates the course is chaotic, so that a small
    change of a state is a large one some days later.

    Args:
        most: last day that is counted on.
        particles: states of the particle filter, see ``Daily``.

    Raises:
        ValueError: if a number is not positive, or there are too few days.

    Source: Wood, Statistical inference for noisy nonlinear ecological dynamic systems, 2010; the priors are
    those of Radev et al., BayesFlow, 2020.
    """

    name = "ricker"
    count_name = "catch"
    parameters = (
        Parameter("growth", "1", 1.0, 90.0, "growth rate of a small population, from day to day"),
        Parameter("variation", "1", 0.05, 0.7, "standard deviation of the logarithm of growth"),
        Parameter("caught", "1", 0.0, 15.0, "mean catch from a population of size 1"),
    )
    targets = ("growth", "variation", "caught")
    start = (math.log(10.0),)  # the logarithm, for populations become as small as e⁻⁹⁰

    def __init__(self, most: int = 100, particles: int = 512) -> None:
        super().__init__(most, particles)

    def _step(self, theta: Tensor, states: Tensor) -> Tensor:
        growth, variation, _ = theta.unsqueeze(-1).unbind(-2)
        return growth.log() + states - states.exp() + variation * torch.randn_like(states)

    def _expected(self, theta: Tensor, states: Tensor) -> Tensor:
        return theta[..., 2] * states[..., 0].exp()
