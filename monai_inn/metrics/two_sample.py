"""Do two sets of points come from one distribution? Maximum mean discrepancy and classifier test."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from monai_inn.metrics.cases import check_cases, check_scale, embed
from monai_inn.seeding import stream

__all__ = ["C2stResult", "MmdResult", "c2st", "joint_pairs", "mmd"]

# The kernel matrix of so many rows takes 1.2 GB.
_MOST_ROWS = 12_000
# Chosen on shifts, widths, correlations, lost modes and rings in 2, 5 and 10 dimensions.
_BUMPS, _LANDMARKS, _KERNEL_WIDTHS, _RIDGE = 12, 100, (1.0, 0.3), 0.003


class MmdResult(NamedTuple):
    """Maximum mean discrepancy of two sets of points.

    Attributes:
        squared: unbiased estimate of its square, which may be slightly negative.
        p_value: share of permutations with a value as large; ``None`` if none were asked for.
    """

    squared: float
    p_value: float | None


class C2stResult(NamedTuple):
    """How well a classifier tells two sets of points apart.

    Attributes:
        accuracy: balanced accuracy on points that it was not fitted to; 0.5 = not at all, 1 = always.
        standard_error: standard error of the accuracy.
        p_value: share of permuted labels with an accuracy as high.
    """

    accuracy: float
    standard_error: float
    p_value: float


def mmd(
    x: Tensor,
    y: Tensor,
    bandwidth: float | Literal["median"] = "median",
    permutations: int = 0,
    seed: int = 0,
    period: Tensor | None = None,
    scale: Tensor | None = None,
) -> MmdResult:
    """Return the unbiased squared maximum mean discrepancy with the kernel ``exp(−d² / (2 h²))``.

    Args:
        x: points, shape ``(n, D)``.
        y: points, shape ``(m, D)``, same units.
        bandwidth: length ``h``; the median distance of the pooled points by default.
        permutations: number of random relabellings behind the p-value, e.g. 200.
        seed: seed of the relabellings.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        scale: unit of each parameter in the distance, such as its prior sd, shape ``(D,)``; none by default,
            which lets the parameter with the largest numbers decide.

    Returns:
        The estimate and a p-value, exact for independent points. Time and memory grow with ``(n + m)²``.

    Raises:
        ValueError: if the shapes do not belong together, there are fewer than two points in a set or too
            many for memory, a value is NaN or infinite, or the bandwidth or a scale is not positive.

    Source: Gretton et al., A kernel two-sample test, 2012.
    """
    points, n, turn = _pooled(x, y, period, least=2)
    if len(points) > _MOST_ROWS:
        raise ValueError(
            f"{len(points)} points in all; give at most {_MOST_ROWS}, memory grows with their square."
        )
    if scale is not None:
        unit = check_scale(scale, points.shape[1], "scale").cpu()
        points, turn = points / unit, None if turn is None else turn / unit
    embedded = embed(points, turn)
    distance = torch.cdist(embedded, embedded, compute_mode="donot_use_mm_for_euclid_dist")
    width = median_distance(distance) if bandwidth == "median" else float(bandwidth)
    if not (0 < width < math.inf):
        raise ValueError(
            f"bandwidth = {width}, expected a positive length; more than half of all pairs are equal points "
            "if it is their median distance, then give a length."
        )
    kernel = distance.square_().mul_(-0.5 / width**2).exp_()
    labels = torch.zeros(permutations + 1, len(points), dtype=torch.float64)
    labels[0, :n] = 1.0
    generator = torch.Generator().manual_seed(seed)
    for row in labels[1:]:
        row[torch.randperm(len(points), generator=generator)[:n]] = 1.0
    squared = _mmd_of_labels(kernel.fill_diagonal_(0.0), labels)
    return MmdResult(float(squared[0]), permutation_p_value(squared) if permutations else None)


def c2st(
    x: Tensor,
    y: Tensor,
    seed: int = 0,
    folds: int = 5,
    period: Tensor | None = None,
    permutations: int = 200,
) -> C2stResult:
    """Return how well a cross-validated classifier tells two sets of points apart.

    The classifier is linear in fixed features of the standardised points: products of pairs, bumps along
    each axis, kernels at landmarks. It finds shifts, wrong widths and correlations, and missing modes about
    as well as a small neural network, and its held-out predictions are linear in the labels: it is fitted
    anew to every permutation at the price of a matrix product, which makes the p-value exact.

    Args:
        x: points, shape ``(n, D)``, for instance posterior samples of one observation.
        y: points, shape ``(m, D)``, same units, for instance reference samples.
        seed: seed of folds, landmarks and permutations.
        folds: number of parts, each predicted from the others.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.
        permutations: number of random relabellings behind the p-value.

    Raises:
        ValueError: if the shapes do not belong together, a set has fewer than four points per fold, a value
            is NaN or infinite, or a parameter is constant.

    Source: Lopez-Paz and Oquab, Revisiting classifier two-sample tests, 2017.
    """
    if folds < 2 or permutations < 19:
        raise ValueError(
            f"folds = {folds}, permutations = {permutations}; give two folds and 19 permutations or more."
        )
    points, n, turn = _pooled(x, y, period, least=4 * folds)
    constant = torch.nonzero((points == points[0]).all(0)).flatten().tolist()
    if constant:
        raise ValueError(
            f"parameter {constant[0]} is {float(points[0, constant[0]]):.6g} in all points; leave out "
            "parameters that do not vary."
        )
    m = len(points) - n
    generator = torch.Generator().manual_seed(seed)
    features = _features(embed(points, turn), generator)
    # Balanced: the two sets weigh the same, whatever their sizes.
    label = torch.cat([torch.full((n,), 0.5 + m / (2 * n)), torch.full((m,), -0.5 - n / (2 * m))]).double()
    fold = torch.cat([torch.randperm(size, generator=generator) % folds for size in (n, m)])
    labels = label[:, None].repeat(1, permutations + 1)
    for k in range(folds):
        # Within a fold, so that every fold keeps its share of both sets.
        rows = torch.nonzero(fold == k).flatten()
        order = torch.rand(len(rows), permutations, generator=generator, dtype=torch.float64).argsort(0)
        labels[rows, 1:] = label[rows][order]
    correct = _predict_held_out(features, labels, fold, folds).sign() == labels.sign()
    is_x = labels > 0
    right_x, right_y = (correct & is_x).sum(0).double() / n, (correct & ~is_x).sum(0).double() / m
    accuracy = 0.5 * (right_x + right_y)
    # Folds share points, so the accuracy varies more than a binomial one; the permutations tell how much.
    binomial = right_x * (1 - right_x) / n + right_y * (1 - right_y) / m
    variance = binomial[0] * accuracy[1:].var() / binomial[1:].mean()
    return C2stResult(float(accuracy[0]), math.sqrt(float(variance)), permutation_p_value(accuracy))


def joint_pairs(
    samples: Tensor,
    truth: Tensor,
    condition: Tensor | None = None,
    period: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Return a draw and the truth of each case, both beside what the posterior was conditioned on.

    Draw and truth of an exact posterior have one joint law with the condition. A posterior that ignores the
    observation does not, although it is calibrated. Compare the draws of one half of the cases with the
    truths of the other, so that the sets are independent: ``c2st(pairs[::2, 0], pairs[1::2, 1])``.

    Args:
        samples: posterior samples, shape ``(S, N, D)``.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        condition: features of the observations, shape ``(N, F)``. Without it only the mixture of all
            posteriors is compared with the prior.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles,
            which become points on circles.
        seed: seed of the choice among samples, which is another for each case.

    Returns:
        Shape ``(N, 2, D + number of angles + F)``: the draw first, then the truth.

    Raises:
        ValueError: as for ``check_cases``, or if there is not one condition per case.
    """
    check_cases(samples, truth, period=period)
    condition = truth[:, :0] if condition is None else condition
    if condition.ndim != 2 or len(condition) != len(truth) or not bool(condition.isfinite().all()):
        raise ValueError(
            f"condition has shape {tuple(condition.shape)}, expected ({len(truth)}, features) without NaN."
        )
    chosen = torch.randint(len(samples), (len(truth),), generator=stream(seed, "draws")).to(samples.device)
    draws = samples[chosen, torch.arange(len(truth), device=samples.device)]
    return torch.stack([torch.cat([embed(v, period), condition], 1) for v in (draws, truth)], 1)


