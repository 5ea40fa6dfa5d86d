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
    from monai_inn.transforms import write_map

    for kind in (k for k in _WRITTEN if k in maps):
        stacked = maps[kind]
        for channel, name, unit in zip(
            stacked, stacked.meta["channel_names"], stacked.meta["units"], strict=True
        ):
            stem = kind if name == kind else f"{kind}_{name.replace(' < ', '_').replace(' = ', '_')}"
            values = channel.bool() if kind == "valid" else channel
            meta = {"affine": stacked.affine, "channel_names": [name], "units": unit}
            write_map(folder / f"{stem}.nii.gz", _two_axes(values.as_tensor()[None]), meta)
            yield {"file": f"{stem}.nii.gz", "map": kind, "parameter": name, "unit": unit}


def write_quantiles(
    folder: Path, maps: Mapping[str, MetaTensor], levels: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    """Write one NIfTI file a parameter with its quantiles along the last axis.

    Uncompressed: these numbers hardly get smaller, and a viewer waits for them.
    """
    from monai_inn.transforms import write_map

    if not levels:
        return
    stacked, number = maps["quantiles"], len(levels)
    labels, units = stacked.meta["channel_names"], stacked.meta["units"]
    for first in range(0, len(stacked), number):
        part = slice(first, first + number)
        name = labels[first].split(" at ")[0]
        meta = {"affine": stacked.affine, "channel_names": labels[part], "units": units[first]}
        write_map(folder / f"quantiles_{name}.nii", _two_axes(stacked[part]), meta)
        yield {
            "file": f"quantiles_{name}.nii",
            "map": "quantiles",
            "parameter": name,
            "unit": units[first],
            "levels": list(levels),
        }


def write_photo(folder: Path, fitted: FittedPosterior, image: MetaTensor) -> dict[str, Any]:
    """Write the image as people see it, red, green and blue along the last axis: what maps are laid over."""
    from monai_inn.transforms import write_map

    colours = rgb_colours(image.cpu(), fitted.problem.application.wavelengths_nm)
    bytes_of = (255 * colours).round().to(torch.uint8)
    meta = {"affine": image.affine, "channel_names": ["red", "green", "blue"], "units": "1"}
    write_map(folder / "photo.nii.gz", _two_axes(bytes_of), meta)
    return {"file": "photo.nii.gz", "map": "photo", "parameter": "photo", "unit": "1"}


def write_samples(
    folder: Path, fitted: FittedPosterior, image: MetaTensor, number: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Write coherent posterior samples, one NIfTI file a parameter with the samples along the last axis."""
    from monai_inn.transforms import write_map

    if number == 0:
        return
    drawn = [
        cast("MetaTensor", sample.cpu()) for sample in fitted.draw(image, number, seed=seed, batched=False)
    ]
    for d, name in enumerate(drawn[0].meta["channel_names"]):
        stack, unit = torch.stack([sample.as_tensor()[d] for sample in drawn]), drawn[0].meta["units"][d]
        labels = [f"{name}, sample {i + 1}" for i in range(number)]
        meta = {"affine": drawn[0].affine, "channel_names": labels, "units": unit}
        write_map(folder / f"samples_{name}.nii.gz", _two_axes(stack), meta)
        yield {"file": f"samples_{name}.nii.gz", "map": "samples", "parameter": name, "unit": unit}


def _two_axes(values: Tensor) -> Tensor:
    """Profiles ``(channels, n)`` as images of one row, the least that NIfTI can hold."""
    return values.unsqueeze(1) if values.ndim == 2 else values


def on_cpu(maps: Mapping[str, MetaTensor]) -> dict[str, MetaTensor]:
    """Return the same maps in memory that files are written from."""
    return {name: cast("MetaTensor", value.cpu()) for name, value in maps.items()}
