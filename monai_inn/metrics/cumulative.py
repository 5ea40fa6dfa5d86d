"""The MONAI side of metrics of posterior samples: batches, images, masks, processes."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import torch
from monai.metrics.metric import CumulativeIterationMetric
from torch import Tensor

__all__ = ["PosteriorMetric"]


class PosteriorMetric(CumulativeIterationMetric, abc.ABC):
    """Base of metrics of posterior samples that gather over batches and processes.

    Call one with ``y_pred`` = posterior samples ``(S, B, D, *spatial)``, ``y`` = true parameters
    ``(B, D, *spatial)`` and, where pixels are invalid, ``mask`` = boolean ``(B, 1, *spatial)``; or with lists
    over the batch of ``(S, D, *spatial)``, ``(D, *spatial)`` and ``(1, *spatial)``. Every pixel is a case.

    A subclass writes ``_rows``, what one call leaves in the buffer, and ``aggregate``.

    Args:
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
    """

    def __init__(self, period: Tensor | None = None) -> None:
        super().__init__()
        self.period = period

    @abc.abstractmethod
    def _rows(self, samples: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
        """Rows to keep, ``(rows, …)``, of samples ``(S, N, D)``, truth ``(N, D)`` and mask ``(N,)``."""

    def _compute_list(
        self, y_pred: Tensor | Sequence[Tensor], y: Tensor | Sequence[Tensor] | None = None, **kwargs: Any
    ) -> Tensor:
        """Rows of a list of channel-first items."""
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
        """Rows of one batch."""
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
        return self._rows(samples, truth, mask)

    def _seen(self) -> Tensor:
        """Everything in the buffer, of all processes."""
        buffer = self.get_buffer()
        if buffer is None:
            raise RuntimeError(
                f"{type(self).__name__} has seen no batch; call it with samples and truth first."
            )
        return buffer
