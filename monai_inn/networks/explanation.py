"""What of an observation no parameters of the model explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.networks.kernels.products import Linear
from monai_inn.networks.parts import arguments

__all__ = ["Explanation", "Misfit"]

_JITTER = 1e-6  # of the residuals' variance, so that their covariance can be inverted
_LEAST_VARIANCE = 1e-12
# How much more than as a draw from the prior the parameters of each finder must be plausible. Held to the
# prior alone a deep finder explains phantoms by tissue that hardly exists.
_PLAUSIBILITY = (1.0, 10.0)
_NOISIEST = 0.999  # more noise than that of nearly all simulations excuses nothing


class Misfit(NamedTuple):
    """How much of observations is not explained.

    Attributes:
        scores: one column a kind of misfit, HIGH = not explained, shape ``(…, 2 (1 + families))``: of each
            finder what is left as a whole, then the largest deviation of each family.
        strongest: which deviation is the largest, likewise, 0 for the whole.
    """

    scores: Tensor
    strongest: Tensor


class Explanation(nn.Module):
    """The best that the model can do for an observation, and what that leaves.

    Two networks, the finders, look for the parameters that explain an observation best, another stands for
    the forward model. The residual is compared with the residuals of observations that the model does
    explain: as a whole (energy), and by matched filters for deviations of known shape (an absorption band, a
    dye). One finder is linear: it cannot follow what deviates a little, which then stands out. The other one
    is a deep network held close to the prior: what is left there needs parameters that are hardly plausible.

    The buffers ``ordinary``, ``(1, n, J)``, and ``measured``, ``(objects, n / objects, J)``, hold scores of
    simulations and of measured objects that count as explained: WAIC, then those of ``Misfit``.

    Args:
        num_parameters: parameters ``D``.
        num_explained: features ``K`` that are explained.
        families: how many deviations each family has.
        width: hidden channels of the networks.
        num_ordinary: simulations, and as many measurements, whose scores set the thresholds.
        objects: objects, such as organs, of which there are measurements.
    """

    location: Tensor
    scale: Tensor
    metric: Tensor
    mean: Tensor
    whitening: Tensor
    growth: Tensor
    noisiest: Tensor
    shapes: Tensor
    ordinary: Tensor
    measured: Tensor

    def __init__(
        self,
        num_parameters: int,
        num_explained: int,
        families: Sequence[int] = (),
        width: int = 128,
        num_ordinary: int = 4000,
        objects: int = 0,
    ) -> None:
        super().__init__()
        self.config = arguments(locals())
        deep = _network(num_explained, width, num_parameters)
        self.finders = nn.ModuleList([Linear(num_explained, num_parameters), deep])
        self.model = _network(num_parameters, width, num_explained)
        self.families = tuple(families)
        finders, scores = len(_PLAUSIBILITY), 1 + len(_PLAUSIBILITY) * (1 + len(families))
        self.register_buffer("location", torch.zeros(num_explained))
        self.register_buffer("scale", torch.ones(num_explained))
        self.register_buffer("metric", torch.eye(num_explained))
        self.register_buffer("mean", torch.zeros(finders, num_explained))
        self.register_buffer("whitening", torch.eye(num_explained).repeat(finders, 1, 1))
        self.register_buffer("growth", torch.zeros(finders, num_explained))
        self.register_buffer("noisiest", torch.ones(()))
        self.register_buffer("shapes", torch.zeros(finders, sum(families), num_explained))
        self.register_buffer("ordinary", torch.zeros(1, num_ordinary, scores))
        self.register_buffer("measured", torch.zeros(objects, num_ordinary // max(objects, 1), scores))

    def populations(self) -> list[Tensor]:
        """Return the scores that set the thresholds, as ``CombinedThreshold`` takes them."""
        return [self.ordinary, self.measured] if len(self.measured) else [self.ordinary]

    @torch.no_grad()
    def fit_scale(self, clean: Tensor, noise: Tensor) -> None:
        """Set the units of the features and of misfits.

        Args:
            clean: features of noise-free observations, ``(N, K)``.
            noise: what noise adds to them, ``(N, K)``.
        """
        self.location.copy_(clean.mean(0))
        self.scale.copy_(clean.std(0).clamp_min(1e-6))
        self.metric.copy_(_inverse_root(_covariance(noise.double())))

    @torch.no_grad()
    def fit_residuals(
        self, simulated: Tensor, noise: Tensor, measured: Sequence[Tensor], deviations: Tensor
    ) -> None:
        """Set mean and covariance of residuals of observations that count as explained.

        Measurements of several objects, such as organs, predict those of a new one: by the mean of all, and
        the covariance of one object plus that between objects. The covariance of one object is the mean of
        those of simulations and of measurements. It grows with the noise of an observation as it does among
        the simulations.

        Args:
            simulated: residuals of simulations, ``(finders, N, K)``.
            noise: variance of their noise, ``(N,)``, in any unit.
            measured: residuals of measurements of each object, ``(finders, M, K)``; their mean counts then.
            deviations: shapes of deviations of all families, ``(T, K)``, of any size.
        """
        self.noisiest.copy_(noise.double().quantile(_NOISIEST))
        for finder, residual in enumerate(simulated.double()):
            quiet, per_noise = _heteroscedastic(residual, noise.double())
            mean = residual.mean(0)
            if measured:
                mean, within, between = _of_objects([rows[finder].double() for rows in measured])
                quiet = (quiet + within) / 2 + between
            root = _inverse_root(quiet)
            growth, axes = torch.linalg.eigh(root @ per_noise @ root.T)
            self.mean[finder] = mean
            self.whitening[finder] = axes.T @ root
            self.growth[finder] = growth.clamp_min(0)
            self.shapes[finder] = deviations.to(self.whitening) @ self.whitening[finder].T

    def simulated(self, latent: Tensor) -> Tensor:
        """Return explained features ``(…, K)`` of parameters in the flow's space ``(…, D)``."""
        return self.location + self.scale * self.model(latent)

    def best(self, explained: Tensor) -> Tensor:
        """Return the parameters in the flow's space that explain features best, ``(finders, …, D)``."""
        seen = (explained - self.location) / self.scale
        return torch.stack([finder(seen) for finder in self.finders])

    def residual(self, explained: Tensor) -> Tensor:
        """Return what the best parameters leave of features ``(…, K)``, ``(finders, …, K)``."""
        with full_precision(explained.device, trained=self):
            return explained - self.simulated(self.best(explained))

    def forward(self, explained: Tensor, noise: Tensor) -> Misfit:
        """Return how much of features ``(…, K)`` under noise ``(…)`` is not explained."""
        return self.misfit(self.residual(explained), noise)

    def misfit(self, residual: Tensor, noise: Tensor) -> Misfit:
        """Return how far residuals ``(finders, …, K)`` are out of the ordinary for their noise ``(…)``."""
        found, strongest = [], []
        level = noise.minimum(self.noisiest).unsqueeze(-1)
        parts = zip(residual, self.mean, self.whitening, self.growth, self.shapes, strict=True)
        for left, mean, whitening, growth, shapes in parts:
            white, weight = (left - mean) @ whitening.T, 1 / (1 + level * growth)
            energy = (white.square() * weight).sum(-1)
            found.append(energy)
            strongest.append(torch.zeros_like(energy, dtype=torch.int64))
            matches = ((white * weight) @ shapes.T) * (weight @ shapes.square().T).rsqrt()
            # No split at all where there is no family: torch cannot read a stored program with an empty one.
            for family in matches.split(self.families, -1) if self.families else ():
                largest = family.max(-1)
                found.append(largest.values)
                strongest.append(largest.indices)
        return Misfit(torch.stack(found, -1), torch.stack(strongest, -1))

    def loss(self, explained: Tensor, clean: Tensor, latent: Tensor) -> Tensor:
        """Return the loss of all networks on simulations.

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
        left = ((explained - made) @ self.metric.T).square().sum(-1)
        strange = best.square().sum(-1) * best.new_tensor(_PLAUSIBILITY).unsqueeze(-1)
        # As of a Cauchy law: a few observations that nothing explains well must not rule the others.
        return of_model + ((left + strange) / explained.shape[-1]).log1p().mean(1).sum()


def _network(inputs: int, width: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        Linear(inputs, width),
        nn.SiLU(inplace=True),
        Linear(width, width),
        nn.SiLU(inplace=True),
        Linear(width, outputs),
    )


def _heteroscedastic(residual: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance of residuals ``(N, K)`` without noise, and what each unit of its variance ``(N,)`` adds.

    Weighted regression of their products, which scatter as the variance itself does.
    """
    centred = residual - residual.mean(0)
    if bool(noise.std() < 1e-6 * noise.mean()):
        return _covariance(residual), torch.zeros_like(centred.T @ centred)
    weight = (noise + noise.median()).reciprocal().square()
    weight = weight / weight.sum()
    centre = (weight * noise).sum()
    spread = (weight * (noise - centre).square()).sum()
    whole = centred.T @ (centred * weight.unsqueeze(1))
    slope = _positive(centred.T @ (centred * (weight * (noise - centre) / spread).unsqueeze(1)))
    rest = _positive(whole - centre * slope)
    return _raised(rest, whole), slope


