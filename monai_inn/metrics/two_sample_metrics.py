"""MONAI metrics that compare pairs of posterior draw and observation with pairs of truth and observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_inn.metrics.cases import check_cases
from monai_inn.metrics.cumulative import PosteriorMetric
from monai_inn.metrics.sharpness import posterior_sd
from monai_inn.metrics.two_sample import C2stResult, MmdResult, c2st, mmd

__all__ = ["ClassifierTwoSample", "MaximumMeanDiscrepancy"]


class _JointMetric(PosteriorMetric):
    """Base of global two-sample tests: draw and truth of an exact posterior have one joint law with ``y``.

    Called as ``PosteriorMetric`` says and with ``condition`` = what the posterior was conditioned on,
    ``(B, F, *spatial)``. Without it only the mixture of all posteriors is compared with the prior. A random
    half of the cases gives its draws, the other half its truths, so that the sets are independent.
    """

    def __init__(self, period: Tensor | None = None, seed: int = 0, max_points: int = 2000) -> None:
        if max_points < 2:
            raise ValueError(f"max_points = {max_points}; give two points or more.")
        self.seed = seed
        self.max_points = max_points
        self._conditions = 0
        super().__init__(period)

    def reset(self) -> None:
        """Forget everything seen."""
        super().reset()
        self._generator = torch.Generator().manual_seed(self.seed)

    def _compute_list(
        self, y_pred: Tensor | Sequence[Tensor], y: Tensor | Sequence[Tensor] | None = None, **kwargs: Any
    ) -> Tensor:
        if y is None or len(y_pred) != len(y):
            raise ValueError(
                f"{len(y_pred)} items of samples, {0 if y is None else len(y)} of truth; give as many."
            )
        rows = []
        for i, (p, t) in enumerate(zip(y_pred, y, strict=True)):
            one = {
                name: None if values is None else values[i].unsqueeze(0) for name, values in kwargs.items()
            }
            rows.append(self._compute_tensor(p.detach().unsqueeze(1), t.detach().unsqueeze(0), **one))
        return torch.cat(rows)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        condition: Tensor | None = kwargs.get("condition")
        if y is not None and y_pred.ndim >= 3 and y_pred.shape[1:] == y.shape:
            # A draw of its own for every pixel: those of one sample index may share their latent.
            shape = (1, y.shape[0], 1, *y.shape[2:])
            index = torch.randint(len(y_pred), shape, generator=self._generator).to(y_pred.device)
            y_pred = y_pred.gather(0, index.expand(1, *y.shape))
            if condition is not None:
                if condition.ndim != y.ndim or (condition[:, :1].shape != y[:, :1].shape):
                    raise ValueError(
                        f"condition has shape {tuple(condition.shape)}, expected "
                        f"{(y.shape[0], 'features', *y.shape[2:])} for y {tuple(y.shape)}."
                    )
                self._conditions = condition.shape[1]
                y_pred = torch.cat([y_pred, condition.unsqueeze(0)], 2)
                y = torch.cat([y, condition], 1)
        return super()._compute_tensor(y_pred, y, **kwargs)

    def _rows(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        samples, truth = check_cases(samples, truth, mask, self._joint_period())
        return torch.cat([samples[0], truth], 1)

    def _joint_period(self) -> Tensor | None:
        if self.period is None:
            return None
        return torch.cat([self.period, self.period.new_full((self._conditions,), torch.inf)])

    def _two_samples(self) -> tuple[Tensor, Tensor]:
        """Draws of one half of the cases and truths of the other, each beside its condition."""
        rows = self._seen()
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))
        half = min(len(rows) // 2, self.max_points)
        draws, truths = rows[order[:half]], rows[order[half : 2 * half]]
        width = rows.shape[1] // 2
        return draws[:, :width], truths[:, width:]


class MaximumMeanDiscrepancy(_JointMetric):
    """Unbiased squared MMD between pairs (draw, condition) and (truth, condition), a scalar.

    Every coordinate is scaled by its spread in both sets together.

    Args:
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        seed: seed of draws, halves and permutations.
        max_points: points taken from each half at most.
    """

    def aggregate(self) -> Tensor:
        """Return the estimate over everything seen, a scalar.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
            ValueError: if too few cases count, or a coordinate does not vary.
        """
        return torch.tensor(self.test(permutations=0).squared)

    def test(self, permutations: int = 200) -> MmdResult:
        """Return the estimate and its p-value over everything seen."""
        draws, truths = self._two_samples()
        period = self._joint_period()
        scale = posterior_sd(torch.cat([draws, truths]).unsqueeze(1), period=period)[0]
        return mmd(draws, truths, "median", permutations, self.seed, period, scale)


class ClassifierTwoSample(_JointMetric):
    """Accuracy of a classifier that tells pairs (draw, condition) from (truth, condition), a scalar.

    Args:
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        seed: seed of draws, halves, folds and permutations.
        max_points: points taken from each half at most.
    """

    def aggregate(self) -> Tensor:
        """Return the accuracy over everything seen, a scalar; 0.5 for an exact posterior.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
            ValueError: if too few cases count, or a coordinate does not vary.
        """
        return torch.tensor(self.test().accuracy)

    def test(self) -> C2stResult:
        """Return accuracy, standard error and p-value over everything seen."""
        return c2st(*self._two_samples(), seed=self.seed, period=self._joint_period())