def _mmd_of_labels(kernel: Tensor, labels: Tensor) -> Tensor:
    """Unbiased MMD² for rows of labels ``(P, N)``, one = first set; the kernel's diagonal must be zero."""
    size = kernel.shape[0]
    n = float(labels[0].sum())
    m = size - n
    to_first = labels @ kernel
    first = (to_first * labels).sum(1)
    across = to_first.sum(1) - first
    second = kernel.sum() - first - 2 * across
    return first / (n * (n - 1)) + second / (m * (m - 1)) - 2 * across / (n * m)


def permutation_p_value(statistic: Tensor) -> float:
    """Return the share of values that reach the first one, itself included."""
    # Equal values differ in their last digits when sums are taken in another order.
    reached = statistic >= statistic[0] - 1e-12 * statistic.abs().amax()
    return float(reached.double().mean())


def median_distance(distance: Tensor) -> float:
    """Return the median of the distances ``(n, n)`` of all pairs."""
    i, j = torch.triu_indices(len(distance), len(distance), offset=1)
    return float(distance[i, j].median())


def _pooled(x: Tensor, y: Tensor, period: Tensor | None, least: int) -> tuple[Tensor, int, Tensor | None]:
    """All points, the number of those in the first set, and the period, in float64 on the processor."""
    _check_shapes(x, y, least)
    points = torch.cat([x.detach().cpu(), y.detach().cpu()]).double()
    turn = None if period is None else period.cpu().double()
    check_cases(points[None], points, period=turn)
    return points, len(x), turn


