"""What of an observation speaks for one class against another, and what it would be in another class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from monai_inn.networks.classes.density import ClassDensity

__all__ = ["class_images", "counterfactual", "evidence_map", "latent_evidence", "undecided"]

_NODES = 32  # of the quadrature along the line between two images


@torch.no_grad()
def latent_evidence(density: ClassDensity, features: Tensor, first: int, second: int) -> Tensor:
    """Return what each latent adds to ``log p(y | first) − log p(y | second)``, nats, ``(N, D)``.

    The sum over the latents is that difference; exchanging the classes changes the sign.

    Args:
        density: densities of the classes.
        features: observations ``(N, F)``.
        first: class that positive values speak for.
        second: class that negative values speak for.
    """
    z, _ = density.latent(features)
    a, b = density.means[first], density.means[second]
    return (a - b) * (z - 0.5 * (a + b))


@torch.no_grad()
def undecided(density: ClassDensity, features: Tensor, first: int, second: int) -> Tensor:
    """Return the observations ``(N, F)`` with the nearest latents that are equally likely in both classes."""
    z, _ = density.latent(features)
    step = density.means[first] - density.means[second]
    odds = latent_evidence(density, features, first, second).sum(1, keepdim=True)
    return density.observation(z - odds * step / step.square().sum(), features)


def evidence_map(density: ClassDensity, features: Tensor, first: int, second: int) -> Tensor:
    """Return what each feature adds to ``log p(y | first) − log p(y | second)``, nats, ``(N, F)``.

    An observation is compared with itself where it would be undecided. The gradient of the log odds is
    integrated along the straight line from there, where they are zero, so that the sum over all features is
    the log odds. What the quadrature leaves is spread over the features by their size.

    Args:
        density: densities of the classes.
        features: observations ``(N, F)``.
        first: class that positive values speak for.
        second: class that negative values speak for.

    Source: Sundararajan et al., Axiomatic attribution for deep networks, 2017, for the integral.
    """
    start = undecided(density, features, first, second)
    # The last digits of the inverse move the start a little from where the odds are zero.
    with torch.no_grad():
        goal = _odds(density, features, first, second)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    total = torch.zeros_like(features)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        with torch.enable_grad():
            at = torch.lerp(start, features, float(node)).requires_grad_(True)
            (gradient,) = torch.autograd.grad(_odds(density, at, first, second).sum(), at)
        total += float(weight) * gradient
    parts = total * (features - start)
    size = parts.abs()
    left = goal - parts.sum(1)
    return parts + size * (left / size.sum(1).clamp_min(1e-12)).unsqueeze(1)


@torch.no_grad()
def counterfactual(density: ClassDensity, features: Tensor, label: Tensor) -> Tensor:
    """Return what observations ``(N, F)`` would be in other classes ``(N,)``: the latent takes their mean.

    What tells an observation from the mean of its own, most likely class stays.
    """
    z, _ = density.latent(features)
    own = density.class_logits(density.class_terms(z)).argmax(1)
    return density.observation(z + density.means[label] - density.means[own], features)


@torch.no_grad()
def class_images(density: ClassDensity) -> Tensor:
    """Return the observations ``(K, F)`` in the middle of each class."""
    middle = density.means.new_zeros(len(density.means), density.num_features)
    if density.components is not None:
        middle = middle + density.components.mean  # nothing beyond the components
    return density.observation(density.means, middle)


def _odds(density: ClassDensity, features: Tensor, first: int, second: int) -> Tensor:
    terms = density.class_terms(density.latent(features)[0])
    return terms[:, first] - terms[:, second]
