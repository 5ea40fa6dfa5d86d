"""How good a translation is where the true image is known: in the brain, inside lesions, outside them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import adaptive_max_pool2d

from monai_inn.applications.contrast.problem import OUTSIDE_SD, ContrastTranslation
from monai_inn.applications.contrast.scans import Scan

if TYPE_CHECKING:
    from monai_inn.fitted import FittedPosterior

__all__ = ["bits_per_pixel", "report", "strata", "widened"]

_AT_ONCE = 8


def strata(
    maps: Mapping[str, Tensor], truth: Tensor, lesions: Tensor | None, seen: Tensor
) -> dict[str, dict[str, float] | None]:
    """Return figures of each stratum of voxels, lesions always among them.

    Args:
        maps: ``mean``, ``interval_low``, ``interval_high`` and ``interval_width``, of one shape.
        truth: true grey levels on the same scale.
        lesions: which voxels are lesions, boolean.
        seen: voxels that are claimed, boolean.

    Returns:
        Of each stratum the number of ``voxels``, the ``coverage`` of the interval, ``rmse`` and ``bias`` of
        the mean and the mean ``width``, in grey levels; ``None`` where there are no voxels or none are known.
    """
    parts = {"brain": seen, "lesions": None, "outside_lesions": None}
    if lesions is not None:
        parts |= {"lesions": seen & lesions, "outside_lesions": seen & ~lesions}
    inside = (truth >= maps["interval_low"]) & (truth <= maps["interval_high"])
    error = maps["mean"] - truth
    found: dict[str, dict[str, float] | None] = {}
    for name, part in parts.items():
        if part is None or not part.any():
            found[name] = None
            continue
        found[name] = {
            "voxels": int(part.sum()),
            "coverage": round(float(inside[part].float().mean()), 4),
            "rmse": round(float(error[part].square().mean().sqrt()), 2),
            "bias": round(float(error[part].mean()), 2),
            "width": round(float(maps["interval_width"][part].mean()), 2),
        }
    return found


@torch.no_grad()
def bits_per_pixel(fitted: FittedPosterior, scan: Scan, seed: int = 0) -> float:
    """Return an upper bound of the bits that a pixel of the brain's true image costs, in 8-bit grey levels.

    Grey levels are those of an 8-bit image whose 99.9th percentile is ``scans.WHITE``. What stands outside
    the brain has a known density, which is taken off; that leaves a bound, by Jensen's inequality.

    Args:
        fitted: the posterior.
        scan: the observed contrasts and the true one.
        seed: seed of what stands outside, and between grey levels.
    """
    problem = fitted.problem
    assert isinstance(problem, ContrastTranslation)
    step = float(problem.peaks[-1] / scan.white()[-1])  # of an 8-bit grey level on the common scale
    nats, pixels = 0.0, 0
    for y, theta, brain in _pairs(problem, scan, step, seed):
        log_prob = fitted.posterior(y).log_prob(theta.flatten(1).to(fitted.device)).cpu()
        outside = Normal(problem.peaks[-1], OUTSIDE_SD).log_prob(theta)[~brain]
        nats += float(outside.double().sum() - log_prob.double().sum())
        pixels += int(brain.sum())
    return nats / pixels / math.log(2) - math.log2(step)


@torch.no_grad()
def widened(fitted: FittedPosterior, scans: Sequence[Scan], seed: int = 0) -> FittedPosterior:
    """Return a posterior whose latents have, level by level, the spread of those of held-out patients.

    It answers the question how much more a new patient differs than the patients of the training did; that
    is the same everywhere in the brain, so that it cannot know of lesions.

    Args:
        fitted: the posterior; stays as it is.
        scans: patients that the training has not seen, with the true contrast.
        seed: seed of what stands between grey levels.
    """
    problem, result = fitted.problem, copy.deepcopy(fitted)
    assert isinstance(problem, ContrastTranslation)
    from monai_inn.networks.images.rows import FieldFlow  # MONAI, which takes seconds to import

    assert isinstance(result.network.flow, FieldFlow)
    flow = result.network.flow.image
    shapes = flow.latent_shapes(0)
    squares, count = torch.zeros(len(shapes)), torch.zeros(len(shapes))
    for y, theta, brain in (pair for scan in scans for pair in _pairs(problem, scan, 1.0, seed)):
        base = fitted.posterior(y).base
        rows = base.latent(problem.space.to_latent(theta.flatten(1)).to(fitted.device)).cpu()
        for level, part in enumerate(rows.split([math.prod(shape) for shape in shapes], 1)):
            inside = adaptive_max_pool2d((~brain).float().unsqueeze(1), shapes[level][1:]) == 0
            latent = part.unflatten(1, shapes[level])[inside.expand(-1, shapes[level][0], -1, -1)]
            squares[level] += latent.square().sum()
            count[level] += latent.numel()
    flow.widen((squares / count).sqrt().tolist())
    return result


def _pairs(
    problem: ContrastTranslation, scan: Scan, step: float, seed: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Observations ``(n, C)``, true images with noise outside the brain, and where that is, ``(n, X, Y)``."""
    generator = torch.Generator().manual_seed(seed)
    for part in problem.slices(scan).split(_AT_ONCE):
        brain = part[..., 0] > 0
        yield part[..., :-1].flatten(1), problem.filled(part, generator, step), brain


def report(found: Mapping[str, Any], interval: float) -> str:
    """Return the strata in words, lesions always among them."""
    lines = []
    for name, row in found.items():
        words = name.replace("_", " ")
        if row is None:
            lines.append(
                f"{words}: not known; translation may hide them" if name == "lesions" else f"{words}: –"
            )
            continue
        lines.append(
            f"{words}: {row['coverage']:.0%} of the voxels inside the {interval:.0%} interval, error "
            f"{row['rmse']:.1f} grey levels, mean off by {row['bias']:+.1f}"
        )
    return "\n".join(lines)
