"""What one observation holds: values, which of them were measured, and under which settings."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Observation", "Parts"]

_KINDS = ("pixel", "neighbourhood", "series", "image")


class Parts(NamedTuple):
    """One row of numbers, taken apart.

    Attributes:
        values: shape ``(…, *size, channels)``; 0 where nothing was measured.
        measured: which values were measured, boolean, same shape.
        context: known settings, shape ``(…, K)``, of a series ``(…, most, K)``; 0 where there is none.
    """

    values: Tensor
    measured: Tensor
    context: Tensor


@dataclass(frozen=True)
class Observation:
    """Specification of an observation, which is always handled as one row of numbers ``(…, C)``.

    The row holds the values, those of one place beside each other, and then the context: settings of the
    acquisition that are known and that noise leaves alone. NaN among the values means "not measured".

    Args:
        names: names of the channels of one place.
        kind: ``"pixel"``, ``"neighbourhood"`` of a pixel, ``"series"`` of up to so many entries, or whole
            ``"image"``.
        size: places: ``()`` of a pixel, ``(rows, columns)`` or ``(rows, columns, slices)`` of a neighbourhood
            or an image, ``(most,)`` of a series.
        context: names of the settings, of a series those of each entry.
        may_miss: whether values may be missing.

    Raises:
        ValueError: if names repeat or are missing, or the size does not fit the kind.
    """

    names: tuple[str, ...]
    kind: str = "pixel"
    size: tuple[int, ...] = ()
    context: tuple[str, ...] = ()
    may_miss: bool = False

    def __post_init__(self) -> None:
        every = (*self.names, *self.context)
        if not self.names or len(set(every)) != len(every):
            raise ValueError(f"an observation needs names, each once; got {every}.")
        axes = {"pixel": (0,), "series": (1,)}.get(self.kind, (2, 3))
        if self.kind not in _KINDS or len(self.size) not in axes or any(n < 1 for n in self.size):
            raise ValueError(f"an observation of kind {self.kind!r} cannot have the size {self.size}.")
        if self.kind == "neighbourhood" and any(n % 2 == 0 for n in self.size):
            raise ValueError(f"a neighbourhood has a pixel in its middle; size = {self.size} is even.")
        if self.kind == "neighbourhood" and self.context:
            raise ValueError(
                f"a neighbourhood has no settings, but context = {self.context}; make them parameters, or "
                "observe a pixel."
            )

    @classmethod
    def pixel(cls, *names: str, context: tuple[str, ...] = ()) -> Observation:
        """Return the channels of a single pixel, or a few numbers that belong together."""
        return cls(names, context=context)

    @classmethod
    def neighbourhood(cls, size: tuple[int, ...], *names: str) -> Observation:
        """Return the channels of all pixels around one, ``size`` of them along each axis, all odd."""
        return cls(names, "neighbourhood", size)

    @classmethod
    def series(cls, most: int, *names: str, context: tuple[str, ...] = ()) -> Observation:
        """Return up to ``most`` entries, each with its own context, such as its time."""
        return cls(names, "series", (most,), context, may_miss=True)

    @classmethod
    def image(cls, size: tuple[int, ...], *names: str) -> Observation:
        """Return a whole image or volume of one posterior."""
        return cls(names or ("value",), "image", size)

    @property
    def places(self) -> int:
        """Number of places that values are measured at."""
        return math.prod(self.size)

    @property
    def num_values(self) -> int:
        """Number of values of a row, before its context."""
        return self.places * len(self.names)

    def __len__(self) -> int:
        return self.num_values + len(self.context) * (self.places if self.kind == "series" else 1)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns of a row."""
        rows = self.places if self.kind == "series" else 1
        return (*_placed(self.names, self.size), *_placed(self.context, (rows,) if rows > 1 else ()))

    @property
    def settings(self) -> tuple[str, ...]:
        """Of a series: what is known of each entry beside its first value, further values and context."""
        return (*self.names[1:], *self.context)

    @property
    def channels(self) -> int:
        """Channels of an image whose pixels have one each: values and context of one place."""
        return len(self.names) if self.kind == "neighbourhood" else len(self)

    @property
    def is_local(self) -> bool:
        """Whether an observation belongs to one pixel of an image, so that there are maps of images."""
        return self.kind != "image"

    def parts(self, y: Tensor) -> Parts:
        """Take rows ``(…, C)`` apart.

        Raises:
            ValueError: if they have another number of columns.
        """
        if y.shape[-1] != len(self):
            raise ValueError(f"an observation has {len(self)} columns, not {y.shape[-1]}.")
        values = y[..., : self.num_values].unflatten(-1, (*self.size, len(self.names)))
        context = y[..., self.num_values :]
        if self.kind == "series":
            context = context.unflatten(-1, (self.places, len(self.context)))
        measured = values.isfinite()
        return Parts(torch.where(measured, values, 0.0), measured, context.nan_to_num(0.0))

    def is_usable(self, y: Tensor) -> Tensor:
        """Whether rows ``(…, C)`` hold what they must, boolean, shape ``(…)``."""
        finite = y.isfinite()
        if not self.may_miss:
            return finite.all(-1)
        values, context = finite[..., : self.num_values], finite[..., self.num_values :]
        if self.kind == "series" and self.context:  # where nothing was measured, settings mean nothing
            there = values.unflatten(-1, (self.places, -1)).any(-1, keepdim=True)
            context = (context.unflatten(-1, (self.places, -1)) | ~there).flatten(-2)
        return values.any(-1) & ~y.isinf().any(-1) & context.all(-1)

    def is_blank(self, y: Tensor) -> Tensor:
        """Whether rows ``(…, C)`` are series of zeros, as files hold them outside the body, boolean, ``(…)``.

        The first value of each entry counts, which is that of the pixel; further ones may be those of a
        reference. It is asked of pixels of images: a single series, such as of counts, may consist of zeros.
        """
        if self.kind != "series":
            return torch.zeros_like(y[..., 0], dtype=torch.bool)
        return (y[..., : self.num_values : len(self.names)].nan_to_num(0.0) == 0).all(-1)


def _placed(names: tuple[str, ...], size: tuple[int, ...]) -> list[str]:
    """Names of the columns of all places, counted from 1 along each axis."""
    places = itertools.product(*(range(1, n + 1) for n in size))
    return [" ".join([name, *map(str, place)]) for place in places for name in names]
