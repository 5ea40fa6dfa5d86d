"""Discrete directions of light: quadrature, Fresnel boundary and phase matrices for adding-doubling."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["air_boundary", "fresnel", "num_moments", "phase_matrices", "quadrature"]

# Below this critical cosine (n - 1 < 5e-7) the boundary is treated as absent.
_MATCHED = 1e-3


@functools.cache
def _gauss(num: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(num)
    return (x + 1) / 2, w / 2


@functools.cache
def _radau(num: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Radau nodes and weights on [0, 1]; the last node is exactly 1, the normal direction."""
    if num == 1:
        return np.ones(1), np.ones(1)
    # The free nodes are the roots of the Jacobi polynomial with weight (1 - x): eigenvalues of its
    # recurrence.
    k, m = np.arange(num - 1), np.arange(1, num - 1)
    off_diagonal = np.sqrt(m * (m + 1) / (2 * m + 1.0) ** 2)
    recurrence = (
        np.diag(-1.0 / ((2 * k + 1) * (2 * k + 3))) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
    )
    x = np.sort(np.linalg.eigvalsh(recurrence))
    w = (1 + x) / (num * np.polynomial.legendre.Legendre.basis(num - 1)(x)) ** 2
    return (np.append(x, 1.0) + 1) / 2, np.append(w, 2.0 / num**2) / 2


def quadrature(num_directions: int, index: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and weights that integrate over one hemisphere inside a medium.

    The reflection at the surface jumps to one at the critical angle, so each side has a rule of its own:
    Gauss below the critical cosine, Gauss-Radau above it, which makes the normal direction a node.

    Args:
        num_directions: number of nodes ``N``, at least 4.
        index: refractive index relative to the outside, shape ``(…)``.

    Returns:
        Ascending cosines and weights that sum to one, shape ``(…, N)`` each.
    """
    critical = (1 - 1 / index.clamp_min(1.0).square()).clamp_min(_MATCHED**2 / 4).sqrt()[..., None]
    below = (num_directions + 1) // 2
    rules = (*_gauss(below), *_radau(num_directions - below), *_radau(num_directions))
    xg, wg, xr, wr, xf, wf = (torch.as_tensor(v).to(index) for v in rules)
    mu = torch.cat([critical * xg, critical + (1 - critical) * xr], -1)
    weight = torch.cat([critical * wg, (1 - critical) * wr], -1)
    matched = critical < _MATCHED
    return torch.where(matched, xf, mu), torch.where(matched, wf, weight)


def fresnel(mu: Tensor, index: Tensor) -> Tensor:
    """Reflectance of unpolarised light that meets the surface from inside; one beyond the critical angle.

    Args:
        mu: cosine inside the medium, shape ``(…, N)``.
        index: refractive index relative to the outside, shape ``(…)``.

    Returns:
        Reflectance, shape ``(…, N)``.
    """
    m = index[..., None]
    transmitted_squared = 1 - m.square() * (1 - mu.square())
    # The floor keeps the derivative of the root finite where the branch is not taken.
    t = transmitted_squared.clamp_min(1e-30).sqrt()
    perpendicular, parallel = (m * mu - t) / (m * mu + t), (mu - m * t) / (mu + m * t)
    reflectance = (perpendicular.square() + parallel.square()) / 2
    return torch.where(transmitted_squared <= 0, torch.ones_like(reflectance), reflectance)


def air_boundary(mu: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    """Reflectance of the surface at the nodes, corrected so that diffuse light passes in the exact amount.

    Plain Fresnel values at few nodes get the diffuse transmission, the integral of ``mu (1 - r)``, wrong by
    more than anything else in the method. The oblique nodes are rescaled to make it exact; the normal one is
    kept.

    Args:
        mu: cosines, shape ``(…, N)``.
        weight: weights, shape ``(…, N)``.
        index: refractive index relative to the outside, shape ``(…)``.

    Returns:
        Reflectance from inside, shape ``(…, N)``.
    """
    x, w = (torch.as_tensor(v).to(mu) for v in _gauss(32))
    m = index[..., None]
    # As a function of the cosine outside the integrand is smooth.
    inside = (1 - (1 - x.square()) / m.square()).sqrt()
    exact = ((1 - fresnel(inside, index)) * x / m.square() * w).sum(-1, keepdim=True)
    passed = mu * weight * (1 - fresnel(mu, index))
    scale = (exact - passed[..., -1:]) / passed[..., :-1].sum(-1, keepdim=True).clamp_min(1e-12)
    return 1 - passed / (mu * weight) * torch.cat(
        [scale.expand_as(passed[..., 1:]), torch.ones_like(exact)], -1
    )


def num_moments(num_directions: int) -> int:
    """Return how many Legendre moments are kept; more than directions, the optimum measured over tissue."""
    return 5 if num_directions < 6 else round(1.6 * num_directions)


def phase_matrices(mu: Tensor, weight: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Delta-M approximation of Henyey-Greenstein scattering between the nodes.

    Args:
        mu: cosines, broadcastable to ``(…, N)``.
        weight: weights, broadcastable to ``(…, N)``.
        g: anisotropy, shape ``(…)``.

    Returns:
        Redistribution into the same and into the other hemisphere, shape ``(…, N, N)`` each, and the fraction
        of scattering ``(…)`` that is treated as unscattered forward light.
    """
    moments = num_moments(mu.shape[-1])
    removed = g**moments
    polynomial = [torch.ones_like(mu), mu]
    for k in range(1, moments - 1):
        polynomial.append(((2 * k + 1) * mu * polynomial[k] - k * polynomial[k - 1]) / (k + 1))
    parts: list[Tensor] = []
    for parity in (0, 1):
        terms = [
            ((2 * k + 1) * (g**k - removed) / (1 - removed))[..., None, None]
            * (polynomial[k][..., :, None] * polynomial[k][..., None, :])
            for k in range(parity, moments, 2)
        ]
        parts.append(torch.stack(terms).sum(0))
    forward, backward = parts[0] + parts[1], parts[0] - parts[1]
    # The small quadrature defect goes to the diagonal: scattering then loses no light, whatever N.
    lack = 2 - ((forward + backward) * weight[..., None, :]).sum(-1)
    return forward + torch.diag_embed(lack / weight), backward, removed
