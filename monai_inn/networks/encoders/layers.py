"""Encoder of anybody's layers of torch: a bundle describes them, and no class needs to be registered."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_inn.networks.encoders.whitening import Whitening
from monai_inn.networks.parts import Encoder, Part, arguments, register

__all__ = ["LayersEncoder", "as_encoder"]

_ACTIVATIONS = (nn.ELU, nn.GELU, nn.Hardtanh, nn.LeakyReLU, nn.Mish, nn.ReLU, nn.SELU, nn.Sigmoid, nn.SiLU,
                nn.Softplus, nn.Softsign, nn.Tanh)  # fmt: skip
_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
          nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.MaxPool1d,
          nn.MaxPool2d, nn.MaxPool3d)  # fmt: skip
_OTHERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Flatten, nn.GroupNorm, nn.Identity, nn.LayerNorm, nn.Linear,
           nn.Sequential, nn.Unflatten)  # fmt: skip
# Layers that draw, or keep statistics of batches, would do so on held-out observations too.
_LAYERS: dict[str, type[nn.Module]] = {cls.__name__: cls for cls in (*_ACTIVATIONS, *_POOLS, *_OTHERS)}
_PLACE = ("device", "dtype")


@register
class LayersEncoder(Encoder):
    """Encoder of layers of ``torch.nn`` in a row, which see features of unit variance, missing ones as zero.

    Args:
        num_features: number of features ``F``; the first layer sees ``(N, F)``.
        out_channels: what the last layer makes of an observation.
        layers: each layer's class in ``torch.nn`` and its arguments, ``{"layer": "Linear", …}``; a
            ``Sequential`` has ``layers`` of its own.

    Raises:
        ValueError: if there is no such layer.
    """

    kind = "layers"

    def __init__(self, num_features: int, out_channels: int, layers: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.config = arguments(locals())
        self.whitening = Whitening(num_features)
        self.layers = _built(layers)
        self.out_channels = out_channels

    def fit(self, features: Tensor, clean: Tensor, known: tuple[Tensor, Tensor] | None) -> None:
        """Standardise features ``(N, F)``."""
        self.whitening.standardise(features)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(…, F)`` to a condition ``(…, out_channels)``."""
        seen = self.whitening(features.where(features.isfinite(), self.whitening.mean))
        made: Tensor = self.layers(seen.reshape(-1, seen.shape[-1]))
        return made.reshape(*seen.shape[:-1], self.out_channels)


def as_encoder(module: nn.Module, num_features: int) -> Encoder:
    """Return an encoder as it is, and one of layers of torch with the same weights for any other module.

    Args:
        module: an ``Encoder``; or layers of ``torch.nn``, in a ``Sequential`` if there are several.
        num_features: number of features ``F``.

    Raises:
        ValueError: if the layers are others than a bundle describes, or do not make one row of numbers of an
            observation.
    """
    if isinstance(module, Part):
        return module  # type: ignore[return-value]
    channels = _channels(module, num_features)  # layers that are sized by what they see are sized now
    layers = module if type(module) is nn.Sequential else nn.Sequential(module)
    made = LayersEncoder(num_features, channels, _described(layers))
    own, given = list(made.layers.parameters()), list(layers.parameters())
    if len(own) != len(given):
        raise ValueError("encoder: a layer stands in it twice; a bundle would hold two of them.")
    for one, other in zip(own, given, strict=True):
        one.data.copy_(other.data)
        one.requires_grad_(other.requires_grad)
    return made


def _described(layers: nn.Sequential) -> list[dict[str, Any]]:
    """The classes and arguments of layers."""
    return [
        {"layer": "Sequential", "layers": _described(layer)}
        if type(layer) is nn.Sequential
        else {"layer": type(layer).__name__, **_arguments(layer)}
        for layer in layers
    ]


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """The arguments of a layer, which layers of torch keep as attributes of the same names."""
    cls = type(layer)
    if _LAYERS.get(cls.__name__) is not cls:
        raise ValueError(
            f"encoder: it has a {cls.__name__}, expected {', '.join(_LAYERS)}; derive any other module from "
            "networks.Encoder, give it a kind, and decorate it with monai_inn.networks.register."
        )
    described = {}
    for parameter in inspect.signature(cls).parameters.values():
        value = getattr(layer, parameter.name, parameter.default)
        if parameter.name == "bias":
            value = value is not None and value is not False
        if parameter.name not in _PLACE and value != parameter.default:
            described[parameter.name] = list(value) if isinstance(value, tuple) else value
    return described


def _built(layers: Sequence[Mapping[str, Any]]) -> nn.Sequential:
    """Layers from their description."""
    made: list[nn.Module] = []
    for layer in layers:
        given = {name: value for name, value in layer.items() if name != "layer"}
        cls = _LAYERS.get(layer["layer"])
        if cls is None:
            raise ValueError(f"encoder: there is no layer {layer['layer']!r}; expected {', '.join(_LAYERS)}.")
        if cls is nn.Sequential:
            made.append(_built(given["layers"]))
        else:
            made.append(cls(**{n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}))
    return nn.Sequential(*made)


@torch.no_grad()
def _channels(layers: nn.Module, num_features: int) -> int:
    """Channels that layers make of an observation."""
    try:
        made = layers(torch.zeros(2, num_features))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"encoder: the layers do not take two observations of {num_features} features, "
            f"(2, {num_features}): {str(error).splitlines()[0]}"
        ) from None
    if not isinstance(made, Tensor) or made.ndim != 2 or len(made) != 2:
        shape = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ValueError(
            f"encoder: the layers made {shape} of two observations, expected (2, channels); end with "
            "nn.Flatten() and nn.Linear."
        )
    return made.shape[1]
