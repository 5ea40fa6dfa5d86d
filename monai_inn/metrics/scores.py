"""Proper scores of posterior samples and densities (CRPS, energy, log score), and errors of poses."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_inn.metrics.cases import angles, case_slices, check_cases, check_mask, check_scale, embed

__all__ = [
    "LogScores",
    "PointSpread",
    "crps",
    "energy_score",
    "log_score",
    "placed_points",
    "point_spread",
    "registration_error",
]

# Partners of each sample in the spread term of the energy score. The spread's own sampling error comes from
# the S samples; 32 partners instead of S − 1 add a few per cent to it.
_PARTNERS = 32


class LogScores(NamedTuple):
    """Negative log densities of the truth, in nats; lower is better.

    Attributes:
        value: score of each case, shape ``(N,)``.
        mean: their mean; infinite if the density excludes one truth.
        standard_error: standard error of the mean over independent cases.
    """

    value: Tensor
    mean: float
    standard_error: float


def crps(samples: Tensor, truth: Tensor, mask: Tensor | None = None, period: Tensor | None = None) -> Tensor:
    """Return the continuous ranked probability score ``E|X − x| − ½ E|X − X'|`` of each case and parameter.

    The estimate is fair (``1 / (S (S − 1))``): its expectation does not depend on the number of samples. It
    takes a sort, not all pairs. Angles use the arc length as distance. That score is proper, but it sees
    only the odd harmonics of a density on the circle: equal masses at 0° and 180° score the same as equal
    masses at ±90°. ``energy_score`` of the one angle, which uses chords, tells them apart.

    Args:
        samples: posterior samples, shape ``(S, N, D)``, two samples at least.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        mask: cases to count, boolean, shape ``(N,)``.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles.

    Returns:
        Scores of the counted cases, shape ``(number of true in mask, D)``, units of the parameters, float64.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: as for ``check_cases``.

    Source: Gneiting and Raftery, Strictly proper scoring rules, prediction, and estimation, 2007; Ferro,
    Fair scores for ensemble forecasts, 2014; Grimit et al., The continuous ranked probability score for
    circular variables, 2006.
    """
    samples, truth = check_cases(samples, truth, mask, period, least_samples=2)
    scores = torch.empty(truth.shape, dtype=torch.float64, device=truth.device)
    for rows in case_slices(samples):
        for d in range(truth.shape[1]):
            values, own = samples[:, rows, d : d + 1], truth[rows, d : d + 1]
            if period is not None and d in angles(period):
                scores[rows, d] = _circular_crps(values, own, float(period[d]))[:, 0]
            else:
                scores[rows, d] = _linear_crps(values, own)[:, 0]
    return scores


def energy_score(
    samples: Tensor,
    truth: Tensor,
    scale: Tensor,
    mask: Tensor | None = None,
    period: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Return the energy score ``E‖X − x‖ − ½ E‖X − X'‖`` over all parameters together, one per case.

    Sees wrong correlations, which the scores of single parameters do not. With more than 65 samples the
    second term takes 32 random partners of each sample instead of all: still unbiased, whatever the order
    of the samples (neighbours in a Sobol sequence repel each other), in time and memory linear in ``S``.

    Args:
        samples: posterior samples, shape ``(S, N, D)``, two samples at least.
        truth: parameters that the observations were simulated from, shape ``(N, D)``, same units.
        scale: unit of each parameter in the distance, its prior standard deviation, shape ``(D,)``.
        mask: cases to count, boolean, shape ``(N,)``.
        period: length of a turn of each parameter, shape ``(D,)``, ``inf`` for those that are not angles,
            which are compared by chords.
        seed: seed of the partners.

    Returns:
        Scores of the counted cases, no unit, shape ``(number of true in mask,)``, float64.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: as for ``check_cases``, or if a scale is not positive.

    Source: Gneiting and Raftery, Strictly proper scoring rules, prediction, and estimation, 2007.
    """
    samples, truth = check_cases(samples, truth, mask, period, least_samples=2)
    unit = check_scale(scale, truth.shape[1], "scale").to(truth.device)
    turn = None if period is None else period.to(unit) / unit
    num_samples = samples.shape[0]
    order = torch.randperm(num_samples, generator=torch.Generator().manual_seed(seed)).to(truth.device)
    score = torch.empty(truth.shape[0], dtype=torch.float64, device=truth.device)
    for rows in case_slices(samples):
        z = embed(samples[:, rows][order].double() / unit, turn)
        distance = (z - embed(truth[rows].double() / unit, turn)).norm(dim=-1).mean(0)
        score[rows] = distance - 0.5 * _mean_pair_distance(z.permute(2, 0, 1).contiguous())
    return score


def log_score(log_prob: Tensor, mask: Tensor | None = None) -> LogScores:
    """Return the negative log density of the truth, the strictly proper score of a density.

    Args:
        log_prob: log posterior density at the truth of each case, in nats, shape ``(N,)``.
        mask: cases to count, boolean, shape ``(N,)``.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if the shape is wrong, fewer than two cases count, or a value is NaN or ``+inf``.
    """
    if log_prob.ndim != 1:
        raise ValueError(f"log_prob has shape {tuple(log_prob.shape)}, expected one value per case, (N,).")
    if mask is not None:
        log_prob = log_prob[check_mask(mask, len(log_prob))]
    value = -log_prob.detach().double()
    broken = int((~(value > -torch.inf)).sum())
    if broken:
        raise ValueError(
            f"{broken} of {value.numel()} log densities are NaN or +inf; leave them out with mask=, or "
            "look for a posterior that has collapsed to a point."
        )
    if value.numel() < 2:
        raise ValueError(f"{value.numel()} case(s) to score; a mean and its error need at least two.")
    if not bool(value.isfinite().all()):
        return LogScores(value, math.inf, math.inf)
    return LogScores(value, float(value.mean()), float(value.std() / math.sqrt(value.numel())))


