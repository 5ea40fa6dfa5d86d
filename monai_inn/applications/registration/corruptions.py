"""X-rays that the CT of a problem cannot have cast, made of those that it can."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["spoilt"]

_ROD = 0.8  # line integral of a metal rod, relative to the brightest
_CLOSED = 1.2  # that of a collimator
_DEGREES = 30.0


def spoilt(y: Tensor, size: Sequence[int]) -> dict[str, Tensor]:
    """Return X-rays ``(N, C)`` that were changed in ways that happen.

    Args:
        y: line integrals relative to the brightest, ``(N, C)``.
        size: rows and columns.
    """
    rows, columns = size
    v, u = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    v, u = v.to(y.device), u.to(y.device)
    rod = ((u - 0.15).abs() < 0.05) & (v.abs() < 0.4)
    closed = (u.abs() > 0.6) | (v.abs() > 0.6)
    image = y.reshape(-1, rows, columns)
    return {
        "inverted_grey_values": y.amax(1, keepdim=True) - y,
        "metal_rod": y + _ROD * rod.flatten(),
        "collimated": torch.where(closed.flatten(), _CLOSED, y),
        "mirrored": image.flip(-1).flatten(1),
        "exposure_20_percent_off": 1.2 * y,
        "rotated_by_30_degrees": _rotated(image).flatten(1),
    }


def _rotated(images: Tensor) -> Tensor:
    angle = math.radians(_DEGREES)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], device=images.device, dtype=images.dtype)
    grid = torch.nn.functional.affine_grid(
        turn.expand(len(images), 2, 3), [len(images), 1, *images.shape[1:]], align_corners=False
    )
    return torch.nn.functional.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1)
