"""Divergence of two posterior densities on a grid, for problems with one to three parameters."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["GridComparison", "grid_divergence", "posterior_grid"]

# A cell with more than this share is not a grid point of a density but the whole of it.
_MOST_IN_ONE_CELL = 0.5


class GridComparison(NamedTuple):
    """How far a density ``q`` is from a reference ``p`` on a grid.

    Attributes:
        kl: Kullback-Leibler divergence ``KL(p ‖ q)`` in nats, shape ``(…)``; infinite where ``q`` excludes a
            cell that ``p`` allows.
        tv: total variation distance, between 0 and 1, shape ``(…)``.
        mass_q: integral of ``q`` over the grid before it was normalised there, shape ``(…)``. Far from 1 for
            a normalised density: the grid does not cover it, or is too coarse.
        mass_p: the same of ``p``, which may be known up to a factor only.
    """

    kl: Tensor
    tv: Tensor
    mass_q: Tensor
    mass_p: Tensor


def grid_divergence(log_q: Tensor, log_p: Tensor, cell_volume: float | Tensor) -> GridComparison:
    """Compare two densities that are given at the centres of the cells of one grid.

    Args:
        log_q: log density under test at ``G`` points, in nats, shape ``(…, G)``; ``-inf`` where it is zero.
        log_p: log density of the reference, same shape.
        cell_volume: volume of a cell, units of the parameters, or volumes ``(G,)``.

    Returns:
        Divergences of the two densities, each normalised on the grid.

    Raises:
        ValueError: if the shapes do not belong together, a value is NaN or ``+inf``, a density vanishes on
            the whole grid or lies in one cell of it by more than half, or a volume is not positive.
    """
    if log_q.shape != log_p.shape or log_q.ndim < 1 or log_q.shape[-1] < 2:
        raise ValueError(
            f"log_q has shape {tuple(log_q.shape)} and log_p {tuple(log_p.shape)}, expected equal shapes "
            "(…, grid points) with two points or more."
        )
    volume = torch.as_tensor(cell_volume, dtype=torch.float64, device=log_q.device)
    is_volume = bool(((volume > 0) & volume.isfinite()).all())
    if volume.shape not in (torch.Size(), log_q.shape[-1:]) or not is_volume:
        raise ValueError(
            f"cell_volume has shape {tuple(volume.shape)}, expected a positive number, or one per grid "
            f"point, {tuple(log_q.shape[-1:])}."
        )
    share_q, mass_q = _cell_shares("log_q", log_q, volume)
    share_p, mass_p = _cell_shares("log_p", log_p, volume)
    # Cells without reference probability add nothing, whatever q is there.
    ratio = torch.where(share_p > -torch.inf, share_p - share_q, 0.0)
    kl = (share_p.exp() * ratio).sum(-1)
    tv = 0.5 * (share_p.exp() - share_q.exp()).abs().sum(-1)
    return GridComparison(kl.clamp_min(0.0), tv, mass_q, mass_p)


def posterior_grid(low: Tensor, high: Tensor, n: int) -> tuple[Tensor, float]:
    """Return the centres ``(nᴰ, D)`` of the cells of a regular grid, float64, and the volume of one.

    Args:
        low: lower bounds of the parameters, shape ``(D,)``, ``D`` from 1 to 3.
        high: upper bounds, shape ``(D,)``.
        n: cells along each axis.

    Raises:
        ValueError: if there are more than three parameters, a bound is infinite or not above the other, or
            ``n`` is less than two.
    """
    low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (low, high))
    if low.ndim != 1 or low.shape != high.shape or not 1 <= low.numel() <= 3:
        raise ValueError(
            f"low has shape {tuple(low.shape)} and high {tuple(high.shape)}, expected (D,) for one to three "
            "parameters; compare samples (c2st, mmd) in more dimensions."
        )
    if not bool((high > low).all()) or not bool((high - low).isfinite().all()):
        raise ValueError(
            f"bounds are {low.tolist()} to {high.tolist()}, expected finite numbers, low below high."
        )
    if n < 2:
        raise ValueError(f"n = {n} cells along an axis; give two or more.")
    step = (high - low) / n
    centre = torch.arange(n, dtype=torch.float64) + 0.5
    axes = [float(a) + float(s) * centre for a, s in zip(low, step, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
    return points, math.prod(step.tolist())


def _cell_shares(name: str, log_density: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
    """Log share ``(…, G)`` of every cell, and the mass ``(…)`` before it was normalised."""
    log_mass = log_density.double() + volume.log()
    if not bool((log_mass < torch.inf).all()):
        raise ValueError(f"{name} holds NaN or +inf; leave those observations out.")
    total = log_mass.logsumexp(-1, keepdim=True)
    if not bool((total > -torch.inf).all()):
        raise ValueError(f"{name} is -inf at all points of a grid; move the grid to where the density is.")
    share = log_mass - total
    largest = float(share.amax().exp()) if share.numel() else 0.0
    if largest > _MOST_IN_ONE_CELL:
        raise ValueError(f"one cell holds {largest:.0%} of {name}; make the grid finer around it.")
    return share, total.squeeze(-1).exp()
