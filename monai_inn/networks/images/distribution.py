"""Distribution of images that an image flow makes of observations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from monai_inn.networks.flows.distributions import shape_of_samples
from monai_inn.networks.flows.leading import log_normal
from monai_inn.networks.kernels.chunks import full_precision
from monai_inn.problems.drawing import SampleShape

if TYPE_CHECKING:
    from monai_inn.networks.images.flow import ImageFlow, Seen

__all__ = ["ImageDistribution", "along_great_circle", "check_temperature", "matched"]

Q = TypeVar("Q", bound=Distribution)

_OfPieces = Callable[[Tensor, Tensor | None], tuple[Tensor, ...]]
_VALUES = 1 << 20  # of images that go through the couplings at once while nothing is trained


def matched(q: Q, value: Tensor) -> tuple[Q, Tensor, torch.Size]:
    """Return a distribution whose batch is that of values, and these values as rows of its observations.

    Args:
        q: the distribution of ``N`` observations, which is expanded if values need it.
        value: values that broadcast with ``(…, *batch, *event)``.

    Returns:
        The distribution, rows ``(S, N, *event)``, and the shape ``(…, *batch)`` of what is said of each.

    Raises:
        ValueError: if values are of another event.
    """
    event = q.event_shape
    if value.shape[-len(event) :] != event:
        raise ValueError(f"values have the shape {tuple(value.shape)}, expected (…, {tuple(event)}).")
    shape = torch.broadcast_shapes(value.shape[: -len(event)], q.batch_shape)
    batch = shape[len(shape) - len(q.batch_shape) :]
    if batch != q.batch_shape:
        q = q.expand(batch)
    return q, value.expand(*shape, *event).reshape(-1, math.prod(batch), *event), shape


class ImageDistribution(Distribution):
    """Density over images ``(C, *size)`` for a batch of observations; log densities are in nats.

    Latents are standard normal rows ``(…, n)``, those of the coarsest level first.

    Args:
        flow: the flow.
        condition: observations ``(*batch, F, *size)``.
        label: their classes ``(*batch,)``, or ``None``.
        coarser: of so many levels only the coarse image is asked for.
        temperature: what standard normal latents are multiplied by.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        flow: ImageFlow,
        condition: Tensor,
        label: Tensor | None = None,
        coarser: int = 0,
        temperature: float = 1.0,
    ) -> None:
        self._flow, self._condition, self._label, self._coarser = flow, condition, label, coarser
        self.temperature = temperature
        dims = flow.spatial_dims
        batch = condition.shape[: -dims - 1]
        event = torch.Size([flow.in_channels, *(n // 2**coarser for n in flow.size)])
        super().__init__(batch, event, validate_args=False)

    def coarse(self, levels: int) -> ImageDistribution:
        """Return the exact distribution of the means of blocks of ``2^levels`` pixels along each axis.

        It costs the coarser levels alone.

        Raises:
            ValueError: if the flow has not as many levels.
        """
        if not 0 <= levels < self._flow.levels:
            raise ValueError(f"levels = {levels}; this flow has {self._flow.levels}, so give fewer.")
        return ImageDistribution(self._flow, self._condition, self._label, levels, self.temperature)

    def tempered(self, temperature: float) -> ImageDistribution:
        """Return the distribution whose latents are ``temperature`` times as wide; 1 is the posterior.

        Below 1 samples are more alike and closer to the most likely image, and intervals are too narrow. Log
        densities are exact at every temperature, those of coarse images too.

        Raises:
            ValueError: if the temperature is not a positive number.
        """
        check_temperature(temperature)
        return ImageDistribution(self._flow, self._condition, self._label, self._coarser, temperature)

    def between(self, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        """Return images along the great circle of latents from one image to another.

        A straight line would pass latents that are shorter than any sample's, whose images are too smooth.
        Here the direction turns at a constant rate, and the length changes as along a line.

        Args:
            first: images ``(*batch, C, *size)`` at share 0.
            second: images at share 1.
            share: of the way, ``(K,)``.

        Returns:
            Images ``(K, *batch, C, *size)``.
        """
        one, other = (
            self.latent(image).reshape(1, -1, self.event_shape.numel()) for image in (first, second)
        )
        latent = along_great_circle(one, other, share.to(one).view(-1, 1, 1))
        return self.push(latent).reshape(len(share), *self.batch_shape, *self.event_shape)

    def expand(self, batch_shape: SampleShape, _instance: object = None) -> ImageDistribution:
        """Return the same density with the batch expanded, as ``torch.Tensor.expand`` does."""
        condition = self._condition.expand(*batch_shape, *self._condition.shape[len(self.batch_shape) :])
        label = None if self._label is None else self._label.expand(*batch_shape)
        return ImageDistribution(self._flow, condition, label, self._coarser, self.temperature)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw images ``(*sample_shape, *batch, C, *size)`` that gradients flow through."""
        shape = shape_of_samples(sample_shape)
        rows = math.prod(self.batch_shape)
        latent = self._condition.new_empty(shape.numel(), rows, self.event_shape.numel()).normal_()
        return self.push(latent).reshape(*shape, *self.batch_shape, *self.event_shape)

    def push(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the images that belong to standard normal latents.

        Latents of an image given another observation keep what distinguishes it from others given that one,
        its style: ``flow(new).push(flow(old).latent(image).unsqueeze(0))``.

        Args:
            latent: shape ``(S, N, n)`` with ``N`` the number of observations, or ``(S, 1, n)`` for latents
                that all observations share.
            label: class of each image, ``(S, N)``; those of the observations by default.

        Returns:
            Images ``(S, N, C, *size)``.
        """
        seen = self.seen
        rows = len(seen.mean)
        shapes = self._flow.latent_shapes(self._coarser)

        def images(part: Tensor, label: Tensor | None) -> tuple[Tensor]:
            whole = self.temperature * part.expand(-1, rows, -1).flatten(0, 1)
            levels = whole.split([math.prod(shape) for shape in shapes], 1)
            latents = [level.unflatten(1, shape) for level, shape in zip(levels, shapes, strict=True)]
            made = self._flow.of_latent(latents, seen, label, self._coarser)
            return (made.unflatten(0, (len(part), rows)) / self._block,)

        return self._in_pieces(images, latent, label)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of images that broadcast with ``(…, *batch, C, *size)``, ``(…, *batch)``."""
        return self.latent_with_log_prob(value)[1]

    def latent(self, value: Tensor) -> Tensor:
        """Return the standard normal latents ``(…, *batch, n)`` of images; undoes ``push``."""
        return self.latent_with_log_prob(value)[0]

    def latent_with_log_prob(self, value: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what ``latent`` and ``log_prob`` do, in one pass.

        Args:
            value: images ``(…, *batch, C, *size)``.
            label: class of each, ``(S, N)`` for images ``(S, N, C, *size)`` of ``N`` observations; those of
                the observations by default.
        """
        q, rows, shape = matched(self, value)
        latent, log_det = q._in_pieces(q._latents, rows, label)
        return latent.reshape(*shape, -1), (log_normal(latent).sum(-1) + log_det).reshape(shape)

    @cached_property
    def seen(self) -> Seen:
        """What the samples share."""
        flow = self._flow
        rows = self._condition.reshape(-1, flow.condition_channels, *flow.size)
        with full_precision(rows.device, trained=flow):
            return flow.see(rows)

    @property
    def _block(self) -> float:
        """What a coarse value is over the mean of its block."""
        return float(2 ** (self._coarser * self._flow.spatial_dims / 2))

    def _latents(self, part: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Latents ``(S, N, n)`` and log-determinants ``(S, N)`` of images ``(S, N, C, *size)``."""
        images, rows = part.flatten(0, 1) * self._block, part.shape[1]
        latents, log_det = self._flow.to_latent(images, self.seen, label, self._coarser)
        whole = torch.cat([latent.flatten(1) for latent in latents], 1) / self.temperature
        log_det = log_det + math.log(self._block / self.temperature) * whole.shape[1]
        return whole.unflatten(0, (-1, rows)), log_det.unflatten(0, (-1, rows))

    def _in_pieces(self, function: _OfPieces, rows: Tensor, label: Tensor | None) -> list[Tensor]:
        """Apply a function to rows ``(S, N, …)``, a few samples at a time while nothing is recorded.

        It takes the classes ``(S, N)`` of the samples as one axis.
        """
        if label is None and self._label is not None:
            label = self._label.reshape(1, -1).expand(len(rows), -1)
        each = math.prod(self.batch_shape) * self.event_shape.numel()
        size = len(rows) if torch.is_grad_enabled() else max(1, _VALUES // max(each, 1))
        found = []
        with full_precision(rows.device, trained=self._flow):
            for start in range(0, max(len(rows), 1), max(size, 1)):
                there = slice(start, start + size)
                found.append(function(rows[there], None if label is None else label[there].flatten()))
        return [torch.cat(parts) for parts in zip(*found, strict=True)]


def along_great_circle(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return vectors ``(…, n)`` on the way from one to another, turned at a constant rate.

    Lengths change linearly; between opposite vectors the length passes 0.
    """
    tiny = torch.finfo(first.dtype).tiny
    length, last = (v.norm(dim=-1, keepdim=True) for v in (first, second))
    start, end = first / length.clamp_min(tiny), second / last.clamp_min(tiny)
    cosine = (start * end).sum(-1, keepdim=True)
    across = end - cosine * start
    sine = across.norm(dim=-1, keepdim=True)
    angle = share * torch.atan2(sine, cosine)
    direction = angle.cos() * start + angle.sin() * across / sine.clamp_min(tiny)
    return direction * torch.lerp(length, last, share)


def check_temperature(temperature: float) -> None:
    """Raise a ``ValueError`` if a temperature is not a positive number."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature = {temperature}; give a positive number, 1 for the posterior.")
