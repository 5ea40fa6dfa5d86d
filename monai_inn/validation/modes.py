"""Does one of the posterior's modes show the truth, and how many must a person look through to see it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from monai_inn.metrics.coverage import coverage_interval
from monai_inn.metrics.modes import ModeSpace, find_modes, match
from monai_inn.validation.cases import Cases

__all__ = ["mode_figures"]

_CASES, _SAMPLES = 200, 1000


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
    chosen = torch.randperm(len(cases), generator=torch.Generator().manual_seed(seed))[:_CASES].tolist()
    ranks, numbers, distances = [], [], []
    for case in chosen:
        modes = find_modes(cases.samples[:_SAMPLES, case][:, columns], space)
        pairs = match(modes, cases.truth[case, columns][None], space)
        numbers.append(len(modes))
        if len(pairs.mode):
            ranks.append(int(pairs.mode[0]))
            distances.append(float(pairs.distance[0]))
    count = len(chosen)
    return {
        "tolerance": dict(tolerance),
        "cases": count,
        "recall": _rate(len(ranks), count),
        "recall_of_heaviest": _rate(ranks.count(0), count),
        "share_with_several": _rate(sum(number > 1 for number in numbers), count),
        "modes_per_case": sum(numbers) / count,
        "median_distance": float(torch.tensor(distances).quantile(0.5)) if distances else None,
    }


def _rate(hits: int, n: int) -> dict[str, float]:
    low, high = coverage_interval(hits, n)
    return {"value": hits / n, "low": low, "high": high}
