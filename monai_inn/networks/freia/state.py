"""Reading the weights of a FrEIA network: couplings, and the affine maps between them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["AffineMap", "Coupling", "read_modules"]

_SUPPORTED = "GLOWCouplingBlock, AllInOneBlock, PermuteRandom, ActNorm and FixedLinearTransform of vectors"


@dataclass
class AffineMap:
    """``y = matrix x + shift``, float64; shapes ``(D, D)`` and ``(D,)``."""

    matrix: Tensor
    shift: Tensor

    @classmethod
    def linear(cls, matrix: Tensor) -> AffineMap:
        """A map without shift."""
        return cls(matrix.double(), matrix.new_zeros(len(matrix), dtype=torch.float64))

    def then(self, after: AffineMap) -> AffineMap:
        """This map followed by another."""
        return AffineMap(after.matrix @ self.matrix, after.matrix @ self.shift + after.shift)


@dataclass
class Coupling:
    """Layers ``(weight, bias)`` of ``second_given_first`` and, if two-sided, of ``first_given_second``."""

    channels: int
    split: int
    activation: str
    subnets: list[list[tuple[Tensor, Tensor]]]

    @property
    def hidden_channels(self) -> list[int]:
        """Widths of the hidden layers."""
        return [len(bias) for _, bias in self.subnets[0][:-1]]

    def require_condition(self, channels: int, where: str) -> None:
        """Refuse couplings that read a condition of another size; those that read none are welcome."""
        seen = (self.split, self.channels - self.split)
        for layers, half in zip(self.subnets, seen, strict=False):
            reads = layers[0][0].shape[1] - half
            if reads not in (0, channels):
                raise ValueError(
                    f"{where} reads a condition of {reads} channels, but condition_channels = {channels}; "
                    f"pass condition_channels={reads}, the sum of the sizes of the FrEIA conditions."
                )


def read_modules(
    state: Mapping[str, Tensor], clamp_activation: str, global_affine_type: str, *, reverse_permutation: bool
) -> list[tuple[str, AffineMap | Coupling]]:
    """Return what each entry of FrEIA's ``module_list`` computes, with its name, in data-to-latent order.

    Raises:
        ValueError: if the state is not that of a chain of supported FrEIA modules.
    """
    steps: list[tuple[str, AffineMap | Coupling]] = []
    for number, module in _grouped(state).items():
        where = f"module_list.{number}"
        if "subnet1" in _heads(module) and "subnet2" in _heads(module):
            steps.append((where, _glow(module, where, clamp_activation)))
        elif "global_scale" in module:
            rotation, scaling = _global_affine(module, where, global_affine_type)
            if reverse_permutation:
                steps.append((where, AffineMap.linear(rotation.T)))
            steps += [(where, _one_sided(module, where)), (where, scaling)]
        else:
            steps.append((where, _between(module, where)))
    sizes = {where: s.channels if isinstance(s, Coupling) else len(s.shift) for where, s in steps}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"the FrEIA modules act on different numbers of channels, {sizes}; only a chain can be read."
        )
    return steps


def _grouped(state: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Tensors by position in the chain and name within the module."""
    if not state:
        raise ValueError("the state is empty; pass the state_dict() of a SequenceINN or GraphINN.")
    modules: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = re.fullmatch(r"module_list\.(\d+)\.(.+)", key)
        if match is None or not isinstance(value, Tensor):
            raise ValueError(
                f'{key!r} is not a tensor of a FrEIA network, whose names begin with "module_list.0."; pass '
                "the state_dict() of the SequenceINN or GraphINN itself."
            )
        modules.setdefault(int(match[1]), {})[match[2]] = value.detach().cpu()
    missing = sorted(set(range(max(modules) + 1)) - set(modules))
    if missing:
        # A layer without weights may be a Flatten or a sigmoid: guessing would change the density.
        raise ValueError(
            f"module_list.{missing[0]} has no tensors, so its kind is unknown; supported: {_SUPPORTED}."
        )
    return dict(sorted(modules.items()))


