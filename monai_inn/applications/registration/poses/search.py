"""Where to look for a pose: simulated radiographs over the prior, matched with the X-ray at many shifts."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector, camera_to_world, geodesic_degrees
from monai_inn.applications.registration.poses.fit import Unknowns
from monai_inn.applications.registration.radiograph import Radiograph
from monai_inn.applications.registration.raycasting import RayCaster

__all__ = ["Bank", "candidates", "distinct", "far_apart", "make_bank"]

_STEPS_DEGREES = (6.0, 7.5, 7.5)  # of lao, cra and roll
_MOST_SHIFT, _SLACK = 12, 0.1  # pixels; share of a shift that need not be reached
# Pixels, of two blurs whose difference shows edges. Fine ones tell most behind a collimator, coarse ones in
# noise.
_BLURS = ((0.35, 1.4), (0.8, 3.0))
_APART_DEGREES, _APART_PIXELS = 10.0, 2.0
_CHUNK = 256
_FAR = 4.0  # standard deviations of the prior
_SOME, _BLUNT = 100, 0.99  # images of the bank that tell how sharp edges are, and the share that are kept


class Bank(NamedTuple):
    """Edges of simulated radiographs of a patient, larger than the X-ray by some pixels on every side.

    Attributes:
        pose: shape ``(N, 6)``, float64, without shifts.
        edges: of their radiographs, fine and coarse, shape ``(2, N, rows + 2m, columns + 2n)``.
        sharpest: what no edge exceeds, for fine and for coarse ones.
        margin: the pixels ``m`` and ``n``.
        detector: of the X-ray.
    """

    pose: Tensor
    edges: Tensor
    sharpest: tuple[float, ...]
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
    pixel = detector.spacing_at_isocentre_mm
    half = (high - low)[3:5] / 2
    reach = (half / pixel).ceil().clamp(max=_MOST_SHIFT)
    # What shifts of the image do not reach, radiographs around several points do.
    for edges, side, shift in zip(torch.stack([low, high], 1)[3:5].tolist(), half, reach, strict=True):
        count = max(1, math.ceil(float(side / (shift * pixel).clamp_min(1e-9)) - _SLACK))
        width = (edges[1] - edges[0]) / count
        axes.append(edges[0] + width * (torch.arange(count, dtype=torch.float64) + 0.5))
    axes.append(((low + high) / 2)[5:])
    pose = torch.cartesian_prod(*axes)
    margin = (int(reach[1]), int(reach[0]))
    larger = Detector(**detector.to_config() | {
        "rows": detector.rows + 2 * margin[0], "columns": detector.columns + 2 * margin[1]
    })  # fmt: skip
    radiograph = Radiograph(caster.seen_by(larger))
    nuisance = unknowns.mean[6:].expand(len(pose), -1)
    parts = zip(pose.split(_CHUNK), nuisance.split(_CHUNK), strict=True)
    images = torch.cat([radiograph(p, n) for p, n in parts])
    edges = torch.stack([_smoothed(images, narrow) - _smoothed(images, wide) for narrow, wide in _BLURS])
    some = edges[:, :: max(1, len(pose) // _SOME)].abs().flatten(1)
    # No edge counts for more than those of most bones: a tool would hide them all.
    sharpest = tuple(some.kthvalue(int(_BLUNT * some.shape[1]), 1).values.tolist())
    for part, most in zip(edges, sharpest, strict=True):
        part.clamp_(-most, most)
    return Bank(pose, edges, sharpest, margin, detector)


def candidates(bank: Bank, unknowns: Unknowns, image: Tensor, window: Tensor, count: int) -> Tensor:
    """Return the poses ``(K, 6)`` that match an X-ray best, no two of them close together.

    Args:
        bank: radiographs of the patient.
        unknowns: priors.
        image: minus log intensity, shape ``(rows, columns)``.
        window: share by which each pixel counts, same shape.
        count: most of them.
    """
    angles = torch.cat([bank.pose[:, :3], unknowns.mean[3:].expand(len(bank.pose), -1)], 1)
    away = unknowns.pull(angles).square().sum(1)
    near = away <= max(_FAR**2, float(away.min()))
    if not bool(near.all()):
        bank = bank._replace(pose=bank.pose[near], edges=bank.edges[:, near])
    found = []
    for number in range(len(_BLURS)):
        score, pose = _best(bank, image, window, number)
        apart = (_APART_DEGREES, _APART_PIXELS * bank.detector.spacing_at_isocentre_mm)
        found.append(pose[distinct(pose, score, bank.detector, apart, count // len(_BLURS))])
    return torch.cat(found)


def _best(bank: Bank, image: Tensor, window: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Best correlation ``(N,)`` of each radiograph's edges with the X-ray's, and its pose ``(N, 6)``."""
    near, far = (
        _smoothed((image * window)[None], width) / _smoothed(window[None], width).clamp_min(1e-3)
        for width in _BLURS[number]
    )
    most = bank.sharpest[number]
    own = ((near - far)[0] * (window > 0)).clamp(-most, most)
    score = _correlation(bank.edges[number], own, window)
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
    return far_apart(camera_to_world(pose, detector, torch.zeros(3)), pose[:, 3:5], score, apart, count)


