"""Which features mean the same for the targets at every site, in closed form: which gates are open."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

__all__ = ["DOUBT", "invariant_features"]

_NATS = 60.0  # weights of the Hilbert–Schmidt criterion that cost as much as one nat of the likelihood ratio
DOUBT = 2.0  # standard deviations that sites which are alike may differ by, at no cost
_PAIRS = 12  # features, up to which two are exchanged at a time
_FARTHEST = 4.0  # standard deviations; few rows farther out would decide alone
_RIDGE = 1e-4  # of the moments, so that features may repeat
_MOST_FITTED = 0.9  # of the rows


@torch.no_grad()
def invariant_features(features: Tensor, latent: Tensor, site: Tensor, weight: float) -> list[bool]:
    """Return which features a Gaussian regression of the targets should see to hold at all sites.

    Of each set of features the loss of a training is known in closed form: the negative log density under one
    regression for all sites, and a weight times how much better a regression for each site would be, both in
    nats. That is the likelihood ratio of the two, less what it may be by chance. A gradient does not find the
    best set: from a set with a feature that depends on the site, its way down is to use nothing at all.

    Sets are compared that differ in one feature (of up to 12 features, in two) until none is better, from no
    features and from all of them. Regressions are linear in the features and their squares.

    Args:
        features: in standard deviations from their mean, shape ``(N, F)``.
        latent: targets, numbers in the flow's space and classes as columns of 0 and 1, shape ``(N, D)``.
        site: classes, shape ``(N,)``, none of them without rows.
        weight: of the Hilbert–Schmidt criterion in the loss.

    Source: Peters et al., Causal inference by using invariant prediction, 2016, for the test of a set.
    """
    number, targets = features.shape[1], latent.shape[1]
    x = features.double().clamp(-_FARTHEST, _FARTHEST)
    table = torch.cat([torch.ones_like(x[:, :1]), x, x.square() - 1, latent.double()], 1)
    parts = [table[site == k] for k in site.unique()]
    ridge = _RIDGE * torch.eye(table.shape[1]).to(table)
    moments = torch.stack([part.T @ part / len(part) + ridge for part in parts])
    moments = torch.cat([moments, moments.mean(0, keepdim=True)])
    rows = torch.tensor([len(part) for part in parts]).double()
    outcome = list(range(table.shape[1] - targets, table.shape[1]))

    def loss(chosen: frozenset[int]) -> float:
        seen = [0, *(1 + k for k in chosen), *(1 + number + k for k in chosen)]
        both = [*seen, *outcome]
        left = moments[:, both][:, :, both].logdet() - moments[:, seen][:, :, seen].logdet()
        *own, pooled = (left / 2).tolist()
        # Each regression fits the chance of its own rows, the common one that of all.
        fitted = (len(seen) / rows).clamp_max(_MOST_FITTED)
        parameters = targets * (len(seen) + (targets + 1) / 2)
        ahead = -targets / 2 * (1 - fitted).log().mean() + targets * (targets + 1) / 4 * (1 / rows).mean()
        chance = float(ahead) * (1 - 1 / len(rows)) * (1 + DOUBT * (2 / parameters / (len(rows) - 1)) ** 0.5)
        apart = pooled - sum(own) / len(own) - chance
        return pooled + parameters / float(rows.sum()) + weight / _NATS * max(apart, 0.0)

    moves = [frozenset(c) for n in (1, 2)[: 1 + (number <= _PAIRS)] for c in combinations(range(number), n)]
    found = []
    for best in (frozenset[int](), frozenset(range(number))):
        least, before = loss(best), torch.inf
        while least < before:
            before = least
            value, other = min(((loss(best ^ move), best ^ move) for move in moves), key=lambda pair: pair[0])
            if value < least:
                least, best = value, other
        found.append((least, best))
    best = min(found, key=lambda pair: pair[0])[1]
    return [k in best for k in range(number)]
