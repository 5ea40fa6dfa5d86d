"""Image files: a user's image, calibrated, checked and masked; and the NIfTI files of a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from monai_inn.fitted import FittedPosterior
from monai_inn.problems import InverseProblem
from monai_inn.reading.orientation import same_grid
from monai_inn.reports.pictures import rgb_colours

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

__all__ = [
    "image_files",
    "on_cpu",
    "read_image",
    "write_channels",
    "write_maps",
    "write_photo",
    "write_quantiles",
    "write_samples",
]

_WRITTEN = (
    "median",
    "interval_width",
    "mode_count",
    "probability_below",
    "class_probability",
    "uninformative",
    "waic",
    "ood",
    "p_value",
    "reason",
    "adequacy",
    "efficiency",
    "at_bound",
    "model_probability",
    "valid",
)


def write_maps(
    folder: Path, maps: Mapping[str, MetaTensor], ending: str = ".nii.gz"
) -> Iterator[dict[str, Any]]:
    """Write one NIfTI file for each channel of each map and yield what it holds."""
    for kind in (k for k in _WRITTEN if k in maps):
        stacked = maps[kind]
        for channel, name, unit in zip(
            stacked, stacked.meta["channel_names"], stacked.meta["units"], strict=True
        ):
            stem = kind if name == kind else f"{kind}_{name.replace(' < ', '_').replace(' = ', '_')}"
            values = (channel.bool() if kind == "valid" else channel).as_tensor()[None]
            yield write_channels(folder / f"{stem}{ending}", values, stacked.affine, [name], kind, name, unit)


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
        entry = write_channels(path, stacked[part], stacked.affine, labels[part], "quantiles", name, unit)
        yield entry | {"levels": list(levels)}


def write_photo(folder: Path, fitted: FittedPosterior, image: MetaTensor) -> dict[str, Any]:
    """Write the image as people see it, red, green and blue along the last axis: what maps are laid over."""
    measured = image[: fitted.problem.observation.num_values]  # settings of the acquisition stand behind
    colours = rgb_colours(measured.cpu(), fitted.problem.application.wavelengths_nm)
    values, labels = (255 * colours).round().to(torch.uint8), ["red", "green", "blue"]
    return write_channels(folder / "photo.nii.gz", values, image.affine, labels, "photo", "photo", "1")


def write_samples(
    folder: Path,
    fitted: FittedPosterior,
    image: MetaTensor,
    number: int,
    seed: int,
    kept: MetaTensor | None = None,
) -> Iterator[dict[str, Any]]:
    """Write coherent posterior samples, one NIfTI file a parameter with the samples along the last axis.

    ``kept`` are these samples, if maps have returned them.
    """
    if number == 0:
        return
    if kept is None:
        drawn = [sample.cpu() for sample in fitted.draw(image, number, seed=seed, batched=False)]
        stacks = torch.stack(drawn, 1).as_subclass(Tensor)
    else:
        stacks = kept.as_tensor().unflatten(0, (-1, number))
    for parameter, stack in zip(fitted.problem.shown, stacks, strict=True):
        labels = [f"{parameter.name}, sample {i + 1}" for i in range(number)]
        path = folder / f"samples_{parameter.name}.nii.gz"
        yield write_channels(path, stack, image.affine, labels, "samples", parameter.name, parameter.unit)


def write_channels(
    path: Path,
    values: Tensor,
    affine: Tensor,
    labels: list[str],
    kind: str,
    parameter: str,
    unit: str,
    synthetic: str = "",
) -> dict[str, Any]:
    """Write channels ``(channels, *spatial)`` as NIfTI, and return what the file holds.

    Profiles ``(channels, n)`` become images of one row, the least that NIfTI can hold. ``synthetic`` is what
    an image that nobody acquired says of itself.
    """
    from monai_inn.transforms import write_map

    meta = {"affine": affine, "channel_names": labels, "units": unit}
    meta |= {"synthetic": synthetic} if synthetic else {}
    write_map(path, values.unsqueeze(1) if values.ndim == 2 else values, meta)
    return {"file": path.name, "map": kind, "parameter": parameter, "unit": unit}


def on_cpu(maps: Mapping[str, MetaTensor]) -> dict[str, MetaTensor]:
    """Return the same maps in memory that files are written from."""
    return {name: cast("MetaTensor", value.cpu()) for name, value in maps.items()}


_ENVI = (".hdr", ".dat", ".img", ".raw", ".bsq", ".bil", ".bip")


def read_image(
    path: str | PathLike[str],
    problem: InverseProblem,
    *,
    mask: str | PathLike[str] | None = None,
    white: str | None = None,
    dark: str | None = None,
    shrink: int = 1,
) -> MetaTensor:
    """Read an image for a problem; pixels that must not be inferred are NaN.

    Args:
        path: image of any format that ``read_multispectral`` takes.
        problem: what the image is for; its application checks the channels.
        mask: image that is not zero where results are wanted.
        white: white reference: an image file, or one number in units of the image.
        dark: dark reference, likewise; zero if only ``white`` is given.
        shrink: average blocks of so many pixels along each axis with more than one; a block with an invalid
            pixel is invalid.

    Returns:
        Image ``(C, *spatial)``, float32, NaN in every channel of the invalid pixels.

    Raises:
        ValueError: if a file is damaged, or image, references and mask do not fit each other or the problem.
    """
    from monai_inn.transforms import CalibrateReflectance, MatchSeries, read_multispectral

    problem.require_maps()
    image: MetaTensor = read_multispectral(path)
    if problem.application.wavelengths_nm is not None:
        image.meta["is_oriented"] = False  # a camera does not know how the patient lies, whatever the format
    as_read = image
    wanted = None if mask is None else _marked(mask, image)
    if dark is not None and white is None:
        raise ValueError("a dark reference was given without a white one; give --white too.")
    application = problem.application
    if problem.observation.kind == "series":
        matched = MatchSeries(observation=problem.observation, advice=application.series_advice)(image)
        image = cast("MetaTensor", matched)
    image, usable = application.match(image, str(path)), application.usable()
    values = image.as_tensor().movedim(0, -1)
    of_a_pixel = problem.observation.kind != "neighbourhood"
    valid = problem.observation.is_usable(values) if of_a_pixel else torch.isfinite(values).all(-1)
    if white is not None:
        references = {
            "white": _reference(white, as_read),
            "dark": 0.0 if dark is None else _reference(dark, as_read),
        }
        # References have the channels in the order of the file, which matching may change.
        calibrated = cast("MetaTensor", CalibrateReflectance(**references)(as_read))
        image = application.match(calibrated, str(path))
    if usable is not None:
        valid = valid & usable(image)
    if wanted is not None:
        if wanted.shape != image.shape[1:]:
            raise ValueError(
                f"{mask}: mask of shape {tuple(wanted.shape)}, expected {tuple(image.shape[1:])}, "
                "as the image."
            )
        valid = valid & wanted
    image[:, ~valid] = torch.nan
    return _shrunk(image, shrink)


def _shrunk(image: MetaTensor, factor: int) -> MetaTensor:
    """Block means, with the affine of the larger pixels."""
    sizes = image.shape[1:]
    shortest = min((size for size in sizes if size > 1), default=1)  # one slice stays one
    if not 1 <= factor <= shortest:
        raise ValueError(
            f"shrink = {factor}; give a number from 1 to {shortest}, the shortest side of the image."
        )
    if factor == 1:
        return image
    values = image.as_tensor()
    scaling = torch.eye(len(image.affine), dtype=image.affine.dtype)
    for axis, size in enumerate(sizes):
        if size > 1:
            rows = values.narrow(axis + 1, 0, size // factor * factor)
            values = rows.unflatten(axis + 1, (-1, factor)).mean(axis + 2)
            scaling[axis, axis], scaling[axis, -1] = factor, (factor - 1) / 2
    meta = {k: v for k, v in image.meta.items() if k not in ("affine", "saturated", "valid")}
    return type(image)(values, affine=image.affine @ scaling, meta=meta)


def _marked(path: str | PathLike[str], image: MetaTensor) -> Tensor:
    """Where a mask is not zero. Of images of the patient it must lie where the image does."""
    from monai_inn.transforms import read_multispectral

    mask = read_multispectral(path)
    if (
        mask.meta.get("is_oriented")
        and image.meta.get("is_oriented")
        and mask.shape[1:] == image.shape[1:]
        and not same_grid(mask.affine, image.affine, image.shape[1:])
    ):
        raise ValueError(
            f"{path}: the mask lies elsewhere in the patient than the image; resample it to the image."
        )
    return mask.as_tensor().nan_to_num().ne(0).any(0)


def _reference(given: str, image: Tensor) -> float | Tensor:
    """A reference as a number, an image of the same size, or one value a channel; NaN where saturated."""
    from monai_inn.transforms import read_multispectral

    try:
        return float(given)
    except ValueError:
        read = read_multispectral(given)
    reference = read.as_tensor()
    if len(reference) != len(image):
        raise ValueError(f"{given}: reference of {len(reference)} channels, but the image has {len(image)}.")
    saturation = read.meta.get("saturation")
    if saturation is not None:
        reference = torch.where(reference >= saturation, torch.nan, reference)
        lost = reference.isnan().flatten(1).all(1)
        if bool(lost.any()):
            raise ValueError(
                f"{given}: saturated in {int(lost.sum())} of {len(lost)} channels, from channel "
                f"{int(lost.nonzero()[0])} (from 0) on; take it again with a shorter exposure."
            )
    return reference if reference.shape == image.shape else reference.flatten(1).nanmean(1)


def image_files(path: str | PathLike[str]) -> list[Path]:
    """Return the files that an image consists of: an ENVI image has a header and its data."""
    source = Path(path)
    if source.suffix.lower() not in _ENVI:
        return [source]
    return sorted(f for f in source.parent.glob(f"{source.stem}.*") if f.suffix.lower() in _ENVI)
