"""The exact posterior of a planet: a grid over composition and mass."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.planets.table import LEAST_MASS, MOST_MASS, radius_from_table

__all__ = ["Compositions"]

# A standard error is 8 cells of water or more, since the model's is 3 % of the radius, and 5 cells of mass.
_WATERS, _SHARES, _MASSES = 128, 96, 64
_REACH_SD = 6.0
_FARTHEST_SD = 6.0


class Compositions(NamedTuple):
    """Posterior of one observation, constant on cells; see ``of``.

    Attributes:
        log_joint: log of the prior mass of each cell times the likelihood at its centre, the model's error
            integrated out, nats, shape ``(waters, shares, masses)``.
        observed: mass, radius and their standard errors, shape ``(4,)``, float64.
        masses: least and largest mass of the grid in Earth masses.
        model_sd: standard deviation of the relative error of the model's radius.
    """

    log_joint: Tensor
    observed: Tensor
    masses: tuple[float, float]
    model_sd: float

    @classmethod
    def of(cls, observed: Tensor, model_sd: float) -> Compositions:
        """Return the posterior of an observation ``(4,)``.

        Raises:
            ValueError: if errors are not positive, or no composition comes within six standard errors.
        """
        mass, radius, mass_error, radius_error = observed = observed.double()
        if not bool((observed[2:] > 0).all()):
            raise ValueError(
                f"standard errors are {mass_error:g} and {radius_error:g}; give positive numbers."
            )
        low = max(LEAST_MASS, float(mass - _REACH_SD * mass_error))
        high = min(MOST_MASS, float(mass + _REACH_SD * mass_error))
        if low < high:
            centres = _physical(_centres(_WATERS), _centres(_SHARES), _centres(_MASSES), (low, high))
            water, share, true = torch.meshgrid(*centres, indexing="ij")
            model = radius_from_table(centres[2], share[..., :1], water[..., :1])
            radius_sd = (radius_error.square() + (model_sd * model).square()).sqrt()
            distance = ((mass - true) / mass_error).square() + ((radius - model) / radius_sd).square()
            if float(distance.min()) <= _FARTHEST_SD**2:
                level = -0.5 * distance - (2 * math.pi * mass_error * radius_sd).log()
                prior = (high - low) / (true * math.log(MOST_MASS / LEAST_MASS)) / true.numel()
                return cls(level + prior.log(), observed, (low, high), model_sd)
        raise ValueError(
            f"a mass of {mass:g} ± {mass_error:g} and a radius of {radius:g} ± {radius_error:g}, in Earth "
            f"units, is more than {_FARTHEST_SD:g} standard errors from all planets of iron, silicate and "
            f"water of {LEAST_MASS:g} to {MOST_MASS:g} Earth masses. Check the units, or look for an "
            "atmosphere."
        )

    @property
    def log_evidence(self) -> float:
        """Log density of the observation under the prior predictive law, nats."""
        return float(self.log_joint.flatten().logsumexp(0))

    def sample(self, n: int) -> Tensor:
        """Draw water, core share, mass and the model's error, shape ``(n, 4)``; follows torch's seed."""
        sizes = self.log_joint.shape
        below = self.log_joint.flatten().softmax(0).cumsum(0)
        cell = torch.searchsorted(below, torch.rand(n, dtype=torch.float64) * below[-1])
        place = torch.stack(torch.unravel_index(cell.clamp_max(len(below) - 1), sizes))
        inside = (place + torch.rand(3, n, dtype=torch.float64)) / torch.tensor(sizes).unsqueeze(1)
        water, share, mass = _physical(inside[0], inside[1], inside[2], self.masses)
        model = radius_from_table(mass, share, water)
        # The relative error e of the model is N(0, sd²), and the observation N((1 + e) model, error²).
        radius, error = self.observed[1], self.observed[3]
        precision = self.model_sd**-2 + (model / error).square()
        mean = model * (radius - model) / error.square() / precision
        off = mean + torch.randn(n, dtype=torch.float64) / precision.sqrt()
        return torch.stack([water, share, mass, off], -1)


def _centres(count: int) -> Tensor:
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def _physical(
    water: Tensor, share: Tensor, mass: Tensor, masses: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Water, core share and mass of numbers from 0 to 1; in the first two the prior is flat."""
    return 1 - (1 - water).sqrt(), share, masses[0] + (masses[1] - masses[0]) * mass
