"""What covers the patient: collimator, tools, burned-in text. Their pixels are left out."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["by_residual", "collimated"]

_OUTLIER = 5.0  # robust standard deviations
_LEAST_SHARE = 0.2  # of an image that must stay
_JUMP = 0.03  # of the image's range
_OF_LINE, _OF_SHORT_LINE = 0.5, 0.9  # share of a line, or of what other blades leave of it, with the jump
_DEEPEST = 0.45  # share of the image that one blade may cover
_PENUMBRA = 2  # pixels


def collimated(image: Tensor) -> Tensor:
    """Return the field that is open between straight blades along the image's sides, 1 inside, 0 outside.

    Args:
        image: minus log intensity, shape ``(rows, columns)``; blades are bright in it.
    """
    rows, columns = image.shape
    high, low = image.flatten().quantile(torch.tensor([0.99, 0.01])).tolist()
    known, covered, share = [-1] * 4, [0] * 4, _OF_LINE
    while covered != known:
        known = covered
        # Blades that leave little open show their edges only between those of the other axis.
        top, bottom, left, right = known
        across, along = image[:, left : columns - right], image[top : rows - bottom].T
        sides = (across, across.flip(0), along, along.flip(0))
        covered = [
            lines or _blade(side, _JUMP * (high - low), share)
            for lines, side in zip(known, sides, strict=True)
        ]
        share = _OF_SHORT_LINE
    field = torch.zeros_like(image)
    field[top : rows - bottom, left : columns - right] = 1
    return field


def _blade(image: Tensor, jump: float, least: float) -> int:
    """Lines that a blade covers at the top of an image, with its penumbra."""
    deepest = int(_DEEPEST * len(image))
    step = image[:-2] - image[2:]
    share = (step > jump).float().mean(1)[:deepest]
    found = torch.nonzero(share > least).flatten()
    return int(found.max()) + 1 + _PENUMBRA if len(found) else 0


def by_residual(white: Tensor, window: Tensor) -> Tensor:
    """Return a window without the pixels whose residual is far from that of the others.

    Args:
        white: whitened residual in pixels, shape ``(rows, columns)``.
        window: what counted so far, same shape.
    """
    scale = 1.4826 * white[window > 0.5].abs().median()
    far = (white.abs() > _OUTLIER * scale).float()
    found = window * (1 - torch.nn.functional.max_pool2d(far[None, None], 3, 1, 1)[0, 0])
    return found if float(found.mean()) >= _LEAST_SHARE else window
