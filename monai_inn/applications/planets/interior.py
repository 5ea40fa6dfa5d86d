"""Radius of a planet: iron below silicate below water, each as dense as its pressure makes it.

Hydrostatic equilibrium in the mass ``m`` inside, ``dP/dm = −G m / (4π r⁴)`` and ``d(r³)/dm = 3 / (4π ρ)``,
with cold, modified polytropes ``ρ = ρ0 + c Pⁿ``. In ``m`` the borders of the layers are known, which in ``r``
would have to be found.

Source: Seager et al., Mass-radius relationships for solid exoplanets, 2007, table 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["MATERIALS", "radius"]

MATERIALS = {
    "iron": (8300.0, 0.00349, 0.528),
    "silicate": (4100.0, 0.00161, 0.541),
    "water": (1460.0, 0.00311, 0.513),
}
"""Density without pressure in kg/m³, factor and exponent of the pressure in Pa; from the centre outwards."""

_GRAVITY = 6.6743e-11  # m³/(kg s²), CODATA 2018
_EARTH_KG, _EARTH_M = 5.9722e24, 6.371e6  # mean radius
_CELLS = 100  # of each layer: half as many change a radius by 6e-5 at most
_SETTLED, _MOST_ROUNDS = 1e-9, 100
_ROUNDING = 1e-6


def radius(mass: Tensor, core: Tensor, water: Tensor, cells: int = _CELLS) -> Tensor:
    """Return the radii of planets, in Earth radii, float64.

    Densities and pressures follow from each other in turns until the radius stays. A planet that is a little
    too large has lower pressures, and these make the next one too large by less than .72 as much (4/3 of the
    largest exponent), so that this always ends.

    Args:
        mass: in Earth masses; broadcasts with the fractions.
        core: share of the mass that is iron.
        water: share of the mass that is water; silicate is what is left.
        cells: cells of equal steps in depth, as graded below, in each of the three layers.

    Raises:
        ValueError: if a mass is not positive, or fractions are negative or exceed one in sum.
    """
    mass, core, water = torch.broadcast_tensors(*(torch.as_tensor(v).double() for v in (mass, core, water)))
    if bool(((mass <= 0) | (core < 0) | (water < 0) | (core + water > 1 + _ROUNDING)).any()):
        raise ValueError(
            "a planet needs a mass above zero, and fractions of iron and water from 0 to 1 whose sum is at "
            "most 1."
        )
    inside = _mass_shares(core, water, cells) * (_EARTH_KG * mass).unsqueeze(-1)
    step, middle = inside.diff(), (inside[..., 1:] + inside[..., :-1]) / 2
    empty, factor, exponent = torch.tensor(list(MATERIALS.values())).double().repeat_interleave(cells, 0).T
    density, before = empty.expand_as(step), torch.zeros_like(mass)
    for _ in range(_MOST_ROUNDS):
        cubes = 3 / (4 * math.pi) * step / density
        outer = cubes.cumsum(-1)
        if bool(((outer[..., -1] - before).abs() <= _SETTLED * before).all()):
            break
        before = outer[..., -1]
        weight = _GRAVITY / (4 * math.pi) * middle * step / (outer - cubes / 2).pow(4 / 3)
        weight = torch.where(step > 0, weight, 0.0)  # a layer of no mass at the centre
        pressure = weight.flip(-1).cumsum(-1).flip(-1) - weight / 2
        density = empty + factor * pressure.pow(exponent)
    return outer[..., -1].pow(1 / 3) / _EARTH_M


def _mass_shares(core: Tensor, water: Tensor, cells: int) -> Tensor:
    """Share of the mass inside each border of cells, ``(…, 3 cells + 1)``, rising from 0 to 1.

    Equal steps of ``t`` in ``(1 − t²)³``: near the centre steps are equal in radius, and below the surface,
    where density rises with the root of depth, they are fine.
    """
    top = torch.stack([torch.zeros_like(core), core, 1 - water, torch.ones_like(core)], -1).clamp(0, 1)
    ends = (1 - top.pow(1 / 3)).sqrt()
    steps = torch.arange(cells, dtype=torch.float64) / cells
    t = [torch.lerp(ends[..., k, None], ends[..., k + 1, None], steps) for k in range(len(MATERIALS))]
    return (1 - torch.cat([*t, ends[..., -1:]], -1).square()).pow(3)