def _heads(module: Mapping[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name in module}


def _unknown(module: Mapping[str, Tensor], where: str) -> ValueError:
    shapes = {name: tuple(value.shape) for name, value in module.items()}
    return ValueError(f"{where} holds {shapes}, which is none of the supported modules: {_SUPPORTED}.")


def _layers(module: Mapping[str, Tensor], head: str, where: str) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of a stack of linear layers, in order."""
    stems = dict.fromkeys(name.rpartition(".")[0] for name in module if name.startswith(head + "."))
    layers: list[tuple[Tensor, Tensor]] = []
    for stem in stems:
        parts = {
            name.rpartition(".")[2]: value for name, value in module.items() if name.startswith(stem + ".")
        }
        weight = parts.get("weight")
        is_linear = weight is not None and weight.ndim == 2 and parts.keys() <= {"weight", "bias"}
        if weight is None or not is_linear or (layers and weight.shape[1] != len(layers[-1][1])):
            raise ValueError(
                f"{where}.{stem} is not a linear layer that fits the one before; a subnet must consist of "
                "Linear and ReLU layers, as in nn.Sequential."
            )
        layers.append((weight, parts.get("bias", weight.new_zeros(len(weight)))))
    if not layers or len(layers[-1][1]) % 2:
        raise ValueError(f"{where}.{head} must end in as many log-scales as shifts.")
    return layers


def _glow(module: Mapping[str, Tensor], where: str, clamp_activation: str) -> Coupling:
    given_first, given_second = (_layers(module, head, where) for head in ("subnet1", "subnet2"))
    if [len(b) for _, b in given_first[:-1]] != [len(b) for _, b in given_second[:-1]]:
        raise ValueError(f"the subnets of {where} differ in their hidden widths; expected equal ones.")
    split, rest = len(given_second[-1][1]) // 2, len(given_first[-1][1]) // 2
    subnets = [given_first, given_second] if split else [given_first]
    if clamp_activation == "SIGMOID":
        # 2 (sigmoid(u) − ½) = tanh(u / 2): halve the rows of the log-scale.
        for layers in subnets:
            half = len(layers[-1][1]) // 2
            layers[-1] = _rescaled(layers[-1], [0.5] * half + [1.0] * half)
    return Coupling(split + rest, split, "atan" if clamp_activation == "ATAN" else "tanh", subnets)


def _one_sided(module: Mapping[str, Tensor], where: str) -> Coupling:
    layers = _layers(module, "subnet", where)
    channels = module["global_scale"].numel()
    if len(layers[-1][1]) != 2 * (channels // 2):
        raise _unknown(module, where)
    # AllInOneBlock damps the output of its subnet.
    layers[-1] = _rescaled(layers[-1], [0.1] * len(layers[-1][1]))
    return Coupling(channels, channels - channels // 2, "tanh", [layers])


def _rescaled(layer: tuple[Tensor, Tensor], factors: list[float]) -> tuple[Tensor, Tensor]:
    weight, bias = layer
    factor = torch.tensor(factors, dtype=weight.dtype)
    return factor[:, None] * weight, factor * bias


def _global_affine(module: Mapping[str, Tensor], where: str, kind: str) -> tuple[Tensor, AffineMap]:
    """Rotation ``(D, D)`` and the whole trailing map ``rotation (scale x + offset)`` of an AllInOneBlock."""
    raw, offset = module["global_scale"].double().flatten(), module["global_offset"].double().flatten()
    if "vk_householder" in module:
        rotation = module["w_0"].double()
        for v in module["vk_householder"].double():
            rotation = rotation - 2 * torch.outer(rotation @ v, v) / (v @ v)
    else:
        rotation = module["w_perm"].double()
    if rotation.ndim != 2:
        raise _unknown(module, where)
    scale = {
        "SOFTPLUS": lambda: 0.1 * F.softplus(raw, beta=0.5),
        "SIGMOID": lambda: 10 * torch.sigmoid(raw - 2),
        "EXP": raw.exp,
    }[kind]()
    return rotation, AffineMap(rotation * scale, rotation @ offset)


def _between(module: Mapping[str, Tensor], where: str) -> AffineMap:
    names = set(module)
    if names == {"perm", "perm_inv"}:
        return AffineMap.linear(torch.eye(len(module["perm"]), dtype=torch.float64)[module["perm"]])
    if names == {"scale", "bias"} and module["scale"].ndim == 2:
        return AffineMap(module["scale"].double()[0].exp().diag(), module["bias"].double()[0])
    if names - {"b"} == {"M", "M_inv", "logDetM"} and module["M"].ndim == 2:
        # FrEIA multiplies rows from the right, and stores the matrix transposed for that.
        linear = AffineMap.linear(module["M"].T)
        return AffineMap(linear.matrix, module["b"].double()[0]) if "b" in names else linear
    raise _unknown(module, where)
