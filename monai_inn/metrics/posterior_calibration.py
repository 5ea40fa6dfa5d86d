"""MONAI metric that gathers calibration over the batches of a validation loop, and over processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.metrics.metric import CumulativeIterationMetric
from torch import Tensor

from monai_inn.metrics.calibration import CalibrationCurve, curve_of_counts
from monai_inn.metrics.sbc import SbcUniformity, rank_counts, sbc_ranks, uniformity_of_counts

__all__ = ["PosteriorCalibration"]


class PosteriorCalibration(CumulativeIterationMetric):
    """Calibration error and simulation-based calibration of posterior samples, pixel by pixel.

    Call it with ``y_pred`` = posterior samples ``(S, B, D, *spatial)``, ``y`` = true parameters
    ``(B, D, *spatial)`` and, where pixels are invalid, ``mask`` = boolean ``(B, 1, *spatial)``; or with lists
    over the batch of ``(S, D, *spatial)``, ``(D, *spatial)`` and ``(1, *spatial)``. Only a histogram of ranks
    is kept per call, so memory does not grow with the number of pixels. All calls need the same ``S``.

    Example:
        >>> metric = PosteriorCalibration()
        >>> _ = metric(y_pred=torch.randn(99, 500, 2), y=torch.randn(500, 2))
        >>> metric.aggregate().shape
        torch.Size([2])
    """

    def _compute_list(
        self, y_pred: Tensor | Sequence[Tensor], y: Tensor | Sequence[Tensor] | None = None, **kwargs: Any
    ) -> Tensor:
        """Histograms of a list of channel-first items, one row an item."""
        if y is None or len(y_pred) != len(y):
            raise ValueError(
                f"{len(y_pred)} items of samples, {0 if y is None else len(y)} of truth; give as many."
            )
        masks = [None] * len(y) if kwargs.get("mask") is None else kwargs["mask"]
        rows = [
            self._compute_tensor(
                p.detach().unsqueeze(1), t.detach().unsqueeze(0), mask=None if m is None else m.unsqueeze(0)
            )
            for p, t, m in zip(y_pred, y, masks, strict=True)
        ]
        return torch.cat(rows)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Rank histogram of one batch, shape ``(1, D, S + 1)``."""
        if y is None or y_pred.ndim < 3 or y_pred.shape[1:] != y.shape:
            raise ValueError(
                f"y_pred has shape {tuple(y_pred.shape)} and y {None if y is None else tuple(y.shape)}, "
                "expected (samples, batch, parameters, *spatial) and (batch, parameters, *spatial)."
            )
        mask: Tensor | None = kwargs.get("mask")
        if mask is not None:
            expected = (y.shape[0], 1, *y.shape[2:])
            if mask.shape != expected:
                raise ValueError(
                    f"mask has shape {tuple(mask.shape)}, expected {expected} for y {tuple(y.shape)}."
                )
            mask = mask.flatten()
        num_samples, num_parameters = y_pred.shape[0], y.shape[1]
        samples = y_pred.movedim(2, -1).reshape(num_samples, -1, num_parameters)
        truth = y.movedim(1, -1).reshape(-1, num_parameters)
        return rank_counts(sbc_ranks(samples, truth, mask), num_samples)[None]

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
        buffer = self.get_buffer()
        if buffer is None:
            raise RuntimeError(
                "PosteriorCalibration has seen no batch; call it with samples and truth first."
            )
        return buffer.sum(0)
