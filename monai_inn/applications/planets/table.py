"""Radii of planets from a table that is made once: a polynomial through Chebyshev nodes."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from monai_inn.applications.planets.interior import radius

__all__ = ["LEAST_MASS", "MOST_MASS", "radius_from_table"]

LEAST_MASS, MOST_MASS = 0.2, 20.0
_MASSES, _SHARES, _WATERS = 12, 11, 11
_ROWS = 4096
_ROUNDING = 1e-6


def radius_from_table(mass: Tensor, core_share: Tensor, water: Tensor) -> Tensor:
    """Return the radii of planets in Earth radii, float64; at most 2e-4 from ``interior.radius``.

    Args:
        mass: in Earth masses, from .2 to 20; broadcasts with the shares.
        core_share: iron's share of what is not water.
        water: share of the mass that is water.

    Raises:
        ValueError: if a mass is outside the table, or a share is not from 0 to 1.
    """
    mass, core_share, water = (v.double() for v in (mass, core_share, water))
    _check("a mass", mass, LEAST_MASS, MOST_MASS, " Earth masses")
    _check("a share of iron", core_share, 0.0, 1.0)
    _check("a share of water", water, 0.0, 1.0)
    composition = torch.broadcast_tensors(core_share, water)
    rows = torch.stack(composition, -1).reshape(-1, 2)
    of_mass = torch.cat([_of_composition(part) for part in rows.split(_ROWS)])
    of_mass = of_mass.reshape(*composition[0].shape, _MASSES)
    low, high = math.log(LEAST_MASS), math.log(MOST_MASS)
    return (of_mass * _chebyshev((mass.log() - low) / (high - low), _MASSES)).sum(-1).exp()


def _check(what: str, values: Tensor, low: float, high: float, unit: str = "") -> None:
    outside = values[(values < low * (1 - _ROUNDING)) | (values > high + _ROUNDING)]
    if len(outside):
        raise ValueError(f"{what} is {float(outside[0]):g}{unit}; expected {low:g} to {high:g}.")


def _of_composition(rows: Tensor) -> Tensor:
    """Coefficients of the polynomial in mass, ``(n, masses)``, of core share and water ``(n, 2)``."""
    share, water = _chebyshev(rows[:, 0], _SHARES), _chebyshev(rows[:, 1].clamp_min(0).sqrt(), _WATERS)
    return (share.unsqueeze(-1) * water.unsqueeze(-2)).flatten(1) @ _coefficients()


@lru_cache(maxsize=1)
def _coefficients() -> Tensor:
    """Coefficients of the logarithm of the radius, ``(shares · waters, masses)``.

    The third axis is the root of the water: a thin ocean is compressed by the root of its depth.
    """
    mass = LEAST_MASS * (MOST_MASS / LEAST_MASS) ** _nodes(_MASSES)
    share, root, mass = torch.meshgrid(_nodes(_SHARES), _nodes(_WATERS), mass, indexing="ij")
    water = root.square()
    values = radius(mass, share * (1 - water), water).log()
    for axis, count in enumerate(values.shape):
        inverse = torch.linalg.inv(_chebyshev(_nodes(count), count))
        values = torch.tensordot(inverse, values, dims=([1], [axis])).movedim(0, axis)
    return values.flatten(0, 1)


def _nodes(count: int) -> Tensor:
    """Nodes from 0 to 1, where a polynomial through them does not swing."""
    return (1 - torch.cos(math.pi * torch.arange(count, dtype=torch.float64) / (count - 1))) / 2


def _chebyshev(x: Tensor, count: int) -> Tensor:
    """Chebyshev polynomials of numbers from 0 to 1, ``(…)`` to ``(…, count)``."""
    x = 2 * x - 1
    found = [torch.ones_like(x), x]
    for _ in range(count - 2):
        found.append(2 * x * found[-1] - found[-2])
    return torch.stack(found, -1)
