"""Samplers of exact posteriors: what learned posteriors are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

__all__ = ["Grid", "ReferencePosterior", "refined_grid", "rejection_sample", "sample_table"]

_CHUNK = 1 << 16
# Some seconds of proposals; whoever needs more asks for an observation that the prior does not make.
_MOST_PER_SAMPLE = 20_000_000

_FIRST_CUT, _CUT = 100.0, 25.0
_SEARCH_CELLS = 48


class ReferencePosterior(Distribution):
    """Posterior of a batch of observations, computed for one observation at a time; event shape ``(D,)``.

    Samples follow torch's global seed. All work is done in float64 on the processor; samples come back in
    the precision and on the device of the observations.

    Args:
        y: observations, shape ``(*batch, C)``.
        num_parameters: number ``D`` of parameters.
        draw: from one observation ``(C,)`` and a number ``n`` to exact samples ``(n, D)``.
        log_joint: from parameters ``(n, D)`` and one observation ``(C,)`` to the log of prior times
            likelihood in nats, shape ``(n,)``; ``None`` where the posterior's density is not known.
        log_evidence: from one observation to the log of the integral of the same.
        may_miss: whether observations may hold NaN, for what was not measured.

    Raises:
        ValueError: if an observation holds NaN that it may not hold, or infinite values.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector

    def __init__(
        self,
        y: Tensor,
        num_parameters: int,
        draw: Callable[[Tensor, int], Tensor],
        log_joint: Callable[[Tensor, Tensor], Tensor] | None = None,
        log_evidence: Callable[[Tensor], float] | None = None,
        may_miss: bool = False,
    ) -> None:
        self._y, self._draw, self._log_joint, self._log_evidence = y, draw, log_joint, log_evidence
        self._rows = y.detach().cpu().double().reshape(-1, y.shape[-1])
        is_broken = self._rows.isinf() if may_miss else ~self._rows.isfinite()
        broken = int(is_broken.any(-1).sum())
        if broken:
            raise ValueError(
                f"{broken} of {len(self._rows)} observations hold {'' if may_miss else 'NaN or '}infinite "
                "values; leave them out."
            )
        super().__init__(y.shape[:-1], torch.Size([num_parameters]), validate_args=False)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw independent samples, shape ``(*sample_shape, *batch, D)``."""
        shape = torch.Size(sample_shape)
        if not len(self._rows):
            return self._y.new_empty(*shape, *self.batch_shape, *self.event_shape)
        drawn = torch.stack([self._draw(row, shape.numel()) for row in self._rows], 1)
        return drawn.reshape(*shape, *self.batch_shape, *self.event_shape).to(self._y)

    @cached_property
    def log_evidence(self) -> Tensor:
        """Log of the prior predictive density of each observation, nats, shape ``(*batch)``, float64.

        Raises:
            NotImplementedError: if it is not known.
        """
        if self._log_evidence is None:
            raise NotImplementedError("this reference posterior has samples but no density.")
        found = [self._log_evidence(row) for row in self._rows]
        return torch.tensor(found, dtype=torch.float64, device=self._y.device).reshape(self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of parameters ``(…, *batch, D)``, shape ``(…, *batch)``.

        Raises:
            NotImplementedError: if the density of this posterior is not known.
        """
        evidence = self.log_evidence
        assert self._log_joint is not None
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        rows = value.detach().cpu().double().expand(*shape, -1)
        columns = rows.reshape(-1, len(self._rows), *self.event_shape).unbind(1)
        found = [self._log_joint(column, row) for column, row in zip(columns, self._rows, strict=True)]
        return (torch.stack(found, 1).reshape(shape).to(evidence) - evidence).to(value)


def sample_table(x: Tensor, log_density: Tensor, n: int) -> Tensor:
    """Draw ``n`` numbers, shape ``(n,)``, of a density given by its log at ascending nodes ``x (K,)``."""
    density = (log_density - log_density.max()).exp()
    mass = torch.cat([density.new_zeros(1), torch.cumulative_trapezoid(density, x)])
    u = mass[-1] * torch.rand(n, dtype=x.dtype)
    cell = torch.searchsorted(mass, u, right=True).clamp(1, len(mass) - 1)
    share = (u - mass[cell - 1]) / (mass[cell] - mass[cell - 1])
    return x[cell - 1] + share * (x[cell] - x[cell - 1])


