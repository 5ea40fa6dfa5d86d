"""One p-value from several scores, for several kinds of ordinary data."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["CombinedThreshold"]


class CombinedThreshold:
    """Whether any of several scores is out of the ordinary, at a known rate of false alarms for all of them.

    Each score becomes a conformal p-value; the smallest of them is compared with those of the held-out data
    themselves, which makes the answer exact however the scores depend on one another. With several
    populations an observation is out only if it is so for each of them: the rate holds for all.

    Args:
        scores: held-out scores, HIGH = out, shape ``(populations, n, J)``; NaN counts as the highest.

    Raises:
        ValueError: if there is none.

    Source: Bates et al., Testing for outliers with conformal p-values, 2023; Tippett's smallest p-value.
    """

    def __init__(self, scores: Tensor) -> None:
        if scores.ndim != 3 or 0 in scores.shape:
            raise ValueError(
                f"scores have shape {tuple(scores.shape)}; expected (populations, held-out data, scores)."
            )
        held_out = scores.detach().float().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
        self._single = held_out.transpose(1, 2).contiguous().sort().values
        own = [self._single_p(rows)[population] for population, rows in enumerate(held_out)]
        self._smallest = torch.stack([-p.amin(0) for p in own]).sort().values

    def p_value(self, scores: Tensor) -> Tensor:
        """Return the combined p-value of scores ``(…, J)``, shape ``(…)``, float32."""
        rows = scores.reshape(-1, scores.shape[-1])
        smallest = _conformal(self._smallest, -self._single_p(rows).amin(1))
        return smallest.amax(0).reshape(scores.shape[:-1])

    def leading(self, scores: Tensor) -> Tensor:
        """Return which of the scores ``(…, J)`` is most out of the ordinary, shape ``(…)``."""
        rows = scores.reshape(-1, scores.shape[-1])
        return self._single_p(rows).amax(0).argmin(0).reshape(scores.shape[:-1])

    def _single_p(self, rows: Tensor) -> Tensor:
        """The p-value of each score of rows ``(N, J)`` in each population, ``(populations, J, N)``."""
        values = rows.detach().float().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
        return _conformal(self._single, values.T.expand(len(self._single), -1, -1))


def _conformal(held_out: Tensor, values: Tensor) -> Tensor:
    """Share of sorted held-out scores ``(…, n)`` and of values ``(…, N)`` that reach the values, float32."""
    n = held_out.shape[-1]
    below = torch.searchsorted(held_out, values.contiguous())
    return ((1.0 + n - below.double()) / (n + 1)).float()
