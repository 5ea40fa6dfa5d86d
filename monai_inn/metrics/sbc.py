"""Simulation-based calibration: ranks of the truth among posterior samples, and whether they are uniform."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.stats import chi2
from torch import Tensor

from monai_inn.metrics.cases import check_cases, unwrap

__all__ = ["SbcUniformity", "rank_counts", "sbc_ranks", "sbc_uniformity", "uniformity_of_counts"]

# χ² is trusted from this many expected cases per bin on; more than 20 bins only dilute smooth deviations.
_CASES_PER_BIN = 20
_MAX_BINS = 20


class SbcUniformity(NamedTuple):
    """Test of uniform ranks, one entry per parameter.

    Attributes:
        statistic: Pearson's χ², shape ``(D,)``.
        p_value: its p-value per parameter, shape ``(D,)``.
        p_value_bonferroni: the same, corrected for the number of parameters, shape ``(D,)``.
        num_bins: number of bins; χ² has one degree of freedom less.
    """

    statistic: Tensor
    p_value: Tensor
    p_value_bonferroni: Tensor
    num_bins: int


def sbc_ranks(
    samples: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    seed: int = 0,
    period: Tensor | None = None,
) -> Tensor:
    """Return how many posterior samples lie below the truth; uniform on ``0…S`` for an exact posterior.

    Args:
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        mask: cases to count, boolean, shape ``(N,)``; all of them by default.
        seed: seed by which ties (parameters on a bound) are broken at random, as uniformity demands.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are no angles.

    Returns:
        Ranks of the counted cases, shape ``(number of true in mask, D)``, int64.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: as for ``check_cases``.

    Source: Talts et al., Validating Bayesian inference algorithms with simulation-based calibration, 2018.
    """
    samples, truth = unwrap(*check_cases(samples, truth, mask, period), period)
    below = torch.zeros_like(truth, dtype=torch.int64)
    equal = torch.zeros_like(below)
    for sample in samples:
        below += sample < truth
        equal += sample == truth
    if bool(equal.any()):
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(equal.shape, generator=generator, dtype=torch.float64).to(equal.device)
        below += (uniform * (equal + 1)).long()
    return below


def rank_counts(ranks: Tensor, num_samples: int) -> Tensor:
    """Return the histogram of ranks ``(N, D)`` per parameter, shape ``(D, num_samples + 1)``, int64.

    Histograms of batches add up: everything in this module and in ``calibration`` can be had from their sum.

    Raises:
        ValueError: if a rank is outside ``0…num_samples``.
    """
    if ranks.ndim != 2:
        raise ValueError(f"ranks have shape {tuple(ranks.shape)}, expected (cases, parameters).")
    if ranks.numel() and not (int(ranks.min()) >= 0 and int(ranks.max()) <= num_samples):
        raise ValueError(
            f"ranks span {int(ranks.min())} to {int(ranks.max())}, but among {num_samples} samples "
            f"only 0 to {num_samples} are possible; give the number of samples that the ranks were made with."
        )
    return torch.stack([column.bincount(minlength=num_samples + 1) for column in ranks.unbind(1)])


def sbc_uniformity(ranks: Tensor, num_samples: int) -> SbcUniformity:
    """Test per parameter whether ranks are uniform, by Pearson's χ².

    Args:
        ranks: output of ``sbc_ranks``, shape ``(N, D)``.
        num_samples: number ``S`` of posterior samples behind each rank.

    Returns:
        Statistic and p-values. The number of bins is ``min(20, N / 20, S + 1)``; where it does not divide
        ``S + 1`` the expected counts follow the unequal bins, so that the test stays exact.

    Raises:
        ValueError: if there are fewer than 40 cases, or ranks outside ``0…S``.
    """
    return uniformity_of_counts(rank_counts(ranks, num_samples))


def uniformity_of_counts(counts: Tensor) -> SbcUniformity:
    """Test the rank histograms ``(D, S + 1)`` of ``rank_counts``; see ``sbc_uniformity``."""
    num_parameters, num_ranks = counts.shape
    cases = int(counts[0].sum())
    if cases < 2 * _CASES_PER_BIN:
        raise ValueError(
            f"{cases} cases are too few for a test of uniform ranks; simulate at least {2 * _CASES_PER_BIN} "
            "(a thousand to see a posterior that is 10 % too narrow)."
        )
    num_bins = min(_MAX_BINS, cases // _CASES_PER_BIN, num_ranks)
    bin_of_rank = torch.arange(num_ranks, device=counts.device) * num_bins // num_ranks
    expected = bin_of_rank.bincount(minlength=num_bins).double() * cases / num_ranks
    observed = torch.zeros(num_parameters, num_bins, dtype=torch.float64, device=counts.device)
    observed.index_add_(1, bin_of_rank, counts.double())
    statistic = ((observed - expected).square() / expected).sum(1)
    p_value = torch.as_tensor(chi2.sf(statistic.cpu().numpy(), num_bins - 1))
    return SbcUniformity(statistic, p_value, (num_parameters * p_value).clamp_max(1.0), num_bins)
