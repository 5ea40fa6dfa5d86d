"""Adaptive importance sampling in the latent space of a flow: what training has left undone is made good."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from monai_inn.inferers.summaries import shared_latents

__all__ = ["Weighed", "weighed_draws"]

_WIDER = (
    1.2  # than the draws that a proposal is fitted to: its tails must not be thinner than the posterior's
)


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

    The first round is drawn from a standard normal, which is the network's posterior; each further one from
    a normal of the weighted mean and covariance of all draws before it.

    Args:
        evaluate: called with latents ``(draws, n, dimension)``, float64, the numbers ``(n,)`` of the
            observations that they are for, and that of the round; returns the log of the posterior's density
            over the network's, ``(draws, n)``, and whatever else is to be kept of the draws,
            ``(draws, n, …)``.
        observations: how many there are.
        dimension: number of latents of a draw.
        draws: draws of a round, for each observation.
        wanted: how many shall count.
        most_rounds: most rounds.
        seed: seed of the draws.

    Source: Cornuet et al., Adaptive multiple importance sampling, 2012; Dax et al., Neural importance
    sampling, 2023.
    """
    active, results = torch.arange(observations), {}
    start = torch.zeros(observations, dimension, dtype=torch.float64)
    proposals = [MultivariateNormal(start, torch.eye(dimension).double().expand(observations, -1, -1))]
    kept: tuple[Tensor, ...] = ()
    for number in range(most_rounds):
        own = proposals[-1]
        latents = shared_latents(draws, dimension, seed + number).double()
        latents = own.loc + (own.scale_tril @ latents.unsqueeze(-1)).squeeze(-1)
        columns = (latents, *evaluate(latents, active, number))
        kept = columns if not kept else tuple(map(torch.cat, zip(kept, columns, strict=True)))
        # All rounds together are one mixture of their normals, whichever of them a draw came from.
        densities = torch.stack([proposal.log_prob(kept[0]) for proposal in proposals])
        log_weight = kept[1] + densities[0] - densities.logsumexp(0) + math.log(len(proposals))
        log_weight = log_weight.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        share = log_weight.softmax(0).nan_to_num(0.0)  # of nothing if no draw is possible
        effective = torch.where(share.any(0), 1 / share.square().sum(0), 0.0)
        is_over = (effective >= wanted) | (number == most_rounds - 1)
        for n in is_over.nonzero().flatten().tolist():
            log_evidence = float(log_weight[:, n].logsumexp(0)) - math.log(len(log_weight))
            mine = tuple(column[:, n] for column in kept[1:])
            results[int(active[n])] = Weighed(mine, share[:, n], float(effective[n]), log_evidence)
        if is_over.all():
            break
        proposals.append(_fitted_normal(kept[0], share, effective))
        active, kept = active[~is_over], tuple(column[:, ~is_over] for column in kept)
        proposals = [
            MultivariateNormal(p.loc[~is_over], scale_tril=p.scale_tril[~is_over], validate_args=False)
            for p in proposals
        ]
    return [results[n] for n in range(observations)]


def _fitted_normal(latents: Tensor, share: Tensor, effective: Tensor) -> MultivariateNormal:
    """Normals of the weighted means and covariances, nearer to the standard normal where few draws count."""
    dimension = latents.shape[-1]
    mean = torch.einsum("sn,snd->nd", share, latents)
    centred = latents - mean
    covariance = torch.einsum("sn,snd,sne->nde", share, centred, centred)
    trust = (effective / (effective + 2 * dimension)).unsqueeze(-1)
    covariance = trust.unsqueeze(-1) * covariance + torch.diag_embed((1 - trust).expand(-1, dimension))
    return MultivariateNormal(trust * mean, _WIDER**2 * covariance)
