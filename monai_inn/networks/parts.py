"""The parts of a network by the kind that describes them: ours, and those of other people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from monai_inn.registry import Registry, package_of

__all__ = ["PARTS", "Encoder", "Part", "arguments", "build", "describe", "foreign_packages", "register"]


class Part(nn.Module):
    """Module that a bundle describes by its kind and the arguments of its class.

    Attributes:
        kind: name of the class, once for all.
        config: keyword arguments that make an equal one, JSON-ready.
    """

    kind: ClassVar[str]
    config: dict[str, Any]


class Encoder(Part):
    """From the features of an observation to the condition of a flow.

    A subclass takes the number of features as its first argument, ``num_features``, sets ``out_channels`` and
    ``config``, and writes ``forward``. Features are rows ``(…, F)``; those of a problem that has no features
    of its own are its observations, which ``problem.observation.parts`` takes apart.

    Attributes:
        out_channels: channels of the condition.
    """

    out_channels: int

    def fit(self, features: Tensor, clean: Tensor, known: tuple[Tensor, Tensor] | None) -> None:
        """Set what is not trained, before the training; nothing here.

        Args:
            features: features of observations, ``(N, F)``.
            clean: those of observations without noise, ``(N', F)``.
            known: noise-free features ``(K, F)`` and their parameters in the flow's space ``(K, D)``, if
                ``num_known`` asks for some.
        """

    @property
    def num_known(self) -> int:
        """How many noise-free observations of parameters all over the prior ``fit`` needs."""
        return 0

    def summary(self, features: Tensor) -> Tensor:
        """Return what the density of the observations is over, ``(…, K)``, of density features ``(…, F)``."""
        return features


def _ours() -> dict[str, str]:
    rooms = "monai_inn.networks"
    return {
        "adjusted_normal": f"{rooms}.flows.bases:AdjustedNormal",
        "classes": f"{rooms}.classes.flow:ClassFlow",
        "autoencoder": f"{rooms}.autoencoder:InvertibleAutoencoder",
        "conditional": f"{rooms}.flows.flows:ConditionalFlow",
        "field": f"{rooms}.images.rows:FieldEncoder",
        "gated": f"{rooms}.encoders.gates:GatedEncoder",
        "image": f"{rooms}.encoders.encoders:ImageEncoder",
        "image_flow": f"{rooms}.images.rows:FieldFlow",
        "layers": f"{rooms}.encoders.layers:LayersEncoder",
        "series": f"{rooms}.encoders.series:SeriesEncoder",
        "vector": f"{rooms}.encoders.encoders:VectorEncoder",
    }


PARTS: Registry[type[Part]] = Registry(Part, "kind", "monai_inn.networks", "part of a network", _ours)
register = PARTS.register


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an ``__init__`` was given, from its first ``locals()``, as ``config`` keeps it for JSON."""
    return {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in given.items()
        if name not in ("self", "__class__")
    }


def build(description: Mapping[str, Any], **sizes: Any) -> Part:
    """Return the part that a description names.

    Args:
        description: ``{"kind": …, **arguments}``.
        **sizes: further arguments.

    Raises:
        UnknownNameError: if nobody offers that kind.
    """
    config = {name: value for name, value in description.items() if name != "kind"}
    return PARTS.find(description["kind"])(**sizes | config)


def describe(part: Part) -> dict[str, Any]:
    """Return the description of a part, from which ``build`` makes an equal one.

    Raises:
        ValueError: if its class is not registered, so that nobody could load it.
    """
    cls = type(part)
    if not isinstance(part, Part) or PARTS.known.get(getattr(cls, "kind", "")) is not cls:
        raise ValueError(
            f"the class {cls.__name__} cannot be part of a network: derive it from networks.Encoder, give it "
            "a kind, and decorate it with monai_inn.networks.register."
        )
    return {"kind": cls.kind, **part.config}


def foreign_packages(network: nn.Module) -> dict[str, dict[str, str]]:
    """Return name and version of the package of each part of a network that is not ours, by its kind.

    Parts of a script have none.
    """
    kinds = {type(part) for part in network.modules() if isinstance(part, Part)}
    found = {cls.kind: package_of(cls) for cls in kinds if cls.kind not in PARTS.ours()}
    return {kind: package for kind, package in sorted(found.items()) if package}
