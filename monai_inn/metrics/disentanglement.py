"""Whether single codes stand for single factors: eight scores of codes whose factors are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from scipy.stats import chi2
from torch import Tensor
from torch.nn.functional import one_hot

__all__ = ["Disentanglement", "Score", "disentanglement", "mutual_information"]

_BINS = 20
_RIDGE = 1e-3  # of a bin's share of the rows
_GROUP, _GROUPS = 32, 200  # rows that share a factor's bin, and how many such groups of each factor
_FALSE_ALARM = 1e-3


class Score(NamedTuple):
    """A score and its bootstrap bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Disentanglement:
    """Scores of codes, 1 at best; see ``disentanglement``.

    Attributes:
        mig: mutual information gap: how much more the best code tells about a factor than the second best, as
            a share of the factor's entropy.
        disentanglement: of DCI: whether a code serves a single factor; codes weigh as they serve.
        completeness: of DCI: whether a factor is served by a single code.
        informativeness: of DCI: R² of the factors predicted from all codes, cross-validated. The regression
            is additive in the codes and misses what only their combination tells.
        sap: separated attribute predictability: gap of the R² of linear predictions from the two best codes.
        factor_vae: how often the code that varies least tells which factor was held fixed.
        beta_vae: how often a linear classifier of the codes' differences tells it.
        modularity: whether a code tells about one factor alone; codes that tell nothing are left out.
        information: mutual information of codes and factors in nats, ``(J, K)``.
        importance: variance that each code explains of each factor of unit variance, ``(J, K)``.
    """

    mig: Score
    disentanglement: Score
    completeness: Score
    informativeness: Score
    sap: Score
    factor_vae: Score
    beta_vae: Score
    modularity: Score
    information: Tensor
    importance: Tensor

    def summary(self) -> dict[str, Any]:
        """Return value and bounds of each score, and both tables, JSON-ready."""
        scores = {name: getattr(self, name)._asdict() for name in _NAMES}
        return scores | {"information": self.information.tolist(), "importance": self.importance.tolist()}


_NAMES = tuple(field.name for field in fields(Disentanglement))[:8]


