"""Bundles of former releases, brought to the form of this one while they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["result_of", "upgraded"]

# Where a size of the former flat description is now.
_ENCODER = {"condition_channels": "out_channels", "encoder_width": "width", "encoder_blocks": "num_blocks"}
_FLOW = ("num_blocks", "hidden_channels", "coupling")
_DENSITY = {"members": "members", "density_blocks": "num_blocks", "density_hidden": "hidden_channels"}
_SIZES = ("num_ood_scores", "recalibration_cases")
_LEADING = 24


def upgraded(header: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return header and tensors of a weights file in the form of this release.

    Until December 2026 a network was described by one flat list of sizes, and whitening, templates and
    encoder lay side by side.
    """
    old = header["network"]
    if "encoder" in old:
        if "recalibration_knots" in old:
            header = {**header, "network": _with_base(dict(old), old["flow"]["groups"])}
        return header, tensors
    is_image = bool(old.get("components"))
    moved = {
        "whitening.": "encoder.components." if is_image else "encoder.whitening.",
        "templates.": "encoder.templates.",
        "encoder.": "encoder.network.",
        "density_whitening.": "density.whitening.",
        "density.": "density.ensemble.",
        "flow.stack.circles.": "flow.stack.heads.",
    }

    def name_of(name: str) -> str:
        start = next((start for start in moved if name.startswith(start)), None)
        return name if start is None else moved[start] + name.removeprefix(start)

    network = _nested(old, is_image)
    return {**header, "network": network}, {name_of(name): value for name, value in tensors.items()}


def result_of(metadata: dict[str, Any]) -> str:
    """Return the kind of result of a bundle whose metadata do not say it, until December 2026."""
    outputs = metadata["network_data_format"].get("outputs", {})
    return "maps" if outputs.get("pred", {}).get("type", "image") == "image" else "poses"


def _nested(old: dict[str, Any], is_image: bool) -> dict[str, Any]:
    groups, periodic, seed = old["groups"], old.get("periodic", []), old.get("seed", 0)
    encoder = {"kind": "image" if is_image else "vector", "num_features": old["num_features"]}
    encoder |= {new: old[name] for name, new in _ENCODER.items() if name in old}
    if is_image:
        encoder |= {"num_parameters": sum(groups), "components": old["components"], "periodic": periodic}
        encoder |= {"templates": old.get("templates", 0)}
    flow = {"in_channels": sum(groups), "groups": groups, "periodic": periodic, "seed": seed}
    flow |= {"condition_channels": old.get("condition_channels", 32)}
    flow |= {name: old[name] for name in _FLOW if name in old}
    seen = min(_LEADING, old["components"]) + 1 if is_image else old["num_density_features"]
    density = {"num_features": seen, "seed": seed + 1}
    density |= {new: old[name] for name, new in _DENSITY.items() if name in old}
    sizes = {name: old[name] for name in _SIZES if name in old}
    has_preview = not is_image and not periodic
    parts = {"encoder": encoder, "flow": flow, "density": density, "has_preview": has_preview}
    return _with_base(parts | sizes | {"recalibration_knots": old.get("recalibration_knots", 0)}, groups)


def _with_base(network: dict[str, Any], groups: list[int]) -> dict[str, Any]:
    """A description whose number of knots has become the base that it stood for."""
    knots = network.pop("recalibration_knots")
    if knots:
        network["base"] = {"kind": "adjusted_normal", "groups": groups, "knots": knots}
    return network
