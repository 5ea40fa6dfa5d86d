"""The best motions near some starts: Levenberg–Marquardt, all starts at once."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_inn.applications.registration.poses.fit import kept_better
from monai_inn.applications.registration.poses.search import far_apart
from monai_inn.applications.rigid.likelihood import Comparison, Match
from monai_inn.applications.rigid.motion import Motions
from monai_inn.applications.rigid.search import Bounds

__all__ = ["climb", "curvature", "distinct"]

_DAMPING = 1e-3
_LONGEST = torch.tensor((6.0, 6.0, 6.0, 8.0, 8.0, 8.0)).double()  # degrees and mm, of one step
_ENOUGH = 0.02  # nats


def curvature(match: Match) -> Tensor:
    """Return the curvatures ``(B, 6, 6)`` of minus the log likelihood, float64."""
    slopes = match.slopes
    return (slopes @ slopes.transpose(1, 2)).double().cpu()


@torch.no_grad()
def climb(comparison: Comparison, bounds: Bounds, theta: Tensor, steps: int) -> Match:
    """Return the best motions near rows ``(B, 6)``.

    Args:
        comparison: of the two images.
        bounds: prior.
        theta: where to start, degrees and mm.
        steps: most of them.
    """
    best = comparison(bounds.inside(theta), slopes=True)
    damping = torch.full((len(theta),), _DAMPING, dtype=torch.float64)
    for _ in range(steps):
        bend = curvature(best)
        uphill = (best.slopes @ best.white.unsqueeze(2)).squeeze(2).double().cpu()
        damped = bend + torch.diag_embed(
            damping[:, None] * bend.diagonal(dim1=1, dim2=2).clamp_min(1e-9) + 1e-9
        )
        # A parameter at its bound stays there while the likelihood pulls it out.
        held = ((best.theta <= bounds.low) & (uphill < 0)) | ((best.theta >= bounds.high) & (uphill > 0))
        damped = torch.where(
            held.unsqueeze(1) | held.unsqueeze(2), torch.diag_embed(damped.diagonal(dim1=1, dim2=2)), damped
        )
        step = torch.linalg.solve(damped, uphill.masked_fill(held, 0.0)).clamp(-_LONGEST, _LONGEST)
        trial = comparison(bounds.inside(best.theta + step), slopes=True)
        better = trial.log_likelihood > best.log_likelihood
        gained = (
            float((trial.log_likelihood - best.log_likelihood)[better].max()) if bool(better.any()) else 0.0
        )
        best = kept_better(best, trial, better)
        damping = torch.where(better, damping / 5, damping * 8)
        if gained < _ENOUGH and (bool(better.any()) or float(damping.min()) > 1e3):
            break
    return best


def distinct(match: Match, apart: tuple[float, float], count: int) -> Tensor:
    """Return indices of the best motions, best first, no two of them close together.

    Args:
        match: motions.
        apart: degrees and mm; motions that differ by less in both are one.
        count: most of them.
    """
    rotation = Motions.of(match.theta).rotation
    return far_apart(rotation, match.theta[:, 3:], match.log_likelihood, apart, count)
