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
    """

    contrasts: Tensor
    centres: Tensor
    root: Tensor

    def terms(self, trained: Tensor) -> Tensor:
        """Return what of ``log p(y | k)`` depends on the class, nats, ``(N, K)``.

        Args:
            trained: the same of the classes of the training.
        """
        on = Population(*(part.to(trained.device) for part in self))
        return _heights(on._squares(trained.double() @ on.contrasts), len(self.root)).to(trained)

    def _squares(self, at: Tensor) -> Tensor:
        """Squared distances of contrasts ``(N, K - 1)`` from the classes, in their scale, ``(N, K)``."""
        apart = at.unsqueeze(1) - self.centres
        return torch.linalg.solve_triangular(self.root, apart.mT, upper=False).square().sum(1)


def _heights(squares: Tensor, dimensions: int) -> Tensor:
    return -0.5 * (_FREEDOM + dimensions) * torch.log1p(squares / _FREEDOM)


@torch.no_grad()
def population_of(terms: Tensor, means: Tensor) -> tuple[Population, Tensor]:
    """Return the classes that explain observations best together, and their shares ``(K,)``.

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
    found = Population(contrasts, trained, torch.linalg.cholesky(scale))
    at = terms @ contrasts
    for _ in range(_STEPS):
        squares = found._squares(at)
        share = (_heights(squares, classes - 1) + shares.log()).softmax(1)
        weight = share * (_FREEDOM + classes - 1) / (_FREEDOM + squares)
        centres = (weight.T @ at + _TRAINED * trained) / (weight.sum(0).unsqueeze(1) + _TRAINED)
        apart = at.unsqueeze(1) - centres
        scatter = torch.einsum("nk,nki,nkj->ij", weight, apart, apart) + classes * _TRAINED * scale
        root = torch.linalg.cholesky(scatter / (count + classes * _TRAINED))
        shares = (share.sum(0) + 1) / (count + classes)
        step = float((centres - found.centres).abs().max() / root.diagonal().min())
        found = Population(contrasts, centres, root)
        if step < _ENOUGH:
            break
    return found, shares
