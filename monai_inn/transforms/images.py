"""What all transforms share: images as tensors with metadata, references and masks that fit them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

__all__ = [
    "as_image",
    "broadcast_mask",
    "broadcast_reference",
    "check_wavelengths",
    "labels_of",
    "metadata",
    "plain_tensor",
    "with_metadata",
]

_PER_BAND = ("wavelength_nm", "band_names", "fwhm_nm")


def as_image(img: NdarrayOrTensor) -> Tensor:
    """The image as a real floating tensor with channels and at least one spatial axis."""
    image = img if isinstance(img, Tensor) else torch.as_tensor(img)
    if image.ndim < 2:
        raise ValueError(f"image has shape {tuple(image.shape)}, expected (channels, *spatial).")
    if image.is_complex():
        raise ValueError(f"image has type {image.dtype}, expected real numbers.")
    if image.numel() == 0:
        raise ValueError(
            f"image has shape {tuple(image.shape)}, expected at least one channel and one pixel."
        )
    for key in _PER_BAND:
        if key not in metadata(image):
            continue
        count = next(iter(np.shape(metadata(image)[key])), 1)
        if count != len(image):
            last = "; move the bands to the front, they are last" if count == image.shape[-1] else ""
            raise ValueError(
                f"image has shape {tuple(image.shape)} and {count} entries of {key}, expected "
                f"(bands, *spatial){last}."
            )
    return image if image.dtype in (torch.float32, torch.float64) else image.float()


def check_wavelengths(values: Sequence[float], count: int, name: str = "wavelength_nm") -> None:
    """Refuse what cannot be one wavelength (or width) in nm a band.

    Raises:
        ValueError: if there are not ``count`` numbers, one is not finite or below zero, or two bands have the
            same wavelength; widths may be alike, and zero where a file does not know them.
    """
    if len(values) != count:
        raise ValueError(f"{len(values)} entries of {name}, but {count} bands in the image.")
    is_width = name.startswith("fwhm")
    for band, value in enumerate(values):
        if not math.isfinite(value) or value < 0 or (value == 0 and not is_width):
            raise ValueError(f"{name} of band {band} is {value:g}, expected a positive number of nm.")
        if not is_width and value in values[:band]:
            raise ValueError(
                f"bands {values.index(value)} and {band} have the same {name}, {value:g} nm, expected one of "
                f"its own for each band; correct or remove {name}."
            )


def labels_of(labels: Mapping[str, Any], chosen: Sequence[int], count: int) -> dict[str, Any]:
    """Return what is said of ``count`` channels for those chosen; what has another length stays."""

    def kept(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: kept(values) for name, values in value.items()}
        if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != count:
            return value
        return tuple(value[i] for i in chosen)

    return {key: kept(value) for key, value in labels.items()}


def plain_tensor(image: Tensor) -> Tensor:
    """The same numbers without metadata, on the same device."""
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def metadata(image: Tensor) -> dict[str, Any]:
    """Metadata of an image, empty for a plain tensor."""
    return image.meta if isinstance(image, MetaTensor) else {}


def with_metadata(values: Tensor, image: Tensor) -> Tensor:
    """Values in the image's dtype with a copy of its metadata and of its trace."""
    values = values.to(image.dtype)
    if not isinstance(image, MetaTensor):
        return values
    return MetaTensor(values, meta=dict(image.meta), applied_operations=list(image.applied_operations))


def broadcast_reference(reference: Tensor, name: str, image: Tensor) -> Tensor:
    """A reference in double precision, broadcastable to the image, first axis channels."""
    if reference.ndim == 0:
        reference = reference.expand(len(image))
    if reference.ndim == 1 and len(reference) == len(image):
        reference = reference.reshape(-1, *[1] * (image.ndim - 1))
    fits = reference.ndim == image.ndim and len(reference) == len(image)
    if not fits or any(r not in (1, i) for r, i in zip(reference.shape[1:], image.shape[1:], strict=True)):
        raise ValueError(
            f"{name} reference has shape {tuple(reference.shape)}, image {tuple(image.shape)}; "
            "give a number, (channels,) or the image's shape."
        )
    return reference.to(image.device)


def broadcast_mask(mask: NdarrayOrTensor, image: Tensor, what: str) -> Tensor:
    """A mask as boolean ``(1, *spatial)`` on the image's device."""
    flags = torch.as_tensor(mask, device=image.device)
    flags = plain_tensor(flags).bool()
    flags = flags[None] if flags.ndim == image.ndim - 1 else flags
    if flags.shape != (1, *image.shape[1:]):
        raise ValueError(
            f"{what} shape {tuple(flags.shape)}, expected {(1, *image.shape[1:])}; "
            "mark invalid pixels before cropping or resampling the image."
        )
    return flags
