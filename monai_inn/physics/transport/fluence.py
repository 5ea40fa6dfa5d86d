"""Light at a depth below layers of tissue, of many spectra at once: what a photoacoustic source is lit by."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from monai_inn.physics.transport.compiled import compiled
from monai_inn.physics.transport.directions import air_boundary, phase_matrices, quadrature
from monai_inn.physics.transport.fluence_kernel import fluence_source
from monai_inn.physics.transport.layers_kernel import checked, filled, in_parallel, num_threads

__all__ = ["fluence"]

# Of sqrt(1 - albedo), over which the reflection of the half-space is interpolated; 16 nodes leave 1e-11.
_LOWEST, _HIGHEST = 0.003, 0.75


def fluence(
    mu_a_per_cm: ArrayLike,
    mu_s_per_cm: ArrayLike,
    thickness_cm: ArrayLike,
    *,
    g: float = 0.9,
    n: float = 1.4,
    num_directions: int = 4,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Fluence rate at a depth below layers, over the irradiance of broad light at normal incidence.

    The last layer goes on for ever; its thickness says how deep in it the light is asked for.

    Args:
        mu_a_per_cm: absorption coefficient, shape ``(S, L, W)``: spectra, layers from top to bottom,
            wavelengths.
        mu_s_per_cm: scattering coefficient, shape ``(S, L, W)``.
        thickness_cm: thickness of the layers, of the last the depth below its top, ``(S, L)``, finite.
        g: anisotropy, of all layers.
        n: refractive index of all layers, above 1.
        num_directions: directions per hemisphere.
        threads: number of threads; all cores of the process if not given.

    Returns:
        Fluence rate over irradiance, shape ``(S, W)``.

    Raises:
        ValueError: if shapes do not fit, or a value is negative or not finite, or ``n`` is not above 1.
    """
    mu_a, mu_s = checked(mu_a_per_cm, mu_s_per_cm)
    depth = filled(thickness_cm, mu_a.shape[:2])
    if not (np.isfinite(depth).all() and (depth >= 0).all() and n > 1.001 and abs(g) < 1):
        raise ValueError("expected finite thickness_cm >= 0, n > 1.001 and -1 < g < 1.")
    index = torch.tensor(n, dtype=torch.float64)
    mu, weight = quadrature(num_directions, index)
    forward, backward, removed = phase_matrices(mu, weight, torch.tensor(g, dtype=torch.float64))
    scale = (weight / mu).sqrt()
    rows, columns = torch.triu_indices(num_directions, num_directions)
    even, odd = (
        ((scale[:, None] * scale) / 2 * (forward + sign * backward))[rows, columns] for sign in (1, -1)
    )
    source = (1 - ((n - 1) / (n + 1)) ** 2) / (2 * float((mu * weight).sqrt()[-1]))
    tables = [v.contiguous().numpy() for v in (1 / mu, air_boundary(mu, weight, index), 2 * scale)]
    out = np.empty((len(mu_a), mu_a.shape[2]))
    solve = compiled(f"fluence_{num_directions}", fluence_source(num_directions))
    phase = (even.contiguous().numpy(), odd.contiguous().numpy(), float(removed))
    in_parallel(
        lambda first, last: solve(
            first, last, *tables, source, *phase, g, _LOWEST, _HIGHEST, mu_a, mu_s, depth, out
        ),
        len(mu_a),
        threads or num_threads(),
    )
    return out
