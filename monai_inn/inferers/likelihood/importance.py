"""Adaptive importance sampling in the latent space of a flow: what training has left undone is made good."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.inferers.summaries import shared_latents

__all__ = ["Weighed", "weighed_draws"]

_WIDER = (
    1.2  # than the draws that a proposal is fitted to: its tails must not be thinner than the posterior's
)
_FITTED = 1 / 20  # of a round's draws: as many count at least when a normal is fitted to them
_FREEDOM = 4  # degrees of freedom of Student's t, whose tails reach what bends away from a normal
_HALVINGS = 20  # of the range in which an exponent is searched


class Weighed(NamedTuple):
    """Draws for one observation, of which each counts by its share.

    Attributes:
        columns: what was said of the draws, ``(n, …)`` each; the first is the log ratio.
        share: weights that sum to one, ``(n,)``, float64.
        effective: how many draws count; 0 if none is possible.
        log_evidence: log of the mean of posterior over proposal, nats.
    """

    columns: tuple[Tensor, ...]
    share: Tensor
    effective: float
    log_evidence: float


def weighed_draws(
    evaluate: Callable[[Tensor, Tensor, int], tuple[Tensor, ...]],
    observations: int,
    dimension: int,
    *,
    draws: int,
    wanted: float,
    most_rounds: int,
    seed: int,
) -> list[Weighed]:
    """Draw latents for each of some observations in rounds, until enough of them count.

    The first round is drawn from a standard normal, which is the network's posterior or the prior; each
    further one from Student's t of the weighted mean and covariance of all draws before it. As long as few of
    them count, a power of the weights below one lets more do so, and the rounds come nearer step by step.

    Args:
        evaluate: called with latents ``(draws, n, dimension)``, float64, the numbers ``(n,)`` of the
            observations that they are for, and that of the round; returns the log of the posterior's density
            over that of the first round, ``(draws, n)``, and whatever else is to be kept of the draws,
            ``(draws, n, …)``.
        observations: how many there are.
        dimension: number of latents of a draw.
        draws: draws of a round, for each observation.
        wanted: how many shall count.
        most_rounds: most rounds.
        seed: seed of the draws.

    Source: Cornuet et al., Adaptive multiple importance sampling, 2012; Koblents and Miguez, A population
    Monte Carlo scheme with transformed weights, 2015; Dax et al., Neural importance sampling, 2023.
    """
    active, results = torch.arange(observations), {}
    start = torch.zeros(observations, dimension, dtype=torch.float64)
    proposals = [_Proposal(start, torch.eye(dimension).double().expand(observations, -1, -1), math.inf)]
    kept: tuple[Tensor, ...] = ()
    for number in range(most_rounds):
        own = proposals[-1]
        latents = own.draw(draws, seed + number)
        columns = (latents, *evaluate(latents, active, number))
        kept = columns if not kept else tuple(map(torch.cat, zip(kept, columns, strict=True)))
        # All rounds together are one mixture, whichever of them a draw came from.
        densities = torch.stack([proposal.log_prob(kept[0]) for proposal in proposals])
        log_weight = kept[1] + densities[0] - densities.logsumexp(0) + math.log(len(proposals))
        log_weight = log_weight.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        share, effective = _shares(log_weight)
        is_over = (effective >= wanted) | (number == most_rounds - 1)
        for n in is_over.nonzero().flatten().tolist():
            log_evidence = float(log_weight[:, n].logsumexp(0)) - math.log(len(log_weight))
            mine = tuple(column[:, n] for column in kept[1:])
            results[int(active[n])] = Weighed(mine, share[:, n], float(effective[n]), log_evidence)
        if is_over.all():
            break
        proposals.append(_fitted(own, kept[0], *_tempered(log_weight, _FITTED * draws)))
        active, kept = active[~is_over], tuple(column[:, ~is_over] for column in kept)
        proposals = [_Proposal(p.loc[~is_over], p.scale[~is_over], p.freedom) for p in proposals]
    return [results[n] for n in range(observations)]


class _Proposal(NamedTuple):
    """Student's t for each observation; the normal for infinite degrees of freedom.

    Attributes:
        loc: means, ``(n, D)``.
        scale: lower triangles of the covariances of the normal, ``(n, D, D)``.
        freedom: degrees of freedom.
    """

    loc: Tensor
    scale: Tensor
    freedom: float

    def draw(self, draws: int, seed: int) -> Tensor:
        """Latents ``(draws, n, D)``, those of all observations from the same normal draws."""
        dimension, more = self.loc.shape[-1], 0 if math.isinf(self.freedom) else int(self.freedom)
        normal = shared_latents(draws, dimension + more, seed).double()
        latents, others = normal[..., :dimension], normal[..., dimension:]
        if more:
            latents = latents / others.square().mean(-1, keepdim=True).sqrt()
        return self.loc + (self.scale @ latents.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log densities of latents ``(N, n, D)``, ``(N, n)``."""
        d, v = latents.shape[-1], self.freedom
        white = torch.linalg.solve_triangular(self.scale, (latents - self.loc).unsqueeze(-1), upper=False)
        squares = white.square().sum((-2, -1))
        log_scale = self.scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        if math.isinf(v):
            return -0.5 * squares - 0.5 * d * math.log(2 * math.pi) - log_scale
        constant = math.lgamma((v + d) / 2) - math.lgamma(v / 2) - 0.5 * d * math.log(v * math.pi)
        return constant - (v + d) / 2 * (squares / v).log1p() - log_scale


def _tempered(log_weight: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Shares by the largest power up to 1 of weights ``(N, n)`` with which so many draws count.

    With them, how many do.
    """
    low, high = torch.full_like(log_weight[0], 2.0**-_HALVINGS), torch.ones_like(log_weight[0])
    power = high
    for _ in range(_HALVINGS):
        is_enough = _shares(power * log_weight)[1] >= least
        low, high = torch.where(is_enough, power, low), torch.where(is_enough, high, power)
        power = (low + high) / 2
    return _shares(low * log_weight)


def _shares(log_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights ``(N, n)`` that sum to one, and how many draws count: none if none is possible."""
    share = log_weight.softmax(0).nan_to_num(0.0)
    return share, torch.where(share.any(0), 1 / share.square().sum(0), 0.0)


def _fitted(before: _Proposal, latents: Tensor, share: Tensor, effective: Tensor) -> _Proposal:
    """Student's t of the weighted means and covariances, nearer to those before where few draws count."""
    mean = torch.einsum("sn,snd->nd", share, latents)
    centred = latents - mean
    covariance = torch.einsum("sn,snd,sne->nde", share, centred, centred)
    trust = (effective / (effective + 2 * latents.shape[-1])).unsqueeze(-1)
    spread = (before.scale @ before.scale.mT).lerp(_WIDER**2 * covariance, trust.unsqueeze(-1))
    return _Proposal(before.loc.lerp(mean, trust), torch.linalg.cholesky(spread), _FREEDOM)