def disentanglement(
    codes: Tensor, factors: Tensor, *, resamplings: int = 50, seed: int = 0, confidence: float = 0.95
) -> Disentanglement:
    """Return scores of codes against the factors that made the data.

    Factors should be independent of one another, each on an ordered scale; an angle on a full circle is not.
    No score changes with the order, sign or scale of the codes. Of two codes and factors rotated by 45° each
    code has a disentanglement of ``1 − ln 2 / ln K``.

    Values that differ are sorted into at most 20 equally filled bins. Mutual information of finite samples is
    too large; the first order of that bias is subtracted (Miller and Madow). Resampled rows repeat, which
    would add to it again, so that the bounds take the spread of the resampled scores, not their mean.

    Args:
        codes: shape ``(N, J)``; a code that is constant tells nothing.
        factors: shape ``(N, K)`` with ``K ≥ 2``.
        resamplings: of the rows, for the bounds.
        seed: seed of the resamplings and of the groups of rows.
        confidence: coverage of the bounds.

    Raises:
        ValueError: if shapes do not fit, there are fewer than 200 rows, values are not finite, or a factor is
            constant.

    Source: Chen et al. (MIG), Eastwood and Williams (DCI), Kumar et al. (SAP), Kim and Mnih (FactorVAE),
    Ridgeway and Mozer (modularity), all 2018; Higgins et al., β-VAE, 2017.
    """
    codes, factors = _checked(codes, factors)
    if resamplings < 2 or not 0 < confidence < 1:
        raise ValueError(
            f"resamplings = {resamplings}, confidence = {confidence}: give at least 2, and a confidence "
            "between 0 and 1."
        )
    generator = torch.Generator().manual_seed(seed)
    z, v = _binned(codes), _binned(factors)

    def scores(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _scores(codes[rows], factors[rows], z[rows], v[rows], generator)

    value, information, importance = scores(torch.arange(len(codes)))
    draws = (torch.randint(len(codes), (len(codes),), generator=generator) for _ in range(resamplings))
    spread = torch.stack([scores(rows)[0] for rows in draws])
    tail = (1 - confidence) / 2
    offsets = torch.quantile(spread - spread.mean(0), torch.tensor([tail, 1 - tail], dtype=torch.float64), 0)
    low, high = (value + offsets).clamp(max=1.0)
    found = {name: Score(*map(float, row)) for name, *row in zip(_NAMES, value, low, high, strict=True)}
    return Disentanglement(**found, information=information, importance=importance)


def mutual_information(codes: Tensor, factors: Tensor) -> Tensor:
    """Return the mutual information in nats of each pair of bins, ``(J, K)``, less its finite-sample bias.

    Args:
        codes: numbers of bins, integers ``(N, J)``.
        factors: likewise, ``(N, K)``.
    """
    return _information(_indicators(codes), _indicators(factors))[0]


def _scores(
    codes: Tensor, factors: Tensor, z: Tensor, v: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """The eight scores, mutual information and importance, of rows and their bins."""
    seen, made = _indicators(z), _indicators(v)
    information, entropy, least = _information(seen, made)
    importance, predicted = _additive(seen, factors)
    correlation = _standardised(codes).T @ _standardised(factors) / len(codes)
    still, moved = zip(*_groups(codes, v, generator), strict=True)
    values = [
        (_gap(information) / entropy).mean(),
        _disentangled(importance),
        _disentangled(importance.T),
        predicted,
        _gap(correlation.square()).mean(),
        _vote(torch.stack(still)),
        _linear_vote(torch.stack(moved)),
        _modularity(information, least),
    ]
    return torch.stack(values), information, importance


def _information(z: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mutual information ``(J, K)``, entropy of the factors ``(K,)``, and what chance alone may tell."""
    n = len(z)
    joint = torch.einsum("nja,nkb->jkab", z, v) / n
    first, second = z.mean(0), v.mean(0)

    def entropy(p: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        return -torch.xlogy(p, p).sum(axes), (p > 0).sum(axes)

    (h_z, n_z), (h_v, n_v), (h, both) = entropy(first, (1,)), entropy(second, (1,)), entropy(joint, (2, 3))
    biases = n_z[:, None] + n_v - 1 - both
    found = h_z[:, None] + h_v - h + biases / (2 * n)
    freedom = ((n_z[:, None] - 1) * (n_v - 1)).clamp_min(1)
    least = torch.from_numpy(chi2.isf(_FALSE_ALARM, freedom.numpy()) - freedom.numpy()) / (2 * n)
    return found.clamp_min(0), h_v + (n_v - 1) / (2 * n), least


def _additive(z: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Importance of each code ``(J, K)``, and cross-validated R² of factors as sums over the codes."""
    target, half = _standardised(factors), len(factors) // 2
    flat = z.flatten(1)
    weight = _regressed(flat, target)
    parts = torch.einsum("nja,jak->njk", z - z.mean(0), weight.view(*z.shape[1:], -1))
    left = torch.zeros_like(target)
    for train, test in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        mean, centre = flat[train].mean(0), target[train].mean(0)
        left[test] = target[test] - centre - (flat[test] - mean) @ _regressed(flat[train], target[train])
    return parts.square().mean(0), (1 - left.square().mean(0)).clamp_min(0).mean()


def _regressed(flat: Tensor, target: Tensor) -> Tensor:
    """Weights of centred indicators, by ridge regression: bins of a code share one degree of freedom."""
    x, y = flat - flat.mean(0), target - target.mean(0)
    ridge = _RIDGE / _BINS * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(x.T @ x + ridge, x.T @ y)


def _groups(codes: Tensor, v: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """For each factor, from rows that share its bin, the variances of the codes and their mean differences.

    Both have shape ``(groups, codes)``, for codes of unit variance.
    """
    unit = _standardised(codes)[:, codes.std(0) > 0]
    unit = unit if unit.shape[1] else torch.ones_like(codes[:, :1])
    for bins in v.T:
        order, count = bins.argsort(stable=True), bins.bincount()
        chosen = bins[torch.randint(len(bins), (_GROUPS,), generator=generator)]
        place = torch.rand(_GROUPS, 2 * _GROUP, generator=generator, dtype=unit.dtype) * count[chosen, None]
        rows = unit[order[(count.cumsum(0) - count)[chosen, None] + place.long()]]
        first, second = rows.chunk(2, 1)
        yield first.var(1), (first - second).abs().mean(1)


def _vote(variances: Tensor) -> Tensor:
    """Share of groups ``(K, groups, J)`` whose factor the stillest code tells, by votes of the other half."""
    num_factors, groups, num_codes = variances.shape
    stillest = variances.argmin(2)
    votes = one_hot(stillest[:, : groups // 2], num_codes).sum(1)
    hits = votes.argmax(0)[stillest[:, groups // 2 :]] == torch.arange(num_factors)[:, None]
    return _above_chance(hits.double().mean(), num_factors)


def _linear_vote(differences: Tensor) -> Tensor:
    """Share of groups ``(K, groups, J)`` whose factor a linear discriminant of the other half tells."""
    num_factors, groups, num_codes = differences.shape
    train, test = differences.split([groups // 2, groups - groups // 2], 1)
    centre = train.mean(1)
    within = (train - centre[:, None]).flatten(0, 1)
    ridge = 1e-6 * differences.square().mean() + 1e-12
    scatter = within.T @ within / len(within) + ridge * torch.eye(num_codes, dtype=within.dtype)
    template = torch.linalg.solve(scatter, centre.T)
    score = test @ template - 0.5 * (centre * template.T).sum(1)
    hits = score.argmax(2) == torch.arange(num_factors)[:, None]
    return _above_chance(hits.double().mean(), num_factors)


def _above_chance(accuracy: Tensor, classes: int) -> Tensor:
    """Accuracy on a scale from 0, that of guessing, to 1."""
    return ((accuracy - 1 / classes) / (1 - 1 / classes)).clamp_min(0)


def _gap(table: Tensor) -> Tensor:
    """Largest entry less the second largest over the first axis; a single code's second is 0."""
    largest = torch.cat([table, torch.zeros_like(table[:1])]).topk(2, 0).values
    return largest[0] - largest[1]


def _disentangled(importance: Tensor) -> Tensor:
    """One minus the entropy of each row's shares, base the number of columns; rows weigh as their sums."""
    total = importance.sum(1, keepdim=True)
    if importance.shape[1] < 2 or not total.sum() > 0:
        return torch.ones_like(importance[0, 0]) * bool(total.sum() > 0)
    share = importance / total.clamp_min(1e-30)
    entropy = -torch.xlogy(share, share).sum(1) / torch.log(torch.tensor(float(importance.shape[1])))
    return ((1 - entropy) * total.squeeze(1)).sum() / total.sum()


def _modularity(information: Tensor, least: Tensor) -> Tensor:
    """One minus the mean squared information about other factors than a code's best, relative to that."""
    tells = (information > least).any(1)
    if not tells.any():
        return information.new_zeros(())
    squares = information[tells].square()
    best = squares.max(1).values
    return (1 - (squares.sum(1) - best) / (best * (squares.shape[1] - 1))).mean()


def _standardised(values: Tensor) -> Tensor:
    """Columns of zero mean and unit variance; constant ones are zero."""
    centred = values - values.mean(0)
    return centred / centred.square().mean(0).sqrt().clamp_min(1e-30)


def _binned(values: Tensor) -> Tensor:
    """Numbers of equally filled bins ``(N, columns)``, or of the distinct values where those are few."""
    columns = []
    for column in values.T.contiguous():
        distinct, index = column.unique(return_inverse=True)
        if len(distinct) > _BINS:
            edges = torch.quantile(column, torch.arange(1, _BINS, dtype=column.dtype) / _BINS)
            index = torch.bucketize(column, edges, right=True)
        columns.append(index)
    return torch.stack(columns, 1)


def _indicators(bins: Tensor) -> Tensor:
    return one_hot(bins, _BINS).double()


def _checked(codes: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Both in double precision."""
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or factors.shape[1] < 2:
        raise ValueError(
            f"codes of shape {tuple(codes.shape)} and factors of shape {tuple(factors.shape)}; expected "
            "(N, J) and (N, K) with at least two factors."
        )
    if len(codes) < 10 * _BINS:
        raise ValueError(f"{len(codes)} rows do not fill {_BINS} bins; give at least {10 * _BINS}.")
    codes, factors = codes.detach().cpu().double(), factors.detach().cpu().double()
    if not (codes.isfinite().all() and factors.isfinite().all()):
        raise ValueError("codes or factors hold values that are not finite; leave those rows out.")
    constant = torch.nonzero(factors.max(0).values == factors.min(0).values).flatten().tolist()
    if constant:
        raise ValueError(f"factors {constant} do not vary; leave them out.")
    return codes, factors
