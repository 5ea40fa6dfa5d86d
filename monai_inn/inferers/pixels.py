"""The pixels of an image as rows, gathered piece by piece so that the image is never copied as a whole."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from monai_inn.problems import InverseProblem, Observation

__all__ = ["Pixels", "rows_of_all"]

_BLOCK = 1 << 16  # pixels that are checked at a time


class Pixels:
    """View of an image ``(B, C, *spatial)`` as ``N`` rows of ``C`` channels.

    Args:
        image: shape ``(B, C, *spatial)``, any number format.
        problem: says how many channels there are, and which pixels can be inferred.

    Attributes:
        valid: which pixels can be inferred, shape ``(N,)``.

    Raises:
        ValueError: if the image has another number of channels.
    """

    def __init__(self, image: Tensor, problem: InverseProblem) -> None:
        self._specification = problem.observation
        channels = self._specification.channels
        if image.ndim < 2 or image.shape[1] != channels:
            raise ValueError(
                f"image has shape {tuple(image.shape)}, expected (batch, {channels} channels, *spatial) for "
                f"{problem!r}; pass an image with one channel for each, or fit a bundle for yours."
            )
        plain = torch.as_tensor(image).as_subclass(Tensor)
        self._shape = (plain.shape[0], *plain.shape[2:])
        self._flat = plain.flatten(2) if plain.ndim > 2 else plain.unsqueeze(2)
        everything = torch.arange(self._shape[0] * self._flat.shape[2], device=plain.device)
        blocks = (self.rows(index) for index in everything.split(_BLOCK))
        checked = [problem.is_valid(rows) & ~problem.observation.is_blank(rows) for rows in blocks]
        self.valid = torch.cat(checked) if len(everything) else everything.bool()

    def rows(self, index: Tensor) -> Tensor:
        """Return the observations of some pixels, ``(n, C)`` float32, for their numbers ``(n,)``."""
        if self._specification.kind == "neighbourhood":
            return self._around(index)
        if len(self._flat) == 1:
            return self._flat[0].T[index].float()  # index_select copies what does not lie in order
        per_image = self._flat.shape[2]
        return self._flat[index // per_image, :, index % per_image].float()

    def _around(self, index: Tensor) -> Tensor:
        """Rows of all pixels around some; at the border those inside stand for those outside."""
        where = torch.unravel_index(index, self._shape)
        size = self._specification.size
        steps = torch.cartesian_prod(*(torch.arange(n, device=index.device) - n // 2 for n in size))
        spatial = self._shape[1:]
        if len(spatial) != len(size):
            raise ValueError(f"an image of {len(spatial)} axes has no neighbourhoods of size {size}.")
        flat = torch.zeros(len(index), len(steps), dtype=torch.int64, device=index.device)
        for axis, length in enumerate(spatial):
            along = (where[axis + 1].unsqueeze(1) + steps[:, axis]).clamp(0, length - 1)
            flat = flat * length + along
        values = self._flat[where[0].unsqueeze(1), :, flat]
        return values.flatten(1).float()

    def pieces(self, size: int, threads: int = 1, stand_ins: Tensor | None = None) -> list[Tensor]:
        """Return the numbers of the valid pixels, or of their ``stand_ins``, in pieces of at most ``size``.

        The pieces are equal and as many as ``threads`` can share out evenly; none of them is empty.
        """
        asked = self.valid.nonzero().squeeze(1) if stand_ins is None else stand_ins[self.valid].unique()
        count = threads * -(-len(asked) // (size * threads))
        return [piece for piece in asked.tensor_split(max(count, 1)) if len(piece)]

    def stand_ins(self, most: int) -> Tensor:
        """Return for each pixel the number of that which is asked in its place, shape ``(N,)``.

        The first valid pixel of a block stands for the block. Blocks are cubes, or squares, and as small as
        they can be if there shall be at most ``most``. Numbers of pixels that cannot be inferred mean
        nothing.
        """
        images, *sizes = self._shape
        side = 1
        while images * math.prod(-(-n // side) for n in sizes) > most and side < max(sizes, default=1):
            side += 1
        numbers = torch.arange(len(self.valid), device=self.valid.device)
        if side == 1:
            return numbers
        block = numbers[:images]
        for n in sizes:
            block = block.unsqueeze(-1) * -(-n // side) + numbers[:n] // side
        block = block.flatten()
        first = torch.full_like(numbers, len(numbers))
        return first.scatter_reduce_(0, block[self.valid], numbers[self.valid], "amin")[block]

    def image(self, columns: Tensor) -> Tensor:
        """Return columns ``(N, K)`` as an image ``(B, K, *spatial)``."""
        return columns.reshape(*self._shape, columns.shape[1]).movedim(-1, 1)

    def blank(self, columns: int) -> Tensor:
        """Return ``(N, columns)`` of NaN, what a map says of a pixel that cannot be inferred."""
        return torch.full(
            (len(self.valid), columns), torch.nan, dtype=torch.float32, device=self._flat.device
        )

    @property
    def mask(self) -> Tensor:
        """The map ``valid``, 0 or 1, shape ``(B, 1, *spatial)``."""
        return self.image(self.valid.float().unsqueeze(1))


def rows_of_all(image: Tensor, observation: Observation) -> Tensor:
    """Return the observations ``(B, *spatial, C)`` of all pixels by operations that torch can record."""
    rows = image.movedim(1, -1).float()
    if observation.kind != "neighbourhood":
        return rows
    margins = [n // 2 for n in reversed(observation.size) for _ in range(2)]
    rows = functional.pad(image.float(), margins, mode="replicate").movedim(1, -1)
    for axis, length in enumerate(observation.size):
        rows = rows.unfold(1 + axis, length, 1)
    axes = len(observation.size)
    return rows.movedim(1 + axes, -1).flatten(1 + axes)
