"""How many samples does a pixel need? Errors of maps from 200 random, 64 Sobol, and adaptively drawn samples.

    OMP_NUM_THREADS=1 python benchmarks/adaptive.py [--pixels 100] [--bundle oximetry …] [--json]

Pixels are those of the example image of the bundle, if there is one, and as many simulations from the prior.
Each error is the root mean square over pixels, parameters and seeds against 20,000 samples of the pixel, in
posterior standard deviations or, of probabilities, as it is. Of modes it is the share of wrong numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import monai_inn
from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.pixels import Pixels
from monai_inn.inferers.predicted import MANY, drawn_or_predicted
from monai_inn.inferers.summaries import count_modes, interval_levels, quantiles, shared_latents, sorted_last
from monai_inn.reports.image_files import read_image

ROOT = Path(__file__).parents[1]
IMAGES = {
    "oximetry": ROOT / "Resources/organ_mosaic.hdr",
    "oximetry_rgb": ROOT / "Resources/retina_fundus.hdr",
    "photoacoustics": ROOT / "Resources/photoacoustic_slice.hdr",
}
_REFERENCE, _PART, _SEEDS = 20_000, 2_000, 4
Parts = Iterable[tuple[Tensor, Tensor]]  # numbers of pixels (n,) and their samples (S, n, D)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pixels", type=int, default=100, help="pixels of each kind (100)")
    parser.add_argument("--bundle", action="append", default=[], help="shipped bundle; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = {
        f"{name}, {kind}": measure(fitted, rows)
        for name in options.bundle or ["oximetry", "ivim"]
        for fitted in [monai_inn.load(name)]
        for kind, rows in observations(name, fitted, options.pixels).items()
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    for title, report in found.items():
        print(f"\n{title}")
        for method, numbers in report.items():
            print(f"  {method:14}", "  ".join(f"{key} {value:.3g}" for key, value in numbers.items()))
    return 0


def observations(name: str, fitted: FittedPosterior, number: int) -> dict[str, Tensor]:
    """Pixels of the example image, and simulations."""
    problem = fitted.problem
    _, y = problem.simulate(number, seed=7)
    found = {"simulations": y.float()}
    if name in IMAGES:
        pixels = Pixels(read_image(IMAGES[name], problem)[None], problem)
        chosen = torch.randperm(int(pixels.valid.sum()), generator=torch.Generator().manual_seed(0))[:number]
        found["image"] = pixels.rows(pixels.valid.nonzero()[:, 0][chosen])
    return found


@torch.no_grad()
def measure(fitted: FittedPosterior, rows: Tensor) -> dict[str, dict[str, float]]:
    """Errors and samples drawn a pixel, by method."""
    network, count = fitted.network, 0
    channels, features = len(fitted.problem.targets), fitted.problem.features(rows)

    def draw(pixels: Tensor, latents: Tensor) -> Tensor:
        nonlocal count
        count += len(pixels) * len(latents)
        return network.posterior(features[pixels]).leading(channels).push(latents)

    everything = torch.arange(len(rows))
    parts = shared_latents(_REFERENCE, channels, 1234).split(_PART)
    truth = torch.cat([draw(everything, part) for part in parts])
    threshold = truth.median(0).values.median(0).values
    expected, spread = _maps(truth, threshold), truth.std(0)
    generator = torch.Generator().manual_seed(1)
    levels = network.preview.levels.tolist()

    def adaptive(seed: int) -> Parts:
        quick = network.preview_quantiles(features)
        return drawn_or_predicted(draw, shared_latents(MANY * 64, channels, seed), quick, levels)

    def random(_: int) -> Parts:
        return [(everything, draw(everything, torch.randn(200, 1, channels, generator=generator)))]

    def sobol(number: int) -> Callable[[int], Parts]:
        return lambda seed: [(everything, draw(everything, shared_latents(number, channels, seed)))]

    methods: dict[str, Callable[[int], Parts]] = {
        "200 random": random,
        "64 Sobol": sobol(64),
        "32 Sobol": sobol(32),
        "64 adaptive": adaptive,
    }
    return {
        name: _errors(method, lambda: count, expected, spread, threshold) for name, method in methods.items()
    }


def _errors(
    method: Callable[[int], Parts],
    counted: Callable[[], int],
    expected: dict[str, Tensor],
    spread: Tensor,
    threshold: Tensor,
) -> dict[str, float]:
    sums: dict[str, Any] = dict.fromkeys(expected, 0.0)
    before = counted()
    for seed in range(_SEEDS):
        for pixels, samples in method(seed):
            for key, value in _maps(samples, threshold).items():
                off = (value - expected[key][pixels]) / (1 if key in ("P", "modes") else spread[pixels])
                sums[key] += ((off != 0).float() if key == "modes" else off.square()).sum().item()
    result = {key: value / _SEEDS / spread.numel() for key, value in sums.items()}
    result = {key: value if key == "modes" else value**0.5 for key, value in result.items()}
    drawn = (counted() - before) / _SEEDS / len(spread)
    return result | {"drawn": drawn}


def _maps(samples: Tensor, threshold: Tensor) -> dict[str, Tensor]:
    ordered = sorted_last(samples)
    low, median, high = quantiles(ordered, interval_levels(0.95))
    below = (samples < threshold).float().mean(0)
    ends = {"median": median, "low": low, "high": high, "sd": samples.std(0)}
    return ends | {"P": below, "modes": count_modes(ordered)}


if __name__ == "__main__":
    sys.exit(main())
