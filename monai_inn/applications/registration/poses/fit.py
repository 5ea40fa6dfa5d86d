"""The best poses near some starts, with the numbers of the X-ray unit: least squares, residuals white."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import POSE, pose_difference
from monai_inn.applications.registration.radiograph import NUISANCES, Radiograph
from monai_inn.applications.registration.whitening import Whitening

__all__ = ["Fit", "Level", "Unknowns", "climb", "loss_at"]

_DAMPING = 1e-3
_LONGEST = (6.0, 6.0, 6.0, 20.0, 20.0, 20.0)  # degrees and mm, of one step
_ENOUGH = 0.05  # nats


class Unknowns(NamedTuple):
    """Prior of the six pose parameters and, behind them, of what the X-ray unit does.

    Attributes:
        mean: of the prior, or the value of what is known, shape ``(13,)``, float64.
        sd: of the prior; infinite where it is flat.
        low: bounds.
        high: bounds.
        free: whether each is to be found, boolean.
        source_sd: mm by which the source may be off its place, standard deviation in each direction.
    """

    mean: Tensor
    sd: Tensor
    low: Tensor
    high: Tensor
    free: Tensor
    source_sd: Tensor

    @classmethod
    def of(
        cls,
        free: Mapping[str, Sequence[float]],
        fixed: Mapping[str, float],
        about: Mapping[str, Sequence[float]] | None = None,
        source_sd: float = 0.0,
    ) -> Unknowns:
        """Return priors of a pose's free parameters and those of the X-ray unit.

        Args:
            free: range of every pose parameter that is to be found.
            fixed: value of the others; 0 where not given.
            about: mean and standard deviation of free ones whose prior is normal; flat by default.
            source_sd: mm by which the source may be off its place, standard deviation in each direction.
        """
        rows = []
        for name in POSE:
            low, high = free.get(name, [fixed.get(name, 0.0)] * 2)
            mean, sd = (about or {}).get(name, ((low + high) / 2, torch.inf))
            rows.append((mean, sd, low, high, name in free))
        rows += [(n.mean, n.sd, n.low, n.high, True) for n in NUISANCES]
        mean, sd, low, high, is_free = torch.tensor(rows, dtype=torch.float64).T
        return cls(mean, sd, low, high, is_free > 0, torch.tensor(source_sd, dtype=torch.float64))

    def inside(self, x: Tensor) -> Tensor:
        """Return rows ``(B, 13)`` within the bounds; an angle that may take a full turn is turned back."""
        turn = 360.0
        around = self.low[0] + torch.remainder(x[:, 0] - self.low[0], turn)
        first = (
            around if float(self.high[0] - self.low[0]) == turn else x[:, 0].clamp(self.low[0], self.high[0])
        )
        return torch.cat([first.unsqueeze(1), x[:, 1:].clamp(self.low[1:], self.high[1:])], 1)

    def pull(self, x: Tensor) -> Tensor:
        """Return the standardised distances of rows ``(B, 13)`` from the prior's mean."""
        return pose_difference(x, self.mean) / self.sd


class Level(NamedTuple):
    """An X-ray at one resolution, and what it is compared with.

    Attributes:
        radiograph: the images that the patient casts.
        image: the X-ray, minus log intensity, shape ``(rows, columns)``.
        whitening: of the residual.
    """

    radiograph: Radiograph
    image: Tensor
    whitening: Whitening


class Fit(NamedTuple):
    """Where least squares ended.

    Attributes:
        x: poses and nuisances, shape ``(B, 13)``, float64.
        loss: minus log posterior density up to a constant, nats, shape ``(B,)``.
        white: whitened residuals, shape ``(B, C)``.
        slopes: of the whitened images in ``x``, shape ``(B, 13, C)``.
    """

    x: Tensor
    loss: Tensor
    white: Tensor
    slopes: Tensor

    def curvature(self, unknowns: Unknowns) -> Tensor:
        """Return the curvature of the loss in what is free, ``(B, F, F)``, float64."""
        slopes = self.slopes[:, unknowns.free].double()
        prior = unknowns.sd[unknowns.free].square().reciprocal()
        return slopes @ slopes.transpose(1, 2) + torch.diag(prior)

    def at(self, index: Tensor) -> Fit:
        """Return some of them."""
        return Fit(*(part[index] for part in self))


def loss_at(level: Level, unknowns: Unknowns, x: Tensor) -> Tensor:
    """Return minus log posterior density of rows ``(B, 13)`` up to a constant, nats, shape ``(B,)``."""
    white = level.whitening(level.image - level.radiograph(x[:, :6], x[:, 6:]))
    return _loss(unknowns, x, white)


def _loss(unknowns: Unknowns, x: Tensor, white: Tensor) -> Tensor:
    return 0.5 * (white.double().square().sum(1) + unknowns.pull(x).square().sum(1))


def _evaluated(level: Level, unknowns: Unknowns, x: Tensor) -> Fit:
    """Return the loss and its parts at rows ``(B, 13)``."""
    image, slopes = level.radiograph.linearised(x[:, :6], x[:, 6:])
    white = level.whitening(level.image - image)
    return Fit(x, _loss(unknowns, x, white), white, level.whitening(slopes))


def kept_better(best: Any, trial: Any, better: Tensor) -> Any:
    """Return a tuple of tensors ``(B, …)`` whose rows are those of a trial where that is better ``(B,)``."""
    pairs = zip(best, trial, strict=True)
    rows = (torch.where(better.to(a.device).view(-1, *[1] * (a.ndim - 1)), b, a) for a, b in pairs)
    return type(best)(*rows)


@torch.no_grad()
def climb(level: Level, unknowns: Unknowns, start: Tensor | Fit, steps: int) -> Fit:
    """Return the best fits near rows ``(B, 13)`` (Levenberg–Marquardt, all rows at once)."""
    fit = _evaluated(level, unknowns, unknowns.inside(start)) if isinstance(start, Tensor) else start
    free = unknowns.free
    longest = torch.cat([torch.tensor(_LONGEST).double(), torch.full((len(free) - 6,), torch.inf)])[free]
    damping = torch.full((len(fit.x),), _DAMPING, dtype=torch.float64)
    for _ in range(steps):
        curvature = fit.curvature(unknowns)
        downhill = (fit.slopes[:, free] @ fit.white.unsqueeze(2)).squeeze(2).double()
        downhill = downhill - (unknowns.pull(fit.x) / unknowns.sd)[:, free]
        damped = curvature + torch.diag_embed(damping[:, None] * curvature.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, downhill).clamp(-longest, longest)
        moved = fit.x.clone()
        moved[:, free] += step
        trial = _evaluated(level, unknowns, unknowns.inside(moved))
        better = trial.loss < fit.loss
        gained = float((fit.loss - trial.loss)[better].max()) if bool(better.any()) else 0.0
        fit = kept_better(fit, trial, better)
        damping = torch.where(better, damping / 5, damping * 8)
        if gained < _ENOUGH and (bool(better.any()) or float(damping.min()) > 1e3):
            break
    return fit
