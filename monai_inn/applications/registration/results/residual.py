"""What the best pose leaves of an X-ray: how much, whether it is noise, and where it is not, in words."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from monai_inn.applications.registration.occlusion import collimated
from monai_inn.applications.registration.poses.solver import Solution
from monai_inn.applications.registration.whitening import cosines

__all__ = ["Place", "describe_residual", "largest_place"]

# Pixels, standard deviations along and across of what is looked for: bars in eight directions, and spots.
_BAR, _DIRECTIONS, _SPOT = (10.0, 1.5), 8, (2.0, 2.0)
_PADDING = 32  # pixels, so that what leaves an image does not come in again
_LEVEL = 8.0  # pixels: what is smoother belongs to scatter and calibration
_INSIDE = 0.85  # share of what is looked for that must lie on compared pixels
_REPLICATES, _AT_A_TIME = 49, 10
# Measured on realistic X-rays, see docs/registration_results.md: standard deviations, and pixels left out.
_MOST, _MOST_LEFT_OUT = 7.5, 40
_BAND = 3.0  # times as long as wide
_GAP = 7  # pixels, over which parts belong together


class Place(NamedTuple):
    """Where an X-ray shows what the CT does not.

    Attributes:
        area: its pixels, shape ``(rows, columns)``, boolean.
        is_more: whether more is absorbed there.
        is_left_out: whether it was left out of the comparison, as far off as it is.
    """

    area: NDArray[np.bool_]
    is_more: bool
    is_left_out: bool


def describe_residual(found: Solution, left_out: Tensor | None = None, seed: int = 0) -> dict[str, Any]:
    """Return what ``registration.json`` says of the residual at the best pose.

    The noise is estimated from the same residual, as a level in each band of frequencies. Therefore
    chi-square per pixel is near 1 for any X-ray, and the p-value cannot tell an error that lies everywhere
    from noise: such errors have been counted as noise. What it does tell is whether what is left gathers in
    one place. It is the share of replicates whose largest coherent part is at least as large; replicates are
    white noise, fitted as the X-ray was to first order and divided by their own standard deviation as it
    was. They do not repeat the estimate of each band. The sentence about a place does not rest on the p-value
    but on limits that realistic X-rays without tools keep, since the errors of a simulation gather a little.

    Args:
        found: the X-ray's own posterior.
        left_out: share of each pixel that the user left out, shape ``(rows, columns)``.
        seed: of the replicates.
    """
    window = (found.window > 0.5).float()
    fit = found.draws.fit
    basis = torch.linalg.qr(fit.slopes[0].T.float()).Q
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(_REPLICATES, len(basis), generator=generator)
    white = torch.cat([fit.white[:1].float(), noise - noise @ basis @ basis.T])
    score = _coherent(_pixels(white, window), window).abs().amax((1, 2, 3))
    place = largest_place(found, left_out)
    return {
        "compared_pixels": int(window.sum()),
        "chi_square_per_pixel": round(float(white[0].square().sum() / window.sum()), 4),
        "largest": round(float(score[0]), 2),
        "limit": _MOST,
        "p_value": float((score >= score[0]).double().mean()),
        "unexplained": None if place is None else _in_words(place, found.detector.spacing_mm),
    }


def largest_place(found: Solution, left_out: Tensor | None = None) -> Place | None:
    """Return the largest coherent place where the X-ray is not what the best pose shows, if there is one.

    Args:
        found: the X-ray's own posterior.
        left_out: share of each pixel that the user left out, shape ``(rows, columns)``.
    """
    window = (found.window > 0.5).float()
    coherent = _coherent(_pixels(found.draws.fit.white[:1].float(), window), window)[0]
    highest = coherent.abs().amax((1, 2))
    compared = torch.zeros_like(window)
    if float(highest.max()) >= _MOST:
        compared = (coherent[highest.argmax()].abs() > 0.5 * highest.max()).float()
    open_field = collimated(found.image) * (1 if left_out is None else 1 - left_out)
    pose = found.draws.fit.x[0, :6]
    outliers = open_field * found.level.radiograph.caster.within(pose) * (1 - window)
    # The robust pass left out a pixel all round as well.
    core = -_widest(-(outliers > 0.5).float(), 3)
    both = torch.maximum(core, compared)
    areas, count = label(_widest(both, _GAP).numpy() > 0, np.ones((3, 3)))
    parts = [both.numpy() * (areas == k) > 0 for k in range(1, count + 1)]
    large = [p for p in parts if (p & (compared.numpy() > 0)).any() or p.sum() >= _MOST_LEFT_OUT]
    if not large:
        return None
    area = max(large, key=np.count_nonzero)
    residual = found.image - found.models[0]
    own = residual - _level(residual * window, window)
    return Place(area, float(own.numpy()[area].mean()) > 0, float(window.numpy()[area].mean()) < 0.5)


def _widest(image: Tensor, size: int) -> Tensor:
    """The maximum over a square about each pixel."""
    return torch.nn.functional.max_pool2d(image[None], size, 1, size // 2)[0]


def _pixels(white: Tensor, window: Tensor) -> Tensor:
    """White coefficients ``(N, C)`` as pixels ``(N, rows, columns)`` of standard deviation 1 in a window."""
    rows, columns = (cosines(n) for n in window.shape)
    pixels = (rows.T @ white.unflatten(1, window.shape) @ columns) * window
    return pixels * (window.sum() / pixels.square().sum((1, 2), keepdim=True)).sqrt()


def _coherent(pixels: Tensor, window: Tensor) -> Tensor:
    """Residuals matched with bars and spots, ``(N, shapes, rows, columns)``, in white noise's deviations."""
    size = (window.shape[0] + _PADDING, window.shape[1] + _PADDING)
    shapes = _shapes(size)

    def matched(images: Tensor, with_shapes: Tensor) -> Tensor:
        product = torch.fft.rfft2(images, s=size).unsqueeze(-3) * torch.fft.rfft2(with_shapes)
        return torch.fft.irfft2(product, s=size)[..., : window.shape[0], : window.shape[1]]

    sd = matched(window, shapes.square()).clamp_min(1e-9).sqrt()
    inside = window * (matched(window, shapes) > _INSIDE)
    own = (pixels - _level(pixels, window)) * window
    return torch.cat([matched(part, shapes) / sd * inside for part in own.split(_AT_A_TIME)])


