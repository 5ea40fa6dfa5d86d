"""Learning from measured spectra how real tissue deviates from the layered model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from monai_inn.inferers.summaries import shared_latents
from monai_inn.physics.discrepancy import Discrepancy

if TYPE_CHECKING:
    from monai_inn.applications.oximetry.problem import Oximetry

__all__ = ["best_fits", "learn_discrepancy"]

_LEAST_TISSUES = 4
_ROUNDS = 4
_STARTS, _BEST_STARTS, _STEPS = 16384, 6, 15
_STEP = 1e-3  # of the finite differences, in the flow's space
_TOLERATED = 0.03  # misfit of a band that weighs as much as a parameter one standard deviation off


def learn_discrepancy(
    problem: Oximetry, spectra: Mapping[str, Tensor], groups: Mapping[str, str] | None = None, modes: int = 6
) -> Discrepancy:
    """Return how tissues deviate from the best fits of the layered model: what they share, and the rest.

    The misfit that all tissues share is added to the model, the fits are made anew, and so on.

    Args:
        problem: the model without a discrepancy, for the camera that measured the spectra.
        spectra: mean spectrum ``(C,)`` of each tissue, in any unit.
        groups: which tissues are one, measured several times, and count once; each its own by default.
        modes: deviations to keep beside the shared one.

    Raises:
        ValueError: if there are fewer than four tissues, or the problem has a discrepancy already.
    """
    labels = [(groups or {}).get(name, name) for name in spectra]
    if len(set(labels)) < _LEAST_TISSUES:
        raise ValueError(
            f"a discrepancy learned from {len(set(labels))} tissue(s) would be that of these alone; give "
            f"spectra of at least {_LEAST_TISSUES}."
        )
    if problem.discrepancy is not None:
        raise ValueError("the model has a discrepancy already; make it with discrepancy=None.")
    measured = torch.stack([torch.as_tensor(row, dtype=torch.float64) for row in spectra.values()])
    each = torch.tensor([[float(label == one) for label in labels] for one in dict.fromkeys(labels)])
    each = (each / each.sum(1, keepdim=True)).double()
    mean = torch.zeros(measured.shape[1], dtype=torch.float64)
    starts = _starts(problem)
    for _ in range(_ROUNDS):
        latent = best_fits(problem, measured / mean.exp(), starts)
        residual = each @ (_shape(measured) - _shape(problem.forward(problem.space.inverse(latent)).double()))
        mean = residual.mean(0)
    _, size, axes = torch.linalg.svd((residual - mean) / (len(residual) - 1) ** 0.5, full_matrices=False)
    kept = (size[:, None] * axes)[: min(modes, len(residual) - 1)]
    return Discrepancy(np.asarray(problem.camera.centre_nm), mean.numpy(), kept.numpy())


def best_fits(problem: Oximetry, measured: Tensor, starts: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Return the most probable parameters of spectra ``(N, C)`` in the flow's space, ``(N, D)`` float32.

    Levenberg-Marquardt from the best of many points all over the prior; the exposure drops out.
    ``starts`` are those of ``_starts``, for callers that fit the same problem several times.
    """
    wanted = _shape(measured)
    draws, seen = starts or _starts(problem)
    nearest = torch.cdist(wanted, seen).topk(_BEST_STARTS, largest=False).indices
    latent = draws[nearest].flatten(0, 1).double()
    target = wanted.repeat_interleave(_BEST_STARTS, 0)
    cost, damping = _cost(problem, latent, target), torch.ones(len(latent), dtype=torch.float64)
    for _ in range(_STEPS):
        tried = latent + _step(problem, latent, target, damping)
        new = _cost(problem, tried, target)
        better = new < cost
        latent = torch.where(better.unsqueeze(1), tried, latent)
        cost, damping = torch.where(better, new, cost), damping * torch.where(better, 0.3, 4.0)
    best = cost.unflatten(0, (-1, _BEST_STARTS)).argmin(1)
    return latent.unflatten(0, (-1, _BEST_STARTS))[torch.arange(len(best)), best].float()


def _starts(problem: Oximetry) -> tuple[Tensor, Tensor]:
    """Points all over the prior, in the flow's space, and what is seen of each."""
    draws = shared_latents(_STARTS, len(problem.parameters), seed=0).squeeze(1)
    return draws, _simulated(problem, draws)


def _cost(problem: Oximetry, latent: Tensor, target: Tensor) -> Tensor:
    left = (target - _simulated(problem, latent)) / _TOLERATED
    return left.square().sum(-1) + latent.square().sum(-1)


def _step(problem: Oximetry, latent: Tensor, target: Tensor, damping: Tensor) -> Tensor:
    """One step of each row towards its most probable parameters, at most two standard deviations long."""
    rows, channels = latent.shape
    one = torch.eye(channels, dtype=torch.float64)
    around = latent.unsqueeze(1) + _STEP * torch.cat([torch.zeros(1, channels), one])
    seen = _simulated(problem, around.flatten(0, 1)).unflatten(0, (rows, channels + 1)) / _TOLERATED
    slope = ((seen[:, 1:] - seen[:, :1]) / _STEP).transpose(1, 2)
    curvature = slope.transpose(1, 2) @ slope + (1 + damping)[:, None, None] * one
    pull = slope.transpose(1, 2) @ (target / _TOLERATED - seen[:, 0]).unsqueeze(-1)
    step = torch.linalg.solve(curvature, pull.squeeze(-1) - latent)
    return step * (2 / step.norm(dim=-1, keepdim=True)).clamp_max(1)


def _simulated(problem: Oximetry, latent: Tensor) -> Tensor:
    return _shape(problem.forward(problem.space.inverse(latent.float())).double())


def _shape(y: Tensor) -> Tensor:
    """Logarithm of a spectrum without its level."""
    logarithm = y.double().clamp_min(1e-9).log()
    return logarithm - logarithm.mean(-1, keepdim=True)