def ordered(samples: Tensor) -> Tensor:
    """Sort ``(S, N, D)`` along the samples; returns ``(N, D, S)`` in float64."""
    moved = samples.detach().permute(1, 2, 0).contiguous()
    if moved.device.type == "cpu" and moved.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(np.sort(moved.numpy(), -1)).double()  # several times torch's speed
    return moved.double().sort(-1).values


def _linear_crps(samples: Tensor, truth: Tensor) -> Tensor:
    """Scores ``(n, D)`` of parameters that are not angles."""
    error = ordered(samples) - truth.double().unsqueeze(-1)
    return error.abs().mean(-1) - _half_mean_gap(error)


def _circular_crps(samples: Tensor, truth: Tensor, turn: float) -> Tensor:
    """Scores ``(n, D)`` of angles with the arc length as distance."""
    error = ordered(torch.remainder(samples.double() - truth.double(), turn))
    num_samples = error.shape[-1]
    # Over sorted angles the arc is the difference g, but turn − g from half a turn on: g − max(0, 2g − turn).
    first_far = torch.searchsorted(error, error + turn / 2, right=True)
    from_here_on = torch.nn.functional.pad(error.flip(-1).cumsum(-1).flip(-1), (0, 1))
    too_far = 2 * from_here_on.gather(-1, first_far) - (num_samples - first_far) * (2 * error + turn)
    spread = _half_mean_gap(error) - too_far.sum(-1) / (num_samples * (num_samples - 1))
    return torch.minimum(error, turn - error).mean(-1) - spread


def _half_mean_gap(values: Tensor) -> Tensor:
    """Half the mean distance of two different values in ascending ``(…, S)``, shape ``(…)``."""
    size = values.shape[-1]
    weight = 2 * torch.arange(1, size + 1, dtype=torch.float64, device=values.device) - (size + 1)
    return values @ weight / (size * (size - 1))


def _mean_pair_distance(z: Tensor) -> Tensor:
    """Mean distance ``(n,)`` of two different samples of ``(E, S, n)``, over all pairs or random ones."""
    size = z.shape[1]
    shifts = min(size // 2, _PARTNERS)
    circle = torch.cat([z, z[:, :shifts]], 1)
    total, weight = torch.zeros_like(z[0, 0]), 0.0
    for k in range(1, shifts + 1):
        # Half a turn around an even circle meets every pair twice.
        share = 0.5 if 2 * k == size else 1.0
        total += share * (circle[:, k : k + size] - z).square().sum(0).sqrt().sum(0)
        weight += share * size
    return total / weight


class PointSpread(NamedTuple):
    """Where a point of the patient would lie if other poses were true.

    Attributes:
        mean: shape ``(3,)``, mm.
        covariance: shape ``(3, 3)``, mm².
    """

    mean: Tensor
    covariance: Tensor


def registration_error(estimate: Tensor, truth: Tensor, points: Tensor, *, in_plane: bool = False) -> Tensor:
    """Return the mean target registration error, mTRE: how far points end up from where they belong.

    Points are mapped into the camera's frame by both poses. Most of the error is along the beam, about which
    a single X-ray says little; what is left in the image plane is seen at its true size.

    Args:
        estimate: poses from camera to world, shape ``(…, 4, 4)``, mm.
        truth: poses that broadcast with them.
        points: landmarks in world coordinates, mm, shape ``(K, 3)``.
        in_plane: leave out what is along the beam.

    Returns:
        Mean distance in mm, shape ``(…)``, float64.
    """
    difference = _in_camera(estimate, points) - _in_camera(truth, points)
    return difference[..., : 2 if in_plane else 3].norm(dim=-1).mean(-1)


def _in_camera(camera: Tensor, points: Tensor) -> Tensor:
    rotation, source = camera[..., :3, :3].double(), camera[..., :3, 3].double()
    return (points.to(source) - source.unsqueeze(-2)) @ rotation


def placed_points(cameras: Tensor, shown: Tensor, point: Tensor) -> Tensor:
    """Return where poses put a point that a shown pose has in the plan, shape ``(S, 3)``, mm.

    Args:
        cameras: poses from camera to world, shape ``(S, 4, 4)``, mm.
        shown: one such pose, shape ``(4, 4)``.
        point: world coordinates, mm, shape ``(3,)``.
    """
    moved = cameras.double() @ torch.linalg.inv(shown.double())
    return moved[:, :3, :3] @ point.double() + moved[:, :3, 3]


def point_spread(cameras: Tensor, shown: Tensor, point: Tensor) -> PointSpread:
    """Return the spread of a point that is seen in the image, over poses that the image allows.

    The point is taken where the shown pose sees it, and put into the patient by every other pose: what a
    surgeon who trusts the shown pose may be off by.

    Args:
        cameras: poses from camera to world, shape ``(S, 4, 4)``, mm.
        shown: one such pose, shape ``(4, 4)``.
        point: world coordinates, mm, shape ``(3,)``.
    """
    places = placed_points(cameras, shown, point)
    centred = places - places.mean(0)
    return PointSpread(places.mean(0), centred.T @ centred / max(1, len(places) - 1))