def far_apart(
    rotation: Tensor, place: Tensor, score: Tensor, apart: tuple[float, float], count: int
) -> Tensor:
    """Return indices of highest score, best first, no two of them close together; a score of −∞ is none.

    Args:
        rotation: shape ``(N, 3, 3)`` or ``(N, 4, 4)``.
        place: in mm, shape ``(N, …)``.
        score: shape ``(N,)``.
        apart: degrees and mm; what differs by less in both is one.
        count: most of them.
    """
    chosen: list[int] = []
    left = score > -torch.inf
    while len(chosen) < count and bool(left.any()):
        top = int(torch.where(left, score, -torch.inf).argmax())
        chosen.append(top)
        turned = geodesic_degrees(rotation, rotation[top])
        left &= (turned > apart[0]) | ((place - place[top]).norm(dim=1) > apart[1])
        left[top] = False
    return torch.tensor(chosen, dtype=torch.int64)


def _smoothed(images: Tensor, width: float) -> Tensor:
    reach = min(math.ceil(3 * width), min(images.shape[-2:]) - 1)
    at = torch.arange(-reach, reach + 1, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (at / width).square())
    rows, columns = (_along(kernel / kernel.sum(), n) for n in images.shape[-2:])
    return rows @ images @ columns.T


def _along(kernel: Tensor, n: int) -> Tensor:
    """The matrix ``(n, n)`` of a convolution along an axis; beyond the image its edge goes on."""
    reach = len(kernel) // 2
    at = (torch.arange(n)[:, None] + torch.arange(-reach, reach + 1)).clamp(0, n - 1)
    return kernel.new_zeros(n, n).scatter_add_(1, at, kernel.expand(n, -1))


def _correlation(larger: Tensor, image: Tensor, window: Tensor) -> Tensor:
    """Correlation of an image with every part of its size of larger ones, ``(N, 2m + 1, 2n + 1)``."""
    weight = window / window.sum()
    centred = image - (weight * image).sum()
    ones, own = (_over_rows(kernel, larger.shape[-2]) for kernel in (weight, weight * centred))
    mean, cross = torch.nn.functional.conv1d(larger, torch.cat([ones, own])).split(len(ones), 1)
    square = torch.nn.functional.conv1d(larger.square(), ones)
    variance = (square - mean.square()).clamp_min(1e-12) * (weight * centred.square()).sum().clamp_min(1e-12)
    return cross * variance.rsqrt()


def _over_rows(kernel: Tensor, rows: int) -> Tensor:
    """A kernel that slides over an image's rows, as one ``(shifts, rows, width)`` that slides along them.

    With rows for channels this is a product of large matrices, several times as fast as one channel.
    """
    count, width = kernel.shape
    slid = kernel.new_zeros(rows - count + 1, rows, width)
    for shift, at in enumerate(slid):
        at[shift : shift + count] = kernel
    return slid
