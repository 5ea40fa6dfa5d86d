"""Memory of maps by the size of the image: 16 bands, 200 samples a pixel, each size in a process of its own.

    python benchmarks/memory.py [--sizes 1024 2048 4096] [--samples 200] [--json]

The network is small and untrained, since memory does not depend on its weights; a pixel then costs what
sorting and summarising its samples cost.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch

import monai_inn as mi
from monai_inn.fitted import FittedPosterior
from monai_inn.networks.posterior import assemble
from monai_inn.problems import Oximetry

MIB = 1 << 20
BANDS = "imec_ssm4x4_470_620"


def small_posterior() -> FittedPosterior:
    problem = Oximetry(BANDS)
    _, y = problem.simulate(512, seed=0)
    features, density = problem.features(y), problem.density_features(y)
    small = {"num_blocks": 1, "hidden_channels": (8,)}
    network = assemble(
        features.shape[-1],
        density.shape[-1],
        (4, 9),
        flow={**small, "coupling": "affine"},
        density={**small, "members": 2},
        num_ood_scores=400,
    )
    network.fit_fixed(features, density, features)
    return FittedPosterior(problem, network, {})


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def measure(size: int, samples: int) -> dict[str, Any]:
    """Memory in MiB; "beyond" is what neither image nor maps need and was not there before."""
    posterior = small_posterior()
    posterior.maps(torch.rand(16, 128, 128), samples=samples)
    image = torch.rand(16, size, size)
    before, began = peak(), time.monotonic()
    maps = posterior.maps(image, samples=samples)
    size_of_maps = sum(value.numel() * value.element_size() for value in maps.values()) / MIB
    return {
        "pixels": size**2,
        "image": image.numel() * 4 / MIB,
        "maps": size_of_maps,
        "peak": peak(),
        "beyond": peak() - before - size_of_maps,
        "seconds": time.monotonic() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.samples)))
        return
    rows = []
    for size in arguments.sizes:
        command = [sys.executable, __file__, "--one", str(size), "--samples", str(arguments.samples)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        if not arguments.json:
            shown = ", ".join(
                f"{name} {rows[-1][name]:,.0f} MiB" for name in ("image", "maps", "peak", "beyond")
            )
            print(f"{size} x {size}: {shown}; {rows[-1]['seconds']:.0f} s", flush=True)
    if arguments.json:
        print(json.dumps({"version": mi.__version__, "samples": arguments.samples, "sizes": rows}, indent=2))


if __name__ == "__main__":
    main()
