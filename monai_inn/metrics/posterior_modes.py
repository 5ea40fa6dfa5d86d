"""MONAI metric that looks for the one known solution of each case among the modes of its posterior."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.metrics.cases import check_cases
from monai_inn.metrics.cumulative import PosteriorMetric
from monai_inn.metrics.modes.detection import Method, find_modes_batch
from monai_inn.metrics.modes.matching import match
from monai_inn.metrics.modes.space import ModeSpace

__all__ = ["ModeSummary", "PosteriorModes"]


class ModeSummary(NamedTuple):
    """Where the known solution is among the modes, over all cases seen.

    Attributes:
        recall: share of the cases in which a mode lies within the tolerance of the known solution.
        rank: mean rank by mass of that mode, 1 the heaviest; NaN if none ever does.
        distance: median distance of that mode in units of the tolerance; NaN if none ever does.
        modes_per_case: mean number of modes.
        num_cases: number of cases.
    """

    recall: float
    rank: float
    distance: float
    modes_per_case: float
    num_cases: int


class PosteriorModes(PosteriorMetric):
    """Recall of the known solution among the modes of posterior samples, pixel by pixel.

    Called as ``PosteriorMetric`` says. There may be solutions other than the known one, so that precision has
    no meaning here: use ``mode_scores`` where all are known. Four numbers are kept per case.

    Args:
        space: tolerances, angles and poses.
        method: where candidates of modes come from, see ``find_modes``.
        min_mass: smallest share of samples of a mode.

    Example:
        >>> metric = PosteriorModes(ModeSpace([0.5]))
        >>> samples = torch.cat([torch.randn(200, 8, 1) - 9, torch.randn(200, 8, 1) + 9])
        >>> _ = metric(y_pred=samples, y=torch.full((8, 1), 9.0))
        >>> metric.summary().modes_per_case
        2.0
    """

    def __init__(self, space: ModeSpace, method: Method = "density", min_mass: float = 0.02) -> None:
        super().__init__(space.period)
        self.space, self.method, self.min_mass = space, method, min_mass

    def _rows(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        samples, truth = check_cases(samples, truth, mask)
        found = find_modes_batch(samples, self.space, self.method, min_mass=self.min_mass)
        # MONAI's buffer does not take a batch of no rows: one without a number of modes stands for it.
        rows = torch.full((max(1, len(found)), 4), torch.nan, dtype=torch.float64)
        for row, modes, known in zip(rows, found, truth, strict=False):
            pairs = match(modes, known[None], self.space)
            row[0], row[3] = float(len(pairs.mode)), float(len(modes))
            if len(pairs.mode):
                # Modes come heaviest first.
                row[1], row[2] = pairs.mode[0] + 1, pairs.distance[0]
        return rows.to(samples.device)

    def aggregate(self) -> Tensor:
        """Return the recall over everything seen, a scalar tensor.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
            ValueError: if no case counts.
        """
        return self._cases()[:, 0].mean()

    def summary(self) -> ModeSummary:
        """Return recall, rank, distance and number of modes over everything seen.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
            ValueError: if no case counts.
        """
        rows = self._cases()
        return ModeSummary(
            float(rows[:, 0].mean()),
            float(rows[:, 1].nanmean()),
            float(rows[:, 2].nanquantile(0.5)),
            float(rows[:, 3].mean()),
            len(rows),
        )

    def _cases(self) -> Tensor:
        """Hit, rank, distance and number of modes of every case seen, shape ``(N, 4)``."""
        rows = self._seen()
        rows = rows[~rows[:, 3].isnan()]
        if not len(rows):
            raise ValueError("no case to look for modes in; the masks leave none.")
        return rows
