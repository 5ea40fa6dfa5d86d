"""Conditional coupling flows as modules that return a ``torch.distributions.Distribution``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from monai_inn.networks.bijections import AffineTransform, SplineTransform
from monai_inn.networks.couplings import Centring, Context, CouplingBlock
from monai_inn.networks.distributions import EnsembleDistribution, FlowDistribution

__all__ = ["ConditionalFlow", "FlowEnsemble", "FlowStack"]


class FlowStack(nn.Module):
    """The layers of one flow or of all members of an ensemble; values have shape ``(M, channels, rows)``.

    ``groups`` makes the density triangular: the channels of a group are transformed given those of earlier
    groups, so that the marginal of the leading groups is exact and costs only their own blocks.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        condition_channels: int,
        num_blocks: int | Sequence[int],
        hidden_channels: Sequence[int] | Sequence[Sequence[int]],
        coupling: str,
        groups: Sequence[int],
        members: int,
        seed: int,
        num_bins: int,
        clamp: float,
        mixing: str,
    ) -> None:
        super().__init__()
        if sum(groups) != in_channels or min(groups) < 1:
            raise ValueError(
                f"groups = {tuple(groups)} must be positive and add up to in_channels = {in_channels}."
            )
        if coupling not in ("affine", "spline"):
            raise ValueError(f'coupling is {coupling!r}, expected "affine" or "spline".')
        if mixing not in ("permutation", "rotation"):
            raise ValueError(f'mixing is {mixing!r}, expected "permutation" or "rotation".')
        self.groups, self.members, self.condition_channels = tuple(groups), members, condition_channels
        transform = AffineTransform(clamp) if coupling == "affine" else SplineTransform(num_bins)
        generator = torch.Generator().manual_seed(seed)
        passive = itertools.accumulate(self.groups, initial=0)
        self.centring = Centring(in_channels, condition_channels, members) if condition_channels else None
        depths, widths = _per_group(num_blocks, hidden_channels, len(self.groups))
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                CouplingBlock(
                    size,
                    before,
                    condition_channels,
                    hidden,
                    transform,
                    members,
                    generator,
                    mixing=mixing,
                )
                for _ in range(depth)
            )
            for size, before, depth, hidden in zip(self.groups, passive, depths, widths, strict=False)
        )

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Context) -> None:
        """Set every ActNorm from a first batch ``(M, channels, rows)``, so that training starts whitened."""
        if self.centring is not None:
            x, _ = self.centring(x, context)
        for start, stop, blocks in self.spans(x.shape[1]):
            value, passive = x[:, start:stop], x[:, :start] if start else None
            for block in blocks:
                block.mixing.initialise(value)
                value, _ = block(value, passive, context)

    def forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Data to latent. ``x`` may hold only the leading groups. Log-determinant of shape ``(M, rows)``."""
        latents, log_det = [], x.new_zeros(len(x), 1)
        if self.centring is not None:
            x, log_det = self.centring(x, context)
        for start, stop, blocks in self.spans(x.shape[1]):
            value, passive = x[:, start:stop], x[:, :start] if start else None
            for block in blocks:
                value, change = block(value, passive, context)
                log_det = log_det + change
            latents.append(value)
        return torch.cat(latents, 1), log_det

    def inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Latent to data. ``z`` may hold only the leading groups."""
        done, log_det = z[:, :0], z.new_zeros(len(z), 1)
        for start, stop, blocks in self.spans(z.shape[1]):
            value = z[:, start:stop]
            for block in reversed(blocks):
                value, change = block.inverse(value, done if start else None, context)
                log_det = log_det + change
            done = torch.cat([done, value], 1)
        if self.centring is not None:
            done, change = self.centring.inverse(done, context)
            log_det = log_det + change
        return done, log_det

    def spans(self, channels: int) -> Iterator[tuple[int, int, list[CouplingBlock]]]:
        """First and last channel and the blocks of every group within the leading ``channels``."""
        stops = itertools.accumulate(self.groups)
        for size, stop, blocks in zip(self.groups, stops, self.blocks.children(), strict=True):
            if stop <= channels:
                yield stop - size, stop, cast("list[CouplingBlock]", list(blocks.children()))

    def log_prob(self, x: Tensor, context: Context) -> Tensor:
        """Log density in nats of ``x (M, channels, rows)``, shape ``(M, rows)``."""
        z, log_det = self(x, context)
        return log_det - 0.5 * z.square().sum(1) - 0.5 * math.log(2 * math.pi) * z.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return next(self.parameters()).dtype

    @property
    def widest(self) -> int:
        """Channels of the widest activation, which decides how many rows fit into the cache."""
        widths = (weight.shape[1] for name, weight in self.named_parameters() if ".weights." in name)
        return max(widths, default=1)


