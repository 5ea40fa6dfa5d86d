"""Flows that were trained with FrEIA, as our own: same densities, same samples, our speed and inferers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_inn.networks.flows.bijections import AffineTransform, Mixing
from monai_inn.networks.flows.couplings import CouplingBlock, Subnet
from monai_inn.networks.flows.flows import ConditionalFlow
from monai_inn.networks.freia.state import AffineMap, Coupling, read_modules
from monai_inn.networks.parts import arguments

__all__ = ["FreiaFlow", "load_freia_state"]

_CLAMPS = ("ATAN", "TANH", "SIGMOID")
_GLOBAL_AFFINES = ("SOFTPLUS", "SIGMOID", "EXP")
# Columns this close to orthogonal are a rotation that was rounded to float32; anything else is a true shear.
_ORTHOGONAL = 1e-6


class FreiaFlow(ConditionalFlow):
    """A flow with the layers of a FrEIA network; ``load_freia_state`` makes one and fills it.

    Its ``config`` rebuilds the empty flow, so that it is saved and loaded like every other.

    Args:
        in_channels: number of dimensions of the density.
        condition_channels: channels of the condition, 0 for none.
        clamp: bound of the couplings' log-scale.
        blocks: for each coupling ``split`` (channels of the first half), ``num_sides``, ``activation`` and
            ``hidden_channels``, as in ``CouplingBlock`` and ``AffineTransform``.
    """

    def __init__(
        self,
        in_channels: int,
        condition_channels: int = 0,
        *,
        clamp: float = 2.0,
        blocks: Sequence[Mapping[str, Any]],
    ) -> None:
        super().__init__(in_channels, condition_channels, 1, (1,), "affine", clamp=clamp)
        self.config = arguments(locals()) | {"blocks": [dict(block) for block in blocks]}
        generator = torch.Generator().manual_seed(0)
        self.stack.blocks = nn.ModuleList(
            [
                nn.ModuleList(
                    CouplingBlock(
                        in_channels,
                        0,
                        condition_channels,
                        block["hidden_channels"],
                        AffineTransform(clamp, block["activation"]),
                        1,
                        generator,
                        block["num_sides"],
                        block["split"],
                    )
                    for block in blocks
                )
            ]
        )


def load_freia_state(
    state_dict: Mapping[str, Tensor],
    *,
    condition_channels: int = 0,
    clamp: float = 2.0,
    clamp_activation: str = "ATAN",
    global_affine_type: str = "SOFTPLUS",
    reverse_permutation: bool = False,
) -> FreiaFlow:
    """Return a flow with the density and the samples of a trained FrEIA 0.2 network.

    Reads chains (``SequenceINN``, ``GraphINN``) of ``GLOWCouplingBlock`` and ``AllInOneBlock`` with any
    ``PermuteRandom``, ``ActNorm`` and ``FixedLinearTransform`` between them. Sizes come from the tensors.
    What leaves no trace in the tensors must be told here, or is assumed: subnets of ``Linear`` and ``ReLU``,
    no volume-preserving (GIN) block, no weightless layer at the end, a standard normal base, one order of
    the conditions in all blocks.

    Args:
        state_dict: ``state_dict()`` of the FrEIA network; its number format becomes that of the flow.
        condition_channels: channels of the condition, all conditions together; 0 for none.
        clamp: FrEIA's ``clamp`` or ``affine_clamping``.
        clamp_activation: that of GLOW couplings, ``"ATAN"``, ``"TANH"`` or ``"SIGMOID"``.
        global_affine_type: that of AllInOne blocks, ``"SOFTPLUS"``, ``"SIGMOID"`` or ``"EXP"``.
        reverse_permutation: that of AllInOne blocks.

    Raises:
        ValueError: if the state is not that of a supported FrEIA network, or an option does not fit it.

    Example:
        >>> state = {"module_list.0.scale": torch.zeros(1, 2), "module_list.0.bias": torch.ones(1, 2)}
        >>> load_freia_state(state)().log_prob(-torch.ones(1, 2)).item()  # −log 2π, at the mode
        -1.8378770351409912

    Source: Ardizzone et al., FrEIA, https://github.com/vislearn/FrEIA, release 0.2.
    """
    for name, given, known in (
        ("clamp_activation", clamp_activation, _CLAMPS),
        ("global_affine_type", global_affine_type, _GLOBAL_AFFINES),
    ):
        if given not in known:
            raise ValueError(f"{name} is {given!r}, expected one of {known}.")
    steps = read_modules(
        state_dict, clamp_activation, global_affine_type, reverse_permutation=reverse_permutation
    )
    for where, step in steps:
        if isinstance(step, Coupling):
            step.require_condition(condition_channels, where)
    pairs = _pairs([step for _, step in steps])
    channels = pairs[0][1].channels
    blocks = [
        {
            "split": coupling.split,
            "num_sides": len(coupling.subnets),
            "activation": coupling.activation,
            "hidden_channels": coupling.hidden_channels,
        }
        for _, coupling in pairs
    ]
    flow = FreiaFlow(channels, condition_channels, clamp=clamp, blocks=blocks)
    flow.to(next(value.dtype for value in state_dict.values() if value.is_floating_point()))
    modules = [module for module in flow.stack.modules() if isinstance(module, CouplingBlock)]
    for block, (mixing, coupling) in zip(modules, pairs, strict=True):
        _fill(block, mixing, coupling)
    return flow


def _pairs(steps: Sequence[AffineMap | Coupling]) -> list[tuple[AffineMap, Coupling]]:
    """Merge neighbouring affine maps, so that one that a ``Mixing`` can hold comes before each coupling."""
    first = steps[0]
    channels = first.channels if isinstance(first, Coupling) else len(first.shift)
    identity = AffineMap.linear(torch.eye(channels))
    pairs: list[tuple[AffineMap, Coupling]] = []
    pending = identity
    for step in [*steps, _no_coupling(channels)]:
        if isinstance(step, AffineMap):
            pending = pending.then(step)
            continue
        *rotations, last = _mixable(pending)
        pairs += [(rotation, _no_coupling(channels)) for rotation in rotations]
        pairs.append((last, step))
        pending = identity
    is_needless = torch.equal(last.matrix, identity.matrix) and not last.shift.any()
    return pairs[:-1] if is_needless and len(pairs) > 1 else pairs


def _no_coupling(channels: int) -> Coupling:
    """A coupling that moves nothing, to carry one more mixing."""
    nothing = (torch.zeros(0, channels), torch.zeros(0))
    return Coupling(channels, channels, "tanh", [[nothing]])


def _mixable(affine: AffineMap) -> list[AffineMap]:
    """Write a map as rotations after scalings: itself, or a rotation and then the rest by singular values."""
    rotation = affine.matrix / affine.matrix.norm(dim=0)
    if (rotation.T @ rotation - torch.eye(len(rotation))).abs().max() < _ORTHOGONAL:
        return [affine]
    left, singular, right = torch.linalg.svd(affine.matrix)
    return [AffineMap.linear(right), AffineMap(left * singular, affine.shift)]


@torch.no_grad()
def _fill(block: CouplingBlock, affine: AffineMap, coupling: Coupling) -> None:
    """Copy the weights of a mixing and the coupling after it."""
    mixing: Mixing = block.mixing
    scale = affine.matrix.norm(dim=0)
    mixing.rotation.copy_(affine.matrix / scale)
    mixing.log_scale.copy_(scale.log()[:, None])
    mixing.shift.copy_(-torch.linalg.solve(affine.matrix, affine.shift)[:, None])
    ours: list[Subnet] = [s for s in (block.second_given_first, block.first_given_second) if s is not None]
    for subnet, layers in zip(ours, coupling.subnets, strict=True):
        for weight, bias, (theirs, their_bias) in zip(subnet.weights, subnet.biases, layers, strict=True):
            weight.zero_()
            # A coupling that reads no condition has fewer columns: the others stay zero.
            weight[0, :, : theirs.shape[1]] = theirs
            bias.copy_(their_bias[:, None])
