"""One p-value from several scores, for several kinds of ordinary data."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_inn.metrics.ood import ConformalThreshold

__all__ = ["CombinedThreshold"]


class CombinedThreshold:
    """Whether any of several scores is out of the ordinary, at a known rate of false alarms for all of them.

    Each score becomes a conformal p-value; the smallest of them is compared with those of the held-out data
    themselves, which makes the answer exact however the scores depend on one another. With several
    populations an observation is out only if it is so for each of them: the rate holds for all.

    Args:
        scores: held-out scores, HIGH = out, shape ``(populations, n, J)``.

    Raises:
        ValueError: if there is none, or one is NaN.

    Source: Bates et al., Testing for outliers with conformal p-values, 2023; Tippett's smallest p-value.
    """

    def __init__(self, scores: Tensor) -> None:
        if scores.ndim != 3 or not scores.numel():
            raise ValueError(
                f"scores have shape {tuple(scores.shape)}; expected (populations, held-out data, scores)."
            )
        self._single = [[ConformalThreshold(column) for column in rows.T] for rows in scores]
        self._smallest = [
            ConformalThreshold(-self._p_values(rows, population).amin(-1))
            for population, rows in enumerate(scores)
        ]

    def p_value(self, scores: Tensor) -> Tensor:
        """Return the combined p-value of scores ``(…, J)``, shape ``(…)``, float32."""
        each = [
            smallest.p_value(-self._p_values(scores, population).amin(-1))
            for population, smallest in enumerate(self._smallest)
        ]
        return torch.stack(each).amax(0)

    def leading(self, scores: Tensor) -> Tensor:
        """Return which of the scores ``(…, J)`` is most out of the ordinary, shape ``(…)``."""
        each = [self._p_values(scores, population) for population in range(len(self._single))]
        return torch.stack(each).amax(0).argmin(-1)

    def _p_values(self, scores: Tensor, population: int) -> Tensor:
        columns = scores.unbind(-1)
        single = self._single[population]
        return torch.stack([guard.p_value(c) for guard, c in zip(single, columns, strict=True)], -1)
