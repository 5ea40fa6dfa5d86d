"""MONAI metric that gathers calibration over the batches of a validation loop, and over processes."""

from __future__ import annotations

from torch import Tensor

from monai_inn.metrics.calibration import CalibrationCurve, curve_of_counts
from monai_inn.metrics.cumulative import PosteriorMetric
from monai_inn.metrics.sbc import SbcUniformity, rank_counts, sbc_ranks, uniformity_of_counts

__all__ = ["PosteriorCalibration"]


class PosteriorCalibration(PosteriorMetric):
    """Calibration error and simulation-based calibration of posterior samples, pixel by pixel.

    Called as ``PosteriorMetric`` says. Only a histogram of ranks is kept per call, so memory does not grow
    with the number of pixels. All calls need the same number of samples.

    Example:
        >>> metric = PosteriorCalibration()
        >>> _ = metric(y_pred=torch.randn(99, 500, 2), y=torch.randn(500, 2))
        >>> metric.aggregate().shape
        torch.Size([2])
    """

    def _rows(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        return rank_counts(sbc_ranks(samples, truth, mask, period=self.period), samples.shape[0])[None]

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

    def counts(self) -> Tensor:
        """Return the rank histogram over everything seen, shape ``(D, S + 1)``."""
        return self._seen().sum(0)
