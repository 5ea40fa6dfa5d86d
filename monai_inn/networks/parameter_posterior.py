"""The posterior over physical parameters that a flow gives."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from monai_inn.networks.flows.distributions import FlowDistribution
from monai_inn.problems.drawing import SampleShape
from monai_inn.problems.parameters import ParameterSpace

__all__ = ["ParameterPosterior"]


class ParameterPosterior(Distribution):
    """Posterior over physical parameters: a flow's density seen through the parameters' bounds.

    ``batch_shape`` is that of the observations, ``event_shape`` is ``(D,)``; log densities are in nats in
    physical units, ``-inf`` outside the bounds.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, base: FlowDistribution, space: ParameterSpace) -> None:
        self.base, self.space = base, space
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: SampleShape, _instance: object = None) -> ParameterPosterior:
        """Return the same posterior with the batch expanded, as ``torch.Tensor.expand`` does."""
        return ParameterPosterior(self.base.expand(batch_shape), self.space)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw parameters, ``(*sample_shape, *batch_shape, D)``, that gradients flow through."""
        return self.space.inverse(self.base.rsample(sample_shape))

    def push_with_log_prob(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples of standard normal latents ``(S, N, D)``, and their log densities ``(S, N)``."""
        value, log_prob = self.base.push_with_log_prob(latent)
        theta = self.space.inverse(value)
        return theta, log_prob + self.space.forward(theta)[1]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of physical parameters ``(…, D)``; NaN for NaN."""
        value = torch.as_tensor(value)
        latent, log_det = self.space.forward(value)
        density = self.base.log_prob(latent) + log_det
        return torch.where(self.space.contains(value) | density.isnan(), density, -torch.inf)