def _shapes(size: tuple[int, int]) -> Tensor:
    """Bars and spots about the first pixel, what is before it at the end, ``(shapes, rows, columns)``."""
    row, column = (torch.fft.fftfreq(n, 1 / n)[:, None] for n in size)
    found = []
    for turn in range(_DIRECTIONS + 1):
        angle = torch.tensor(torch.pi * turn / _DIRECTIONS)
        long, short = _BAR if turn < _DIRECTIONS else _SPOT
        along = angle.cos() * column.T + angle.sin() * row
        across = angle.cos() * row - angle.sin() * column.T
        found.append(torch.exp(-0.5 * ((along / long).square() + (across / short).square())))
    shapes = torch.stack(found)
    return shapes / shapes.sum((1, 2), keepdim=True)


def _level(images: Tensor, window: Tensor) -> Tensor:
    """What images ``(…, rows, columns)``, 0 outside a window, are on average around each pixel."""
    rows, columns = (_blur(n, _LEVEL) for n in window.shape)
    return (rows @ images @ columns.T) / (rows @ window @ columns.T).clamp_min(1e-3)


def _blur(size: int, width: float) -> Tensor:
    """A matrix ``(size, size)`` that blurs along an axis; beyond the image there is nothing."""
    at = torch.arange(size, dtype=torch.float32)
    return torch.exp(-0.5 * ((at[:, None] - at) / width).square()) / (width * (2 * torch.pi) ** 0.5)


def _in_words(place: Place, pixel_mm: float) -> dict[str, Any]:
    """A place for the record: sentence, box in pixels, size."""
    at = np.argwhere(place.area)
    low, high = at.min(0), at.max(0)
    # A bar of length L has the variance L² / 12 along it.
    spread = np.linalg.eigvalsh(np.cov(at.T, bias=True) + np.eye(2) / 12) if len(at) > 1 else np.ones(2) / 12
    width, length = pixel_mm * np.sqrt(12 * spread)
    shape = "band" if length >= _BAND * width else "spot"
    how = "more" if place.is_more else "less"
    where = _where(*(at.mean(0) + 0.5) / place.area.shape)
    fate = "it was left out" if place.is_left_out else "it was compared and may draw the pose aside"
    return {
        "statement": (
            f"Unexplained: a {shape} {where} of the picture that absorbs {how} than the CT, {length:.0f} × "
            f"{width:.0f} mm on the detector; {fate}."
        ),
        "rows": [int(low[0]), int(high[0])],
        "columns": [int(low[1]), int(high[1])],
        "size_mm": [round(float(length), 1), round(float(width), 1)],
        "absorbs_more": place.is_more,
        "left_out": place.is_left_out,
    }


def _where(row: float, column: float) -> str:
    """A place, as shares of height and width, in words."""
    height = "upper" if row < 1 / 3 else "lower" if row > 2 / 3 else ""
    side = "left" if column < 1 / 3 else "right" if column > 2 / 3 else ""
    if not height and not side:
        return "in the middle"
    if height and side:
        return f"in the {height} {side}"
    return f"in the {height} part" if height else f"on the {side} side"
