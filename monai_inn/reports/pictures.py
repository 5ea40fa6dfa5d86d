"""Images as pictures: the slice that is shown, a colour rendering, patterns over what must not be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_inn.reading.orientation import SliceView, slice_view

__all__ = ["PATTERNS", "colour_rendering", "colours_in_words", "cover", "plane", "rgb_colours", "view_of"]

Picture = NDArray[np.float64]

_RGB_NM = (620.0, 550.0, 470.0)
_GAMMA = 1 / 2.2
_LONG_SIDE = 480
# In pixels of the enlarged picture.
_PERIOD, _STRIPE, _DOT = 16, 3, 5
_FADE = 0.55

PATTERNS = {
    "not explained": ((0.85, 0.0, 0.45), "////"),  # no colour of cividis, viridis or grey
    "not informative": ((0.0, 0.0, 0.0), "oo"),
}
"""Colour and hatch of what must not be read; they differ in shape, for whoever cannot tell colours."""


def view_of(image: Tensor) -> SliceView:
    """Return how the slice of an image ``(C, *spatial)`` is drawn that figures show.

    Where neither a file nor its affine says how it lies, it is drawn as stored, and letters are empty unless
    the file says how the patient does.
    """
    meta: dict[str, Any] = getattr(image, "meta", {})
    affine = meta.get("affine")
    matrix = None if affine is None else np.asarray(affine, np.float64)
    if "filename_or_obj" not in meta and matrix is not None and np.array_equal(matrix, np.eye(len(matrix))):
        matrix = None  # what MONAI gives an array
    view = slice_view(tuple(image.shape[1:]), matrix)
    return view if meta.get("is_oriented") else view._replace(letters="")


def plane(channel: Tensor, view: SliceView) -> Picture:
    """Return the slice of a map ``spatial`` that a figure shows, ``(rows, columns)``."""
    return view.plane(torch.as_tensor(channel).as_subclass(Tensor).detach().cpu().double().numpy())


def colour_rendering(
    image: Tensor, view: SliceView, centre_nm: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return an RGB picture ``(rows, columns, 3)`` in [0, 1] of an image ``(C, *spatial)``."""
    return np.stack([plane(channel, view) for channel in rgb_colours(image, centre_nm)], -1)


def rgb_colours(image: Tensor, centre_nm: NDArray[np.float64] | None) -> Tensor:
    """Return red, green and blue ``(3, *spatial)`` in [0, 1] of an image ``(C, *spatial)``.

    They are the bands nearest to 620, 550 and 470 nm. Channels without wavelengths are averaged, as far as
    they were measured. One scale for all three, so that the colours are those of the measurement. Pixels
    that are not finite are grey.
    """
    image = torch.as_tensor(image).as_subclass(Tensor).detach()
    nearest = _bands(centre_nm)
    rgb = image[nearest].double() if nearest else image.double().nanmean(0).expand(3, *image.shape[1:])
    finite = rgb[rgb.isfinite()].numpy()
    white = float(np.quantile(finite, 0.99)) if finite.size else 1.0
    shown = (rgb / (white if white > 0 else 1.0)).clamp(0, 1) ** _GAMMA
    return torch.where(rgb.isfinite(), shown, 0.5)


def _bands(centre_nm: NDArray[np.float64] | None) -> list[int]:
    """Which bands stand for red, green and blue; none of channels without wavelengths."""
    if centre_nm is None or len(centre_nm) < len(_RGB_NM):
        return []
    return [int(np.abs(np.asarray(centre_nm) - wanted).argmin()) for wanted in _RGB_NM]


def colours_in_words(centre_nm: NDArray[np.float64] | None) -> str:
    """Return what a colour rendering shows."""
    nearest = _bands(centre_nm)
    if centre_nm is None or not nearest:
        return "mean of the channels"
    return "colours of the bands" if len({*nearest}) > 1 else f"{centre_nm[nearest[0]]:g} nm in grey"


def cover(mask: NDArray[np.bool_], pattern: str) -> NDArray[np.uint8]:
    """Return an RGBA picture, bytes, that fades and marks what lies below it where the mask is true.

    Fading keeps colours of such values from being read off the colour bar. The picture has more pixels
    than the mask ``(rows, columns)``, so that marks stay thin; draw both on the same extent. It is 0
    elsewhere: pictures of masks that do not overlap may be added.

    Args:
        mask: pixels that are covered.
        pattern: one of ``PATTERNS``: stripes or dots, with an outline.
    """
    factor = max(1, -(-_LONG_SIDE // max(*mask.shape, 1)))
    large = mask.repeat(factor, 0).repeat(factor, 1)
    row, column = (np.arange(size) % _PERIOD for size in large.shape)
    if pattern == "not explained":
        marked = (row[:, None] + column) % _PERIOD < _STRIPE
    else:
        marked = (row[:, None] < _DOT) & (column < _DOT)
    inside = np.pad(large, 1, mode="edge")
    marked |= ~(inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:])
    colours = np.array([(0, 0, 0, 0), (1, 1, 1, _FADE), (*PATTERNS[pattern][0], 1)])
    return (255 * colours).round().astype(np.uint8)[large * (1 + marked)]
