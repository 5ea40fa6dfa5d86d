"""Where to look for a pose: simulated radiographs over the prior, matched with the X-ray at many shifts."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector, camera_to_world, geodesic_degrees
from monai_inn.applications.registration.pose_fit import Unknowns
from monai_inn.applications.registration.radiograph import Radiograph
from monai_inn.applications.registration.raycasting import RayCaster

__all__ = ["Bank", "candidates", "distinct", "make_bank"]

_STEPS_DEGREES = (6.0, 7.5, 7.5)  # of lao, cra and roll
_MOST_SHIFT = 8  # pixels
# Pixels, of two blurs whose difference shows edges. Fine ones tell most behind a collimator, coarse ones in
# noise.
_BLURS = ((0.35, 1.4), (0.8, 3.0))
_APART_DEGREES, _APART_PIXELS = 10.0, 2.0
_CHUNK = 256
_SOME, _BLUNT = 100, 0.99  # images of the bank that tell how sharp edges are, and the share that are kept


class Bank(NamedTuple):
    """Simulated radiographs of a patient, larger than the X-ray by some pixels on every side.

    Attributes:
        pose: shape ``(N, 6)``, float64, without shifts.
        images: their radiographs, shape ``(N, rows + 2m, columns + 2n)``.
        margin: the pixels ``m`` and ``n``.
        detector: of the X-ray.
    """

    pose: Tensor
    images: Tensor
    margin: tuple[int, int]
    detector: Detector


def make_bank(caster: RayCaster, unknowns: Unknowns) -> Bank:
    """Render radiographs over the angles of the prior."""
    detector = caster.detector
    low, high = unknowns.low[:6].clone(), unknowns.high[:6].clone()
    fixed = ~unknowns.free[:6]
    low[fixed] = high[fixed] = unknowns.mean[:6][fixed]
    axes = []
    for a, b, step in zip(low[:3].tolist(), high[:3].tolist(), _STEPS_DEGREES, strict=True):
        count = max(1, round((b - a) / step))
        axes.append(a + (b - a) / count * (torch.arange(count, dtype=torch.float64) + 0.5))
    angles = torch.cartesian_prod(*axes)
    middle = ((low + high) / 2)[3:]
    pose = torch.cat([angles, middle.expand(len(angles), 3)], 1)
    pixel = detector.spacing_at_isocentre_mm
    reach = ((high - low) / 2 / pixel)[3:5].ceil().clamp(max=_MOST_SHIFT).int().tolist()
    margin = (reach[1], reach[0])
    larger = Detector(**detector.to_config() | {
        "rows": detector.rows + 2 * margin[0], "columns": detector.columns + 2 * margin[1]
    })  # fmt: skip
    radiograph = Radiograph(caster.seen_by(larger))
    nuisance = unknowns.mean[6:].expand(len(pose), -1)
    parts = zip(pose.split(_CHUNK), nuisance.split(_CHUNK), strict=True)
    images = torch.cat([radiograph(p, n) for p, n in parts])
    return Bank(pose, images, margin, detector)


def candidates(bank: Bank, image: Tensor, window: Tensor, count: int) -> Tensor:
    """Return the poses ``(K, 6)`` that match an X-ray best, no two of them close together.

    Args:
        bank: radiographs of the patient.
        image: minus log intensity, shape ``(rows, columns)``.
        window: share by which each pixel counts, same shape.
        count: most of them.
    """
    found = []
    for blurs in _BLURS:
        score, pose = _best(bank, image, window, blurs)
        apart = (_APART_DEGREES, _APART_PIXELS * bank.detector.spacing_at_isocentre_mm)
        found.append(pose[distinct(pose, score, bank.detector, apart, count // len(_BLURS))])
    return torch.cat(found)


def _best(bank: Bank, image: Tensor, window: Tensor, blurs: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Correlation ``(N,)`` of each radiograph with the X-ray at its best shift, and that pose, ``(N, 6)``."""
    narrow, wide = (_smoothed(bank.images, width) for width in blurs)
    edges = narrow - wide
    some = edges[:: max(1, len(edges) // _SOME)].abs().flatten()
    # No edge counts for more than those of most bones: a tool would hide them all.
    sharp = float(some.kthvalue(int(_BLUNT * len(some))).values)
    near, far = (
        _smoothed((image * window)[None], width) / _smoothed(window[None], width).clamp_min(1e-3)
        for width in blurs
    )
    own = ((near - far)[0] * (window > 0)).clamp(-sharp, sharp)
    score = _correlation(edges.clamp(-sharp, sharp), own, window)
    best, where = score.flatten(1).max(1)
    columns, pixel = score.shape[-1], bank.detector.spacing_at_isocentre_mm
    pose = bank.pose.clone()
    pose[:, 3] -= (where % columns - bank.margin[1]) * pixel
    pose[:, 4] -= (where // columns - bank.margin[0]) * pixel
    return best, pose


def distinct(
    pose: Tensor, score: Tensor, detector: Detector, apart: tuple[float, float], count: int
) -> Tensor:
    """Return indices of the poses ``(N, 6)`` of highest score, best first, no two of them close together.

    Args:
        pose: shape ``(N, 6)``.
        score: shape ``(N,)``.
        detector: their C-arm.
        apart: degrees and, in the image plane, mm; poses that differ by less in both are one.
        count: most of them.
    """
    camera = camera_to_world(pose, detector, torch.zeros(3))
    chosen: list[int] = []
    left = torch.ones(len(pose), dtype=torch.bool)
    while len(chosen) < count and bool(left.any()):
        top = int(torch.where(left, score, -torch.inf).argmax())
        chosen.append(top)
        turned = geodesic_degrees(camera, camera[top])
        moved = (pose[:, 3:5] - pose[top, 3:5]).norm(dim=1)
        left &= (turned > apart[0]) | (moved > apart[1])
        left[top] = False
    return torch.tensor(chosen)


def _smoothed(images: Tensor, width: float) -> Tensor:
    reach = min(math.ceil(3 * width), min(images.shape[-2:]) - 1)
    at = torch.arange(-reach, reach + 1, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (at / width).square())
    kernel = kernel / kernel.sum()
    padded = torch.nn.functional.pad(images.unsqueeze(1), (reach,) * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, None, :]).squeeze(1)


def _correlation(larger: Tensor, image: Tensor, window: Tensor) -> Tensor:
    """Correlation of an image with every part of its size of larger ones, ``(N, 2m + 1, 2n + 1)``."""
    weight = window / window.sum()
    centred = image - (weight * image).sum()
    kernels = torch.stack([weight, weight * centred]).unsqueeze(1)
    mean, cross = torch.nn.functional.conv2d(larger.unsqueeze(1), kernels).unbind(1)
    square = torch.nn.functional.conv2d(larger.square().unsqueeze(1), kernels[:1]).squeeze(1)
    variance = (square - mean.square()).clamp_min(1e-12) * (weight * centred.square()).sum().clamp_min(1e-12)
    return cross * variance.rsqrt()
