"""The NIfTI files of a result: one for each map of each parameter, stacks along the last axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from monai_inn.reports.pictures import rgb_colours

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

    from monai_inn.inferers import FittedPosterior

__all__ = ["on_cpu", "write_maps", "write_photo", "write_quantiles", "write_samples"]

_WRITTEN = (
    "median",
    "interval_width",
    "mode_count",
    "probability_below",
    "class_probability",
    "waic",
    "ood",
    "p_value",
    "valid",
)


def write_maps(folder: Path, maps: Mapping[str, MetaTensor]) -> Iterator[dict[str, Any]]:
    """Write one NIfTI file for each channel of each map and yield what it holds."""
    for kind in (k for k in _WRITTEN if k in maps):
        stacked = maps[kind]
        for channel, name, unit in zip(
            stacked, stacked.meta["channel_names"], stacked.meta["units"], strict=True
        ):
            stem = kind if name == kind else f"{kind}_{name.replace(' < ', '_').replace(' = ', '_')}"
            values = (channel.bool() if kind == "valid" else channel).as_tensor()[None]
            yield _write(folder / f"{stem}.nii.gz", values, stacked.affine, [name], kind, name, unit)


def write_quantiles(
    folder: Path, maps: Mapping[str, MetaTensor], levels: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    """Write one NIfTI file a parameter with its quantiles along the last axis.

    Uncompressed: these numbers hardly get smaller, and a viewer waits for them.
    """
    if not levels:
        return
    stacked, number = maps["quantiles"], len(levels)
    labels, units = stacked.meta["channel_names"], stacked.meta["units"]
    for first in range(0, len(stacked), number):
        part, name = slice(first, first + number), labels[first].split(" at ")[0]
        path, unit = folder / f"quantiles_{name}.nii", units[first]
        entry = _write(path, stacked[part], stacked.affine, labels[part], "quantiles", name, unit)
        yield entry | {"levels": list(levels)}


def write_photo(folder: Path, fitted: FittedPosterior, image: MetaTensor) -> dict[str, Any]:
    """Write the image as people see it, red, green and blue along the last axis: what maps are laid over."""
    colours = rgb_colours(image.cpu(), fitted.problem.application.wavelengths_nm)
    values, labels = (255 * colours).round().to(torch.uint8), ["red", "green", "blue"]
    return _write(folder / "photo.nii.gz", values, image.affine, labels, "photo", "photo", "1")


def write_samples(
    folder: Path, fitted: FittedPosterior, image: MetaTensor, number: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Write coherent posterior samples, one NIfTI file a parameter with the samples along the last axis."""
    if number == 0:
        return
    drawn = [
        cast("MetaTensor", sample.cpu()) for sample in fitted.draw(image, number, seed=seed, batched=False)
    ]
    for d, name in enumerate(drawn[0].meta["channel_names"]):
        stack, unit = torch.stack([sample.as_tensor()[d] for sample in drawn]), drawn[0].meta["units"][d]
        labels, path = [f"{name}, sample {i + 1}" for i in range(number)], folder / f"samples_{name}.nii.gz"
        yield _write(path, stack, drawn[0].affine, labels, "samples", name, unit)


def _write(
    path: Path, values: Tensor, affine: Tensor, labels: list[str], kind: str, parameter: str, unit: str
) -> dict[str, Any]:
    """Write channels ``(channels, *spatial)`` as NIfTI, and return what the file holds.

    Profiles ``(channels, n)`` become images of one row, the least that NIfTI can hold.
    """
    from monai_inn.transforms import write_map

    meta = {"affine": affine, "channel_names": labels, "units": unit}
    write_map(path, values.unsqueeze(1) if values.ndim == 2 else values, meta)
    return {"file": path.name, "map": kind, "parameter": parameter, "unit": unit}


def on_cpu(maps: Mapping[str, MetaTensor]) -> dict[str, MetaTensor]:
    """Return the same maps in memory that files are written from."""
    return {name: cast("MetaTensor", value.cpu()) for name, value in maps.items()}
