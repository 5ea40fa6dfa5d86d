"""How images of a training are varied: moved or turned, and as if other devices had taken them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["VARIANTS", "as_by_another_device", "blurred", "moved"]

VARIANTS = {"none": lambda axes: 1, "shift": lambda axes: 1 + 2 * axes, "turn": lambda axes: 8}
"""How many variants of an image of so many axes there are, itself counted."""

_GREY, _GREY_SD = 128.0, 20.0  # the level that a change of contrast leaves
_CONTRAST_SD, _OFFSET_SD = 0.35, 10.0  # of the logarithm, and in grey levels
_MOST_BLUR, _MOST_NOISE = 1.2, 15.0  # standard deviations in pixels and in grey levels
_REACH = 3  # pixels from the middle of a blur


def moved(images: Tensor, changes: str, number: int) -> Tensor:
    """Return a variant of images ``(n, *size, C)``, same shape; number 0 leaves them as they are.

    Args:
        images: the images; ``"turn"`` is for two axes of equal length.
        changes: one of ``VARIANTS``.
        number: which variant, below the number of ``VARIANTS``.
    """
    if number == 0:
        return images
    if changes == "turn":
        turned = images.rot90(number % 4, (1, 2))
        return turned.flip(1) if number >= 4 else turned
    return _shifted(images, 1 + (number - 1) // 2, 1 if number % 2 else -1)


def as_by_another_device(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return images ``(n, *size, C)`` as a device of other contrast, brightness, sharpness or noise has them.

    Grey levels are from 0 to 255 and stay inside. Contrast and brightness change in every image, half of the
    images are blurred, half get noise: an image has all, some or none of it.
    """
    one = (len(images), *[1] * (images.ndim - 1))

    def normal(sd: float) -> Tensor:
        return sd * torch.randn(one, generator=generator).to(images)

    def half_of_the_time(most: float) -> Tensor:
        size, is_there = torch.rand((2, *one), generator=generator).to(images)
        return most * size * (is_there < 0.5)

    grey = _GREY + normal(_GREY_SD)
    sharpness, noise = half_of_the_time(_MOST_BLUR), half_of_the_time(_MOST_NOISE)
    seen = grey + normal(_CONTRAST_SD).exp() * (blurred(images, sharpness.flatten()) - grey)
    grain = torch.randn(images.shape, generator=generator).to(images)
    return (seen + normal(_OFFSET_SD) + noise * grain).clamp(0, 255)


def blurred(images: Tensor, sd: Tensor) -> Tensor:
    """Return images ``(n, *size, C)`` behind Gaussian blurs of standard deviations ``(n,)`` in pixels.

    The border stands on beyond the image; the blur ends 3 pixels from its middle.
    """
    away = torch.arange(-_REACH, _REACH + 1).to(images)
    weight = (-0.5 * (away / sd.clamp_min(0.05).unsqueeze(1)).square()).softmax(1)
    for axis in range(1, images.ndim - 1):
        shares = weight.T.reshape(-1, len(images), *[1] * (images.ndim - 1))
        steps = range(-_REACH, _REACH + 1)
        images = sum(share * _shifted(images, axis, step) for share, step in zip(shares, steps, strict=True))  # type: ignore[assignment]
    return images


def _shifted(images: Tensor, axis: int, step: int) -> Tensor:
    """Images moved along an axis; the border stands again for what was beyond it, which is not known."""
    length = images.shape[axis]
    index = torch.arange(length, device=images.device) + step
    return images.index_select(axis, index.clamp(0, length - 1))
