"""The likelihood of a series whose states nobody sees, estimated by a bootstrap particle filter.

States are simulated one entry ahead, weighted by how well each explains the entry, and resampled. The product
of the mean weights is an unbiased estimate of the likelihood for any number of particles. A sampler that
keeps an estimate with its parameters, as ``tempered_samples`` does, is therefore exact: it samples the
parameters and the filter's random numbers jointly.

Source: Gordon, Salmond and Smith, Novel approach to nonlinear/non-Gaussian Bayesian state estimation, 1993;
Andrieu and Roberts, The pseudo-marginal approach, 2009; Duan and Fulop, Density-tempered marginalized
sequential Monte Carlo samplers, 2015.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["particle_log_likelihood"]


# Own code because no kept library filters for many parameters at once: particles 0.4 asks for NumPy below 2.
@torch.no_grad()
def particle_log_likelihood(
    y: Tensor,
    states: Tensor,
    step: Callable[[Tensor], Tensor],
    log_density: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Estimate the log likelihood of one series for ``n`` parameters at once.

    All that is random follows torch's global generator.

    Args:
        y: entries at equal distances of time, shape ``(T,)``; NaN where nothing was measured.
        states: states before the first entry, ``P`` for each of the parameters, shape ``(n, P, K)``.
        step: from states to random ones one entry later, same shape.
        log_density: from states and an entry, shape ``()``, to its log densities in nats, shape ``(n, P)``.

    Returns:
        The log of the estimate in nats, ``-inf`` where no particle explains the series, shape ``(n,)``,
        float64.
    """
    total = torch.zeros(len(states), dtype=torch.float64)
    for entry in y:
        states = step(states)
        if not bool(entry.isfinite()):
            continue
        level = log_density(states, entry)
        total += level.logsumexp(1) - math.log(level.shape[1])
        states = _resampled(states, level)
    return total


def _resampled(states: Tensor, level: Tensor) -> Tensor:
    """States ``(n, P, K)`` in proportion to their weights, systematically; as they are where all are zero."""
    n, count = level.shape
    possible = level.amax(1, keepdim=True) > -math.inf
    edges = torch.where(possible, level, 0.0).softmax(1).cumsum(1)
    comb = (torch.arange(count) + torch.rand(n, 1)) / count
    chosen = torch.searchsorted(edges, comb.to(edges) * edges[:, -1:]).clamp_max(count - 1)
    return states.gather(1, chosen.unsqueeze(-1).expand_as(states))
