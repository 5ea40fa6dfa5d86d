"""Compiled adding-doubling for training sets: diffuse reflectance of many layered spectra at once.

Same discretisation as ``layers.simulate_layers``, to which it agrees within 5e-10, but reflectance only and
without gradients. Two things make it fast: straight-line code that runs over wavelengths in vector registers,
and the reflection of the semi-infinite layer, which depends on nothing but the albedo along one spectrum and
is analytic in ``sqrt(1 - albedo)``: it is solved at a few Chebyshev nodes and interpolated.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from monai_inn.physics.transport.codegen import kernel_source
from monai_inn.physics.transport.compiled import compiled
from monai_inn.physics.transport.directions import air_boundary, phase_matrices, quadrature

__all__ = ["checked", "diffuse_reflectance", "filled", "in_parallel", "num_threads"]


def num_threads() -> int:
    """Return how many threads to use: ``MONAI_INN_THREADS`` or else one a core of this process."""
    limit = os.environ.get("MONAI_INN_THREADS", "")
    if limit.isdecimal() and int(limit) > 0:
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def diffuse_reflectance(
    mu_a_per_cm: ArrayLike,
    mu_s_per_cm: ArrayLike,
    g: ArrayLike,
    thickness_cm: ArrayLike,
    n: ArrayLike,
    num_directions: int = 5,
    *,
    bands: NDArray[np.float64] | None = None,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Diffuse reflectance of layered media for collimated light at normal incidence, without specular light.

    The first call for a number of directions compiles for some seconds; the result is kept on disk, so that
    later processes start at once. Safe to call from several threads and from worker processes.

    Args:
        mu_a_per_cm: absorption coefficient, shape ``(S, L, W)``: spectra, layers from top to bottom,
            wavelengths.
        mu_s_per_cm: scattering coefficient, shape ``(S, L, W)``.
        g: anisotropy, broadcastable to ``(S, L)``.
        thickness_cm: thickness, broadcastable to ``(S, L)``; ``inf`` for a semi-infinite last layer. Nothing
            reflects below the last layer.
        n: refractive index above 1, broadcastable to ``(S,)``.
        num_directions: directions per hemisphere; 5 for training sets, 8 for test sets.
        bands: weights of camera bands, shape ``(C, W)``; the mean over each band is returned if given. Doing
            it here costs nothing and makes the result independent of how spectra are batched, unlike a matrix
            product.
        threads: number of threads; all cores of the process if not given.

    Returns:
        Reflectance relative to a perfect white, shape ``(S, W)``, or ``(S, C)`` with ``bands``.

    Raises:
        ValueError: if shapes do not fit, or a value is negative or not finite, or ``n`` is not above 1.
    """
    mu_a, mu_s = checked(mu_a_per_cm, mu_s_per_cm)
    spectra, layers, lanes = mu_a.shape
    g_, depth = (filled(v, (spectra, layers)) for v in (g, thickness_cm))
    index = filled(n, (spectra,))
    if not ((index > 1.001).all() and (depth >= 0).all() and (abs(g_) < 1).all()):
        raise ValueError(
            "expected n > 1.001, thickness_cm >= 0 and -1 < g < 1; solve other cases by simulate_layers."
        )
    weights = np.empty((0, lanes)) if bands is None else np.ascontiguousarray(bands, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != lanes:
        raise ValueError(f"bands has shape {weights.shape}, expected (bands, {lanes} wavelengths).")
    begin, end = (weights != 0).argmax(1), lanes - (weights[:, ::-1] != 0).argmax(1)
    out = np.empty((spectra, lanes if bands is None else len(weights)))
    mu, weight = quadrature(num_directions, torch.from_numpy(index))
    boundary = air_boundary(mu, weight, torch.from_numpy(index))
    phase = phase_matrices(mu[:, None], weight[:, None], torch.from_numpy(g_))
    tables = [v.contiguous().numpy() for v in (mu, weight, boundary, *phase)]
    solve = compiled(f"layers_{num_directions}", kernel_source(num_directions))
    in_parallel(
        lambda first, last: solve(
            first, last, *tables, mu_a, mu_s, g_, depth, index, weights, begin, end, out
        ),
        spectra,
        threads or num_threads(),
    )
    return out


def checked(
    mu_a_per_cm: ArrayLike, mu_s_per_cm: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients ``(S, L, W)`` as the kernels need them.

    Raises:
        ValueError: if shapes do not fit, or a value is negative or not finite.
    """
    mu_a, mu_s = (np.ascontiguousarray(v, dtype=np.float64) for v in (mu_a_per_cm, mu_s_per_cm))
    if mu_a.ndim != 3 or mu_a.shape != mu_s.shape or 0 in mu_a.shape[1:]:
        raise ValueError(
            f"mu_a_per_cm has shape {mu_a.shape} and mu_s_per_cm {mu_s.shape}; both must be equal and "
            "of the form (spectra, layers, wavelengths)."
        )
    if not (
        np.isfinite(mu_a).all()
        and np.isfinite(mu_s).all()
        and mu_a.min(initial=0) >= 0 <= mu_s.min(initial=0)
    ):
        raise ValueError("mu_a_per_cm and mu_s_per_cm must be finite and not negative.")
    return mu_a, mu_s


def filled(value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Contiguous copy broadcast to a shape."""
    return np.broadcast_to(np.asarray(value, dtype=np.float64), shape).copy()


def in_parallel(work: Callable[[int, int], object], rows: int, threads: int) -> None:
    """Run ``work(first, last)`` over all rows in threads: the kernel releases the interpreter lock."""
    if threads == 1 or rows < 2 * threads:
        work(0, rows)
        return
    # Several pieces a thread even out rows that take longer.
    edges = np.linspace(0, rows, min(rows, 4 * threads) + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, int(a), int(b)) for a, b in itertools.pairwise(edges)]:
            done.result()
