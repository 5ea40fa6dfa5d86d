"""How good a translation is where the true image is known: in the brain, inside lesions, outside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_inn.applications.contrast.problem import OUTSIDE_SD, ContrastTranslation
from monai_inn.applications.contrast.scans import Scan

if TYPE_CHECKING:
    from monai_inn.inferers import FittedPosterior

__all__ = ["bits_per_pixel", "report", "strata"]

_AT_ONCE = 8


def strata(
    maps: Mapping[str, Tensor], truth: Tensor, lesions: Tensor | None, seen: Tensor
) -> dict[str, dict[str, float] | None]:
    """Return figures of the voxels of each stratum: lesions have one of their own, ``None`` if none are known.

    Args:
        maps: ``mean``, ``interval_low``, ``interval_high`` and ``interval_width``, of one shape.
        truth: true grey levels on the same scale.
        lesions: which voxels are lesions, boolean.
        seen: voxels that are claimed, boolean.

    Returns:
        Of each stratum the number of ``voxels``, the ``coverage`` of the interval, ``rmse`` and ``bias`` of the
        mean and the mean ``width``, in grey levels.
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

    Grey levels are those of an 8-bit image whose 99.9th percentile is ``scans.WHITE``. What stands outside the
    brain has a known density, which is taken off; that leaves a bound, by Jensen's inequality.

    Args:
        fitted: the posterior.
        scan: the observed contrasts and the true one.
        seed: seed of what stands outside, and between grey levels.
    """
    problem = fitted.problem
    assert isinstance(problem, ContrastTranslation)
    slices = problem.slices(scan)
    step = float(problem.peaks[-1] / scan.white()[-1])  # of an 8-bit grey level on the common scale
    generator = torch.Generator().manual_seed(seed)
    nats, pixels = 0.0, 0
    for part in slices.split(_AT_ONCE):
        brain = part[..., 0] > 0
        blur = step * (torch.rand(brain.shape, generator=generator) - 0.5)
        white = torch.randn(brain.shape, generator=generator)
        theta = torch.where(brain, part[..., -1] + blur, problem.peaks[-1] + OUTSIDE_SD * white)
        q = fitted.posterior(part[..., :-1].flatten(1))
        log_prob = q.log_prob(theta.flatten(1).to(fitted.device)).cpu()
        outside = -0.5 * white.square() - math.log(OUTSIDE_SD * math.sqrt(2 * math.pi))
        nats += float((outside[~brain].double().sum() - log_prob.double().sum()))
        pixels += int(brain.sum())
    return nats / pixels / math.log(2) - math.log2(step)


def report(found: Mapping[str, Any], interval: float) -> str:
    """Return the strata in words, lesions always among them."""
    lines = []
    for name, row in found.items():
        words = name.replace("_", " ")
        if row is None:
            lines.append(f"{words}: not known; translation may hide them" if name == "lesions" else f"{words}: –")
            continue
        lines.append(
            f"{words}: {row['coverage']:.0%} of the voxels inside the {interval:.0%} interval, error "
            f"{row['rmse']:.1f} grey levels, mean off by {row['bias']:+.1f}"
        )
    return "\n".join(lines)
