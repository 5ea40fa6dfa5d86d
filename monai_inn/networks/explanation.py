"""What of an observation no parameters of the model explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.networks.kernels.products import Linear

__all__ = ["Explanation", "Misfit"]

_JITTER = 1e-6  # of the residuals' variance, so that their covariance can be inverted


class Misfit(NamedTuple):
    """How much of observations is not explained.

    Attributes:
        scores: one column a kind of misfit, HIGH = not explained, shape ``(…, 1 + families)``: what is left
            as a whole, then the largest deviation of each family.
        strongest: which deviation of each family is the largest, shape ``(…, families)``.
    """

    scores: Tensor
    strongest: Tensor


class Explanation(nn.Module):
    """The best that the model can do for an observation, and what that leaves.

    One network finds the parameters that explain an observation best, another stands for the forward model,
    and the residual is compared with the residuals of observations that the model does explain: as a whole
    (energy), and by matched filters for deviations of known shape (an absorption band, a dye).

    Args:
        num_parameters: parameters ``D``.
        num_explained: features ``K`` that are explained.
        families: how many deviations each family has.
        width: hidden channels of both networks.
    """

    location: Tensor
    scale: Tensor
    metric: Tensor
    mean: Tensor
    whitening: Tensor
    filters: Tensor

    def __init__(
        self,
        num_parameters: int,
        num_explained: int,
        families: Sequence[int] = (),
        width: int = 96,
    ) -> None:
        super().__init__()
        self.config = {
            "num_parameters": num_parameters,
            "num_explained": num_explained,
            "families": list(families),
            "width": width,
        }
        self.finder = _network(num_explained, width, num_parameters)
        self.model = _network(num_parameters, width, num_explained)
        self.families = tuple(families)
        self.register_buffer("location", torch.zeros(num_explained))
        self.register_buffer("scale", torch.ones(num_explained))
        self.register_buffer("metric", torch.eye(num_explained))
        self.register_buffer("mean", torch.zeros(num_explained))
        self.register_buffer("whitening", torch.eye(num_explained))
        self.register_buffer("filters", torch.zeros(sum(families), num_explained))

    @torch.no_grad()
    def fit_scale(self, clean: Tensor, noise: Tensor) -> None:
        """Set the units of the features and of misfits.

        Args:
            clean: features of noise-free observations, ``(N, K)``.
            noise: what noise adds to them, ``(N, K)``.
        """
        self.location.copy_(clean.mean(0))
        self.scale.copy_(clean.std(0).clamp_min(1e-6))
        self.metric.copy_(_inverse_root(_covariance(noise)))

    @torch.no_grad()
    def fit_residuals(self, populations: Sequence[Tensor], deviations: Tensor) -> None:
        """Set mean and covariance of residuals that are not deviations, each population ``(N, K)`` alike.

        The mean is that of the last population.

        Args:
            populations: residuals of kinds of observations that count as explained.
            deviations: shapes of deviations of all families, ``(T, K)``, of any size.
        """
        covariance = torch.stack([_covariance(residual.double()) for residual in populations]).mean(0)
        self.mean.copy_(populations[-1].double().mean(0))
        self.whitening.copy_(_inverse_root(covariance))
        shapes = deviations.to(self.whitening) @ self.whitening.T
        self.filters.copy_(shapes / shapes.norm(dim=-1, keepdim=True))

    def simulated(self, latent: Tensor) -> Tensor:
        """Return explained features ``(…, K)`` of parameters in the flow's space ``(…, D)``."""
        return self.location + self.scale * self.model(latent)

    def best(self, explained: Tensor) -> Tensor:
        """Return the parameters in the flow's space ``(…, D)`` that explain features ``(…, K)`` best."""
        return self.finder((explained - self.location) / self.scale)  # type: ignore[no-any-return]

    def residual(self, explained: Tensor) -> Tensor:
        """Return what the best parameters leave of features, ``(…, K)``."""
        with full_precision(explained.device, trained=self):
            return explained - self.simulated(self.best(explained))

    def misfit(self, residual: Tensor) -> Misfit:
        """Return by how much, and by which deviations, residuals ``(…, K)`` are out of the ordinary."""
        white = (residual - self.mean) @ self.whitening.T
        found = [white.square().sum(-1)]
        strongest = []
        for matches in (white @ self.filters.T).split(self.families, -1):
            largest = matches.max(-1)
            found.append(largest.values)
            strongest.append(largest.indices)
        shape = residual.shape[:-1]
        indices = torch.stack(strongest, -1) if strongest else residual.new_zeros(*shape, 0).long()
        return Misfit(torch.stack(found, -1), indices)

    def loss(self, explained: Tensor, clean: Tensor, latent: Tensor) -> Tensor:
        """Return the loss of both networks on simulations.

        Args:
            explained: features of noisy observations, ``(N, K)``.
            clean: features of the noise-free observations, ``(N, K)``.
            latent: their parameters, ``(N, D)``.
        """
        of_model = ((self.simulated(latent) - clean) / self.scale).square().mean()
        # The model must not bend so that observations are easier to explain.
        fixed = {name: weight.detach() for name, weight in self.model.named_parameters()}
        best = self.best(explained)
        made = self.location + self.scale * functional_call(self.model, fixed, (best,))
        left = (explained - made) @ self.metric.T
        misfit = (left.square().sum(-1) + best.square().sum(-1)) / explained.shape[-1]
        # As of a Cauchy law: a few observations that nothing explains well must not rule the others.
        return of_model + misfit.log1p().mean()


def _network(inputs: int, width: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        Linear(inputs, width), nn.SiLU(), Linear(width, width), nn.SiLU(), Linear(width, outputs)
    )


def _covariance(rows: Tensor) -> Tensor:
    covariance = torch.cov(rows.T)
    return covariance + _JITTER * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)


def _inverse_root(covariance: Tensor) -> Tensor:
    """A matrix W with ``W covariance Wᵀ = 1``."""
    return torch.linalg.inv(torch.linalg.cholesky(covariance))
