"""The MONAI metric of posterior samples: a function of them, gathered over batches, images and processes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics.metric import CumulativeIterationMetric
from torch import Tensor

from monai_inn.metrics.calibration.coverage import coverage_of_counts, width_and_shift
from monai_inn.metrics.calibration.ecdf import ecdf_difference
from monai_inn.metrics.calibration.error import curve_of_counts
from monai_inn.metrics.calibration.sbc import (
    break_ties,
    rank_counts,
    sbc_ranks,
    uniformity_of_counts,
    unit_share,
)
from monai_inn.metrics.calibration.sharpness import hds_length, interval_width, posterior_sd
from monai_inn.metrics.calibration.tarp import prior_scale, tarp_fractions, tarp_of_fractions
from monai_inn.metrics.cases import check_mask
from monai_inn.metrics.resimulation import resimulation_error
from monai_inn.metrics.scores import crps, energy_score
from monai_inn.metrics.two_sample import c2st, joint_pairs, mmd
from monai_inn.seeding import stream

__all__ = ["METRICS", "PosteriorMetric"]

_MOST_PAIRS = 4000  # for tests that compare all points with all others


class PosteriorMetric(CumulativeIterationMetric):
    """A function of posterior samples and truth as a MONAI metric. Every pixel is a case.

    Call it with ``y_pred`` = posterior samples ``(S, B, D, *spatial)`` and ``y`` = true parameters
    ``(B, D, *spatial)``, or with lists over the batch of ``(S, D, *spatial)`` and ``(D, *spatial)``. Further
    keywords have the shape of ``y`` except for the channels, and may be lists, too:

    - ``mask``: boolean, one channel; false where a pixel does not count, such as an invalid one.
    - ``strata``: integers, one channel. ``aggregate`` then returns a dictionary by stratum; negative ones are
      left out. Calibrated on average is not calibrated everywhere. Strata must follow from the observation:
      in bins of the truth not even an exact posterior is calibrated.
    - all others are handed on to the function, such as the ``condition`` of ``c2st``.

    Args:
        function: a name of ``METRICS``; or called as ``function(samples, truth, **options)`` with the cases
            of one call, ``(S, N, D)`` and ``(N, D)``, for a value of each case, first axis ``N``.
        reduce: makes the result of all values. Without it they are averaged, and a call leaves no more than
            their sum. For a name of ``METRICS`` it replaces the second entry there.
        options: arguments of the function, such as ``period``. A function with an argument ``seed`` gets
            another one for each call, made from this one, so that ties are not broken alike in all of them.

    Raises:
        ValueError: if the name is unknown.

    Example:
        >>> metric = PosteriorMetric("coverage", lambda counts: coverage_of_counts(counts.sum(0), [0.68]))
        >>> _ = metric(y_pred=torch.randn(99, 500, 2), y=torch.randn(500, 2))
        >>> metric.aggregate().coverage.shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        function: str | Callable[..., Tensor],
        reduce: Callable[[Tensor], Any] | None = None,
        **options: Any,
    ) -> None:
        self.name = function if isinstance(function, str) else getattr(function, "__name__", repr(function))
        usual = None
        if isinstance(function, str):
            if function not in METRICS:
                raise ValueError(f"unknown metric {function!r}; choose one of {', '.join(METRICS)}.")
            function, usual = METRICS[function]
        self.reduce = reduce or usual or _mean
        self.function, self._is_mean = function, self.reduce is _mean
        self._is_random = "seed" in inspect.signature(function).parameters
        self._seed, self.options = options.pop("seed", 0), options
        super().__init__()

    def reset(self) -> None:
        """Forget everything seen."""
        super().reset()
        self._calls = 0

    def extend(self, *data: Any) -> None:
        """Add rows; none at all (a batch without a valid pixel) is fine, unlike in MONAI's own."""
        if len(data[0]):
            super().extend(*data)

    def aggregate(self) -> Any:
        """Return the result over everything seen; by stratum, in order, where strata were given.

        Raises:
            RuntimeError: if no case has been seen yet.
        """
        buffer = self.get_buffer()
        if buffer is None:
            raise RuntimeError(
                f"PosteriorMetric {self.name} has seen no case that counts; call it with samples and truth."
            )
        rows, labels = buffer
        result = {label: self.reduce(rows[labels == label]) for label in labels.unique().tolist()}
        return result[-1] if list(result) == [-1] else result

    def _compute_list(
        self, y_pred: Tensor | Sequence[Tensor], y: Tensor | Sequence[Tensor] | None = None, **kwargs: Any
    ) -> list[Tensor | Sequence[Tensor]]:
        """Rows and their strata of a list of channel-first items."""
        given = {name: values for name, values in kwargs.items() if values is not None}
        if y is None or any(len(y_pred) != len(values) for values in (y, *given.values())):
            raise ValueError(
                f"{len(y_pred)} items of samples, {0 if y is None else len(y)} of truth"
                f"{''.join(f', {len(values)} of {name}' for name, values in given.items())}; give as many."
            )
        calls = [
            self._compute_tensor(
                p.detach().unsqueeze(1), t.detach()[None], **{name: v[i][None] for name, v in given.items()}
            )
            for i, (p, t) in enumerate(zip(y_pred, y, strict=True))
        ]
        seen = [call for call in calls if len(call[0])] or calls[:1]
        return [torch.cat(parts) for parts in zip(*seen, strict=True)]

    def _compute_tensor(
        self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Rows and their strata of one batch."""
        if y is not None and len(y_pred) == len(y) == 1 and y_pred.shape[2:] == y.shape[1:]:
            y_pred = y_pred.transpose(0, 1)  # an item of a list, to which ignite has given a batch axis
        if y is None or y_pred.ndim < 3 or y_pred.shape[1:] != y.shape:
            raise ValueError(
                f"y_pred has shape {tuple(y_pred.shape)} and y {None if y is None else tuple(y.shape)}, "
                "expected (samples, batch, parameters, *spatial) and (batch, parameters, *spatial)."
            )
        samples = y_pred.movedim(2, -1).reshape(len(y_pred), -1, y.shape[1])
        truth = y.movedim(1, -1).flatten(0, -2)
        beside = {name: _flat(name, v, y) for name, v in kwargs.items() if v is not None}
        mask, strata = beside.pop("mask", None), beside.pop("strata", None)
        labels = torch.full((len(truth),), -1, device=truth.device)
        counted = torch.ones_like(labels, dtype=torch.bool)
        if mask is not None:
            counted = check_mask(mask[:, 0], len(truth))
        if strata is not None:
            if strata.is_floating_point() or strata.dtype == torch.bool:
                raise TypeError(f"strata are {strata.dtype}, expected integers.")
            labels = strata[:, 0].long()
            counted = counted & (labels >= 0)
        rows, owners = [], []
        for label in labels[counted].unique().tolist():
            keep = counted & (labels == label)
            cases = slice(None) if bool(keep.all()) else keep
            chosen = {name: values[cases] for name, values in beside.items()}
            rows.append(self._rows(samples[:, cases], truth[cases], chosen))
            owners.append(labels.new_full((len(rows[-1]),), label))
        return (torch.cat(rows), torch.cat(owners)) if rows else (truth[:0], labels[:0])

    def _rows(self, samples: Tensor, truth: Tensor, beside: dict[str, Tensor]) -> Tensor:
        """What some cases leave in the buffer: their values, or sum and number of them."""
        random = {"seed": self._call_seed()} if self._is_random else {}
        values = self.function(samples, truth, **self.options, **beside, **random)
        if not self._is_mean:
            return values
        total = values.double().sum(0)
        return torch.stack([total, torch.full_like(total, len(values))])[None]

    def _call_seed(self) -> int:
        """A seed of its own for each call and process."""
        is_shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        process = torch.distributed.get_rank() if is_shared else 0
        self._calls += 1
        return int(np.random.SeedSequence([self._seed, process, self._calls]).generate_state(1)[0])


def _flat(name: str, values: Tensor, y: Tensor) -> Tensor:
    """Images ``(B, F, *spatial)`` beside ``y`` as cases ``(N, F)``; masks and strata have one channel."""
    channels = 1 if name in ("mask", "strata") else values.shape[1] if values.ndim > 1 else "features"
    expected = (y.shape[0], channels, *y.shape[2:])
    if tuple(values.shape) != expected:
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}, expected {expected} for y {tuple(y.shape)}."
        )
    return values.movedim(1, -1).flatten(0, -2)


def _mean(rows: Tensor) -> Tensor:
    """Mean of values, from sums and numbers ``(calls, 2, …)``."""
    total, number = rows.sum(0)
    return total / number


def _rank_histogram(samples: Tensor, truth: Tensor, period: Tensor | None = None, seed: int = 0) -> Tensor:
    """Histogram of ranks ``(1, D, S + 1)``; histograms add up, if all calls have as many samples."""
    return rank_counts(sbc_ranks(samples, truth, None, seed, period), len(samples))[None]


def _tarp_histogram(
    samples: Tensor,
    truth: Tensor,
    references: Tensor,
    period: Tensor | None = None,
    scale: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """The same for distances from ``references (R, D)``, such as draws from the prior, one for each case."""
    if references.ndim != 2 or references.shape[1] != truth.shape[1]:
        raise ValueError(
            f"references have shape {tuple(references.shape)}, expected (points, {truth.shape[1]})."
        )
    chosen = torch.randint(len(references), (len(truth),), generator=stream(seed, "references"))
    scale = prior_scale(references, period) if scale is None else scale
    fractions = tarp_fractions(
        samples, truth, references[chosen.to(references.device)], None, period, scale, seed
    )
    return rank_counts((fractions * (len(samples) + 1)).long()[:, None], len(samples))[None]


def _transforms(counts: Tensor) -> Tensor:
    """Integral transforms ``(N, D)`` of histograms ``(calls, D, S + 1)``: ranks spread over their cells."""
    counts = counts.sum(0).cpu()
    ranks = torch.stack([torch.arange(counts.shape[1]).repeat_interleave(row) for row in counts], 1)
    return unit_share(break_ties(ranks, torch.zeros_like(ranks), 0), counts.shape[1] - 1)


def _halves(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Draws of one half of the cases and truths of the other, from some of ``joint_pairs``."""
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:_MOST_PAIRS]
    half = len(order) // 2
    return pairs[order[:half], 0], pairs[order[half : 2 * half], 1]


