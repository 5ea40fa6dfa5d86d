"""How good answers are where the one unknown is a class: figures of probabilities, sets and the guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_inn.metrics import classification_figures
from monai_inn.metrics.calibration.coverage import rate_of

if TYPE_CHECKING:
    from monai_inn.inferers.rows import RowPosterior

__all__ = ["class_figures", "class_summary", "guard_score"]

_ROWS = 250
_COVERAGES = (0.8, 0.9, 0.95)
_OF_CARD = 0.9  # coverage of the sets that a card speaks of


def class_figures(fitted: RowPosterior, theta: Tensor, y: Tensor, seed: int = 0) -> dict[str, Any]:
    """Return figures of the probabilities of classes, and the coverage of sets of them in each class.

    Args:
        fitted: posterior of one unknown, a class.
        theta: true classes as parameters, shape ``(n, 1)``.
        y: their observations, shape ``(n, C)``.
        seed: seed of bounds by resampling.
    """
    names = fitted.problem.parameters[0].categories
    label = theta[:, 0].long().clamp(0, len(names) - 1)
    probability = torch.cat([fitted.class_probability(rows).cpu() for rows in y.split(_ROWS)])
    sets = []
    for level in _COVERAGES if fitted.class_sets is not None else ():
        inside = fitted.class_sets(probability, level)  # type: ignore[misc]
        coverage = {}
        for k, name in enumerate(names):
            hit = inside[label == k, k]
            if len(hit):
                coverage[name] = rate_of(int(hit.sum()), len(hit))
        size = float(inside.sum(1).double().mean())
        sets.append({"level": level, "mean_size": size, "coverage": coverage})
    return {**classification_figures(probability, label, names, seed), "sets": sets}


def class_summary(figures: dict[str, Any]) -> dict[str, Any]:
    """Return what a card says of ``class_figures``: a value with bounds by what it is, JSON-ready."""
    rows = {"accuracy": figures["accuracy"], "expected calibration error": figures["calibration_error"]}
    for entry in figures["sets"]:
        if entry["level"] == _OF_CARD:
            rows |= {
                f"{name} in its {100 * _OF_CARD:.0f} % set": rate for name, rate in entry["coverage"].items()
            }
    return {
        "cases": figures["cases"],
        "calibration_error_if_exact": round(figures["calibration_error_if_exact"], 5),
        "figures": {name: {key: round(value, 5) for key, value in row.items()} for name, row in rows.items()},
    }


@torch.no_grad()
def guard_score(fitted: RowPosterior, y: Tensor) -> Tensor:
    """Return what a guard is measured by, of observations ``(n, C)``, HIGH = out of distribution, ``(n,)``.

    It is minus the p-value of a density of classes, whose guard joins many scores; elsewhere WAIC.
    """
    return fitted.waic(y) if fitted.network.classifier is None else -fitted.p_value(y).cpu()
