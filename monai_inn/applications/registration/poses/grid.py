"""Posterior of a pose by brute force: images on a grid over the prior, and finer ones where the mass is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from monai_inn.applications.registration.problem import PoseRegistration

__all__ = ["Cells", "PoseGrid"]

_STEP = 2.0  # degrees or mm
_CHUNK = 1024
# In nats below the best cell, what is kept: at first, if that cell holds so much that other peaks may hide
# between centres, and else.
_FIRST_CUT, _LAST_CUT, _COARSE = 80.0, 14.0, 0.5
_LARGEST_MASS, _MOST_CELLS, _MOST_ROUNDS = 0.02, 60_000, 7


class Cells(NamedTuple):
    """A density that is constant on each of some boxes of equal size.

    Attributes:
        centre: middles of the boxes, shape ``(G, D)``, float64.
        step: their edge lengths, shape ``(D,)``.
        log_mass: log of the share of the density in each, shape ``(G,)``.
        evidence: log of the integral of prior times likelihood, nats.
    """

    centre: Tensor
    step: Tensor
    log_mass: Tensor
    evidence: float


class PoseGrid:
    """Images of a problem on a grid of poses, at the middles of cells that fill the prior.

    The images are kept as the noise model whitens them: for Gaussian noise the posterior of an X-ray is then
    one product and a softmax.

    Args:
        problem: registration with a flat prior.
        steps: about the edge lengths of a cell; 2 degrees and 2 mm by default.

    Attributes:
        centre: poses, shape ``(G, D)``, float64, the last parameter fastest.
        shape: cells along each parameter.
        step: edge lengths of a cell, shape ``(D,)``.
    """

    def __init__(self, problem: PoseRegistration, steps: Sequence[float] | None = None) -> None:
        self.problem = problem
        low, high = problem.space.low, problem.space.high
        wanted = torch.full_like(low, _STEP) if steps is None else torch.tensor(steps, dtype=torch.float64)
        self.shape = tuple(int(n) for n in ((high - low) / wanted).round().clamp_min(1))
        self.step = (high - low) / torch.tensor(self.shape, dtype=torch.float64)
        axes = [a + s * (torch.arange(n) + 0.5) for a, s, n in zip(low, self.step, self.shape, strict=True)]
        self.centre = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        with torch.no_grad():
            parts = [self._image(part) for part in self.centre.split(_CHUNK)]
        self.images = torch.cat(parts)
        self._last: tuple[Tensor, Cells] | None = None

    def _image(self, theta: Tensor) -> Tensor:
        clean = self.problem.forward(theta.float())
        return clean if self.problem.noise_model.photons is not None else self.problem.features(clean)

    def log_mass(self, y: Tensor) -> Tensor:
        """Return the log of the posterior's share in every cell, ``(N, G)``, of images ``(N, C)``."""
        return self._log_likelihood(y).log_softmax(1)

    def _log_likelihood(self, y: Tensor) -> Tensor:
        """Log likelihood ``(N, G)`` of images ``(N, C)``, float64; the constant is that of the problem's."""
        if self.problem.noise_model.photons is not None:
            return torch.stack([self.problem.noise_model.log_likelihood(self.images, row) for row in y])
        white = self.problem.features(y.double())
        images = self.images.double()
        square = 0.5 * images.square().sum(1)
        return white @ images.T - square - 0.5 * white.square().sum(1, keepdim=True)

    def refined(self, y: Tensor) -> Cells:
        """Return the posterior of one image ``(C,)`` on cells small enough that none holds more than 2 %.

        That of the last image is kept, for its samples and its densities are asked for one after the other.
        """
        last = self._last
        if last is None or last[0].dtype != y.dtype or not torch.equal(last[0], y):
            last = self._last = y.clone(), self._refined(y)
        return last[1]

    def _refined(self, y: Tensor) -> Cells:
        centre, step = self.centre, self.step
        value = self._log_likelihood(y[None])[0]
        log_prior = -float((self.problem.space.high - self.problem.space.low).log().sum())
        for turn in range(_MOST_ROUNDS):
            if float(value.max() - value.logsumexp(0)) < math.log(_LARGEST_MASS):
                break
            top = float((value.max() - value.logsumexp(0)).exp())
            kept = value > value.max() - (_FIRST_CUT if turn == 0 and top > _COARSE else _LAST_CUT)
            if int(kept.sum()) * 2 ** len(step) > _MOST_CELLS:
                break
            corner = torch.cartesian_prod(*[torch.tensor([-0.25, 0.25], dtype=torch.float64)] * len(step))
            corner = corner.reshape(-1, len(step)) * step
            centre = (centre[kept].unsqueeze(1) + corner).flatten(0, 1)
            step = step / 2
            with torch.no_grad():
                parts = [self.problem.log_likelihood(part.float(), y) for part in centre.split(_CHUNK)]
            value = torch.cat(parts).double()
        evidence = float(value.logsumexp(0) + step.log().sum()) + log_prior
        return Cells(centre, step, value.log_softmax(0), evidence)

    def sample(self, y: Tensor, n: int) -> Tensor:
        """Draw ``n`` poses ``(n, D)``, uniform inside the cells, of the posterior of one image ``(C,)``."""
        cells = self.refined(y)
        mass = cells.log_mass.exp().cumsum(0)
        index = torch.searchsorted(mass, torch.rand(n, dtype=torch.float64) * mass[-1])
        index = index.clamp_max(len(mass) - 1)
        return cells.centre[index] + cells.step * (torch.rand(n, len(cells.step), dtype=torch.float64) - 0.5)
