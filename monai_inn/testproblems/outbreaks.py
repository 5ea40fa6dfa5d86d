"""Outbreaks in a closed population, in which chance decides who is infected and who recovers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_inn.problems import Observation, Parameter
from monai_inn.problems.exact.references import sample_table
from monai_inn.problems.known import KnownPosterior, check_positive
from monai_inn.testproblems.daily import Daily
from monai_inn.testproblems.series import few_or_many
from monai_inn.testproblems.sir import Epidemic

__all__ = ["Outbreak", "ReportedCases"]

_REACH_SD, _NODES = 4.7534, 4001


class Outbreak(KnownPosterior):
    """Contact and recovery rate of an outbreak in which everything is seen, from its first days.

    There are ``N`` = 1,000 people, ten of them infected. On each day new infections are
    ``Binomial(S, 1 − exp(−β I / N))`` and recoveries ``Binomial(I, 1 − exp(−γ))``. Both are observed on the
    first 5 to ``most`` days. The likelihood is then a product of binomials of which each rate has its own,
    and the exact posterior is two tables.

    Args:
        most: largest number of days.

    Raises:
        ValueError: if the number is not positive.

    Source: Bailey, The mathematical theory of infectious diseases, 1975 (chain binomial).
    """

    name = "outbreak"
    parameters = Epidemic.parameters
    targets = Epidemic.targets
    has_noise = False
    population, infected = 1000, 10

    def __init__(self, most: int = 100) -> None:
        self.most = int(check_positive("most", most))
        self.observation = Observation.series(self.most, "infections", "recoveries")
        self.encoder = {"kind": "series", "channels": 4, "mixing": "none", "layers": 2}

    def forward(self, theta: Tensor) -> Tensor:
        """Draw an outbreak, ``(…, 2 most)``: infections and recoveries of each day, beside each other."""
        rates, events = theta.reshape(-1, 2).float(), []
        people = torch.tensor([self.population - self.infected, self.infected]).float().expand(rates.shape)
        for _ in range(self.most):
            new, well = _a_day(people, rates, self.population)
            people = people + torch.stack([-new, new - well], -1)
            events += [new, well]
        return torch.stack(events, -1).reshape(*theta.shape[:-1], -1).to(theta.dtype)

    def noise(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the first days, NaN behind them; all that is counted is certain."""
        number = few_or_many(math.prod(y.shape[:-1]), min(5, self.most), self.most, generator)
        is_seen = torch.arange(2 * self.most) < 2 * number.reshape(*y.shape[:-1], 1)
        return torch.where(is_seen, y, torch.nan)

    def features(self, y: Tensor) -> Tensor:
        """Return roots of infections, recoveries, infected people and contacts S I / N, ``(…, 4 most)``.

        Sums of their squares are nearly all that the rates depend on.
        """
        events = y.unflatten(-1, (-1, 2))
        susceptible, infected = self._people_before(events)
        people = torch.stack([infected, susceptible * infected / self.population], -1)
        return torch.cat([events, people], -1).clamp_min(0).sqrt().flatten(-2)

    def is_valid(self, y: Tensor) -> Tensor:
        """Whether the first days were seen without a gap, with no more events than people, ``(…)``."""
        events = y.unflatten(-1, (-1, 2))
        is_seen = events.isfinite().all(-1)
        has_no_gap = (is_seen[..., 1:] <= is_seen[..., :-1]).all(-1)
        are_enough = (events <= torch.stack(self._people_before(events), -1)) | events.isnan()
        return super().is_valid(y) & has_no_gap & are_enough.flatten(-2).all(-1)

    def _people_before(self, events: Tensor) -> tuple[Tensor, Tensor]:
        """Susceptible and infected people at the start of each day, ``(…, T)``, of events ``(…, T, 2)``."""
        new, well = (events.cumsum(-2) - events).unbind(-1)
        return self.population - self.infected - new, self.infected + new - well

    def _log_factors(self, latent: Tensor, y: Tensor) -> Tensor:
        """Log likelihoods of both standardised log rates ``(n, 2)``, same shape: each has its own events."""
        events = y[y.isfinite()].double().unflatten(-1, (-1, 2))
        susceptible, infected = self._people_before(events)
        exposure = torch.stack([infected / self.population, torch.ones_like(infected)], -1)
        hazard = self.space.inverse(latent.double()).unsqueeze(1) * exposure
        number = torch.stack([susceptible, infected], -1)
        choices = (number + 1).lgamma() - (events + 1).lgamma() - (number - events + 1).lgamma()
        return (choices + torch.xlogy(events, -torch.expm1(-hazard)) - (number - events) * hazard).sum(1)

    def log_likelihood(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return the log probability of an outbreak ``(2 most,)`` given rates ``(n, 2)``, nats, ``(n,)``."""
        return self._log_factors(self.space.to_latent(theta.double()), y).sum(-1)

    def _tables(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised log rates ``(K,)``, and the log of prior times likelihood of each rate, ``(K, 2)``."""
        axis = torch.linspace(-_REACH_SD, _REACH_SD, _NODES, dtype=torch.float64)
        log_prior = -0.5 * axis.square() - 0.5 * math.log(2 * math.pi)
        return axis, log_prior[:, None] + self._log_factors(axis[:, None].expand(-1, 2), y)

    def log_evidence(self, y: Tensor) -> float:
        """Log probability of an outbreak ``(2 most,)`` under the prior predictive law, nats."""
        axis, level = self._tables(y)
        step = float(axis[1] - axis[0])  # densities vanish at both ends
        return float((level.logsumexp(0) + math.log(step)).sum())

    def draw_posterior(self, y: Tensor, n: int) -> Tensor:
        """Return samples ``(n, 2)`` given one outbreak ``(2 most,)``."""
        axis, level = self._tables(y)
        return self.space.inverse(torch.stack([sample_table(axis, level[:, d], n) for d in (0, 1)], 1))


class ReportedCases(Daily):
    """An outbreak of which only reported cases are seen: late, some of them, and with scatter.

    The outbreak is that of ``Outbreak`` among 5,000 people, 20 of them infected. A share of the infections is
    going to be reported, and of those that wait, ``1 − exp(−1 / delay)`` on each day. Counts are negative
    binomial, with variance ``m + m² / 10`` around expected reports ``m``.

    Args:
        most: last day that is counted on.
        particles: states of the particle filter, see ``Daily``.
        latent_days: mean time from an infection until one infects others (SEIR); none by default (SIR).

    Raises:
        ValueError: if a number is not positive, or there are too few days.
    """

    name = "reported_cases"
    count_name = "cases"
    parameters = (
        *Epidemic.parameters,
        Parameter("reported", "1", 0.05, 1.0, "share of infections that is reported"),
        Parameter("delay", "day", 1.0, 10.0, "mean delay of a report", "log"),
    )
    targets = ("contact_rate", "recovery_rate", "reported", "delay")

    population, infected, dispersion = 5000, 20, 10

    def __init__(self, most: int = 80, particles: int = 64, latent_days: float = 0.0) -> None:
        super().__init__(most, particles)
        self.latent_days = float(check_positive("latent_days", latent_days)) if latent_days else 0.0

    @property
    def start(self) -> tuple[float, ...]:
        """People susceptible, infectious and exposed before the first day; cases that wait for a report."""
        return self.population - self.infected, self.infected, 0.0, 0.0

    def _step(self, theta: Tensor, states: Tensor) -> Tensor:
        new, well = _a_day(states[..., :2], theta[..., :2], self.population)
        susceptible, infected, exposed, waiting = states.unbind(-1)
        begun = new
        if self.latent_days:
            share = 1 - math.exp(-1 / self.latent_days)
            begun = torch.binomial(exposed, torch.full_like(exposed, share))
        waiting = waiting * (-1 / theta[..., 3]).exp() + theta[..., 2] * new
        return torch.stack([susceptible - new, infected + begun - well, exposed + new - begun, waiting], -1)

    def _expected(self, theta: Tensor, states: Tensor) -> Tensor:
        return -torch.expm1(-1 / theta[..., 3]) * states[..., 3]

    def _log_noise(self, count: Tensor, expected: Tensor) -> Tensor:
        k = expected.new_tensor(float(self.dispersion))
        choices = (count + k).lgamma() - k.lgamma() - (count + 1).lgamma()
        total = expected + k
        return choices + k * (k / total).log() + torch.xlogy(count, expected / total)

    def _counts(self, expected: Tensor, generator: torch.Generator | None) -> Tensor:
        # A gamma number of a whole shape is a sum of exponential ones, which take a generator.
        parts = expected.new_empty(self.dispersion, *expected.shape).exponential_(generator=generator)
        return torch.poisson(expected * parts.mean(0), generator=generator)


def _a_day(people: Tensor, rates: Tensor, population: int) -> tuple[Tensor, Tensor]:
    """Draw infections and recoveries of a day, given susceptible and infected people and both rates."""
    susceptible, infected = people.unbind(-1)
    contact, recovery = rates.unbind(-1)
    new = torch.binomial(susceptible, -torch.expm1(-contact * infected / population))
    return new, torch.binomial(infected, -torch.expm1(-recovery).expand_as(infected))
