"""MONAI metrics made of ranks: coverage, cumulative rank plots, random-point tests, rank transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_inn.metrics.calibration import CalibrationCurve, curve_of_counts
from monai_inn.metrics.coverage import LEVELS, Coverage, coverage_of_counts
from monai_inn.metrics.cumulative import PosteriorMetric
from monai_inn.metrics.ecdf import EcdfDifference, ecdf_difference
from monai_inn.metrics.sbc import (
    SbcUniformity,
    below_and_equal,
    break_ties,
    rank_counts,
    sbc_ranks,
    stream,
    uniformity_of_counts,
    unit_share,
)
from monai_inn.metrics.tarp import TarpResult, closer_and_equal, prior_scale, tarp_of_fractions

__all__ = ["Pit", "PosteriorCalibration", "PosteriorCoverage", "SbcEcdf", "Tarp"]


class _RankHistogram(PosteriorMetric):
    """Base of metrics that keep a histogram of ranks per call, so that memory does not grow with pixels.

    All calls need the same number of samples.
    """

    def __init__(self, period: Tensor | None = None, seed: int = 0) -> None:
        super().__init__(period)
        self.seed = seed

    def _rows(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        ranks = sbc_ranks(samples, truth, mask, self._call_seed(), self.period)
        return rank_counts(ranks, samples.shape[0])[None]

    def counts(self) -> Tensor:
        """Return the rank histogram over everything seen, shape ``(D, S + 1)``."""
        return self._seen().sum(0)

    def reset(self) -> None:
        """Forget everything seen."""
        super().reset()
        self._calls = 0

    def _call_seed(self) -> int:
        """A seed of its own for each call and process: ties must not be broken alike in all of them."""
        is_shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        process = torch.distributed.get_rank() if is_shared else 0
        self._calls += 1
        return int(np.random.SeedSequence([self.seed, process, self._calls]).generate_state(1)[0])


class PosteriorCalibration(_RankHistogram):
    """Calibration error and simulation-based calibration, called as ``PosteriorMetric`` says.

    Args:
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        seed: seed by which ties are broken.

    Example:
        >>> import torch
        >>> metric = PosteriorCalibration()
        >>> _ = metric(y_pred=torch.randn(99, 500, 2), y=torch.randn(500, 2))
        >>> metric.aggregate().shape
        torch.Size([2])
    """

    def aggregate(self) -> Tensor:
        """Return the calibration error over everything seen, per parameter, shape ``(D,)``.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
        """
        return self.curve().error

    def curve(self) -> CalibrationCurve:
        """Return the calibration curve over everything seen."""
        return curve_of_counts(self.counts())

    def uniformity(self) -> SbcUniformity:
        """Return the test of uniform ranks over everything seen."""
        return uniformity_of_counts(self.counts())


class PosteriorCoverage(_RankHistogram):
    """Coverage of central posterior intervals with exact bounds, called as ``PosteriorMetric`` says.

    Args:
        level: nominal coverages between 0 and 1, ``Q`` of them.
        confidence: coverage of the bounds themselves.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        seed: seed by which cases on the edge of an interval are counted in or out, and ties broken.

    Example:
        >>> metric = PosteriorCoverage(level=[0.68])
        >>> _ = metric(y_pred=torch.randn(99, 500, 2), y=torch.randn(500, 2))
        >>> metric.aggregate().coverage.shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        level: Sequence[float] | Tensor = LEVELS,
        confidence: float = 0.95,
        period: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(period, seed)
        self.level, self.confidence = level, confidence

    def aggregate(self) -> Coverage:
        """Return ``coverage`` over everything seen.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
        """
        return coverage_of_counts(self.counts(), self.level, self.confidence, self.seed)


