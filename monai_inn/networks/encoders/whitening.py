"""Fixed linear maps of features: whitening, and principal components of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.seeding import seeded

__all__ = ["LEADING", "Components", "Whitening"]

LEADING = 24
"""Principal components that the density of many features is over, at most."""


_LEAST = 1e-12  # share of the largest variance


class Whitening(nn.Module):
    """Fixed affine map that gives features zero mean and unit covariance: ``(x − m) Wᵀ``.

    Fitted once on simulated observations; part of the network's state, so that a bundle carries it.

    Args:
        channels: number of features ``F``.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("matrix", torch.eye(channels))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set mean and matrix from features ``(N, F)``.

        Raises:
            ValueError: if the features are singular, because a density over them would not exist.
        """
        x = features.double()
        mean, covariance = x.mean(0), torch.atleast_2d(torch.cov(x.T))
        variance, axes = torch.linalg.eigh(covariance)
        sd = None
        if not variance[0] > _LEAST * variance[-1]:  # perhaps for their units alone
            sd = covariance.diagonal().sqrt()
            sd = torch.where(sd > 0, sd, 1.0)
            variance, axes = torch.linalg.eigh(covariance / sd / sd.unsqueeze(-1))
        if not torch.isfinite(variance).all() or variance[0] <= _LEAST * variance[-1]:
            raise ValueError(
                f"the features are singular (variances from {variance[0]:.1e} to {variance[-1]:.1e}); "
                "drop the redundant dimension, for normalised spectra by the isometric log-ratio, or add the "
                "measurement's noise."
            )
        matrix = (axes / variance.sqrt()).T
        if sd is not None:  # turned so that rows are orthogonal
            _, length, rows = torch.linalg.svd(matrix / sd)
            matrix = length.unsqueeze(-1) * rows
        self.mean.copy_(mean)
        self.matrix.copy_(matrix)

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Set mean and matrix so that each feature has unit variance; NaN are left out, constants stay."""
        mean = features.nanmean(0).nan_to_num(0.0)
        variance = (features - mean).square().nanmean(0).nan_to_num(0.0)
        self.mean.copy_(mean)
        self.matrix.copy_(torch.diag(torch.where(variance > 0, variance, 1.0).rsqrt()))

    @property
    def log_det(self) -> Tensor:
        """``log |d whitened / d features|`` in nats: the rows of the matrix are orthogonal."""
        return self.matrix.double().norm(dim=1).log().sum().float()

    def forward(self, features: Tensor) -> Tensor:
        """Whiten features ``(…, F)``, unrounded: small directions are differences of large numbers."""
        with full_precision(features.device):
            return (features - self.mean) @ self.matrix.T


class Components(nn.Module):
    """Principal components of images: where the pose, or whatever is looked for, leaves its mark.

    In features whose noise is white, an image tells about its clean counterpart only through the directions
    in which clean images vary, so that a linear map on these is a condition that loses nothing but what lies
    deep in the noise. What an image holds beyond them tells whether it is one of the simulated at all.

    Args:
        channels: number of pixels ``F``.
        components: number of components, ``F`` at most.
        leading: components that ``summary`` returns.
    """

    mean: Tensor
    axes: Tensor
    scale: Tensor
    residual: Tensor

    def __init__(self, channels: int, components: int, leading: int) -> None:
        super().__init__()
        if not 1 <= leading <= components < channels:
            raise ValueError(
                f"{leading} leading of {components} components of {channels} pixels; each must be fewer than "
                "the next."
            )
        self.leading = leading
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("axes", torch.eye(channels, components))
        self.register_buffer("scale", torch.ones(components))
        self.register_buffer("residual", torch.tensor([0.0, 1.0]))

    @torch.no_grad()
    def fit(self, features: Tensor, clean: Tensor) -> None:
        """Set all from features with noise, ``(N, F)``, and axes from those without, ``(N', F)``.

        Axes of noisy images would be those of noise where the signal is weaker than it. Such directions tell
        much together: with 20,000 images of 1,024 pixels a third of a nat of the posterior was lost.

        Raises:
            ValueError: if there are too few of them, or they do not vary in as many directions.
        """
        if min(len(features), len(clean)) <= self.axes.shape[1]:
            raise ValueError(
                f"{min(len(features), len(clean))} images are too few for {self.axes.shape[1]} components; "
                "simulate more."
            )
        self.mean.copy_(clean.mean(0))
        with seeded(0):
            axes = torch.pca_lowrank(clean - self.mean, self.axes.shape[1], center=False, niter=4)[2]
        self.axes.copy_(axes)
        self.scale.copy_(((features - self.mean) @ axes).std(0))
        beyond = self._beyond(features - self.mean)
        self.residual.copy_(torch.stack([beyond.mean(), beyond.std()]))
        if not (self.scale > 1e-6 * self.scale[0]).all() or not self.residual[1] > 0:
            raise ValueError(
                f"the images do not vary in more than {self.axes.shape[1]} directions; add the measurement's "
                "noise, or ask for fewer components."
            )
        self.axes.copy_(axes.half())  # enough for fixed directions, and what bundles store

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(…, F)`` to components of unit variance, ``(…, components)``, in full precision."""
        with full_precision(features.device):
            return (features - self.mean) @ self.axes / self.scale

    def summary(self, features: Tensor) -> Tensor:
        """Leading components, and how much lies beyond all of them, ``(…, leading + 1)``, unit variance."""
        beyond = (self._beyond(features - self.mean) - self.residual[0]) / self.residual[1]
        return torch.cat([self(features)[..., : self.leading], beyond.unsqueeze(-1)], -1)

    def _beyond(self, centred: Tensor) -> Tensor:
        """Logarithm of the squared length that no component holds."""
        with full_precision(centred.device):
            inside = (centred @ self.axes).square().sum(-1)
        return (centred.square().sum(-1) - inside).clamp_min(1e-6).log()
