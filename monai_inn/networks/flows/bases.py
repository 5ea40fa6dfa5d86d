"""Base densities of a flow other than the standard normal."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from monai_inn.networks.parts import Part, arguments, register

__all__ = ["AdjustedNormal", "Adjustment", "Base"]

_LEAST_SQUARE = 1e-30  # keeps the logarithm and its gradient finite at the origin


class Adjustment(NamedTuple):
    """What turns standard normal latents of one channel group into those that the truth has.

    ``z' = shift + exp(log_scale) z f(‖z‖)``, ``log f`` piecewise linear in ``log ‖z‖``.

    Attributes:
        shift: shape ``(size,)``.
        log_scale: shape ``(size,)``.
        radius: natural logarithm of the radius at the knots, increasing, shape ``(k,)``.
        factor: ``log f`` there, shape ``(k,)``; ``radius + factor`` increases as well.
    """

    shift: Tensor
    log_scale: Tensor
    radius: Tensor
    factor: Tensor


class Base(Part):
    """Density of a flow's latents in the place of the standard normal; channel groups are independent."""

    @abstractmethod
    def push(self, latent: Tensor) -> Tensor:
        """Map standard normal latents ``(…, channels)`` of all or the leading groups to this density."""

    @abstractmethod
    def pull(self, value: Tensor) -> Tensor:
        """Undo ``push``."""

    @abstractmethod
    def log_density(self, group: int, value: Tensor) -> Tensor:
        """Log density in nats of a group's values ``(…, size, rows)``, but for ``−½ log 2π`` a channel."""

    @abstractmethod
    def spread(self, group: int) -> Tensor:
        """By what factor typical latents of a group are spread, a scalar."""

    @abstractmethod
    def spans(self, channels: int) -> list[tuple[int, tuple[int, int]]]:
        """Number, first and last channel of every group within the leading ``channels``."""


@register
class AdjustedNormal(Base):
    """Standard normal whose radius is rescaled and whose channels are scaled and shifted, group by group.

    A flow is over-confident where the truth's latents are too long, and biased where they are off centre.
    With this base it expects them where they are, and so spreads and moves its samples. ``log f`` is constant
    beyond the knots: a common factor is represented exactly, the density stays finite at the origin, tails
    stay those of a normal, and the inverse is of the same form.

    A new one is the standard normal itself.

    Args:
        groups: sizes of the flow's channel groups.
        knots: room for so many knots of the radius in every group.
    """

    kind: ClassVar[str] = "adjusted_normal"
    shift: Tensor
    log_scale: Tensor
    radius: Tensor
    factor: Tensor

    def __init__(self, groups: Sequence[int], knots: int) -> None:
        super().__init__()
        self.config = arguments(locals())
        self.knots = knots
        stops = list(itertools.accumulate(groups))
        self._spans = [(stop - size, stop) for size, stop in zip(groups, stops, strict=True)]
        self.register_buffer("shift", torch.zeros(stops[-1]))
        self.register_buffer("log_scale", torch.zeros(stops[-1]))
        self.register_buffer("radius", torch.arange(knots, dtype=torch.float32).repeat(len(groups), 1))
        self.register_buffer("factor", torch.zeros(len(groups), knots))

    @torch.no_grad()
    def set(self, group: int, to: Adjustment) -> None:
        """Set the adjustment of one group.

        Raises:
            ValueError: if it does not fit, or its radii do not increase before and after the rescaling.
        """
        start, stop = self._spans[group]
        sizes = tuple(len(part) for part in to)
        if sizes[:3] != (stop - start, stop - start, sizes[3]) or not 1 <= sizes[3] <= self.knots:
            raise ValueError(
                f"an adjustment of sizes {sizes} does not fit; group {group} has {stop - start} channels and "
                f"room for {self.knots} knots."
            )
        if not bool((to.radius.diff() > 0).all() and ((to.radius + to.factor).diff() > 0).all()):
            raise ValueError("the knots of a rescaled radius must increase, before and after the rescaling.")
        self.shift[start:stop], self.log_scale[start:stop] = to.shift, to.log_scale
        spare = torch.arange(1, self.knots - sizes[3] + 1).to(to.radius)
        self.radius[group] = torch.cat([to.radius, to.radius[-1] + spare])
        self.factor[group] = torch.cat([to.factor, to.factor[-1:].expand(len(spare))])

    def push(self, latent: Tensor) -> Tensor:
        """Scale, spread and shift standard normal latents ``(…, channels)`` of all or the leading groups."""
        parts = []
        for group, (start, stop) in self.spans(latent.shape[-1]):
            shift, log_scale, radius, factor = self._of(group, latent)
            part = latent[..., start:stop]
            at = _log_radius(part.square().sum(-1, keepdim=True))
            parts.append(part * (_line(at, radius, factor)[0] + log_scale).exp() + shift)
        return torch.cat(parts, -1)

    def pull(self, value: Tensor) -> Tensor:
        """Undo ``push``."""
        parts = []
        for group, (start, stop) in self.spans(value.shape[-1]):
            shift, log_scale, radius, factor = self._of(group, value)
            part = (value[..., start:stop] - shift) * (-log_scale).exp()
            at = _log_radius(part.square().sum(-1, keepdim=True))
            parts.append(part * _line(at, radius + factor, -factor)[0].exp())
        return torch.cat(parts, -1)

    def log_density(self, group: int, value: Tensor) -> Tensor:
        """Log density in nats of a group's values ``(…, size, rows)``, but for ``−½ log 2π`` a channel."""
        shift, log_scale, radius, factor = self._of(group, value)
        squared = ((value - shift.unsqueeze(-1)) * (-log_scale).exp().unsqueeze(-1)).square().sum(-2)
        change, slope = _line(_log_radius(squared), radius + factor, -factor)
        # Every direction is scaled by f, the radial one once more by the slope.
        log_det = len(shift) * change + torch.log1p(slope) - log_scale.sum()
        return log_det - 0.5 * squared * (2 * change).exp()

    def spread(self, group: int) -> Tensor:
        """By what factor typical latents of a group are spread, a scalar."""
        typical = self.radius.new_tensor(self._spans[group][1] - self._spans[group][0]).log() / 2
        _, log_scale, radius, factor = self._of(group, self.radius)
        return (_line(typical, radius, factor)[0] + log_scale.mean()).exp()

    def spans(self, channels: int) -> list[tuple[int, tuple[int, int]]]:
        """Number, first and last channel of every group within the leading ``channels``."""
        return [(group, span) for group, span in enumerate(self._spans) if span[1] <= channels]

    def _of(self, group: int, like: Tensor) -> Adjustment:
        """A group's adjustment in the format of ``like``."""
        span = slice(*self._spans[group])
        parts = self.shift[span], self.log_scale[span], self.radius[group], self.factor[group]
        return Adjustment(*(part.to(like) for part in parts))


def _log_radius(squared: Tensor) -> Tensor:
    return 0.5 * squared.clamp_min(_LEAST_SQUARE).log()


def _line(at: Tensor, knots: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Value and slope of the line through ``values`` at ``knots``, constant beyond them."""
    if len(knots) == 1:
        return values[0].expand_as(at), torch.zeros_like(at)
    right = torch.bucketize(at.detach(), knots).clamp(1, len(knots) - 1)
    start, stop = knots[right - 1], knots[right]
    slope = (values[right] - values[right - 1]) / (stop - start)
    step = torch.minimum((at - start).clamp_min(0), stop - start)
    is_between = (at > knots[0]) & (at < knots[-1])
    return values[right - 1] + slope * step, torch.where(is_between, slope, 0.0)
