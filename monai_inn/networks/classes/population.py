"""The classes as they lie in images of another population, found without labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Population", "population_of"]

# Chosen on X-rays that were blurred, noisy, dimmed, of another contrast or other shares of the classes.
_FREEDOM = 5.0  # degrees of freedom: some images lie far from their class where nothing like them was learned
_TRAINED = 20.0  # images of each class that the training counts as
_STEPS = 300
_ENOUGH = 1e-6
_RIDGE = 1e-6  # share of the mean variance: class means may lie on a line


class Population(NamedTuple):
    """Classes of one width, each with a multivariate t distribution of the contrasts of its log densities.

    Attributes:
        contrasts: orthonormal contrasts of ``K`` classes, ``(K, K - 1)``.
        centres: of the classes, ``(K, K - 1)``.
        root: Cholesky factor of their scale, ``(K - 1, K - 1)``.
        log_shares: of the classes, ``(K,)``.
    """

    contrasts: Tensor
    centres: Tensor
    root: Tensor
    log_shares: Tensor

    def logits(self, terms: Tensor) -> Tensor:
        """Return log probabilities of the classes up to a constant, ``(N, K)``.

        Args:
            terms: what of the network's ``log p(y | k)`` depends on the class, nats, ``(N, K)``.
        """
        dimensions = len(self.root)
        height = -0.5 * (_FREEDOM + dimensions) * torch.log1p(self.squares(terms) / _FREEDOM)
        return (height + self.log_shares.to(height)).to(terms)

    def squares(self, terms: Tensor) -> Tensor:
        """Return squared distances of observations from the classes, in units of their scale, ``(N, K)``."""
        at = terms.double() @ self.contrasts.to(terms.device)
        apart = at.unsqueeze(1) - self.centres.to(at)
        white = torch.linalg.solve_triangular(self.root.to(at), apart.mT, upper=False)
        return white.square().sum(1)


@torch.no_grad()
def population_of(terms: Tensor, means: Tensor) -> Population:
    """Return centres, common width and shares of the classes that explain observations best together.

    Expectation and maximisation of a mixture of t distributions, from the classes of the training on. These
    count as twenty observations each: few observations change little, and a class that none of them is of
    stays where it was.

    Args:
        terms: what of ``log p(y | k)`` depends on the class, nats, of unlabelled observations, ``(N, K)``.
        means: of the classes in the network's latent space, where their covariance is one, ``(K, D)``.

    Source: Peel and McLachlan, Robust mixture modelling using the t distribution, 2000.
    """
    terms, means = terms.double(), means.double()
    count, classes = terms.shape
    unit = torch.eye(classes).to(means)
    contrasts = torch.linalg.qr(unit - 1 / classes).Q[:, :-1]
    trained = (means @ means.T - 0.5 * means.square().sum(1)) @ contrasts
    scale = contrasts.T @ means @ means.T @ contrasts
    scale += _RIDGE * scale.diagonal().mean() * unit[1:, 1:]
    shares = torch.full_like(unit[0], 1 / classes)
    found = Population(contrasts, trained, torch.linalg.cholesky(scale), shares.log())
    at = terms @ contrasts
    for _ in range(_STEPS):
        share = found.logits(terms).softmax(1)
        weight = share * (_FREEDOM + classes - 1) / (_FREEDOM + found.squares(terms))
        centres = (weight.T @ at + _TRAINED * trained) / (weight.sum(0).unsqueeze(1) + _TRAINED)
        apart = at.unsqueeze(1) - centres
        scatter = torch.einsum("nk,nki,nkj->ij", weight, apart, apart) + classes * _TRAINED * scale
        root = torch.linalg.cholesky(scatter / (count + classes * _TRAINED))
        shares = (share.sum(0) + 1) / (count + classes)
        step = float((centres - found.centres).abs().max() / root.diagonal().min())
        found = Population(contrasts, centres, root, shares.log())
        if step < _ENOUGH:
            break
    return found
