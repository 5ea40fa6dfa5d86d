"""Density of observations of several classes: one bijection, and a Gaussian for each class."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_inn.networks.classes.population import Population, population_of
from monai_inn.networks.encoders.whitening import Components, Whitening
from monai_inn.networks.flows.couplings import Context, Subnet
from monai_inn.networks.flows.stacks import FlowStack
from monai_inn.networks.kernels.chunks import full_precision

__all__ = ["ClassDensity"]

_LEAST_SQUARE = 1e-6  # of what lies beyond the components
_LEAST_SHARE = 1e-6  # of a class


class ClassDensity(nn.Module):
    """Density ``p(y | k)`` of observations of each of ``K`` classes.

    A bijection turns an observation into latents, whose density is ``N(μ_k, 1)`` given the class. Of many
    features the couplings see principal components and the logarithm of the squared length that lies beyond
    them; its direction is uniform on the sphere, whatever the class.

    A new density is that of a linear discriminant: Gaussian classes with one covariance, in closed form.

    Args:
        num_features: numbers ``F`` of an observation.
        classes: number of classes ``K``, at least 2.
        components: principal components that the couplings see; 0 to see all features.
        num_blocks: coupling blocks.
        hidden_channels: widths of the hidden layers of every subnet.
        coupling: ``"affine"`` or ``"spline"``.
        clamp: bound of the affine log-scale.
        num_bins: bins of the spline.
        seed: seed of the initial weights and rotations.
    """

    shift: Tensor
    log_shares: Tensor

    def __init__(
        self,
        num_features: int,
        classes: int,
        components: int = 0,
        num_blocks: int = 4,
        hidden_channels: Sequence[int] = (64, 64),
        coupling: str = "affine",
        clamp: float = 0.7,
        num_bins: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes = {classes}; a classifier needs at least two.")
        self.num_features = num_features
        self.components = Components(num_features, components, components) if components else None
        self.channels = components + 1 if components else num_features
        self.whitening = Whitening(self.channels)
        self.stack = FlowStack(
            in_channels=self.channels,
            condition_channels=0,
            num_blocks=num_blocks,
            hidden_channels=hidden_channels,
            coupling=coupling,
            groups=(self.channels,),
            members=1,
            seed=seed,
            num_bins=num_bins,
            clamp=clamp,
            mixing="rotation",
        )
        self.means = nn.Parameter(torch.zeros(classes, self.channels))
        self.register_buffer("log_shares", torch.full((classes,), -math.log(classes)))
        self.population: Population | None = None  # set by `adapt`, not saved
        for subnet in (part for part in self.stack.modules() if isinstance(part, Subnet)):
            nn.init.zeros_(subnet.weights[-1])  # the closed form is the start
            nn.init.zeros_(subnet.biases[-1])

    @torch.no_grad()
    def fit(self, features: Tensor, label: Tensor) -> None:
        """Set all to Gaussian classes with one covariance.

        Args:
            features: observations ``(N, F)``.
            label: their classes ``(N,)``, integers.

        Raises:
            ValueError: if a class is missing, or the features are singular.
        """
        count = torch.bincount(label, minlength=len(self.means)).double()
        if int((count > 1).sum()) < len(self.means):
            raise ValueError(
                f"of {len(self.means)} classes there are {[int(n) for n in count]} observations; give "
                "several of each."
            )
        if self.components is not None:
            self.components.fit(features, features)
        seen = self._seen(features)[0].double()
        mean = torch.zeros(len(count), self.channels).to(seen).index_add_(0, label, seen)
        mean = mean / count.unsqueeze(1)
        self.whitening.fit(seen - mean[label])
        self.whitening.mean.zero_()
        self.log_shares.copy_((count / count.sum()).log())
        at = (mean.float() @ self.whitening.matrix.T).T.unsqueeze(0)
        self.means.copy_(self.stack(at, Context(None))[0][0].T)

    def latent(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents ``(N, D)`` of observations ``(N, F)`` and the log-determinant in nats, ``(N,)``.

        That of the uniform direction beyond the components is part of it.
        """
        seen, log_det = self._seen(features)
        with full_precision(features.device):
            white = seen @ self.whitening.matrix.T
            z, change = self.stack(white.T.unsqueeze(0), Context(None))
        return z[0].T, log_det + self.whitening.log_det + change[0]

    def observation(self, latent: Tensor, like: Tensor) -> Tensor:
        """Return the observations ``(N, F)`` of latents ``(N, D)``; undoes ``latent``.

        Args:
            latent: latents.
            like: observations ``(N, F)`` whose direction beyond the components they take.
        """
        with full_precision(latent.device):
            white, _ = self.stack.inverse(latent.T.unsqueeze(0), Context(None))
            seen = torch.linalg.solve(self.whitening.matrix.double(), white[0].double()).T.to(latent)
            if self.components is None:
                return seen
            axes = self._axes()
            centred = like - self.components.mean
            beyond = centred - centred @ axes @ axes.T
            direction = beyond / beyond.norm(dim=1, keepdim=True).clamp_min(_LEAST_SQUARE**0.5)
            log_square = seen[:, -1:] * self.components.residual[1] + self.components.residual[0]
            inside = (seen[:, :-1] * self.components.scale) @ axes.T
            return self.components.mean + inside + direction * (0.5 * log_square).exp()

    def class_terms(self, latent: Tensor) -> Tensor:
        """Return what of ``log p(y | k)`` depends on the class, nats, ``(N, K)``, of latents ``(N, D)``."""
        with full_precision(latent.device):
            return latent @ self.means.T - 0.5 * self.means.square().sum(1)  # type: ignore[no-any-return]

    def log_likelihood(self, features: Tensor) -> Tensor:
        """Return ``log p(y | k)`` in nats of observations ``(N, F)``, shape ``(N, K)``."""
        z, log_det = self.latent(features)
        common = log_det - 0.5 * z.square().sum(1) - 0.5 * self.channels * math.log(2 * math.pi)
        return common.unsqueeze(1) + self.class_terms(z)

    def log_prob(self, features: Tensor) -> Tensor:
        """Return ``log p(y)`` in nats, the classes with their shares, shape ``(N,)``."""
        return (self.log_likelihood(features) + self.log_shares).logsumexp(1)

    def logits(self, features: Tensor) -> Tensor:
        """Return the log probabilities of the classes up to a constant, ``(N, K)``."""
        return self.class_logits(self.class_terms(self.latent(features)[0]))

    def class_logits(self, terms: Tensor) -> Tensor:
        """Return the log probabilities of the classes up to a constant, ``(N, K)``, of ``class_terms``."""
        return (terms if self.population is None else self.population.terms(terms)) + self.log_shares

    @torch.no_grad()
    def adapt(self, features: Tensor) -> None:
        """Answer from here on as if all observations were of the population of these, which have no labels.

        How frequent the classes are, where they lie and how wide they are is estimated. The density of
        observations stays that of the training. ``set_shares`` ends it.

        Args:
            features: observations ``(N, F)``.
        """
        found, shares = population_of(self.class_terms(self.latent(features)[0]), self.means)
        self.set_shares(shares)
        self.population = found

    @torch.no_grad()
    def set_shares(self, shares: Tensor) -> None:
        """Set how frequent the classes are where the network is used: Bayes' rule takes them from there.

        Args:
            shares: one positive number a class, ``(K,)``; they are divided by their sum.

        Raises:
            ValueError: if they are not ``K`` finite numbers, none negative and not all zero.
        """
        given = torch.as_tensor(shares).to(self.log_shares).flatten()
        if (
            given.shape != self.log_shares.shape
            or not (given.isfinite() & (given >= 0)).all()
            or not given.any()
        ):
            raise ValueError(
                f"shares = {given.tolist()}; give one number for each of {len(self.log_shares)} classes, "
                "none negative and not all zero."
            )
        self.population = None
        self.log_shares.copy_((given / given.sum()).clamp_min(_LEAST_SHARE).log())

    def bands(self, features: Tensor) -> Tensor:
        """Return how large groups of components are, as logarithms of mean squares, ``(N, G)``.

        Groups double in size from the leading components on; the last one is what lies beyond all of them.
        """
        seen = self._seen(features)[0]
        edges = [0, *(2**i for i in range(2, 32) if 2**i < self.channels), self.channels]
        parts = [seen[:, a:b].square().mean(1) for a, b in itertools.pairwise(edges)]
        logs = [part.clamp_min(_LEAST_SQUARE).log() for part in parts]
        return torch.stack(logs if self.components is None else [*logs, seen[:, -1]], 1)

    def _seen(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What the couplings see, ``(N, D)``, and the log-determinant ``(N,)``."""
        part = self.components
        if part is None:
            return features, features.new_zeros(len(features))
        with full_precision(features.device):
            centred = features - part.mean
            inside = centred @ self._axes()
            square = (centred.square().sum(1) - inside.square().sum(1)).clamp_min(_LEAST_SQUARE)
        count = self.num_features - inside.shape[1]  # of dimensions beyond the components
        log_area = math.log(2) + 0.5 * count * math.log(math.pi) - math.lgamma(0.5 * count)
        beyond = square.log()
        log_det = math.log(2) - log_area - 0.5 * count * beyond
        log_det = log_det - part.scale.log().sum() - part.residual[1].log()
        beyond = (beyond - part.residual[0]) / part.residual[1]
        return torch.cat([inside / part.scale, beyond.unsqueeze(1)], 1), log_det

    def _axes(self) -> Tensor:
        """Axes of the components, orthonormal in the precision of the weights: files hold them rounded."""
        assert self.components is not None
        axes = self.components.axes
        for _ in range(2):
            axes = 1.5 * axes - 0.5 * axes @ (axes.T @ axes)
        return axes
