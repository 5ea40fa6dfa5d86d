"""Tests of all parameters together: TARP, energy and log score, resimulation, modes against the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from scipy.stats import ks_2samp
from torch import Tensor

from monai_inn.metrics import energy_score, tarp
from monai_inn.metrics.calibration.coverage import rate_of
from monai_inn.metrics.modes import ModeSpace, find_modes, match
from monai_inn.validation.cases import Cases

__all__ = ["joint_figures", "mode_figures", "resimulation"]

_CURVES, _CURVE_POINTS = ("level", "coverage", "low", "high"), 50
_MODE_CASES, _MODE_SAMPLES = 200, 1000
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
            **{name: [round(float(v), 4) for v in getattr(result, name)[::step]] for name in _CURVES},
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


def mode_figures(cases: Cases, tolerance: Mapping[str, float], seed: int = 0) -> dict[str, Any] | None:
    """Return how the modes of up to 200 random cases agree with the truth, JSON-ready.

    The truth is one known solution; others may exist, so that modes without one are not errors.

    Args:
        cases: posterior samples and truth.
        tolerance: by parameter name and in its unit, how far a mode may be from the truth and still show it;
            modes are those of the joint posterior of these parameters. ``None`` is returned for none.
        seed: seed of the choice of cases.

    Raises:
        ValueError: if there is no such parameter, or a tolerance is not positive.
    """
    if not tolerance:
        return None
    columns = [cases.space.index(name) for name in tolerance]
    space = ModeSpace(list(tolerance.values()), cases.space.period[columns])
    chosen = torch.randperm(len(cases), generator=torch.Generator().manual_seed(seed))[:_MODE_CASES].tolist()
    ranks, numbers, distances = [], [], []
    for case in chosen:
        modes = find_modes(cases.samples[:_MODE_SAMPLES, case][:, columns], space)
        pairs = match(modes, cases.truth[case, columns][None], space)
        numbers.append(len(modes))
        if len(pairs.mode):
            ranks.append(int(pairs.mode[0]))
            distances.append(float(pairs.distance[0]))
    count = len(chosen)
    return {
        "tolerance": dict(tolerance),
        "cases": count,
        "recall": rate_of(len(ranks), count),
        "recall_of_heaviest": rate_of(ranks.count(0), count),
        "share_with_several": rate_of(sum(number > 1 for number in numbers), count),
        "modes_per_case": sum(numbers) / count,
        "median_distance": float(torch.tensor(distances).quantile(0.5)) if distances else None,
    }
