"""Distribution of flattened images, a class before them if there is one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from monai_inn.networks.flows.distributions import shape_of_samples
from monai_inn.networks.flows.heads import CategoryLine
from monai_inn.networks.flows.leading import log_normal, normal_score, turn_of
from monai_inn.networks.images.distribution import ImageDistribution, matched
from monai_inn.problems.drawing import SampleShape

if TYPE_CHECKING:
    from monai_inn.networks.images.rows import FieldFlow

__all__ = ["FieldDistribution"]


class FieldDistribution(Distribution):
    """Density over flattened images, a class first if there is one; log densities are in nats.

    Args:
        flow: the flow.
        condition: observed rows ``(*batch, F)``.
        channels: leading numbers that the density is over; all, or the class alone.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, flow: FieldFlow, condition: Tensor, channels: int | None = None) -> None:
        self._flow, self._condition = flow, condition
        whole = flow.config["in_channels"]
        self._channels = whole if channels is None else channels
        if self._channels not in (whole, 1 if flow.has_class else whole):
            raise ValueError(f"the marginal of {channels} numbers is not available; see image().coarse().")
        super().__init__(condition.shape[:-1], torch.Size([self._channels]), validate_args=False)
        self._rows = condition.reshape(-1, condition.shape[-1])

    def leading(self, channels: int) -> FieldDistribution:
        """Return the exact marginal of the class alone, or of everything."""
        return FieldDistribution(self._flow, self._condition, channels)

    def image(self, label: int | None = None) -> ImageDistribution:
        """Return the distribution of images ``(C, *size)``, given a class if the flow has classes."""
        flow, condition = self._flow, self._flow.images(self._condition)
        if label is None:
            return flow.image(condition)
        return flow.image(condition, torch.full(self.batch_shape, label, device=condition.device))

    @property
    def class_probability(self) -> Tensor:
        """Probability of each class, ``(*batch, K)``."""
        return self._line(1).probability[0].T.reshape(*self.batch_shape, -1)

    def expand(self, batch_shape: SampleShape, _instance: object = None) -> FieldDistribution:
        """Return the same density with the batch expanded, as ``torch.Tensor.expand`` does."""
        expanded = self._condition.expand(*batch_shape, self._condition.shape[-1])
        return FieldDistribution(self._flow, expanded, self._channels)

    def with_base(self, base: object) -> FieldDistribution:
        """Refuse another base: images have a standard normal one.

        Raises:
            ValueError: always.
        """
        raise ValueError("the posterior of an image cannot be recalibrated by its latents.")

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw rows ``(*sample_shape, *batch, D)``; gradients flow through those of images."""
        shape = shape_of_samples(sample_shape)
        latent = self._rows.new_empty(shape.numel(), len(self._rows), self._channels).normal_()
        return self.push(latent).reshape(*shape, *self.batch_shape, self._channels)

    def push(self, latent: Tensor) -> Tensor:
        """Return the rows ``(S, N, D)`` of standard normal latents ``(S, N or 1, D)``."""
        flow = self._flow
        latent = latent.to(self._rows).expand(-1, len(self._rows), -1)
        if not flow.has_class:
            return flow.rows(self._images.push(latent))
        share, _ = self._line(len(latent)).inverse(turn_of(latent[..., 0]))
        which = normal_score(share).unsqueeze(-1)
        if self._channels == 1:
            return which
        images = self._images.push(latent[..., 1:], flow.label_of(which))
        return torch.cat([which, flow.rows(images)], -1)

    def push_with_log_prob(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``push`` does, and the log densities of these samples in nats."""
        rows = self.push(latent)
        return rows, self._densities(rows)[1]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of values that broadcast with ``(…, *batch, D)``."""
        q, rows, shape = matched(self, value.to(self._rows))
        return q._densities(rows)[1].reshape(shape)

    def latent(self, value: Tensor) -> Tensor:
        """Return the standard normal latents of values that broadcast with ``(…, *batch, D)``."""
        q, rows, shape = matched(self, value.to(self._rows))
        return q._densities(rows)[0].reshape(*shape, self._channels)

    def _densities(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``(S, N, D)`` and log densities ``(S, N)`` of rows ``(S, N, D)``."""
        flow = self._flow
        if not flow.has_class:
            return self._images.latent_with_log_prob(flow.images(rows))
        which = rows[..., 0]
        share, log_det = self._line(len(rows)).forward(turn_of(which))
        z = normal_score(share)
        log_prob = log_det + log_normal(which)
        if self._channels == 1:
            return z.unsqueeze(-1), log_prob
        images = flow.images(rows[..., 1:])
        latent, density = self._images.latent_with_log_prob(images, flow.label_of(rows))
        return torch.cat([z.unsqueeze(-1), latent], -1), log_prob + density

    @cached_property
    def _images(self) -> ImageDistribution:
        """Distribution of images of all rows, made once; of the first class where none is told."""
        return FieldDistribution(self._flow, self._rows).image(0 if self._flow.has_class else None)

    def _line(self, samples: int) -> CategoryLine:
        logits = self._flow.logits(self._rows, self._images)
        return CategoryLine(logits.T.expand(samples, -1, -1))
