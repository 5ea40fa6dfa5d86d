"""How likely measured curves are under white noise of an unknown level: what networks are compared with."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["log_likelihood_of_any_level"]

# Sixty values tell the level of their noise to a tenth of a factor e; the nodes are a third of that apart at
# the ends of a range of a factor 100, and all of it in the middle.
_NODES = 64


def log_likelihood_of_any_level(
    clean: Tensor, measured: Tensor, levels: tuple[float, float], scale: Tensor | float = 1.0
) -> Tensor:
    """Log density of a curve with white noise, whose level is integrated out log-uniformly.

    Args:
        clean: noise-free curves, shape ``(…, T)``.
        measured: the measured curves, of a shape that broadcasts with theirs; NaN where nothing was measured.
        levels: least and largest standard deviation of the noise over ``scale``.
        scale: of each curve, ``(…)``, or of all.

    Returns:
        Log densities in nats, shape ``(…)``, float64.
    """
    there = measured.isfinite()
    number = there.sum(-1)
    scale = torch.as_tensor(scale, dtype=torch.float64)
    left = torch.where(there, measured.double() - clean.double(), 0.0) / scale.unsqueeze(-1)
    nodes, weights = _quadrature()
    low, high = (math.log(level) for level in levels)
    log_level = (high + low + (high - low) * nodes) / 2
    squares = left.square().sum(-1, keepdim=True)
    exponent = -0.5 * squares * torch.exp(-2 * log_level) - number.unsqueeze(-1) * log_level
    total = (exponent + (weights / 2).log()).logsumexp(-1)
    return total - number * (0.5 * math.log(2 * math.pi) + scale.log())


@functools.cache
def _quadrature() -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss and Legendre, float64."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights)