def rejection_sample(
    propose: Callable[[int], Tensor], log_accept: Callable[[Tensor], Tensor], n: int
) -> Tensor:
    """Draw ``n`` independent samples of a density that a bounded ratio relates to that of the proposals.

    Args:
        propose: from a number ``m`` to independent proposals ``(m, K)``.
        log_accept: from proposals to the log of the density ratio over its bound, at most 0, shape ``(m,)``.
        n: number of samples.

    Returns:
        Samples, shape ``(n, K)``.

    Raises:
        RuntimeError: if the ratio exceeds its bound, so that the samples would be wrong.
        ValueError: if hardly any proposal is accepted; the message says how few were.
    """
    kept: list[Tensor] = []
    accepted = proposed = 0
    while accepted < n or not kept:
        rate = (accepted + 0.5) / (proposed + 8)
        count = min(_CHUNK, math.ceil(1.2 * (n - accepted) / rate) + 16)
        rows = propose(count)
        level = log_accept(rows)
        if float(level.max()) > 1e-9:
            raise RuntimeError(f"a density ratio is e^{float(level.max()):.3g} times its bound.")
        rows = rows[torch.rand(len(rows), dtype=torch.float64).log() < level]
        kept, accepted, proposed = [*kept, rows], accepted + len(rows), proposed + count
        if proposed > _MOST_PER_SAMPLE * (accepted + 1):
            raise ValueError(
                f"only {accepted} of {proposed:,} proposals explain the observation: the prior hardly ever "
                "makes such a one. Check its units and the order of its channels."
            )
    return torch.cat(kept)[:n]


class Grid(NamedTuple):
    """Density of two parameters that is constant on each cell of a grid.

    Attributes:
        log_density: log density at the centres of the cells, not normalised, shape ``(n, m)``.
        low: lower corner, shape ``(2,)``.
        step: edge lengths of a cell, shape ``(2,)``.
    """

    log_density: Tensor
    low: Tensor
    step: Tensor

    @property
    def log_evidence(self) -> float:
        """Log of the integral of the density."""
        return float(self.log_density.flatten().logsumexp(0) + self.step.log().sum())

    def sample(self, n: int) -> Tensor:
        """Draw ``n`` points, uniform inside the cells, shape ``(n, 2)``."""
        mass = self.log_density.flatten().softmax(0).cumsum(0)
        cell = torch.searchsorted(mass, torch.rand(n, dtype=torch.float64) * mass[-1])
        cell = cell.clamp_max(len(mass) - 1)
        width = self.log_density.shape[1]
        corner = torch.stack([cell // width, cell % width], 1)
        return self.low + self.step * (corner + torch.rand(n, 2, dtype=torch.float64))


def refined_grid(log_density: Callable[[Tensor, Tensor], Tensor], coarse: Grid, cells: int = 128) -> Grid:
    """Return a grid over the part of a box that holds the mass, all but e⁻²⁵ of its density's peak.

    Args:
        log_density: from coordinates ``(n,)`` and ``(m,)`` of two axes to log densities ``(n, m)``.
        coarse: grid over the whole box, fine enough that some cells are within 100 nats of the peak.
        cells: cells along each axis of the grid that is returned.
    """
    low, high = _kept_box(coarse, _FIRST_CUT)
    while True:
        grid = _grid_on(log_density, low, high, _SEARCH_CELLS)
        smaller_low, smaller_high = _kept_box(grid, _CUT)
        done = bool(((smaller_high - smaller_low) > 0.8 * (high - low)).all())
        low, high = smaller_low, smaller_high
        if done:
            return _grid_on(log_density, low, high, cells)


def _grid_on(log_density: Callable[[Tensor, Tensor], Tensor], low: Tensor, high: Tensor, cells: int) -> Grid:
    step = (high - low) / cells
    first, second = low[:, None] + step[:, None] * (torch.arange(cells, dtype=torch.float64) + 0.5)
    return Grid(log_density(first, second), low, step)


def _kept_box(grid: Grid, cut: float) -> tuple[Tensor, Tensor]:
    """Box around the cells within ``cut`` nats of the peak, and one cell more for what centres hide."""
    inside = grid.log_density > grid.log_density.max() - cut
    spans = [torch.nonzero(inside.any(1 - axis)).flatten()[[0, -1]] for axis in (0, 1)]
    first, last = torch.stack(spans, 1).double()
    most = torch.tensor(inside.shape, dtype=torch.float64)
    return (
        grid.low + grid.step * (first - 1).clamp_min(0),
        grid.low + grid.step * torch.minimum(last + 2, most),
    )
