"""Photon Monte Carlo for plane layers: an oracle that shares nothing with adding-doubling.

Weighted photons under broad collimated light, where only depth and the cosine to the normal matter. Survival
weighting, Russian roulette, Fresnel reflection decided by a random number.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit


class Estimate(NamedTuple):
    """Fractions of the incident power and the standard error of ``diffuse``."""

    diffuse: float
    standard_error: float
    transmitted: float
    absorbed: np.ndarray


@njit(cache=True)
def _reflects(inside: float, outside: float, cosine: float) -> tuple[float, float]:
    """Reflectance of unpolarised light and the cosine of the refracted ray."""
    sine = inside / outside * math.sqrt(max(0.0, 1.0 - cosine * cosine))
    if sine >= 1.0:
        return 1.0, 0.0
    refracted = math.sqrt(1.0 - sine * sine)
    s = (inside * cosine - outside * refracted) / (inside * cosine + outside * refracted)
    p = (inside * refracted - outside * cosine) / (inside * refracted + outside * cosine)
    return 0.5 * (s * s + p * p), refracted


@njit(cache=True)
def _scatter(cosine: float, g: float) -> float:
    """New cosine to the normal after Henyey-Greenstein scattering with a random azimuth."""
    u = np.random.random()
    if abs(g) < 1e-9:
        turn = 2.0 * u - 1.0
    else:
        turn = (1.0 + g * g - ((1.0 - g * g) / (1.0 - g + 2.0 * g * u)) ** 2) / (2.0 * g)
    side = math.sqrt(max(0.0, (1.0 - turn * turn) * (1.0 - cosine * cosine)))
    return min(1.0, max(-1.0, cosine * turn + side * math.cos(2.0 * math.pi * np.random.random())))


@njit(cache=True)
def _trace(mu_a, mu_s, g, faces, n, photons, batches, seed):  # type: ignore[no-untyped-def]
    """Tallies of each batch: reflected, transmitted, absorbed in each layer."""
    np.random.seed(seed)
    layers = mu_a.size
    tallies = np.zeros((batches, 2 + layers))
    entering = 1.0 - ((n - 1.0) / (n + 1.0)) ** 2
    for photon in range(photons):
        tally = tallies[photon % batches]
        depth, cosine, weight, k = 0.0, 1.0, entering, 0
        free_path = -math.log(1.0 - np.random.random())
        while weight > 0.0:
            extinction = mu_a[k] + mu_s[k]
            face = faces[k + 1] if cosine > 0 else faces[k]
            reach = (face - depth) / cosine if cosine != 0 else math.inf
            if extinction * reach <= free_path:
                free_path -= extinction * reach
                depth = face
                k += 1 if cosine > 0 else -1
                if 0 <= k < layers:
                    continue
                reflectance, _ = _reflects(n, 1.0, abs(cosine))
                if np.random.random() < reflectance:
                    k = min(max(k, 0), layers - 1)
                    cosine = -cosine
                    continue
                tally[0 if k < 0 else 1] += weight
                break
            depth += cosine * free_path / extinction
            lost = weight * mu_a[k] / extinction
            tally[2 + k] += lost
            weight -= lost
            cosine = _scatter(cosine, g[k])
            if weight < 1e-3:
                weight = weight * 10.0 if np.random.random() < 0.1 else 0.0
            free_path = -math.log(1.0 - np.random.random())
    return tallies * (batches / photons)


def simulate(mu_a, mu_s, g, thickness, n: float, photons: int = 40_000, seed: int = 1) -> Estimate:  # type: ignore[no-untyped-def]
    """Estimate for layers from top to bottom, in 1/cm and cm; the last thickness may be ``inf``."""
    mu_a, mu_s, g, thickness = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (mu_a, mu_s, g, thickness))
    faces = np.concatenate([[0.0], np.cumsum(thickness)])
    batches = 20
    tallies = _trace(mu_a, mu_s, g, faces, n, photons, batches, seed)
    mean = tallies.mean(0)
    return Estimate(mean[0], tallies[:, 0].std(ddof=1) / math.sqrt(batches), mean[1], mean[2:])
