"""One p-value from several scores: of the most unusual one, or of all of them together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_inn.metrics.detection.ood import ConformalThreshold

__all__ = ["CombinedThreshold", "JointThreshold"]

_LEAST_VARIANCE = 1e-6  # of standardised scores; below it a direction repeats others
_GROUPS_HELD = 0.85  # share of the groups in which the rate of false alarms holds


class CombinedThreshold:
    """Whether any of several scores is out of the ordinary, at a known rate of false alarms for all of them.

    Each score becomes a conformal p-value; the smallest of them is compared with those of the held-out data
    themselves, which makes the answer exact however the scores depend on one another. A population may hold
    several groups, such as organs. An observation may be of a new group, so the p-values of held-out data
    are those of the scores of all other groups. The rate then holds in 85 of 100 groups, because an average
    over groups says little about the next one. With several populations an observation is out only if it is
    so for each of them.

    Args:
        populations: held-out scores of each population, HIGH = out, shape ``(groups, n, J)``; NaN counts as
            the highest.

    Raises:
        ValueError: if there is none.

    Source: Bates et al., Testing for outliers with conformal p-values, 2023; Tippett's smallest p-value.
    """

    def __init__(self, populations: Sequence[Tensor]) -> None:
        if not populations or any(scores.ndim != 3 or 0 in scores.shape for scores in populations):
            shapes = ", ".join(str(tuple(scores.shape)) for scores in populations) or "none"
            raise ValueError(f"scores have shapes {shapes}; expected (groups, held-out data, scores) each.")
        # Of each population: sorted scores (J, n), and sorted largest evidence of each group (groups, n).
        self._held_out: list[tuple[Tensor, Tensor]] = []
        for scores in map(_finite, populations):
            single = scores.flatten(0, 1).T.contiguous().sort().values
            self._held_out.append((single, (-_smallest(single, scores)).sort().values))

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the combined p-value of scores ``(…, J)``, and which of them is most out, ``(…)`` each."""
        rows = _finite(scores).reshape(-1, scores.shape[-1]).T
        singles, found = [], []
        for single, evidence in self._held_out:
            p_values = _conformal(single, rows)
            groups = _conformal(evidence, -p_values.amin(0).expand(len(evidence), -1))
            found.append(groups.sort(0).values[math.ceil(_GROUPS_HELD * len(groups)) - 1])
            singles.append(p_values)
        leading = torch.stack(singles).amax(0).argmin(0)
        return torch.stack(found).amax(0).reshape(scores.shape[:-1]), leading.reshape(scores.shape[:-1])


class JointThreshold:
    """Whether several scores are out of the ordinary together, at a known rate of false alarms.

    The squared Mahalanobis distance of all scores from those of held-out data becomes one conformal p-value.
    It also sees what no single score does, such as two that usually agree and now do not. Each held-out datum
    is compared with the others, as a new one is.

    Args:
        held_out: scores of held-out data, shape ``(n, J)``; those that are not finite count as out.

    Raises:
        ValueError: if fewer than three are finite.
    """

    def __init__(self, held_out: Tensor) -> None:
        usable = held_out.isfinite().all(1)
        rows = held_out.detach()[usable].double()
        n = len(rows)
        if n < 3:
            raise ValueError(f"{n} of {len(held_out)} held-out scores are finite; give at least three.")
        self._mean, self._spread = rows.mean(0), rows.std(0).clamp_min(1e-12)
        white = (rows - self._mean) / self._spread
        variance, axes = torch.linalg.eigh(white.T @ white / (n - 1))
        kept = variance > _LEAST_VARIANCE
        self._axes = axes[:, kept] / variance[kept].sqrt()
        inside = (white @ self._axes).square().sum(1)
        # In closed form what mean and covariance of the others would give (Sherman and Morrison).
        alone = n**2 * (n - 2) / (n - 1) ** 3 * inside / (1 - n / (n - 1) ** 2 * inside).clamp_min(1e-12)
        self._distances = ConformalThreshold(
            torch.cat([alone, alone.new_full((int((~usable).sum()),), torch.inf)])
        )

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the p-value of scores ``(…, J)``, and which of them is most out, ``(…)`` each."""
        apart = (scores.detach().double() - self._mean) / self._spread
        distance = (apart @ self._axes).square().sum(-1).nan_to_num(nan=torch.inf)
        return self._distances.p_value(distance), apart.nan_to_num(nan=torch.inf).argmax(-1)


def _finite(scores: Tensor) -> Tensor:
    return scores.detach().float().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _conformal(held_out: Tensor, values: Tensor) -> Tensor:
    """Share of sorted held-out scores ``(…, n)`` and of values ``(…, N)`` that reach the values, float32."""
    return ((1 + _reached(held_out, values)) / (held_out.shape[-1] + 1)).float()


def _reached(held_out: Tensor, values: Tensor) -> Tensor:
    """How many of sorted held-out scores ``(…, n)`` reach values ``(…, N)``, float64 ``(…, N)``."""
    return held_out.shape[-1] - torch.searchsorted(held_out, values.contiguous()).double()


def _smallest(held_out: Tensor, scores: Tensor) -> Tensor:
    """Smallest p-value of each datum of scores ``(groups, n, J)``, ``(groups, n)``.

    It is that among the scores of all other groups; of a group alone, among its own. ``held_out`` are all
    scores, sorted, ``(J, groups n)``.
    """
    if len(scores) == 1:
        return _conformal(held_out, scores[0].T).amin(0, keepdim=True)
    own = scores.mT.contiguous()
    reached = _reached(held_out, own.movedim(0, 1).flatten(1)).unflatten(1, scores.shape[:2])
    others = reached - _reached(own.sort().values, own).movedim(0, 1)
    return ((1 + others) / (1 + held_out.shape[1] - scores.shape[1])).float().amin(0)