class ConditionalFlow(nn.Module):
    """Normalizing flow whose density depends on a condition.

    A shift and scale by the condition, then blocks of ActNorm, a fixed orthogonal mixing and two-sided
    couplings. Calling the flow with a condition gives a distribution; everything else is the vocabulary of
    ``torch.distributions``.

    Args:
        in_channels: number of dimensions ``D`` of the density.
        condition_channels: number of channels ``F`` of the condition; 0 for an unconditional flow.
        num_blocks: coupling blocks for each group of channels, one number or one for each group.
        hidden_channels: widths of the hidden layers of every subnet, or one such tuple for each group.
        coupling: ``"affine"`` (fast) or ``"spline"`` (separates modes; rational-quadratic).
        groups: sizes of channel groups, leading first; the density of the leading groups is available as
            the exact marginal ``q.leading(n)`` at the cost of their own blocks. One group by default.
        num_bins: bins of the spline.
        clamp: bound of the affine log-scale.
        mixing: the fixed orthogonal matrices between blocks: ``"permutation"`` for parameters, which the
            data inform to very different degrees; ``"rotation"`` for features of one kind.
        spatial_dims: 0, a vector for each pixel or image.
        seed: seed of the initial weights and mixing matrices.

    Raises:
        ValueError: if sizes do not fit together.

    Example:
        >>> flow = ConditionalFlow(in_channels=3, condition_channels=2, num_blocks=2, hidden_channels=(16,))
        >>> q = flow(torch.zeros(5, 2))
        >>> q.sample((7,)).shape, q.log_prob(torch.zeros(5, 3)).shape
        (torch.Size([7, 5, 3]), torch.Size([5]))

    Source: Ardizzone et al., Guided image generation with conditional invertible neural networks, 2019.
    """

    def __init__(
        self,
        in_channels: int,
        condition_channels: int = 0,
        num_blocks: int | Sequence[int] = 6,
        hidden_channels: Sequence[int] | Sequence[Sequence[int]] = (64, 64),
        coupling: str = "spline",
        *,
        groups: Sequence[int] | None = None,
        num_bins: int = 8,
        clamp: float = 2.0,
        mixing: str = "permutation",
        spatial_dims: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if spatial_dims != 0:
            raise ValueError(
                f"spatial_dims = {spatial_dims}; a ConditionalFlow models one vector a pixel, use 0."
            )
        self.config = _config(locals())
        self.in_channels, self.condition_channels = in_channels, condition_channels
        self.stack = _stack(self.config, members=1)

    def forward(self, condition: Tensor | None = None) -> FlowDistribution:
        """Return the distribution given a condition ``(*batch, F)``, or none for an unconditional flow."""
        return FlowDistribution(self.stack, _checked(condition, self.condition_channels))

    def extra_repr(self) -> str:
        """Show sizes and coupling."""
        return ", ".join(f"{key}={value}" for key, value in self.config.items())


class FlowEnsemble(nn.Module):
    """Several equal flows with their own weights that run as one batched pass.

    ``ensemble(condition).log_prob(x)`` has shape ``(members, *batch)``; ``sample`` puts the member axis after
    the sample axis. Arguments are those of ``ConditionalFlow``.

    Args:
        members: number of flows.
        **config: arguments of ``ConditionalFlow``.
    """

    def __init__(self, members: int, **config: Any) -> None:
        super().__init__()
        if members < 1:
            raise ValueError(f"an ensemble needs at least one member, got {members}.")
        template = ConditionalFlow(**config)
        self.config = {"members": members, **template.config}
        self.members = members
        self.in_channels, self.condition_channels = template.in_channels, template.condition_channels
        self.stack = _stack(template.config, members=members)

    def forward(self, condition: Tensor | None = None) -> EnsembleDistribution:
        """Return the members' distributions given one condition ``(*batch, F)`` for all of them."""
        return EnsembleDistribution(self.stack, _checked(condition, self.condition_channels))

    def extra_repr(self) -> str:
        """Show sizes and coupling."""
        return ", ".join(f"{key}={value}" for key, value in self.config.items())


_CONFIG = {
    "in_channels",
    "condition_channels",
    "num_blocks",
    "hidden_channels",
    "coupling",
    "groups",
    "num_bins",
    "clamp",
    "mixing",
    "seed",
}


def _config(arguments: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments in a form that JSON keeps."""
    config = {name: value for name, value in arguments.items() if name in _CONFIG}
    config["hidden_channels"] = [h if isinstance(h, int) else list(h) for h in config["hidden_channels"]]
    if not isinstance(config["num_blocks"], int):
        config["num_blocks"] = list(config["num_blocks"])
    config["groups"] = list(config["groups"] or [config["in_channels"]])
    return config


def _per_group(
    num_blocks: int | Sequence[int], hidden_channels: Sequence[int] | Sequence[Sequence[int]], groups: int
) -> tuple[list[int], list[list[int]]]:
    """Blocks and hidden layers of each group."""
    depths = [num_blocks] * groups if isinstance(num_blocks, int) else list(num_blocks)
    is_shared = all(isinstance(h, int) for h in hidden_channels)
    each = [hidden_channels] * groups if is_shared else list(hidden_channels)
    widths = [list(cast("Sequence[int]", layers)) for layers in each]
    if len(depths) != groups or len(widths) != groups:
        raise ValueError(
            f"num_blocks = {num_blocks} and hidden_channels = {hidden_channels} do not fit {groups} groups; "
            "give one for all or one for each group."
        )
    return depths, widths


def _stack(config: dict[str, Any], members: int) -> FlowStack:
    return FlowStack(**config, members=members)


def _checked(condition: Tensor | None, channels: int) -> Tensor | None:
    got = 0 if condition is None else condition.shape[-1]
    if got != channels:
        raise ValueError(
            f"the condition has {got} channels on its last axis, but this flow was built for {channels}; "
            "pass the features that the flow was trained on."
        )
    return condition
