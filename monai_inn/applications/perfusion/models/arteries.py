"""Arterial curves: a family with a first pass, a second pass, a washout, and smooth deviations from all that.

The family is meant to be wide: how a bolus looks depends on dose, injection, heart, vessel and scanner, and
on the person who drew the region. Parameters and ranges are our own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from monai_inn.applications.perfusion.models.kinetics import Artery
from monai_inn.problems.parameters import Parameter

__all__ = ["ARTERY", "artery"]

_DEVIATIONS_S = (4.0, 20.0, 100.0, 500.0)  # times since arrival where a deviation is largest
_DEVIATION_SD = 0.15

ARTERY = (
    Parameter("arrival", "s", 0.0, 90.0, "arrival of the bolus in the artery, since the first frame"),
    Parameter("peak", "mM", 0.2, 20.0, "largest concentration in the arterial plasma", "log"),
    Parameter("rise", "s", 2.0, 40.0, "time from arrival to the peak of the first pass", "log"),
    Parameter("sharpness", "1", 0.7, 20.0, "sharpness of the first pass, exponent of a gamma variate", "log"),
    Parameter("second_pass", "1", 0.0, 0.5, "height of the second pass over that of the first", "square"),
    Parameter("second_gap", "s", 8.0, 40.0, "time between first and second pass", "log"),
    Parameter("tail", "1", 0.05, 1.0, "concentration after the bolus over that of the first pass", "log"),
    Parameter("mixing", "1", 0.0, 0.8, "share of the tail that leaves the plasma early"),
    Parameter("mixing_time", "s", 20.0, 300.0, "time constant of what leaves early", "log"),
    Parameter("washout_time", "s", 200.0, 10000.0, "time constant of what leaves late", "log"),
    *(
        Parameter(
            f"deviation_{i}",
            "1",
            -math.inf,
            math.inf,
            f"smooth deviation of the logarithm {at:g} s after arrival",
            sd=_DEVIATION_SD,
        )
        for i, at in enumerate(_DEVIATIONS_S, 1)
    ),
)
"""Parameters of the family; ``artery`` takes them by name."""

_SECOND_WIDTH = 0.4  # standard deviation of the second pass over the gap between both
# Every second of the first pass, then in steps that grow to 20 minutes.
_FIRST_S, _LAST_S, _GROWING = 30, 1200.0, 29
_STEPS = (_LAST_S / _FIRST_S) ** (torch.arange(1, _GROWING + 1).double() / _GROWING)
_KNOTS_S = torch.cat([torch.arange(_FIRST_S + 1).double(), _FIRST_S * _STEPS])


def artery(values: Mapping[str, Tensor]) -> Artery:
    """Return arterial curves on knots that count from the arrival.

    Args:
        values: parameters by name, each of shape ``(…)``; the arrival is not used.

    Returns:
        Knots ``(K,)`` in s since the arrival and concentrations in plasma, ``(…, K)``, in mM.
    """
    value = {name: part.unsqueeze(-1) for name, part in values.items()}
    knots = _KNOTS_S.to(value["peak"])
    first = _bolus(knots / value["rise"], value["sharpness"])
    second = (knots - value["rise"] - value["second_gap"]) / (_SECOND_WIDTH * value["second_gap"])
    late = (1 - value["mixing"]) * torch.exp(-knots / value["washout_time"])
    early = value["mixing"] * torch.exp(-knots / value["mixing_time"])
    shape = (
        first
        + value["second_pass"] * torch.exp(-0.5 * second.square()) * _passed(knots, first)
        + value["tail"] * (early + late) * _passed(knots, first)
    )
    basis = _deviation_basis(knots)
    total = sum(value[f"deviation_{i}"] * row for i, row in enumerate(basis, 1))
    shape = shape * torch.exp(total)
    return Artery(knots, value["peak"] * shape / shape.amax(-1, keepdim=True))


def _bolus(time: Tensor, sharpness: Tensor) -> Tensor:
    """Gamma variate with its peak of 1 at time 1."""
    time = time.clamp_min(1e-6)
    return torch.exp(sharpness * (1 + time.log() - time))


def _passed(knots: Tensor, first: Tensor) -> Tensor:
    """Share of the first pass that has passed at each knot."""
    areas = 0.5 * (first[..., 1:] + first[..., :-1]) * knots.diff()
    total = torch.cat([torch.zeros_like(areas[..., :1]), areas.cumsum(-1)], -1)
    return total / total[..., -1:]


def _deviation_basis(knots: Tensor) -> Tensor:
    """Hats over the logarithm of time, which add up to one: shape ``(deviations, K)``."""
    centres = torch.tensor(_DEVIATIONS_S).to(knots).log()
    place = knots.clamp(_DEVIATIONS_S[0], _DEVIATIONS_S[-1]).log()
    step = centres[1] - centres[0]
    return (1 - (place - centres.unsqueeze(-1)).abs() / step).clamp_min(0)