class SbcEcdf(_RankHistogram):
    """Cumulative rank plot with a band for all points at once, called as ``PosteriorMetric`` says.

    Args:
        confidence: probability with which the curve of one exact parameter stays in the band everywhere.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        seed: seed by which ties are broken.
    """

    def __init__(self, confidence: float = 0.95, period: Tensor | None = None, seed: int = 0) -> None:
        super().__init__(period, seed)
        self.confidence = confidence

    def aggregate(self) -> EcdfDifference:
        """Return ``ecdf_difference`` over everything seen.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
        """
        return ecdf_difference(self.counts(), self.confidence)


class Tarp(_RankHistogram):
    """Test of the joint posterior with random points, called as ``PosteriorMetric`` says.

    References depend on no observation here, so that the prior passes: use ``tarp_fractions`` with references
    that depend on the observation where that matters.

    Args:
        references: points to draw the reference of each case from, shape ``(R, D)``: parameters drawn from
            the prior (training data will do), or one point, but not the truth that is called with.
        scale: length of one unit of distance per parameter, shape ``(D,)``; the standard deviation of the
            references by default.
        confidence: coverage of the bootstrap bounds at each level.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        seed: seed of the choice among references, of ties and of the bootstrap.

    Raises:
        ValueError: if the references have another shape, or there is only one and no scale.
    """

    def __init__(
        self,
        references: Tensor,
        scale: Tensor | None = None,
        confidence: float = 0.95,
        period: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(period, seed)
        if references.ndim != 2 or references.shape[0] < 1 or (scale is None and references.shape[0] < 2):
            raise ValueError(
                f"references have shape {tuple(references.shape)}, expected (points, parameters); "
                "a single point says nothing of the spread, so give scale= with it."
            )
        self.references = references
        self.scale = prior_scale(references, period) if scale is None else scale
        self.confidence = confidence

    def _rows(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        if self.references.shape[1] != truth.shape[1]:
            raise ValueError(
                f"references have {self.references.shape[1]} parameters, the truth {truth.shape[1]}."
            )
        seed = self._call_seed()
        chosen = torch.randint(len(self.references), truth.shape[:1], generator=stream(seed, "references"))
        references = self.references[chosen.to(self.references.device)]
        below, equal = closer_and_equal(samples, truth, references, mask, self.period, self.scale)
        return rank_counts(break_ties(below, equal, seed).long()[:, None], samples.shape[0])[None]

    def fractions(self) -> Tensor:
        """Return ``tarp_fractions`` over everything seen, in rising order, shape ``(N,)``."""
        counts = self.counts()[0].cpu()
        ranks = torch.arange(counts.numel()).repeat_interleave(counts)
        spread = break_ties(ranks, torch.zeros_like(ranks), self.seed)
        return unit_share(spread, counts.numel() - 1).sort().values

    def aggregate(self) -> TarpResult:
        """Return ``tarp`` over everything seen.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
        """
        return tarp_of_fractions(self.fractions(), confidence=self.confidence, seed=self.seed)


class Pit(PosteriorMetric):
    """Probability integral transform of every case, called as ``PosteriorMetric`` says.

    Every case is kept: for images of more than a million pixels the metrics above need far less memory.

    Args:
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        seed: seed of the spreading and of ties.
    """

    def __init__(self, period: Tensor | None = None, seed: int = 0) -> None:
        super().__init__(period)
        self.seed = seed

    def _rows(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        below, equal = below_and_equal(samples, truth, mask, self.period)
        return torch.stack([below, equal, torch.full_like(below, samples.shape[0])], 1)

    def extend(self, *data: Any) -> None:
        """Add rows; none at all (a batch without a valid pixel) is fine, which MONAI's own does not say."""
        if data[0].shape[0]:
            super().extend(*data)

    def aggregate(self) -> Tensor:
        """Return ``pit`` of everything seen, in order, shape ``(N, D)``, float64.

        Raises:
            RuntimeError: if the metric has not seen anything yet.
        """
        below, equal, num_samples = self._seen().unbind(1)
        return unit_share(break_ties(below, equal, self.seed), num_samples)
