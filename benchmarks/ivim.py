"""IVIM: is the posterior calibrated at any number of b-values, is it exact, and what is known of D*?

python benchmarks/ivim.py --json
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import monai_inn
from monai_inn.applications.perfusion.models.signal import rician
from monai_inn.fitted import FittedPosterior
from monai_inn.metrics import calibration_error, calibration_noise_floor, coverage

ROOT = Path(__file__).resolve().parents[1]
REFERENCES = ROOT / "Testing/perfusion/references"
DRAWS, TRIALS = 400, 500


def tissues(name: str) -> tuple[dict[str, Tensor], Tensor]:
    """Parameters ``(3,)`` of OSIPI's tissues by name, and the b-values in s/mm² of its protocol."""
    table = json.loads(gzip.decompress((REFERENCES / f"osipi_ivim_{name}.json.gz").read_bytes()))
    b = torch.tensor(table.pop("config")["bvalues"])
    return {k: torch.tensor([1e3 * v["D"], v["f"], 1e3 * v["Dp"]]) for k, v in table.items()}, b


def row(signal: Tensor, b: Tensor, most: int) -> Tensor:
    """Observations of signals ``(…, n)`` at b-values ``(n,)``."""
    pad = (0, most - len(b))
    parts = (signal, b.expand_as(signal))
    return torch.cat([torch.nn.functional.pad(part, pad, value=math.nan) for part in parts], -1)


def by_number(fitted: FittedPosterior, n: int, seed: int) -> dict[str, Any]:
    """Calibration error and coverage of 95 % of each parameter and of f · D*, by the number of signals."""
    theta, y = fitted.problem.simulate(n, seed)
    number = y[:, : fitted.problem.observation.places].isfinite().sum(1)
    found = {}
    for low, high in ((4, 8), (9, 16), (17, 24), (25, 32)):
        chosen = (number >= low) & (number <= high)
        with torch.no_grad():
            drawn = torch.cat([fitted.posterior(part).sample((DRAWS,)) for part in y[chosen].split(500)], 1)
        drawn, truth = (torch.cat([v, fitted.problem.derive(v)], -1) for v in (drawn, theta[chosen]))
        inside = coverage(drawn, truth, [0.95]).coverage[0]
        error = calibration_error(drawn, truth)
        floor = float(calibration_noise_floor(int(chosen.sum())).upper)
        found[f"{low}-{high}"] = {"floor": round(floor, 4)} | {
            p.name: [round(float(e), 4), round(float(c), 3)]
            for p, e, c in zip(fitted.problem.shown, error, inside, strict=True)
        }
    return found


def exact(fitted: FittedPosterior, n: int, seed: int) -> dict[str, Any]:
    """Means and widths against the exact posterior, by importance sampling from the network and the prior."""
    problem = fitted.problem
    _, y = problem.simulate(n, seed)
    rows, effective, began = [], [], time.process_time()
    for one in y:
        with torch.no_grad():
            q = fitted.posterior(one)
            drawn = q.sample((2000,))
            theta = torch.cat([drawn, problem.prior.sample((1000,))])
            proposal = torch.logaddexp(
                q.log_prob(theta) + math.log(2 / 3), problem.prior.log_prob(theta) - math.log(3)
            )
            prior = problem.prior.log_prob(theta)
        log_weight = problem.log_likelihood(theta.double(), one) + prior - proposal
        weight, latent = log_weight.softmax(0).unsqueeze(1), problem.space.to_latent(theta).double()
        mean = (weight * latent).sum(0)
        sd = (weight * (latent - mean).square()).sum(0).sqrt()
        learned = problem.space.to_latent(drawn).double()
        rows.append(torch.stack([(learned.mean(0) - mean) / sd, learned.std(0) / sd]))
        effective.append(float(1 / weight.square().sum()))
    shift, ratio = torch.stack(rows).unbind(1)
    near = shift.abs() < 0.2
    levels = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    return {
        "observations": n,
        "least_effective_samples": round(min(effective)),
        "seconds_each": round((time.process_time() - began) / n, 2),
        "median_shift_sd": dict(zip(problem.targets, shift.abs().median(0).values.tolist(), strict=True)),
        "share_within_.2_sd": dict(zip(problem.targets, near.double().mean(0).tolist(), strict=True)),
        "width_ratio_5_50_95": dict(zip(problem.targets, ratio.quantile(levels, 0).T.tolist(), strict=True)),
    }  # fmt: skip


def osipi(fitted: FittedPosterior, name: str, seed: int) -> dict[str, Any]:
    """Coverage of 95 % on OSIPI's tissues with noise, and intervals of D*, by signal-to-noise ratio."""
    problem, (known, b) = fitted.problem, tissues(name)
    found: dict[str, Any] = {}
    for ratio in (20, 50, 100):
        generator, hits, intervals = torch.Generator().manual_seed(seed), [], {}
        for tissue, theta in known.items():
            clean = problem.forward_with_context(theta, b).expand(TRIALS, -1)
            y = row(rician(clean, 1 / ratio, generator), b, problem.observation.places)
            with torch.no_grad():
                drawn = fitted.posterior(y).sample((DRAWS,))
            low, high = drawn.quantile(torch.tensor([0.025, 0.975]), 0)
            hits.append(((low <= theta) & (theta <= high)).float().mean(0))
            intervals[tissue] = [round(float(end[:, 2].median()), 1) for end in (low, high)]
        inside = torch.stack(hits)
        found[f"ratio {ratio}"] = {
            "coverage": dict(zip(problem.targets, inside.mean(0).tolist(), strict=True)),
            "least_of_a_tissue": dict(zip(problem.targets, inside.min(0).values.tolist(), strict=True)),
            "d_star_interval": intervals,
        }
    return found


def speed(fitted: FittedPosterior, voxels: int = 16384) -> dict[str, float]:
    """Voxels a processor second of complete maps of 64 samples."""
    y = fitted.problem.simulate(voxels, 3)[1]
    image, began = y.T.reshape(1, y.shape[1], 128, -1), time.process_time()
    fitted.maps(image, batched=True)
    return {"voxels_a_second": round(voxels / (time.process_time() - began))}


def main() -> None:
    """Print all as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", default="ivim")
    parser.add_argument("--cases", type=int, default=8000)
    parser.add_argument("--exact", type=int, default=40)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    fitted = monai_inn.load(given.bundle)
    result = {
        "by_number": by_number(fitted, given.cases, given.seed),
        "exact": exact(fitted, given.exact, given.seed + 1),
        "organs": osipi(fitted, "generic", given.seed),
        "brain": osipi(fitted, "generic_brain", given.seed),
        "speed": speed(fitted),
    }
    json.dump(result, sys.stdout, indent=None if given.json else 2)
    print()


if __name__ == "__main__":
    main()
