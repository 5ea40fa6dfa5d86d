"""Distributions of flows: fast on many pixels because they choose their own chunks."""

from __future__ import annotations

import functools
import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints
from typing_extensions import Self

from monai_inn.networks.flows.bases import Base
from monai_inn.networks.flows.couplings import Context
from monai_inn.networks.flows.stacks import FlowStack, Stack
from monai_inn.networks.kernels.chunks import (
    ChunkFunction,
    full_precision,
    is_recorded,
    is_traced,
    map_chunks,
    rows_per_chunk,
)
from monai_inn.networks.kernels.plans import Plan
from monai_inn.problems.drawing import SampleShape

__all__ = ["EnsembleDistribution", "FlowDistribution", "shape_of_samples"]

_PLANNED = ("inverse", "log_prob")
# Threads that run ordinary operators on fewer rows than these wait for Python's lock longer than they gain.
_LEAST_ROWS = 2048


class FlowDistribution(Distribution):
    """Density of a flow for a batch of conditions; ``batch_shape`` is that of the condition.

    ``sample`` and ``log_prob`` without gradients walk through the pixels in chunks whose activations stay in
    the processor's cache, on all threads; with gradients everything is one differentiable pass. Autocast
    reaches a flow only in training: in ``train()`` mode, while gradients are recorded.

    Args:
        stack: layers of the flow.
        condition: shape ``(*batch, F)``, or ``None``.
        channels: leading channels that the density is over; all by default.
        base: density of the latents if it is not the standard normal.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        stack: Stack,
        condition: Tensor | None,
        channels: int | None = None,
        base: Base | None = None,
    ) -> None:
        self._stack, self._condition, self._base = stack, condition, base
        self._channels = sum(stack.groups) if channels is None else channels
        batch = torch.Size() if condition is None else condition.shape[:-1]
        super().__init__(batch, torch.Size([self._channels]), validate_args=False)

    def leading(self, channels: int) -> Self:
        """Return the exact marginal of the first channels, which must be whole groups of the flow."""
        sizes = [sum(self._stack.groups[: i + 1]) for i in range(len(self._stack.groups))]
        if channels not in sizes:
            raise ValueError(
                f"the marginal of {channels} channels is not available; this flow has those of {sizes}."
            )
        return type(self)(self._stack, self._condition, channels, self._base)

    def with_base(self, base: Base | None) -> Self:
        """Return the density that the same flow makes of another base."""
        return type(self)(self._stack, self._condition, self._channels, base)

    def expand(self, batch_shape: SampleShape, _instance: object = None) -> Self:
        """Return the same density with the batch expanded, as ``torch.Tensor.expand`` does."""
        condition = self._condition
        if condition is None:
            condition = next(self._stack.parameters()).new_empty(0)
        expanded = condition.expand(*batch_shape, condition.shape[-1])
        return type(self)(self._stack, expanded, self._channels, self._base)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw samples of shape ``(*sample_shape, *batch_shape, D)`` that gradients flow through."""
        shape = shape_of_samples(sample_shape)
        device = next(self._stack.parameters()).device
        latent = torch.randn(
            shape.numel(), self._rows, self._channels, device=device, dtype=self._stack.dtype
        )
        samples = self.push(latent)
        return samples.reshape(*shape, *samples.shape[1:-2], *self.batch_shape, self._channels)

    def push(self, latent: Tensor) -> Tensor:
        """Return the samples that belong to given standard normal latents.

        Args:
            latent: shape ``(S, N, D)`` with ``N`` the number of conditions, or ``(S, 1, D)`` for one latent
                per sample index that all conditions share.

        Returns:
            Samples of shape ``(S, N, D)``; those of an ensemble ``(S, M, N, D)``, members sharing latents.
        """
        return self._arrange(self._walk("inverse", self._latents(latent), (self._channels,)))

    def push_with_log_prob(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``push`` does, and the log densities of these samples in nats, in one pass.

        Args:
            latent: as for ``push``.

        Returns:
            Samples, and log densities of their shape without ``D``.
        """
        both = self._arrange(self._walk("inverse_log_prob", self._latents(latent), (self._channels + 1,)))
        return both[..., :-1], both[..., -1]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of values that broadcast with ``(…, *batch_shape, D)``.

        That of an ensemble has its members first, ``(M, …)``. It is ``-inf`` for infinite values and for
        those that overflow on the way, and NaN for NaN.
        """
        density = self._ask("log_prob", value, ())
        is_unknown = value.isnan().any(-1)
        if self._condition is not None:
            is_unknown = is_unknown | ~self._condition.isfinite().all(-1)
        return torch.where(density.isnan() & ~is_unknown, -torch.inf, density)

    def latent(self, value: Tensor) -> Tensor:
        """Return the standard normal latents of values that broadcast with ``(…, *batch_shape, D)``.

        The inverse of ``push``; of the same shape as the values, an ensemble's with its members first.
        """
        return self._ask("latent", value, (self._channels,))

    def _latents(self, latent: Tensor) -> Tensor:
        """Standard normal latents ``(S, N or 1, D)`` as those of the flow, ``(S, N, D)``."""
        latent = latent.to(self._stack.dtype)
        if self._base is not None:
            latent = self._base.push(latent)
        return latent.expand(-1, self._rows, -1)

    def _ask(self, direction: str, value: Tensor, event: tuple[int, ...]) -> Tensor:
        """What one of the methods below says of values that broadcast with ``(…, *batch_shape, D)``.

        Shape ``(…, *batch_shape, *event)``, an ensemble's with its members first.
        """
        channels = value.shape[-1] if value.ndim else 0
        if channels != self._channels:
            raise ValueError(f"values have {channels} channels on the last axis, expected {self._channels}.")
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        extra = len(shape) - len(self.batch_shape)
        if shape[extra:] != self.batch_shape:
            return self.expand(shape[extra:])._ask(direction, value, event)
        rows = value.to(self._stack.dtype).expand(*shape, -1)
        # Without a condition all values share the one density, so they are rows of one sample.
        # math.prod, unlike numel(), stays symbolic when a network is exported.
        samples = 1 if self._condition is None else math.prod(shape[:extra])
        pixels = math.prod(shape) if self._condition is None else self._rows
        found = self._walk(direction, rows.reshape(samples, pixels, channels), event)
        return found.movedim(2, 0).reshape((*self._member_shape, *shape, *event))

    @property
    def _rows(self) -> int:
        return math.prod(self.batch_shape)  # unlike numel(), stays symbolic when exported

    @property
    def _member_shape(self) -> tuple[int, ...]:
        return ()

    def _arrange(self, samples: Tensor) -> Tensor:
        """``(S, n, 1, D)`` to ``(S, n, D)``."""
        return samples.squeeze(2)

    def _walk(self, direction: str, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Run one of the methods below on rows ``(S, n, D)``, to ``(S, n, M, *shape)``."""
        condition = self._condition
        if condition is not None:
            condition = condition.reshape(self._rows, condition.shape[-1]).to(rows)
        with full_precision(rows.device, trained=self._stack):
            if is_recorded() or rows.numel():
                return self._pass(direction, rows, condition, shape)
            # A made-up row, left out of the result, gives nothing its shape, number format and gradients.
            samples, pixels = rows.shape[:2]
            if condition is not None and not pixels:
                condition = F.pad(condition, (0, 0, 0, 1))
            rows = F.pad(rows, (0, 0, 0, int(not pixels), 0, int(not samples)))
            return self._pass(direction, rows, condition, shape)[:samples, :pixels]

    def _pass(self, direction: str, rows: Tensor, condition: Tensor | None, shape: tuple[int, ...]) -> Tensor:
        """In one piece where gradients or a recording need it, otherwise in chunks; on a CPU by plans."""
        members, device = self._stack.members, rows.device
        together: ChunkFunction = getattr(self, f"_{direction}")
        if torch.is_grad_enabled() or is_traced():
            return together(rows, condition)
        limit = rows_per_chunk(self._stack.widest(self._channels), members, device, rows.element_size())
        if device.type != "cpu" or direction not in _PLANNED or not isinstance(self._stack, FlowStack):
            return map_chunks([together], rows, condition, (members, *shape), limit, _LEAST_ROWS).squeeze(2)
        plan = Plan(self._stack, self._channels, min(len(rows), limit), self._base)
        each = [functools.partial(getattr(plan, direction), member) for member in range(members)]
        return map_chunks(each, rows, condition, shape, limit)

    def _inverse(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """Samples ``(S, n, M, D)`` of latents ``(S, n, D)``."""
        value, _ = self._stack.inverse(self._columns(latent), self._context(latent, condition))
        return value.reshape(len(value), self._channels, latent.shape[1], -1).permute(3, 2, 0, 1)

    def _inverse_log_prob(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """Samples and their log densities ``(S, n, M, D + 1)`` of latents ``(S, n, D)``."""
        columns = self._columns(latent)
        value, log_det = self._stack.inverse(columns, self._context(latent, condition))
        both = torch.cat([value, (self._log_base(columns) - log_det).unsqueeze(1)], 1)
        return both.reshape(*both.shape[:2], latent.shape[1], -1).permute(3, 2, 0, 1)

    def _log_prob(self, value: Tensor, condition: Tensor | None) -> Tensor:
        """Log densities ``(S, n, M)`` of values ``(S, n, D)``."""
        latent, log_det = self._stack(self._columns(value), self._context(value, condition))
        log_prob = self._log_base(latent) + log_det
        return log_prob.reshape(len(log_prob), value.shape[1], -1).permute(2, 1, 0)

    def _log_base(self, latent: Tensor) -> Tensor:
        """Log densities ``(M, n)`` of what the flow starts from, ``(M, D, n)``."""
        constant = -0.5 * math.log(2 * math.pi) * latent.shape[1]
        if self._base is None:
            return constant - 0.5 * latent.square().sum(1)
        spans = self._base.spans(latent.shape[1])
        parts = [self._base.log_density(g, latent[:, start:stop]) for g, (start, stop) in spans]
        return constant + torch.stack(parts).sum(0)

    def _latent(self, value: Tensor, condition: Tensor | None) -> Tensor:
        """Standard normal latents ``(S, n, M, D)`` of values ``(S, n, D)``."""
        latent, _ = self._stack(self._columns(value), self._context(value, condition))
        latent = latent.reshape(len(latent), self._channels, value.shape[1], -1).permute(3, 2, 0, 1)
        return latent if self._base is None else self._base.pull(latent)

    def _columns(self, rows: Tensor) -> Tensor:
        """``(S, n, D)`` to ``(M, D, n·S)``, pixel by pixel."""
        columns = rows.permute(2, 1, 0).reshape(1, rows.shape[2], -1)
        return columns.expand(self._stack.members, -1, -1)

    def _context(self, rows: Tensor, condition: Tensor | None) -> Context:
        if condition is None:
            return Context(None)
        columns = condition.T.expand(self._stack.members, -1, -1)
        return Context(columns, repeats=rows.shape[0])


class EnsembleDistribution(FlowDistribution):
    """Densities of all members for the same conditions; the member axis comes right before the batch axes."""

    @property
    def _member_shape(self) -> tuple[int, ...]:
        return (self._stack.members,)

    def _arrange(self, samples: Tensor) -> Tensor:
        """``(S, n, M, D)`` to ``(S, M, n, D)``."""
        return samples.transpose(1, 2)


def shape_of_samples(sample_shape: SampleShape) -> torch.Size:
    """Return the shape of a sample.

    Raises:
        TypeError: for a number, as in all of ``torch.distributions``.
    """
    if isinstance(sample_shape, int):
        raise TypeError(f"sample_shape is {sample_shape}, expected a tuple; write ({sample_shape},).")
    return torch.Size(sample_shape)
