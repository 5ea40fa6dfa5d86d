"""Metrics within strata: calibrated on average is not calibrated where it matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

__all__ = ["Strata", "StratifiedMetric", "bins_of", "by_stratum"]

Result = TypeVar("Result")


class Strata(NamedTuple):
    """Cases sorted into bins of a number that is known of each.

    Attributes:
        labels: bin of each case, ``0…K − 1``, or −1 where the number is NaN, shape ``(N,)``, int64.
        edges: bounds of the bins, rising, shape ``(K + 1,)``, float64.
        names: ``"low to high"`` per bin.
    """

    labels: Tensor
    edges: Tensor
    names: tuple[str, ...]


def bins_of(values: Tensor, bins: int | Sequence[float] | Tensor) -> Strata:
    """Sort cases into bins of a number, such as blood volume, depth or the OoD score.

    An exact posterior is calibrated in every bin if the number is a function of the observation. If it is one
    of the truth, which the posterior does not know, then not even an exact one is: such bins only compare.

    Args:
        values: one number per case, shape ``(N,)``; NaN belongs to no bin.
        bins: number of bins with (nearly) equally many cases, or the ``K + 1`` rising edges; a bin holds its
            lower edge, and the last one its upper edge, too. ``-inf`` and ``inf`` make the outer bins open.

    Raises:
        ValueError: if the shape is not ``(N,)``, edges do not rise, a value lies outside them, or the values
            repeat so often that there are no such bins.
    """
    if values.ndim != 1:
        raise ValueError(f"values have shape {tuple(values.shape)}, expected one number per case, (cases,).")
    known = ~values.isnan()
    edges = (
        _quantile_edges(values[known], bins)
        if isinstance(bins, int)
        else torch.as_tensor(bins).double().cpu()
    )
    if edges.ndim != 1 or edges.numel() < 2 or not bool((edges[1:] > edges[:-1]).all()):
        raise ValueError(f"edges are {edges.tolist()}, expected at least two numbers that rise.")
    inner = values.double().cpu()
    outside = int((known.cpu() & ~((inner >= edges[0]) & (inner <= edges[-1]))).sum())
    if outside:
        raise ValueError(
            f"{outside} of {values.numel()} values lie outside the edges {float(edges[0]):.4g} to "
            f"{float(edges[-1]):.4g}; widen them, or make them -inf and inf."
        )
    labels = torch.bucketize(inner, edges[1:-1], right=True).to(values.device).masked_fill(~known, -1)
    return Strata(labels, edges, tuple(f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges.tolist())))


def by_stratum(
    function: Callable[..., Result],
    samples: Tensor,
    truth: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    **kwargs: Any,
) -> dict[int, Result]:
    """Call a metric once per stratum, with the cases of that stratum as its mask.

    Args:
        function: called as ``function(samples, truth, mask=mask, **kwargs)``, such as ``coverage``.
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        labels: stratum of each case, integer, shape ``(N,)``; negative ones belong to none.
        mask: cases to count, boolean, shape ``(N,)``; all of them by default.
        kwargs: further arguments of the function.

    Returns:
        What the function returns, by label; labels without a case that counts are left out.

    Raises:
        TypeError: if the labels are not integers.
        ValueError: if there is not one label per case, and as for the function.
    """
    counted = _counted(labels, truth.shape[:1], mask)
    return {
        label: function(samples, truth, mask=counted & (labels == label), **kwargs)
        for label in labels[counted].unique().tolist()
    }


class StratifiedMetric:
    """One metric per stratum, gathered over batches.

    Call it as ``PosteriorMetric`` says, with ``strata`` = integers ``(B, 1, *spatial)`` (or a list of
    ``(1, *spatial)``) beside; negative ones belong to no stratum. In a distributed run every process must
    have seen every stratum before ``aggregate``.

    Args:
        make_metric: returns a new metric, such as ``PosteriorCalibration``.

    Example:
        >>> import torch
        >>> from monai_inn.metrics import PosteriorCalibration
        >>> metric = StratifiedMetric(PosteriorCalibration)
        >>> metric(torch.randn(99, 500, 2), torch.randn(500, 2), strata=torch.randint(3, (500, 1)))
        >>> sorted(metric.aggregate())
        [0, 1, 2]
    """

    def __init__(self, make_metric: Callable[[], Any]) -> None:
        self._make_metric = make_metric
        self._metrics: dict[int, Any] = {}

    def __call__(
        self,
        y_pred: Tensor | Sequence[Tensor],
        y: Tensor | Sequence[Tensor],
        strata: Tensor | Sequence[Tensor],
        mask: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """Add a batch, or a list of items.

        Raises:
            TypeError: if the strata are not integers.
            ValueError: if there is not one stratum per pixel, and as for the metric.
        """
        if isinstance(y_pred, Tensor) and isinstance(y, Tensor) and isinstance(strata, Tensor):
            counted = _counted(strata, (y.shape[0], 1, *y.shape[2:]), mask)
            for label in strata[counted].unique().tolist():
                if label not in self._metrics:
                    self._metrics[label] = self._make_metric()
                self._metrics[label](y_pred=y_pred, y=y, mask=counted & (strata == label))
            return
        if not len(y_pred) == len(y) == len(strata):
            raise ValueError(
                f"{len(y_pred)} items of samples, {len(y)} of truth, {len(strata)} of strata; give as many."
            )
        masks = [None] * len(y) if mask is None else [item[None] for item in mask]
        for p, t, k, m in zip(y_pred, y, strata, masks, strict=True):
            self(p[:, None], t[None], k[None], m)

    def aggregate(self) -> dict[int, Any]:
        """Return what each stratum's metric aggregates to, by label, in order.

        Raises:
            RuntimeError: if no case of any stratum was seen yet.
        """
        if not self._metrics:
            raise RuntimeError(
                "StratifiedMetric has seen no case; call it with samples, truth and strata first."
            )
        return {label: self._metrics[label].aggregate() for label in sorted(self._metrics)}

    def reset(self) -> None:
        """Forget everything seen."""
        self._metrics.clear()


def _quantile_edges(values: Tensor, num_bins: int) -> Tensor:
    """Edges of bins with equally many values each, float64, on the CPU."""
    if num_bins < 1 or values.numel() < num_bins:
        raise ValueError(f"{num_bins} bins of {values.numel()} values; ask for 1 to as many bins as values.")
    # Sorted by hand: torch.quantile refuses more than 16 million values.
    ordered = values.double().cpu().sort().values
    first = torch.arange(1, num_bins) * len(ordered) // num_bins
    edges = torch.cat([ordered[:1], (ordered[first - 1] + ordered[first]) / 2, ordered[-1:]])
    if not bool((edges.diff() > 0).all()):
        raise ValueError(
            f"values repeat too often for {num_bins} bins of equal size; give edges or fewer bins."
        )
    return edges


def _counted(labels: Tensor, expected: Sequence[int], mask: Any) -> Tensor:
    """Whether a case is in a stratum and in the mask."""
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"strata are {labels.dtype}, expected integers; bins_of makes them from numbers.")
    if tuple(labels.shape) != tuple(expected):
        raise ValueError(
            f"strata have shape {tuple(labels.shape)}, expected {tuple(expected)}: one per case."
        )
    if mask is None:
        return labels >= 0
    if mask.dtype != torch.bool:
        raise TypeError(f"mask is {mask.dtype}, expected a boolean tensor that is true for cases to count.")
    if mask.shape != labels.shape:
        raise ValueError(f"mask has shape {tuple(mask.shape)}, expected that of strata, {tuple(expected)}.")
    return (labels >= 0) & mask
