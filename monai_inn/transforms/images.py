"""What all transforms share: images as tensors with metadata, references and masks that fit them."""

from __future__ import annotations

from typing import Any

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

__all__ = ["as_image", "broadcast_mask", "broadcast_reference", "metadata", "plain_tensor", "with_metadata"]


def as_image(img: NdarrayOrTensor) -> Tensor:
    """The image as a real floating tensor with bands and at least one spatial axis."""
    image = img if isinstance(img, Tensor) else torch.as_tensor(img)
    if image.ndim < 2:
        raise ValueError(f"image has shape {tuple(image.shape)}, expected (bands, *spatial).")
    if image.is_complex():
        raise ValueError(f"image has type {image.dtype}, expected real numbers.")
    return image if image.dtype in (torch.float32, torch.float64) else image.float()


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
    """A reference in double precision, broadcastable to the image, first axis bands."""
    if reference.ndim == 0:
        reference = reference.expand(len(image))
    if reference.ndim == 1 and len(reference) == len(image):
        reference = reference.reshape(-1, *[1] * (image.ndim - 1))
    fits = reference.ndim == image.ndim and len(reference) == len(image)
    if not fits or any(r not in (1, i) for r, i in zip(reference.shape[1:], image.shape[1:], strict=True)):
        raise ValueError(
            f"{name} reference has shape {tuple(reference.shape)}, image {tuple(image.shape)}; "
            "give a number, (bands,) or the image's shape."
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
