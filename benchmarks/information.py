"""Bits of a trained network against the exact ones of the linear-Gaussian problem.

python benchmarks/information.py --steps 1000 --noise 0.05 0.3 5
"""

from __future__ import annotations

import argparse
import json
import math
import time

import torch

import monai_inn
from monai_inn.problems import LinearGaussian
from monai_inn.training import Recipe

BESIDE = {
    "num_simulations": 2**18, "density_steps": 5, "preview_steps": 5, "preview_observations": 256,
    "held_out": 4096, "guard": 400, "measured": 1000,
}  # fmt: skip
ROWS = 500


def main() -> None:
    """Print one line of JSON for each noise level."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.05, 0.3, 5.0])
    parser.add_argument("--cases", type=int, default=8000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for noise_sd in given.noise:
        problem, began = LinearGaussian(noise_sd=noise_sd), time.process_time()
        recipe = Recipe(posterior_steps=given.steps, **BESIDE)
        fitted = monai_inn.fit(problem, recipe=recipe, members=2)
        theta, y = problem.simulate(given.cases, seed=123)
        pairs = zip(theta.split(ROWS), y.split(ROWS), strict=True)
        with torch.no_grad():
            learned = torch.cat([fitted.posterior(rows).log_prob(truth) for truth, rows in pairs]).double()
        exact = problem.reference_posterior(y.double()).log_prob(theta.double())
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(theta.double()).sum(1)
        short = (exact - learned) / math.log(2)
        found = {
            "noise_sd": noise_sd,
            "steps": given.steps,
            "exact_bits": float((exact - prior).mean()) / math.log(2),
            "bits_short": float(short.mean()),
            "standard_error": float(short.std()) / math.sqrt(len(short)),
            "seconds_of_a_core": time.process_time() - began,
        }
        print(json.dumps({name: round(value, 4) for name, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
