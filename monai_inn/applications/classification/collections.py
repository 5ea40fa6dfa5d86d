"""Images with their classes, and which of them are for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Collection", "made_up", "parts_of_groups"]

_SHARES = (0.7, 0.1, 0.1, 0.1)  # of the groups: training, stopping it, thresholds, measuring


class Collection(NamedTuple):
    """Images of several classes.

    Attributes:
        images: grey levels from 0 to 255, uint8, ``(n, *size, C)``.
        labels: class of each, int64, ``(n,)``.
        part: what each is for, ``(n,)``: 0 training, 1 stopping it, 2 thresholds, 3 measuring.
        classes: names of the classes.
    """

    images: Tensor
    labels: Tensor
    part: Tensor
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        images: Any,
        labels: Any,
        classes: Sequence[str],
        groups: Any = None,
        measured: tuple[Any, Any] | None = None,
        seed: int = 0,
    ) -> Collection:
        """Return images with classes, split by groups.

        Args:
            images: grey levels from 0 to 255, ``(n, *size)`` or, of colours, ``(n, *size, 3)``.
            labels: class of each, whole numbers from 0 on, ``(n,)``.
            classes: names of the classes.
            groups: what images belong together, such as those of a patient, ``(n,)``; each by itself if left
                out.
            measured: images and labels to measure on, if they are kept apart already.
            seed: seed of the split.

        Raises:
            ValueError: if numbers disagree, images are not of one size or no grey levels from 0 to 255, or a
                label is of no class.
        """
        if measured is not None:
            extra = cls.of(*measured, classes)
            rest = cls.of(images, labels, classes, groups, seed=seed)
            if rest.images.shape[1:] != extra.images.shape[1:]:
                raise ValueError(
                    f"images to train on have the shape {tuple(rest.images.shape[1:])}, those to measure on "
                    f"{tuple(extra.images.shape[1:])}; give one size."
                )
            part = torch.where(rest.part == 3, 2, rest.part)  # more for the thresholds
            return cls(
                torch.cat([rest.images, extra.images]),
                torch.cat([rest.labels, extra.labels]),
                torch.cat([part, torch.full_like(extra.part, 3)]),
                rest.classes,
            )
        pixels, found = _checked(images), _whole(labels)
        if len(pixels) != len(found):
            raise ValueError(f"{len(pixels)} images and {len(found)} labels; give one label for each image.")
        if len(found) and not 0 <= int(found.min()) <= int(found.max()) < len(classes):
            unseen = sorted({int(k) for k in found} - set(range(len(classes))))
            raise ValueError(
                f"labels {unseen} are none of the {len(classes)} classes {', '.join(classes)}; number them "
                "from 0 on, or name all classes."
            )
        part = parts_of_groups(torch.arange(len(found)) if groups is None else torch.as_tensor(groups), seed)
        if len(part) != len(found):
            raise ValueError(f"{len(found)} images and {len(part)} groups; give one group for each image.")
        return cls(pixels, found, part, tuple(classes))


def _checked(images: Any) -> Tensor:
    """Images ``(n, *size, C)``, uint8."""
    try:
        pixels = torch.as_tensor(images)
    except (TypeError, ValueError):
        raise ValueError("images are of unequal size; bring them to one size.") from None
    if pixels.ndim not in (3, 4, 5) or not len(pixels):
        raise ValueError(
            f"images have the shape {tuple(pixels.shape)}; give (n, rows, columns), (n, rows, columns, 3) or "
            "(n, x, y, z)."
        )
    if pixels.is_floating_point() and not bool(pixels.isfinite().all()):
        raise ValueError(
            f"{int((~pixels.isfinite()).sum())} values of the images are not finite; fill or crop what was "
            "not measured."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 255:
        raise ValueError(
            f"images hold values from {low:g} to {high:g}; give grey levels from 0 to 255 (images of 16 bits "
            "divided by 257, or by what is white)."
        )
    if high <= 1:
        raise ValueError(f"images hold no value above {high:g}; give grey levels from 0 to 255, not shares.")
    has_channels = pixels.ndim > 3 and pixels.shape[-1] in (1, 3)
    return (pixels if has_channels else pixels.unsqueeze(-1)).round().to(torch.uint8)


def _whole(labels: Any) -> Tensor:
    """Labels ``(n,)``, int64."""
    given = torch.as_tensor(labels).flatten()
    found = given.nan_to_num(nan=-1).long() if given.is_floating_point() else given.long()
    wrong = given != found
    if bool(wrong.any()):
        raise ValueError(
            f"labels hold {float(given[wrong][0]):g}; give the number of a class, a whole number from 0 on."
        )
    return found


def parts_of_groups(groups: Tensor, seed: int = 0) -> Tensor:
    """Return the part ``(n,)`` of each image, that of its group ``(n,)``."""
    _, number = groups.unique(return_inverse=True)
    count = int(number.max()) + 1
    place = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).double() / count
    ends = torch.tensor(_SHARES, dtype=torch.float64).cumsum(0)[:-1]
    return torch.bucketize(place, ends, right=True)[number]


def made_up(size: tuple[int, ...], n: int = 2400, seed: int = 0) -> Collection:
    """Return bright rings and discs at random places in noise, for demonstrations and the contract."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*(torch.arange(s) + 0.5 for s in size), indexing="ij")
    labels = torch.randint(2, (n,), generator=generator)
    place = 0.5 + 0.06 * torch.randn(n, len(size), generator=generator)
    square = sum(
        (axis - (place[:, i] * s).view(-1, *[1] * len(size))).square()
        for i, (axis, s) in enumerate(zip(axes, size, strict=True))
    )
    radius = torch.as_tensor(square).sqrt() / min(size)
    hollow = labels.view(-1, *[1] * len(size)) == 1
    bright = torch.sigmoid((0.32 - radius) * 40) * torch.where(
        hollow, torch.sigmoid((radius - 0.18) * 40), 1.0
    )
    noise = 12 * torch.randn(radius.shape, generator=generator)
    return Collection.of((60 + 120 * bright + noise).clamp(0, 255), labels, ("disc", "ring"), seed=seed)