def _of_objects(objects: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of objects, each ``(M, K)``, their mean covariance, and that of their means; of one object 0."""
    means = torch.stack([rows.mean(0) for rows in objects])
    within = torch.stack([_covariance(rows) for rows in objects]).mean(0)
    centred = means - means.mean(0)
    return means.mean(0), within, centred.T @ centred / max(len(objects) - 1, 1)


def _positive(symmetric: Tensor) -> Tensor:
    """The nearest matrix without negative variances."""
    variance, axes = torch.linalg.eigh(symmetric)
    return (axes * variance.clamp_min(0)) @ axes.T


def _covariance(rows: Tensor) -> Tensor:
    covariance = torch.atleast_2d(torch.cov(rows.T))
    return _raised(covariance, covariance)


def _raised(covariance: Tensor, whole: Tensor) -> Tensor:
    """A covariance with a small share of the whole one's variance everywhere, so that it can be inverted."""
    # Observations without noise have no covariance at all.
    jitter = (_JITTER * whole.diagonal().mean()).clamp_min(_LEAST_VARIANCE)
    return covariance + jitter * torch.eye(len(covariance)).to(covariance)


def _inverse_root(covariance: Tensor) -> Tensor:
    """A matrix W with ``W covariance Wᵀ = 1``."""
    return torch.linalg.inv(torch.linalg.cholesky(covariance))
