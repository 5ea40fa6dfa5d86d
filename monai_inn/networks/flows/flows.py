"""Conditional coupling flows as modules that return a ``torch.distributions.Distribution``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from monai_inn.networks.flows.couplings import Context
from monai_inn.networks.flows.distributions import EnsembleDistribution, FlowDistribution
from monai_inn.networks.flows.leading import LeadingStack
from monai_inn.networks.flows.stacks import FlowStack
from monai_inn.networks.parts import Part, arguments, register

__all__ = ["ConditionalFlow", "FlowEnsemble"]


@register
class ConditionalFlow(Part):
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
        periodic: channels that are angles on a full circle, see ``leading``; they belong to the first group
            and need one width for all subnets.
        categories: channels that are classes, and how many of them, ``(channel, K)``; likewise. A number may
            be one, too: its density is then constant in each of ``K`` equal cells of its prior.
        is_guessed: whether the condition begins with log probabilities of the first channel of
            ``categories``, from which the flow starts.
        spatial_dims: 0, a vector for each pixel or image.
        seed: seed of the initial weights and mixing matrices.

    Raises:
        ValueError: if sizes do not fit together.

    Example:
        >>> import torch
        >>> flow = ConditionalFlow(in_channels=3, condition_channels=2, num_blocks=2, hidden_channels=(16,))
        >>> q = flow(torch.zeros(5, 2))
        >>> q.sample((7,)).shape, q.log_prob(torch.zeros(5, 3)).shape
        (torch.Size([7, 5, 3]), torch.Size([5]))

    Source: Ardizzone et al., Guided image generation with conditional invertible neural networks, 2019.
    """

    kind: ClassVar[str] = "conditional"
    step_rows = 2**20  # of a training: any number will do

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
        periodic: Sequence[int] = (),
        categories: Sequence[tuple[int, int]] = (),
        is_guessed: bool = False,
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

    def initialise(self, draw: Callable[[int], tuple[Tensor, Tensor]], most: int) -> None:
        """Set every ActNorm from a batch.

        Args:
            draw: from 0 to values and conditions, ``(N, D)`` and ``(N, F)``.
            most: rows that may be drawn; one batch is enough.
        """
        del most
        values, condition = draw(0)
        self.stack.initialise(values.T.unsqueeze(0), Context(condition.T.unsqueeze(0)))

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


def _config(given: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments in a form that JSON keeps; what came later is left out where there is none."""
    added = ("periodic", "categories", "is_guessed", "spatial_dims")
    config = {name: v for name, v in arguments(given).items() if v or name not in added}
    for name in {"hidden_channels", "periodic", "categories"} & config.keys():
        config[name] = [entry if isinstance(entry, int) else list(entry) for entry in config[name]]
    return config | {"groups": config["groups"] or [config["in_channels"]]}


def _stack(config: dict[str, Any], members: int) -> FlowStack | LeadingStack:
    leading = {name: config.get(name, ()) for name in ("periodic", "categories")}
    is_guessed = config.get("is_guessed", False)
    first = dict(leading["categories"][:1])
    if is_guessed and not 0 < sum(first.values()) <= config["condition_channels"]:
        raise ValueError(
            f"is_guessed needs categories, got {first or 'none'}, and a condition that begins with their log "
            f"probabilities, got {config['condition_channels']} channels."
        )
    if not any(leading.values()):
        return FlowStack(**config, members=members)
    if not all(isinstance(width, int) for width in config["hidden_channels"]):
        raise ValueError(
            "a flow with angles or classes has the same hidden layers in all subnets, got "
            f"hidden_channels = {config['hidden_channels']}."
        )
    return LeadingStack(**{**config, **leading, "is_guessed": is_guessed}, members=members)


def _checked(condition: Tensor | None, channels: int) -> Tensor | None:
    got = 0 if condition is None else condition.shape[-1]
    if got != channels:
        raise ValueError(
            f"the condition has {got} channels on its last axis, but this flow was built for {channels}; "
            "pass the features that the flow was trained on."
        )
    return condition
