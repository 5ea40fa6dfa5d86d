"""Colour scales from the prior alone, so that two pictures can be compared whatever they show."""

from __future__ import annotations

from typing import NamedTuple

import torch

from monai_inn.inferers import FittedPosterior
from monai_inn.problems import Parameter, ParameterSpace

__all__ = ["PriorScale", "prior_scale", "trust_scale"]

_PRIOR_TAILS = 1.959964  # standard deviations of the central 95 % of the prior in the flow's space
_UNBOUNDED = 1.5  # times these, where a parameter has no bounds


class PriorScale(NamedTuple):
    """Range of a parameter's values, and the width of the central 95 % of its prior, physical units."""

    low: float
    high: float
    width: float


def prior_scale(parameter: Parameter) -> PriorScale:
    """Return the ends of the scales on which values and interval widths of a parameter are shown."""
    edge = torch.tensor([[-_PRIOR_TAILS], [_PRIOR_TAILS]], dtype=torch.float64)
    tails = [float(t) for t in ParameterSpace([parameter]).inverse(edge).flatten()]
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
