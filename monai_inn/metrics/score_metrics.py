"""MONAI metrics that gather scores, sharpness and two-sample tests over batches and processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_inn.metrics.cumulative import PosteriorMetric
from monai_inn.metrics.grid import grid_divergence
from monai_inn.metrics.resimulation import ResimulationTest, resimulation_error, resimulation_test
from monai_inn.metrics.scores import check_scale, crps, energy_score, negative_log_density
from monai_inn.metrics.sharpness import Contraction, hds_length, interval_width, posterior_sd

__all__ = [
    "Crps",
    "EnergyScore",
    "GridDivergence",
    "HighestDensityLength",
    "LogScore",
    "ResimulationError",
    "Sharpness",
]


class _Mean(PosteriorMetric):
    """Base of metrics that are the mean of a per-case value; a call leaves only sums and a count."""

    def _values(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        """Values of the counted cases, ``(M, K)``."""
        raise NotImplementedError

    def _rows(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        values = self._values(samples, truth, mask)
        return torch.cat([values.sum(0), values.new_full((1,), len(values))])[None]

    def aggregate(self) -> Tensor:
        """Return the mean over everything seen, float64.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
            ValueError: if the masks left no case.
        """
        return self._mean()

    def _mean(self) -> Tensor:
        total = self._seen().sum(0)
        if total[-1] < 1:
            raise ValueError(f"{type(self).__name__} has seen no case that counts; the masks leave none.")
        return total[:-1] / total[-1]


class Crps(_Mean):
    """Mean continuous ranked probability score per parameter, ``(D,)``, in the parameters' units.

    Called as ``PosteriorMetric`` says; see ``crps``.
    """

    def _values(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        return crps(samples, truth, mask, self.period)


class EnergyScore(_Mean):
    """Mean energy score over all parameters together, a scalar. Called as ``PosteriorMetric`` says.

    Args:
        scale: unit of each parameter, its prior standard deviation, shape ``(D,)``.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
    """

    def __init__(self, scale: Tensor, period: Tensor | None = None) -> None:
        super().__init__(period)
        self.scale = scale

    def _values(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        return energy_score(samples, truth, self.scale, mask, self.period)[:, None]

    def aggregate(self) -> Tensor:
        """Return the mean over everything seen, a scalar; raises as the other means do."""
        return self._mean()[0]


class Sharpness(_Mean):
    """Mean width of central intervals, and contraction against the prior. Called as ``PosteriorMetric`` says.

    Args:
        prior_sd: prior standard deviation of each parameter, shape ``(D,)``.
        level: nominal coverage of the intervals.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
    """

    def __init__(self, prior_sd: Tensor, level: float = 0.68, period: Tensor | None = None) -> None:
        super().__init__(period)
        self.prior_sd = prior_sd
        self.level = level

    def _values(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        unit = check_scale(self.prior_sd, samples.shape[-1], "prior_sd").to(samples.device)
        ratio = posterior_sd(samples, mask, self.period) / unit
        return torch.cat([interval_width(samples, self.level, mask, self.period), ratio, ratio.square()], 1)

    def aggregate(self) -> Tensor:
        """Return the mean interval width per parameter, ``(D,)``; raises as the other means do."""
        return self._mean().chunk(3)[0]

    def contraction(self) -> Contraction:
        """Return mean sd ratio and contraction over everything seen."""
        _, ratio, square = self._mean().chunk(3)
        return Contraction(ratio, 1 - square)


class HighestDensityLength(_Mean):
    """Mean length of the densest set per parameter, ``(D,)``. Called as ``PosteriorMetric`` says.

    Args:
        level: share of the posterior inside the set.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
    """

    def __init__(self, level: float = 0.68, period: Tensor | None = None) -> None:
        super().__init__(period)
        self.level = level

    def _values(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        return hds_length(samples, self.level, mask, self.period)


class ResimulationError(PosteriorMetric):
    """Mean resimulation error ρ, a scalar, 1 for an exact posterior, and the test of its law.

    Called as ``PosteriorMetric`` says, but with ``y_pred`` = noise-free observations of posterior samples
    ``(S, B, C, *spatial)`` and ``y`` = observations ``(B, C, *spatial)``. One number per sample and case is
    kept. All calls need the same number of samples.

    Args:
        noise_sd: standard deviation of the noise, a number or one per channel, shape ``(C,)``.
    """

    def __init__(self, noise_sd: float | Tensor) -> None:
        super().__init__()
        self.noise_sd = noise_sd
        self._channels = 0

    def _rows(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        self._channels = truth.shape[1]
        return resimulation_error(samples, truth, self.noise_sd, mask).T

    def aggregate(self) -> Tensor:
        """Return the mean over everything seen, a scalar.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
        """
        return self._seen().mean()

    def test(self, seed: int = 0, confidence: float = 0.95) -> ResimulationTest:
        """Return ``resimulation_test`` of everything seen."""
        return resimulation_test(self._seen().T, self._channels, seed, confidence)


class _DensityMetric(_Mean):
    """Base of metrics whose ``y_pred`` and ``y`` have no sample axis: ``(B, K, *spatial)`` both."""

    def _compute_list(
        self, y_pred: Tensor | Sequence[Tensor], y: Tensor | Sequence[Tensor] | None = None, **kwargs: Any
    ) -> Tensor:
        y = y_pred if y is None else y
        return super()._compute_list([item.unsqueeze(0) for item in y_pred], y, **kwargs)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        y = y_pred if y is None else y
        if y_pred.ndim == y.ndim:  # a batch; items of a list come with the axis
            y_pred = y_pred.unsqueeze(0)
        return super()._compute_tensor(y_pred, y, **kwargs)


class LogScore(_DensityMetric):
    """Mean negative log density of the truth in nats, a scalar.

    Call it with ``y_pred`` = log density at the truth ``(B, 1, *spatial)`` and, where pixels are invalid,
    ``mask`` of the same shape; or with lists over the batch.
    """

    def _values(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        if truth.shape[1] != 1:
            raise ValueError(
                f"y_pred has {truth.shape[1]} channels, expected one log density per pixel, (B, 1, *spatial)."
            )
        value = negative_log_density(samples[0, :, 0], mask)
        return torch.stack([value, value.square()], 1)

    def aggregate(self) -> Tensor:
        """Return the mean over everything seen, a scalar; raises as the other means do."""
        return self._mean()[0]

    def standard_error(self) -> float:
        """Return the standard error of the mean over independent cases."""
        n = float(self._seen()[:, -1].sum())
        mean, square = self._mean().tolist()
        return math.sqrt(max(square - mean**2, 0.0) / (n - 1)) if mean < math.inf and n > 1 else math.inf


class GridDivergence(_DensityMetric):
    """Mean divergence of a density from a reference on a grid, ``(KL in nats, total variation)``.

    Call it with ``y_pred`` = log density at the grid points ``(B, G, *spatial)``, ``y`` = that of the
    reference, same shape, and, where pixels are invalid, ``mask`` = boolean ``(B, 1, *spatial)``; or with
    lists over the batch.

    Args:
        cell_volume: volume of a grid cell, or of each, shape ``(G,)``; see ``posterior_grid``.
    """

    def __init__(self, cell_volume: float | Tensor) -> None:
        super().__init__()
        self.cell_volume = cell_volume

    def _values(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        log_q, log_p = (samples[0], truth) if mask is None else (samples[0, mask], truth[mask])
        result = grid_divergence(log_q, log_p, self.cell_volume)
        return torch.stack([result.kl, result.tv], -1)
