"""Out-of-distribution scores, and thresholds that make them verdicts with a known false-alarm rate."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.stats import beta, betabinom
from torch import Tensor

__all__ = ["ConformalThreshold", "WaicTerms", "typicality", "waic", "waic_terms"]

# Guards floor(rate * (n + 1)) against rates such as 0.29, whose product with 100 is just below 29.
_ROUNDING = 1e-9


class WaicTerms(NamedTuple):
    """The score and its two parts, all in nats: ``waic = ll_var + nll_mean``."""

    waic: Tensor
    nll_mean: Tensor
    ll_var: Tensor


def waic(log_prob: Tensor, dim: int = 0) -> Tensor:
    """Return ``Var[log p] − E[log p]`` over the members of an ensemble, in nats; HIGH = out of distribution.

    The log densities must be totals over the event: the variance grows with the square of the number of
    dimensions and the mean with the number, so dividing by it first would all but remove the variance.

    Args:
        log_prob: log density of each member in nats, members along ``dim``, shape ``(M, …)``.
        dim: the axis of the members.

    Returns:
        The score, shape of ``log_prob`` without ``dim``. A point to which any member gives density zero
        scores ``inf``.

    Raises:
        TypeError: if ``log_prob`` is not a floating-point tensor.
        ValueError: if there are fewer than two members, or a log density is NaN or ``+inf``.

    Example:
        >>> waic(torch.tensor([[-1.0, -4.0], [-3.0, -4.0]]))
        tensor([4., 4.])

    Source: Adler et al., Out of distribution detection for intra-operative functional imaging, 2019, eq. 1.
    """
    return waic_terms(log_prob, dim).waic


def waic_terms(log_prob: Tensor, dim: int = 0) -> WaicTerms:
    """Return WAIC together with its mean and variance terms; arguments and errors as for ``waic``."""
    if not isinstance(log_prob, Tensor) or not log_prob.is_floating_point():
        kind = getattr(log_prob, "dtype", type(log_prob).__name__)
        raise TypeError(f"log_prob must be a floating-point tensor of log densities, got {kind}.")
    if log_prob.ndim == 0 or log_prob.shape[dim] < 2:
        raise ValueError(
            f"log_prob has shape {tuple(log_prob.shape)}: WAIC needs at least 2 members along dim={dim}. "
            "Fit an ensemble (members=5), or use -log_prob of the single network as the score."
        )
    # What is recorded for export has no values yet.
    if not torch.compiler.is_exporting() and not bool((log_prob < torch.inf).all()):
        raise ValueError(
            f"log_prob holds {int((~(log_prob < torch.inf)).sum())} values that are NaN or +inf; "
            "leave invalid observations out before asking for their density."
        )
    # A density of 1e4 nats leaves float32 three digits for differences between members.
    ll = log_prob.double()
    impossible = (ll == -torch.inf).any(dim)
    nll_mean = torch.where(impossible, torch.inf, -ll.mean(dim))
    ll_var = torch.where(impossible, torch.inf, ll.var(dim, unbiased=True))
    return WaicTerms(*(term.to(log_prob.dtype) for term in (ll_var + nll_mean, nll_mean, ll_var)))


def typicality(score: Tensor, reference_median: float | Tensor) -> Tensor:
    """Return ``|score − reference_median|``: high for points that are too *likely* as well as too unlikely.

    A one-sided score calls anything near the centre of the training density perfectly normal, although in
    many dimensions hardly a training point lies there.

    Args:
        score: one-sided scores, such as WAIC, in nats, any shape.
        reference_median: median of the same score over held-out in-distribution data.
    """
    return (score - reference_median).abs()


class ConformalThreshold:
    """Threshold on a score whose false-alarm rate holds for exchangeable data, whatever the score is.

    Fit it on held-out in-distribution data. Pixels of one image are not exchangeable with pixels of
    another: give one image's worth of independent pixels, or thin them, so that ``n`` means what it says.

    Args:
        scores: held-out in-distribution scores, HIGH = out of distribution, any shape.

    Raises:
        ValueError: if there is no score, or one is NaN.

    Example:
        >>> guard = ConformalThreshold(torch.arange(99.0))
        >>> guard.threshold(false_alarm=0.05), guard.p_value(torch.tensor([98.0, 200.0]))
        (94.0, tensor([0.0200, 0.0100]))

    Source: Vovk, Gammerman and Shafer, Algorithmic learning in a random world, 2005; Bates et al., Testing
    for outliers with conformal p-values, 2023.
    """

    def __init__(self, scores: Tensor) -> None:
        flat = torch.as_tensor(scores).detach().flatten().float()
        if flat.numel() == 0 or bool(flat.isnan().any()):
            raise ValueError(
                f"scores: {int(flat.isnan().sum())} of {flat.numel()} held-out scores are NaN; "
                "give at least one score and leave invalid pixels out."
            )
        self.scores = flat.sort().values

    @property
    def n(self) -> int:
        """Number of held-out scores."""
        return self.scores.numel()

    @property
    def median(self) -> float:
        """Median held-out score: the reference of ``typicality``."""
        return float(self.scores.quantile(0.5)) if self.n < 2**24 else float(self.scores.median())

    def threshold(self, false_alarm: float = 0.05) -> float:
        """Return the score above which a point is called out of distribution.

        Raises:
            ValueError: if the rate is not between 0 and 1, or so small that ``n`` scores cannot resolve it.
        """
        return float(self.scores[self.n - self._allowed(false_alarm)])

    def is_out(self, scores: Tensor, false_alarm: float = 0.05) -> Tensor:
        """Whether points are out of distribution, boolean, shape of ``scores``; a NaN score counts as out."""
        return ~(scores.float() <= self.threshold(false_alarm))

    def p_value(self, scores: Tensor) -> Tensor:
        """Return ``(1 + #{held-out ≥ score}) / (n + 1)``, shape of ``scores``, float32; NaN stays NaN."""
        values = scores.detach().float()
        below = torch.searchsorted(self.scores.to(values.device), values.contiguous())
        p = (1.0 + self.n - below.double()) / (self.n + 1)
        return torch.where(values.isnan(), values, p).float()

    def realised_interval(
        self, false_alarm: float = 0.05, confidence: float = 0.99, num_fresh: int | None = None
    ) -> tuple[float, float]:
        """Return the interval in which the false-alarm rate of *this* threshold lies.

        Over all held-out sets the rate is below ``false_alarm``; given the one that was drawn it is a
        Beta(k, n + 1 − k) variable with ``k = ⌊false_alarm (n + 1)⌋``.

        Args:
            false_alarm: rate that the threshold was asked for.
            confidence: probability of the interval.
            num_fresh: when given, the interval is that of the rate counted on so many fresh points.
        """
        k = self._allowed(false_alarm)
        ends = [(1 - confidence) / 2, (1 + confidence) / 2]
        if num_fresh is None:
            low, high = beta.ppf(ends, k, self.n + 1 - k)
        else:
            low, high = betabinom.ppf(ends, num_fresh, k, self.n + 1 - k) / num_fresh
        return float(low), float(high)

    def _allowed(self, false_alarm: float) -> int:
        """Number of held-out scores at or above the threshold."""
        if not 0 < false_alarm < 1:
            raise ValueError(
                f"false_alarm = {false_alarm} is not a rate; give a number between 0 and 1, e.g. 0.05."
            )
        k = math.floor(false_alarm * (self.n + 1) + _ROUNDING)
        if k < 1:
            needed = math.ceil(1 / false_alarm - _ROUNDING) - 1
            raise ValueError(
                f"false_alarm = {false_alarm} cannot be held with {self.n} held-out scores, it needs "
                f"at least {needed}; hold out more data or allow a rate of {1 / (self.n + 1):.3g}."
            )
        return k
