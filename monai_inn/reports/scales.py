"""Colour scales from the prior alone, so that two pictures can be compared whatever they show."""

from __future__ import annotations

from typing import NamedTuple

import torch

from monai_inn.fitted import FittedPosterior
from monai_inn.problems import InverseProblem, Parameter, ParameterSpace
from monai_inn.problems.priors import own_draws

__all__ = ["PriorScale", "prior_scale", "prior_scales", "trust_scale"]

_PRIOR_TAILS = 1.959964  # standard deviations of the central 95 % of the prior in the flow's space
_UNBOUNDED = 1.5  # times these, where a parameter has no bounds


class PriorScale(NamedTuple):
    """Range of a parameter's values, and the width of the central 95 % of its prior, physical units."""

    low: float
    high: float
    width: float


def prior_scales(problem: InverseProblem) -> dict[str, PriorScale]:
    """Return the scale of each target and derived quantity of a problem, by name."""
    draws = own_draws(problem)
    columns = {} if draws is None else dict(zip(problem.targets, draws.unbind(1), strict=False))
    return {p.name: prior_scale(p, columns.get(p.name)) for p in problem.shown}


def prior_scale(parameter: Parameter, draws: torch.Tensor | None = None) -> PriorScale:
    """Return the ends of the scales on which values and interval widths of a parameter are shown.

    Args:
        parameter: whose scale it is.
        draws: draws ``(n,)`` from a prior of its own; those of angles do not count.
    """
    edge = torch.tensor([-_PRIOR_TAILS, _PRIOR_TAILS], dtype=torch.float64)
    ends = ParameterSpace([parameter]).inverse(edge.unsqueeze(1)).squeeze(1)
    if draws is not None and not parameter.is_periodic:
        ends = draws.double().quantile(torch.special.ndtr(edge))
    tails = ends.tolist()
    low, high = (parameter.low, parameter.high) if parameter.is_bounded else (_UNBOUNDED * t for t in tails)
    return PriorScale(low, high, tails[1] - tails[0])


def trust_scale(fitted: FittedPosterior, false_alarm: float) -> tuple[float, float]:
    """Return the ends of the scale on which WAIC is shown, in nats: the limit is in its middle.

    Args:
        fitted: whose scale it is.
        false_alarm: share of simulations beyond the limit.
    """
    limit = fitted.guard.threshold(false_alarm)
    span = limit - float(fitted.network.ood_scores.detach().double().quantile(0.01))
    return limit - span, limit + span