def _check_shapes(x: Tensor, y: Tensor, least: int) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or x.shape[1] < 1:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}, expected (points, parameters) with equal "
            "parameters."
        )
    if min(len(x), len(y)) < least:
        raise ValueError(f"{len(x)} and {len(y)} points; give at least {least} in each set.")


def _features(points: Tensor, generator: torch.Generator) -> Tensor:
    """Return features ``(N, F)`` of points ``(N, E)``; they do not know which set a point is from."""
    z = _standardised(points)
    size, width = z.shape
    i, j = torch.triu_indices(width, width)
    knots = z.quantile((torch.arange(_BUMPS, dtype=torch.float64) + 0.5) / _BUMPS, dim=0)
    spacing = torch.gradient(knots, dim=0)[0].clamp_min(1e-2)
    bumps = torch.exp(-0.5 * ((z[:, None] - knots) / spacing).square()).flatten(1)
    groups = [torch.cat([z, z[:, i] * z[:, j]], 1), bumps]
    for share in _KERNEL_WIDTHS:
        landmarks = z[torch.randperm(size, generator=generator)[:_LANDMARKS]]
        squares = torch.cdist(z, landmarks).square()
        groups.append(torch.exp(-0.5 * squares / (share**2 * squares.median().clamp_min(1e-6))))
    # Every group has the same say, however many features it has.
    return torch.cat([_standardised(group) / math.sqrt(group.shape[1]) for group in groups], 1)


def _predict_held_out(features: Tensor, labels: Tensor, fold: Tensor, folds: int) -> Tensor:
    """Return ridge predictions ``(N, P)`` of labels ``(N, P)``, each from the folds without its point."""
    prediction = torch.empty_like(labels)
    gram, moment = features.T @ features, features.T @ labels
    eye = torch.eye(features.shape[1], dtype=features.dtype)
    for k in range(folds):
        held = fold == k
        own = features[held]
        penalty = _RIDGE * int((~held).sum())
        factor = torch.linalg.cholesky(gram - own.T @ own + penalty * eye)
        prediction[held] = own @ torch.cholesky_solve(moment - own.T @ labels[held], factor)
    return prediction


def _standardised(values: Tensor) -> Tensor:
    values = values - values.mean(0)
    sd = values.std(0)
    return values / torch.where(sd > 0, sd, 1.0)
