"""Maps with the geometry of their image, and names and units of their channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from monai_inn.problems import Parameter

__all__ = ["described_maps"]

_OF_NO_PARAMETER = ("waic", "ood", "p_value", "reason", "adequacy", "efficiency", "at_bound", "valid")


def described_maps(
    maps: Mapping[str, Tensor],
    image: Tensor,
    *,
    shown: Sequence[Parameter],
    reasons: Sequence[str],
    below: Mapping[str, float] | None = None,
    levels: Sequence[float] = (),
    kept: int = 0,
    models: Sequence[str] = (),
) -> dict[str, MetaTensor]:
    """Return maps with the affine of an image, ``channel_names``, ``units`` and the name of the ``map``.

    Args:
        maps: the maps by name, channels first.
        image: what they were made of.
        shown: what the channels are of.
        reasons: what the numbers of the map ``reason`` mean.
        below: thresholds of ``probability_below`` by parameter name.
        levels: those of ``quantiles``.
        kept: number of ``samples``.
        models: names of the models of ``model_probability``.
    """
    affine = image.affine if isinstance(image, MetaTensor) else None
    result = {}
    for name, value in maps.items():
        names, units = [p.name for p in shown], [p.unit for p in shown]
        if name == "probability_below":
            names = [f"{key} < {threshold:g}" for key, threshold in (below or {}).items()]
            units = ["1"] * len(names)
        elif name == "quantiles":
            names = [f"{key} at {level:.4g}" for key in names for level in levels]
            units = [unit for unit in units for _ in levels]
        elif name == "samples":
            names = [f"{key}, sample {i + 1}" for key in names for i in range(kept)]
            units = [unit for unit in units for _ in range(kept)]
        elif name == "class_probability":
            names = [f"{p.name} = {label}" for p in shown for label in p.categories]
            units = ["1"] * len(names)
        elif name == "model_probability":
            names, units = list(models), ["1"] * len(models)
        elif name in ("mode_count", "uninformative"):
            units = ["1"] * len(names)
        elif name in _OF_NO_PARAMETER:
            names, units = [name], ["nat" if name == "waic" else "1"]
        meta: dict[str, Any] = {"channel_names": names, "units": units, "map": name}
        if name == "reason":
            meta["labels"] = tuple(reasons)
        result[name] = MetaTensor(value, affine=affine, meta=meta)
    return result
