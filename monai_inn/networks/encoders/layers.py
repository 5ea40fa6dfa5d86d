"""Encoder of anybody's layers of torch: a bundle describes them, and no class needs to be registered."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_inn.networks.encoders.whitening import Whitening
from monai_inn.networks.parts import Encoder, Part, register

__all__ = ["LayersEncoder", "as_encoder"]

_PLACE = ("self", "device", "dtype")


@register
class LayersEncoder(Encoder):
    """Encoder of layers of ``torch.nn`` in a row, which see features of unit variance, missing ones as zero.

    Args:
        num_features: number of features ``F``; the first layer sees ``(N, F)``.
        layers: each layer's class in ``torch.nn`` and its arguments, ``{"layer": "Linear", …}``; a
            ``Sequential`` has ``layers`` of its own.

    Raises:
        ValueError: if the layers do not make one row of numbers of an observation.
    """

    kind = "layers"

    def __init__(self, num_features: int, layers: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.config = {"num_features": num_features, "layers": [dict(layer) for layer in layers]}
        self.whitening = Whitening(num_features)
        self.layers = _built(layers)
        self.out_channels = _channels(self.layers, num_features)

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
        ValueError: if the layers are not torch's own, or do not make one row of numbers of an observation.
    """
    if isinstance(module, Part):
        return module  # type: ignore[return-value]
    _channels(module, num_features)  # layers that are sized by what they see are sized now
    layers = module if isinstance(module, nn.Sequential) else nn.Sequential(module)
    made = LayersEncoder(num_features, _described(layers))
    made.layers.load_state_dict(layers.state_dict())
    return made


def _described(layers: nn.Sequential) -> list[dict[str, Any]]:
    """The classes and arguments of layers."""
    return [
        {"layer": "Sequential", "layers": _described(layer)}
        if isinstance(layer, nn.Sequential)
        else {"layer": type(layer).__name__, **_arguments(layer)}
        for layer in layers
    ]


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """The arguments of a layer, which layers of torch keep as attributes of the same names."""
    name = type(layer).__name__
    if getattr(nn, name, None) is not type(layer):
        raise ValueError(
            f"encoder: {name} is not a layer of torch.nn; derive your module from networks.Encoder, give it "
            "a kind, and decorate it with monai_inn.networks.register."
        )
    arguments = {}
    for parameter in inspect.signature(type(layer)).parameters.values():
        value = getattr(layer, parameter.name, parameter.default)
        if parameter.name == "bias":
            value = value is not None and value is not False
        if parameter.name not in _PLACE and value != parameter.default:
            arguments[parameter.name] = list(value) if isinstance(value, tuple) else value
    return arguments


def _built(layers: Sequence[Mapping[str, Any]]) -> nn.Sequential:
    """Layers from their description."""
    made: list[nn.Module] = []
    for layer in layers:
        arguments = {name: value for name, value in layer.items() if name != "layer"}
        cls = getattr(nn, layer["layer"], None)
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise ValueError(f"encoder: torch.nn has no layer {layer['layer']!r}; install a newer torch.")
        if cls is nn.Sequential:
            made.append(_built(arguments["layers"]))
        else:
            values = {n: tuple(v) if isinstance(v, list) else v for n, v in arguments.items()}
            made.append(cls(**values))
    return nn.Sequential(*made)


@torch.no_grad()
def _channels(layers: nn.Module, num_features: int) -> int:
    """Channels that layers make of an observation; those of ``training`` or not stay as they are."""
    was_training = layers.training
    try:
        made = layers.eval()(torch.zeros(2, num_features))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"encoder: the layers do not take two observations of {num_features} features, "
            f"(2, {num_features}): {str(error).splitlines()[0]}"
        ) from None
    finally:
        layers.train(was_training)
    if not isinstance(made, Tensor) or made.ndim != 2 or len(made) != 2:
        shape = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ValueError(
            f"encoder: the layers made {shape} of two observations, expected (2, channels); end with "
            "nn.Flatten() and nn.Linear."
        )
    return made.shape[1]
