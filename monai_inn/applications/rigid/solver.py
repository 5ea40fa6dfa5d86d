"""The posterior of the motion that lays a small volume into a larger one: no training, six unknowns.

Every shift of the turned moving image is scored at low resolution (``search``). Least squares climb from the
best, at finer and finer resolution (``fit``); what stays unexplained gives the noise (``likelihood``). In the
end grey values go through the curve before they are blurred, not after. Around the best fits, the right
vertebral level and its neighbours among them, ``posterior`` weighs draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.rigid.fit import climb, distinct
from monai_inn.applications.rigid.likelihood import FEW_KNOTS, MANY_KNOTS, Comparison, Curve, Match
from monai_inn.applications.rigid.motion import MOTION, Motions
from monai_inn.applications.rigid.posterior import Alignment, weigh
from monai_inn.applications.rigid.search import Bounds, candidates, turns
from monai_inn.applications.rigid.volumes import Volume, mapped

__all__ = ["Solution", "align_volumes", "bounds_of"]

_SEARCHED_MM, _MIDDLE_MM = 8.0, 4.0
_FINEST_MM, _MOST_VOXELS = 2.0, 50_000
_LEAST_ACROSS = 8  # voxels of the search along the moving image's shortest side
_FINER, _FINEST = 1.25, 1.8  # the fixed image's grid, so that lines between its voxels do little harm
_MARGIN_MM = 15.0
_MARGIN = 300.0  # nats that a motion may be worse
_BLUR, _NATIVE = 0.5, 0.6  # of the resolution; of the coarser image's voxels
_STARTS, _AGAIN = 300, 100  # of each search
_KEPT = (40, 24, 24)  # motions that go on from first steps, to the middle and to the finest resolution
_FIRST_STEPS, _STEPS, _DENSITY_ROUNDS = 2, 10, 2
_MOST_NUMBERS = 1e8  # of the last curve's hats
_SAME = (3.0, 4.0)  # degrees and mm
_ELSEWHERE_MM = 10.0
_DEGREES = 15.0
# Of the coarser image's voxels: errors of interpolation and of contrast that no residual shows.
_MISPLACED = 0.03


class Solution(NamedTuple):
    """The posterior of a motion, and what it rests on.

    Attributes:
        alignment: modes, masses, widths.
        comparison: the images at the finest resolution, with the noise that was found.
        explained: share of the moving image's variance that each mode explains at the lowest resolution.
        next_best: the best motion elsewhere and the nats that it loses; None if there was none.
        dependence: what the log likelihood was divided by, see ``Comparison.dependence``.
        bounds: the prior.
    """

    alignment: Alignment
    comparison: Comparison
    explained: list[float]
    next_best: tuple[Tensor, float] | None
    dependence: float
    bounds: Bounds


def bounds_of(fixed: Volume, moving: Volume, ranges: Mapping[str, Sequence[float]]) -> Bounds:
    """Return the prior: ranges of some parameters; ±15° and anywhere in the fixed image for the others.

    Raises:
        ValueError: if a name or a range is wrong, or leaves no place inside the fixed image.
    """
    unknown = set(ranges) - set(MOTION)
    if unknown:
        raise ValueError(
            f"--range {min(unknown)}: not a parameter of a motion; they are {', '.join(MOTION)}."
        )
    low, high = [], []
    for name, (unit, _) in MOTION.items():
        default = _DEGREES if unit == "deg" else torch.inf
        edges = [float(edge) for edge in ranges.get(name, (-default, default))]
        if not edges[0] < edges[1] or (unit == "deg" and max(map(abs, edges)) > 180):
            raise ValueError(
                f"--range {name}={edges[0]:g}:{edges[1]:g}: expected LOW < HIGH, angles within ±180."
            )
        low.append(edges[0])
        high.append(edges[1])
    bounds = Bounds(torch.tensor(low), torch.tensor(high), fixed, moving.centre)
    for name, a, b in zip(MOTION, bounds.low.tolist(), bounds.high.tolist(), strict=True):
        if not a < b:
            raise ValueError(
                f"the range of {name} moves the centre of the moving image out of the fixed one; leave "
                f"--range {name} out, or give the range from the place that the file's header says, in mm."
            )
    return bounds


@torch.no_grad()
def align_volumes(
    fixed: Volume,
    moving: Volume,
    ranges: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> Solution:
    """Return the posterior of the motion from the moving to the fixed image.

    Args:
        fixed: the larger image, such as the planning CT.
        moving: the smaller one, of the same or another modality.
        ranges: of some parameters of ``MOTION``, degrees and mm; see ``bounds_of``.
        seed: of the draws.
        device: where images are compared.
        progress: called with the share done.

    Raises:
        ValueError: if the images cannot overlap enough, or a range is wrong.
    """
    if float(moving.size_mm.prod()) > 1.001 * float(fixed.size_mm.prod()):
        raise ValueError(
            f"the moving image, {_in_words(moving)}, is larger than the fixed one, {_in_words(fixed)}; give "
            "the larger image first."
        )
    bounds, centre = bounds_of(fixed, moving, ranges or {}), moving.centre
    coarse = min(_SEARCHED_MM, max(float(moving.size_mm.min()) / _LEAST_ACROSS, _FINEST_MM))
    reach = torch.cartesian_prod(*torch.stack([bounds.low, bounds.high], 1)[3:]) + centre
    fixed = fixed.cropped(reach, float(moving.size_mm.norm()) / 2 + _MARGIN_MM)
    images = _at(fixed, moving, coarse, 1.0, device)
    curve, few = Curve.of(images[0].values), Curve.of(images[0].values, FEW_KNOTS)

    def compared(near: Volume, spacing_mm: float, finer: float) -> Comparison:
        larger, smaller = _at(near, moving, spacing_mm, finer, device)
        return Comparison(larger, smaller, torch.stack(list(curve.hats(larger.values))), centre)

    def searched(rotations: Tensor, count: int) -> Tensor:
        both = (candidates(*images, few, bounds, rotations, centre, count, edges) for edges in (True, False))
        return torch.cat(list(both))

    starts = searched(turns(bounds), _STARTS)
    if not len(starts):
        raise ValueError(
            "nowhere does half of the moving image lie inside the fixed one; check that the fixed image "
            "is the larger one, and --range."
        )
    progress(0.3)
    comparison = lowest = compared(fixed, coarse, _FINER)
    match = _started(comparison, bounds, starts)
    # The right rotation shows the neighbouring levels better than those of the search did.
    best = match.theta[match.log_likelihood.argmax()]
    match = _joined(match, _started(comparison, bounds, searched(best[None, :3], _AGAIN)))
    comparison = comparison.with_density(comparison.estimated_density(_best(match)))
    match = climb(comparison, bounds, match.theta[distinct(match, _SAME, _KEPT[0])], _STEPS)
    progress(0.5)
    for number, spacing in enumerate(_finer(coarse, fixed, moving)):
        theta = match.theta[_hopeful(match, _KEPT[number + 1])]
        near = fixed.cropped(_corners(moving, theta), _MARGIN_MM)
        match, comparison = _settled(compared(near, spacing, _FINEST), bounds, theta)
        progress(0.65 + 0.1 * number)
    nearly = match.at(distinct(match, _SAME, _KEPT[2]))
    level = nearly.log_likelihood
    theta = nearly.theta[level >= level.max() - _MARGIN]
    match, comparison = _settled(_averaged(fixed, moving, comparison, theta), bounds, theta)
    match = match.at(distinct(match, _SAME, len(theta)))
    dependence = comparison.dependence(match.theta[0])
    alignment = weigh(comparison, bounds, match, seed, dependence).widened(_misplaced(fixed, moving))
    progress(1.0)
    away = (nearly.theta - nearly.theta[0])[:, 3:].norm(dim=1)
    elsewhere = torch.nonzero(away > _ELSEWHERE_MM).flatten()[:1]
    nats = (level[0] - level[elsewhere]) / dependence
    return Solution(
        alignment,
        comparison,
        [lowest.explained(theta) for theta in alignment.best],
        (nearly.theta[elsewhere[0]], float(nats)) if len(nats) else None,
        dependence,
        bounds,
    )


def _in_words(volume: Volume) -> str:
    return " × ".join(f"{size:.0f}" for size in volume.size_mm.tolist()) + " mm"


def _started(comparison: Comparison, bounds: Bounds, theta: Tensor) -> Match:
    """The best fits near the most promising of many starts."""
    first = climb(comparison, bounds, theta, _FIRST_STEPS)
    return climb(comparison, bounds, first.theta[distinct(first, _SAME, _KEPT[0])], _STEPS)


def _best(match: Match) -> Tensor:
    return match.theta[match.log_likelihood.argmax()]


def _hopeful(match: Match, count: int) -> Tensor:
    """Indices of the best motions, but for those far worse than the second best."""
    index = distinct(match, _SAME, count)
    level = match.log_likelihood[index]
    return index[level >= level[:2].min().clamp_max(float(level.max()) - _MARGIN)]


def _settled(comparison: Comparison, bounds: Bounds, theta: Tensor) -> tuple[Match, Comparison]:
    """The best fits near some motions, as far as they compete, with the noise that the best one shows."""
    for _ in range(_DENSITY_ROUNDS):
        match = climb(comparison, bounds, theta, _STEPS)
        comparison = comparison.with_density(comparison.estimated_density(_best(match)))
        theta = match.theta[_hopeful(match, len(theta))]
    return climb(comparison, bounds, theta, _STEPS), comparison


def _averaged(fixed: Volume, moving: Volume, last: Comparison, theta: Tensor) -> Comparison:
    """Return the last comparison, but with averages of the curve in the place of the curve of averages.

    At edges they differ, and edges tell the motion. The curve has its knots where motions ``(B, 6)`` lay the
    moving image.
    """
    near = fixed.cropped(_corners(moving, theta), _MARGIN_MM)
    places = [mapped(last.moving.points(), matrix) for matrix in Motions.of(theta).matrix(last.centre)]
    seen = near.at(torch.cat(places))
    curve = Curve.of(seen[seen.isfinite()], MANY_KNOTS, apart=0.0)
    spacing, native = float(last.moving.spacing_mm[0]), _native(fixed, moving)
    finer = min(_FINEST, spacing * (_MOST_NUMBERS / len(curve.knots) / float(near.size_mm.prod())) ** (1 / 3))
    larger, smaller = _at(near, moving, spacing, finer, "cpu")
    parts = (near._replace(values=hat) for hat in curve.hats(near.values))
    hats = [part.resampled(float(larger.spacing_mm[0]), _blur(spacing, native)).values for part in parts]
    return Comparison(larger, smaller, torch.stack(hats).to(last.hats), last.centre, last.density)


def _joined(first: Match, second: Match) -> Match:
    return Match(*(torch.cat(pair) for pair in zip(first, second, strict=True)))


def _misplaced(fixed: Volume, moving: Volume) -> Tensor:
    """Standard deviations ``(6,)`` of what the residual does not show, degrees and mm."""
    voxel = float(torch.cat([fixed.spacing_mm, moving.spacing_mm]).max())
    mm = torch.full((3,), _MISPLACED * voxel).double()
    radius = float((moving.size_mm.square() / 12).sum().sqrt())
    return torch.cat([torch.rad2deg(mm / radius), mm])


def _corners(moving: Volume, theta: Tensor) -> Tensor:
    """Where motions ``(B, 6)`` take the corners of the moving image, RAS in mm, shape ``(8 · B, 3)``."""
    corners = moving.corners()
    matrix = Motions.of(theta).matrix(moving.centre)
    return (corners @ matrix[:, :3, :3].transpose(1, 2) + matrix[:, None, :3, 3]).reshape(-1, 3)


def _finer(coarse: float, fixed: Volume, moving: Volume) -> list[float]:
    """Resolutions behind that of the search, mm."""
    native = _native(fixed, moving)
    finest = max(_FINEST_MM, native, float(moving.size_mm.prod() / _MOST_VOXELS) ** (1 / 3))
    return [*([_MIDDLE_MM] if finest < 0.6 * _MIDDLE_MM else []), finest]


def _native(fixed: Volume, moving: Volume) -> float:
    return float(torch.cat([fixed.spacing_mm, moving.spacing_mm]).max())


def _blur(spacing_mm: float, native: float) -> float:
    return max(_BLUR * spacing_mm, _NATIVE * native)


def _at(
    fixed: Volume, moving: Volume, spacing_mm: float, finer: float, device: str | torch.device
) -> tuple[Volume, Volume]:
    """Both images at one resolution, blurred alike."""
    blur = _blur(spacing_mm, _native(fixed, moving))
    larger, smaller = fixed.resampled(spacing_mm / finer, blur), moving.resampled(spacing_mm, blur)
    return Volume(larger.values.to(device), larger.affine), smaller
