"""How fast and how right is the optical simulation, and does it cover real tissue?

    python benchmarks/optics.py --json

Speed against iadpython in the same run, accuracy against many directions, and the distance of measured organ
and skin spectra to their nearest simulations.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from optics_coverage import organs, skin

from monai_inn.applications.oximetry.problem import Oximetry
from monai_inn.physics import tissue
from monai_inn.physics.transport.layers import simulate_layers
from monai_inn.physics.transport.layers_kernel import diffuse_reflectance, num_threads
from monai_inn.training.simulation import simulate_to_zarr

SEED = 0
TARGET_SPECTRA = 2_000_000


def prior_stacks(count: int) -> tuple[torch.Tensor, ...]:
    """Layer properties ``(count, 3, W)`` of spectra from the prior of the scanner."""
    problem = Oximetry("tivita")
    return tuple(
        problem.layer_properties(problem.space.sample_prior(count, torch.Generator().manual_seed(SEED)))
    )


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of several wall-clock times, after one call that compiles."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def kernel_speed() -> dict[str, float]:
    """Three-layer reflectances per second, for one thread and for all, and slabs per second of iadpython."""
    mu_a, mu_s, thickness, n = (v.numpy() for v in prior_stacks(512))
    size = mu_a.shape[0] * mu_a.shape[2]
    result: dict[str, float] = {}
    for threads in sorted({1, num_threads()}):
        seconds = best_seconds(
            lambda t=threads: diffuse_reflectance(mu_a, mu_s, 0.9, thickness, n, threads=t)
        )
        result[f"stacks_per_s_{threads}_threads"] = size / seconds
    result["iadpython_slabs_per_s"] = iadpython_speed(mu_a, mu_s, thickness, n)
    result["ratio_to_iadpython"] = result["stacks_per_s_1_threads"] / result["iadpython_slabs_per_s"]
    return result


def iadpython_speed(mu_a: NDArray, mu_s: NDArray, thickness: NDArray, n: NDArray, slabs: int = 100) -> float:
    """Single slabs per second of iadpython: easier than the stacks of three that we count for ourselves."""
    import iadpython

    start = time.perf_counter()
    for i in range(slabs):
        a, s = mu_a[i, 0, i % mu_a.shape[2]], mu_s[i, 0, i % mu_a.shape[2]]
        sample = iadpython.Sample(
            a=s / (a + s), b=(a + s) * thickness[i, 0], g=tissue.ANISOTROPY, d=1, n=n[i], quad_pts=8
        )
        sample.rt()
    return slabs / (time.perf_counter() - start)


def end_to_end(count: int) -> dict[str, float]:
    """Prior to file: time for two million spectra at this rate, and peak memory of the process."""
    problem = Oximetry("tivita")
    problem.simulate_clean(64)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        simulate_to_zarr(problem, count, Path(folder) / "set", seed=SEED)
        seconds = time.perf_counter() - start
    return {
        "spectra": count,
        "wavelengths": len(problem.wavelength_nm),
        "spectra_per_s": count / seconds,
        "minutes_for_two_million": TARGET_SPECTRA / count * seconds / 60,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def accuracy(count: int = 200) -> dict[str, dict[str, float]]:
    """Error of the diffuse reflectance against 32 directions over the prior, one wavelength a stack."""
    mu_a, mu_s, thickness, n = prior_stacks(count)
    pick = torch.randint(mu_a.shape[2], (count, 1, 1), generator=torch.Generator().manual_seed(SEED)).expand(
        -1, 3, 1
    )
    mu_a, mu_s = mu_a.gather(2, pick)[..., 0], mu_s.gather(2, pick)[..., 0]

    def diffuse(directions: int) -> torch.Tensor:
        g = torch.tensor(tissue.ANISOTROPY, dtype=torch.float64)
        return simulate_layers(mu_a, mu_s, g, thickness, n, directions, bottom="black").diffuse

    exact, table = diffuse(32), {}
    for directions in (4, 5, 8, 16):
        error = diffuse(directions) - exact
        table[str(directions)] = {
            "max": float(error.abs().max()),
            "mean": float(error.abs().mean()),
            "bias": float(error.mean()),
        }
    return table


def anisotropy_effect(count: int = 200) -> float:
    """Largest change of the reflectance when g goes from 0.8 to 0.95 at equal reduced scattering."""
    mu_a, mu_s, thickness, n = (v.numpy() for v in prior_stacks(count))
    reduced = mu_s * (1 - tissue.ANISOTROPY)
    low, high = (diffuse_reflectance(mu_a, reduced / (1 - g), g, thickness, n, 8) for g in (0.8, 0.95))
    return float(abs(low - high).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument(
        "-n", type=int, default=100_000, help="simulations for the comparison with real tissue"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "benchmark": "optics",
        "seed": SEED,
        "processor": platform.processor() or platform.machine(),
        "cores": num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "speed": kernel_speed(),
        "end_to_end": end_to_end(min(options.n, 32_768)),
        "error_against_32_directions": accuracy(),
        "largest_effect_of_anisotropy": anisotropy_effect(),
        "organs": organs(options.n, SEED),
        "skin": skin(options.n, SEED),
    }
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
