"""Simulation-based calibration: ranks of the truth among posterior samples, and whether they are uniform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from scipy.stats import chi2
from torch import Tensor

from monai_inn.metrics.cases import case_slices, check_cases, unwrap
from monai_inn.networks.kernels.chunks import on_all_threads
from monai_inn.seeding import stream

__all__ = [
    "SbcUniformity",
    "below_and_equal",
    "pit",
    "rank_counts",
    "sbc_ranks",
    "sbc_uniformity",
    "uniformity_of_counts",
]

# χ² is trusted from this many expected cases per bin on; more than 20 bins only dilute smooth deviations.
_CASES_PER_BIN = 20
_MAX_BINS = 20

# Values compared at a time: a megabyte or two, so that what is made of them stays in the cache.
_CHUNK = 2**18


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
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.

    Returns:
        Ranks of the counted cases, shape ``(number of true in mask, D)``, int64.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: as for ``check_cases``.

    Source: Talts et al., Validating Bayesian inference algorithms with simulation-based calibration, 2018.
    """
    return break_ties(*below_and_equal(samples, truth, mask, period), seed).long()


def pit(
    samples: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    period: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Return the probability integral transform of the truth; uniform on (0, 1) for an exact posterior.

    The posterior is known by its samples only, so the rank among them is spread over its share of the unit
    interval at random: ``(rank + U) / (S + 1)``. Uniformity is exact for any number of samples.

    Args:
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        mask: cases to count, boolean, shape ``(N,)``; all of them by default.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        seed: seed of the spreading and of ties; the same seed gives ``sbc_ranks`` these values rounded down.

    Returns:
        Shape ``(number of true in mask, D)``, float64, strictly between 0 and 1.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: as for ``check_cases``.

    Source: Dawid, Statistical theory: the prequential approach, 1984; randomised for samples.
    """
    spread = break_ties(*below_and_equal(samples, truth, mask, period), seed)
    return unit_share(spread, samples.shape[0])


def below_and_equal(
    samples: Tensor, truth: Tensor, mask: Tensor | None = None, period: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return how many samples lie below the truth and how many equal it, two of ``(N, D)``, int64.

    All that ranks need, before chance enters. Arguments and errors as for ``sbc_ranks``.
    """
    samples, truth = check_cases(samples, truth, mask, period)
    return count_in_chunks(
        samples, truth.shape, lambda cases: unwrap(samples[:, cases], truth[cases], period)
    )


def count_in_chunks(
    samples: Tensor, shape: Sequence[int], values_of: Callable[[slice], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Count the values of samples below and equal to the truth's, two of the shape ``(N, …)``, int64.

    Args:
        samples: shape ``(S, N, D)``.
        shape: shape of the truth's values.
        values_of: the values of some cases, of their samples ``(S, n, …)`` and their truth ``(n, …)``.
    """

    def count(cases: slice) -> list[Tensor]:
        drawn, true = values_of(cases)
        # Summed as bytes: torch widens a boolean array to int64 before it adds.
        return [hit.view(torch.uint8).sum(0, dtype=torch.int32) for hit in (drawn < true, drawn == true)]

    below, equal = torch.empty(2, *shape, dtype=torch.int64, device=samples.device)
    chunks = list(case_slices(samples, _CHUNK))
    # A chunk is too small to share between threads.
    for cases, counts in zip(chunks, on_all_threads(count, chunks, samples.device), strict=True):
        below[cases], equal[cases] = counts
    return below, equal


def break_ties(below: Tensor, equal: Tensor, seed: int) -> Tensor:
    """Spread ranks at random over those that ties leave open and on to the next rank, float64.

    The whole part is a rank of ``0…S``, each as likely as the other if truth and samples are exchangeable;
    the rest is uniform and independent of it.
    """
    uniform = torch.rand(below.shape, generator=stream(seed, "ties"), dtype=torch.float64)
    return below + uniform.to(below.device) * (equal + 1)


def unit_share(spread: Tensor, num_samples: int | Tensor) -> Tensor:
    """Scale the output of ``break_ties`` to (0, 1), both ends excluded."""
    eps = torch.finfo(torch.float64).eps
    return (spread / (num_samples + 1)).clamp(eps, 1 - eps)


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