def _joint_mmd(pairs: Tensor) -> Any:
    x, y = _halves(pairs)
    return mmd(x, y, permutations=200, scale=torch.cat([x, y]).double().std(0))


# What each leaves of one call, and what becomes of it; without the latter it is averaged.
METRICS: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor], Any] | None]] = {
    "calibration_error": (_rank_histogram, lambda counts: curve_of_counts(counts.sum(0)).error),
    "coverage": (_rank_histogram, lambda counts: coverage_of_counts(counts.sum(0))),
    "sbc_uniformity": (_rank_histogram, lambda counts: uniformity_of_counts(counts.sum(0))),
    "ecdf_difference": (_rank_histogram, lambda counts: ecdf_difference(counts.sum(0))),
    "width_and_shift": (_rank_histogram, lambda counts: width_and_shift(_transforms(counts))),
    "tarp": (_tarp_histogram, lambda counts: tarp_of_fractions(_transforms(counts)[:, 0])),
    "crps": (crps, None),
    "energy_score": (energy_score, None),
    "interval_width": (lambda samples, truth, **options: interval_width(samples, **options), None),
    "hds_length": (lambda samples, truth, **options: hds_length(samples, **options), None),
    "posterior_sd": (lambda samples, truth, **options: posterior_sd(samples, **options), None),
    "resimulation_error": (lambda clean, y, noise_sd: resimulation_error(clean, y, noise_sd).mean(0), None),
    "c2st": (joint_pairs, lambda pairs: c2st(*_halves(pairs))),
    "mmd": (joint_pairs, _joint_mmd),
}
