"""Drawings of the page: an image, its evidence in colours, and the scale of these colours."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

__all__ = ["evidence_legend", "evidence_picture", "grey_picture", "scale_colours", "slice_of"]

_COLOURS = colormaps["RdBu_r"]
_STOPS = 17


def slice_of(values: NDArray[Any], place: int) -> NDArray[Any]:
    """Return slice ``place`` of a volume ``(x, y, z, …)`` with rows y and columns x, from 0 on."""
    return values[:, :, place].swapaxes(0, 1)


def grey_picture(image: NDArray[np.uint8]) -> str:
    """Return an image ``(rows, columns, channels)`` as the address of a PNG."""
    return _png(image[..., 0] if image.shape[-1] == 1 else image)


def evidence_picture(
    evidence: NDArray[np.float64], limit: float, image: NDArray[np.uint8], opacity: float
) -> str:
    """Return evidence ``(rows, columns)``, nats, in colours over its image, as the address of a PNG."""
    colours = 255 * _COLOURS(0.5 + 0.5 * np.clip(evidence / limit, -1, 1))[..., :3]
    below = np.broadcast_to(image, (*evidence.shape, 3))
    return _png(np.rint(opacity * colours + (1 - opacity) * below).astype(np.uint8))


def evidence_legend(limit: float, first: str, second: str) -> list[dict[str, str]]:
    """Return the marks of the scale: where they stand, in percent, and what they say."""
    return [
        {"at": f"{at}%", "text": text}
        for at, text in (
            (0, f"−{limit:.2g} nat: for {second}"),
            (50, "0"),
            (100, f"+{limit:.2g} nat: for {first}"),
        )
    ]


def scale_colours() -> str:
    """Return the colours of the scale from left to right, in CSS."""
    stops = (255 * _COLOURS(np.linspace(0, 1, _STOPS))[:, :3]).astype(int)
    return f"linear-gradient(to right, {', '.join(f'rgb({r},{g},{b})' for r, g, b in stops)})"


def _png(pixels: NDArray[np.uint8]) -> str:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
