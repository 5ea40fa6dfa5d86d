"""Adaptively tempered sequential Monte Carlo: exact posteriors, several modes, and the evidence.

Particles start at the prior and follow it to the posterior through ``prior · likelihood^β``. Each rise of
``β`` is the largest that leaves half of them effective; then they are resampled and moved by a Markov kernel
that keeps the tempered posterior, until they have forgotten where they came from. Prior and posterior are in
the flow's space, where the prior is a standard normal, so that a kernel that keeps a normal of the particles'
own mean and covariance (preconditioned Crank–Nicolson) is accepted often in any number of dimensions.

A network is a nearer start than the prior. In the latents of its posterior, a standard normal too, what is
left for the exponent is ``prior · likelihood / network``; nothing else changes.

Source: Del Moral et al., Sequential Monte Carlo samplers, 2006; Cotter et al., MCMC methods for functions,
2013.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from scipy.optimize import brentq
from torch import Tensor

__all__ = ["TemperedSamples", "tempered_posterior", "tempered_samples"]

# Own code because no kept library does this: particles 0.4 (2023) asks for NumPy below 2, BlackJAX needs
# JAX, UltraNest and pocoMC are GPL, dynesty takes parameters one by one, and nautilus, which trains networks,
# had two effective samples of 18 parameters after four minutes.
_EFFECTIVE = 0.5
# Fewer do not tell the covariance of twenty parameters.
_LEAST_PARTICLES = 1000
_ACCEPTED = 0.35
_FORGOTTEN = 0.1
# What is not forgotten on the way there is time for in the end. One look too early takes slow for stuck.
_MOST_MOVES, _MOST_AT_LAST, _MOVES_BETWEEN_LOOKS = 100, 400, 10
_STUCK = 0.99


class TemperedSamples(NamedTuple):
    """Posterior samples of one observation.

    Attributes:
        samples: samples in the flow's space, shape ``(n, D)``, float64.
        log_evidence: log of the prior mean of the likelihood, nats; its error is about ``sqrt(t / n)`` with
            ``t`` temperatures, some 0.1 for 2,000 samples.
        memory: largest correlation of a latent with what it was before the last moves. Where it is not small,
            separate parts of the posterior may hold too many samples.
    """

    samples: Tensor
    log_evidence: float
    memory: float


class Start(Protocol):
    """A distribution in the flow's space to start from, such as ``fitted.posterior(y).base`` of one row."""

    def push_with_log_prob(self, latent: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return samples of standard normal latents ``(n, 1, D)``, and their log densities in nats."""


@torch.no_grad()
def tempered_samples(
    log_likelihood: Callable[[Tensor], Tensor],
    num_parameters: int,
    n: int,
    seed: int | None = None,
    start: Start | None = None,
) -> TemperedSamples:
    """Draw posterior samples of a likelihood under a standard normal prior.

    Asymptotically exact: errors of means and of the masses of modes fall with the root of ``n``.

    Args:
        log_likelihood: from latent parameters ``(m, D)``, float64, to log densities in nats, ``(m,)``;
            ``-inf`` where an observation is impossible.
        num_parameters: number ``D`` of parameters.
        n: number of samples; at least 1,000 particles are used whatever it is.
        seed: seed of all random numbers; drawn from torch's global generator if not given.
        start: where to start, the prior by default; the posterior is the same.

    Raises:
        ValueError: if hardly any draw of the start can explain the observation, or a likelihood is NaN.
    """
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
    push = _unmoved if start is None else functools.partial(_pushed, start)

    def level(latent: Tensor) -> Tensor:
        value, log_ratio = push(latent)
        return log_likelihood(value) + log_ratio

    particles = _Particles(level, num_parameters, max(n, _LEAST_PARTICLES), generator)
    memory = 0.0
    while particles.exponent < 1:
        particles.raise_exponent()
        memory = particles.move()
    return TemperedSamples(push(particles.latent[:n])[0], particles.log_evidence, memory)


def tempered_posterior(
    problem: Any, y: Tensor, n: int, seed: int | None = None, start: Start | None = None
) -> TemperedSamples:
    """Draw from the posterior of one observation ``(C,)`` of a problem that has a ``log_likelihood``.

    Parameters are asked about in float32, which takes half of the time and errs far below any noise. For
    arguments, samples and errors see ``tempered_samples``.
    """
    return tempered_samples(
        lambda latent: problem.log_likelihood(problem.space.inverse(latent).float(), y),
        len(problem.parameters),
        n,
        seed,
        start,
    )


def _unmoved(latent: Tensor) -> tuple[Tensor, float]:
    return latent, 0.0


def _pushed(start: Start, latent: Tensor) -> tuple[Tensor, Tensor]:
    """Samples of a start, and the log of the prior's density there over its own."""
    value, log_density = start.push_with_log_prob(latent.float().unsqueeze(1))
    value = value.reshape(latent.shape).double()
    log_prior = -0.5 * (value.square() + math.log(2 * math.pi)).sum(-1)
    return value, log_prior - log_density.reshape(-1).double()


class _Particles:
    """Particles of the posterior at one exponent of the likelihood."""

    def __init__(
        self,
        log_likelihood: Callable[[Tensor], Tensor],
        num_parameters: int,
        n: int,
        generator: torch.Generator,
    ) -> None:
        self._log_likelihood, self._generator = log_likelihood, generator
        self.latent = self._normal(n, num_parameters)
        self.level = self._levels(self.latent)
        possible = int((self.level > -math.inf).sum())
        if possible <= num_parameters:
            raise ValueError(f"only {possible} of {n:,} first particles can explain the observation.")
        self.exponent, self.log_evidence, self._step = 0.0, 0.0, 0.5

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator, dtype=torch.float64)

    def _levels(self, latent: Tensor) -> Tensor:
        level = self._log_likelihood(latent).double()
        if bool(level.isnan().any()):
            raise ValueError("the log likelihood of some parameters is NaN.")
        return level

    def raise_exponent(self) -> None:
        """Raise the exponent until half of the particles are effective, reweight and resample."""
        rise = self._next_rise()
        log_weight = rise * self.level
        self.exponent = min(1.0, self.exponent + rise)
        n = len(log_weight)
        self.log_evidence += float(log_weight.logsumexp(0)) - math.log(n)
        # Systematic resampling: the number of copies differs from its expectation by less than one.
        edges = log_weight.softmax(0).cumsum(0)
        comb = (torch.arange(n) + torch.rand(1, generator=self._generator, dtype=torch.float64)) / n
        chosen = torch.searchsorted(edges, comb * edges[-1]).clamp_max(n - 1)
        # In random order, so that any part of the particles is a sample of the whole.
        chosen = chosen[torch.randperm(n, generator=self._generator)]
        self.latent, self.level = self.latent[chosen], self.level[chosen]

    def _next_rise(self) -> float:
        possible = self.level[self.level > -math.inf]

        def excess(rise: float) -> float:
            weight = (rise * possible).softmax(0)
            return float(1 / weight.square().sum()) / len(weight) - _EFFECTIVE

        left = 1 - self.exponent
        return left if excess(left) >= 0 else float(brentq(excess, 0.0, left, rtol=1e-3))

    def move(self) -> float:
        """Move all particles until no latent remembers where it was; return by how much one still does."""
        start = self.latent
        mean = start.mean(0)
        covariance = start.T.cov().reshape(start.shape[1], -1)
        factor = torch.linalg.cholesky(covariance + 1e-9 * covariance.diagonal().diag())
        memory = before = 1.0
        most = _MOST_MOVES if self.exponent < 1 else _MOST_AT_LAST
        for _ in range(most // _MOVES_BETWEEN_LOOKS):
            for _ in range(_MOVES_BETWEEN_LOOKS):
                self._move_once(mean, factor)
            a, b = (rows - rows.mean(0) for rows in (start, self.latent))
            memory = float(((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).max())  # correlation
            # Particles of separate modes never forget which one is theirs.
            if memory < _FORGOTTEN or memory > _STUCK * before:
                break
            before = memory
        return memory

    def _move_once(self, mean: Tensor, factor: Tensor) -> None:
        """One step that keeps the tempered posterior, accepted by how far that is from a normal."""
        keep = math.sqrt(1 - self._step**2)
        centred = self.latent - mean
        proposed = mean + keep * centred + self._step * self._normal(*centred.shape) @ factor.T
        level = self._levels(proposed)
        log_ratio = self.exponent * (level - self.level)
        log_ratio += _log_prior_over_normal(proposed, mean, factor)
        log_ratio -= _log_prior_over_normal(self.latent, mean, factor)
        uniform = torch.rand(len(level), generator=self._generator, dtype=torch.float64)
        accepted = uniform.log() < log_ratio
        self.latent = torch.where(accepted[:, None], proposed, self.latent)
        self.level = torch.where(accepted, level, self.level)
        share = float(log_ratio.clamp_max(0).exp().mean())
        self._step = min(0.999, max(1e-3, self._step * math.exp(share - _ACCEPTED)))


def _log_prior_over_normal(latent: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """Log of the prior's density over the normal's, up to a constant, shape ``(n,)``."""
    white = torch.linalg.solve_triangular(factor, (latent - mean).T, upper=False)
    return 0.5 * white.square().sum(0) - 0.5 * latent.square().sum(-1)
