"""Tests of all parameters together: TARP, energy and log score, resimulation."""

from __future__ import annotations

import math
from typing import Any

from scipy.stats import ks_2samp
from torch import Tensor

from monai_inn.metrics.scores import energy_score
from monai_inn.metrics.tarp import tarp
from monai_inn.validation.cases import Cases

__all__ = ["joint_figures", "resimulation"]

_CURVE_POINTS = 50
_ENERGY_SAMPLES = 64  # the cases vary far more than the estimate of one of them


def joint_figures(cases: Cases, seed: int) -> dict[str, Any]:
    """Return the figures of the joint posterior, JSON-ready; ``None`` where something is not at hand."""
    result = tarp(cases.samples, cases.truth, period=cases.period, seed=seed)
    score = energy_score(
        cases.samples[:_ENERGY_SAMPLES], cases.truth, cases.truth.std(0), period=cases.period
    )
    step = max(1, len(result.level) // _CURVE_POINTS)
    return {
        "tarp": {
            "p": float(result.p_value),
            "statistic": float(result.statistic),
            "level": [round(float(v), 4) for v in result.level[::step]],
            "coverage": [round(float(v), 4) for v in result.coverage[::step]],
            "low": [round(float(v), 4) for v in result.low[::step]],
            "high": [round(float(v), 4) for v in result.high[::step]],
        },
        "energy_score": {"mean": float(score.mean()), "standard_error": _standard_error(score)},
        "log_score": None
        if cases.log_prob is None
        else {"mean_nats": -float(cases.log_prob.mean()), "standard_error": _standard_error(cases.log_prob)},
        "resimulation": None if cases.residuals is None else resimulation(*cases.residuals),
    }


def resimulation(posterior: Tensor, truth: Tensor) -> dict[str, Any]:
    """Compare the misfit of resimulated posterior draws with that of the true parameters.

    Of an exact posterior, truth and draw have the same joint law with the observation, whatever the noise is
    like: equal mean misfit, and equal laws. Misfits are squared residuals in units of the noise.

    Args:
        posterior: measured minus resimulated observation of one posterior draw a case, shape ``(N, C)``.
        truth: the same of the true parameters.
    """
    sd = truth.square().mean(0).sqrt().clamp_min(1e-12)
    drawn, true = ((r / sd).square().mean(1) for r in (posterior, truth))
    difference = (drawn - true).double()
    error = 1.96 * float(difference.std()) / math.sqrt(len(difference))
    # The halves are of different cases: independent, as the test asks.
    p = float(ks_2samp(drawn[::2].cpu().numpy(), true[1::2].cpu().numpy()).pvalue)
    base = float(true.mean())
    return {
        "ratio": float(drawn.mean()) / base,
        "low": 1 + (float(difference.mean()) - error) / base,
        "high": 1 + (float(difference.mean()) + error) / base,
        "median_ratio": float(drawn.median() / true.median()),
        "p": p,
    }


def _standard_error(values: Tensor) -> float:
    return float(values.double().std()) / math.sqrt(len(values))
