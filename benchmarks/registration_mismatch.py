"""How ambiguous is the pose of a spine really? The answer depends on how well the simulation fits the X-ray.

Exact posteriors on a grid, 64 x 64 pixels, 5 % white noise, smooth errors of the simulation of growing size.
For each size: how many X-rays leave more than one pose, how well the right model covers the truth, and how
far a model that ignores the errors is from that. No network is trained. `--cts` as in `registration.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from registration import CASES, FIELD_MM
from torch import Tensor

from monai_inn.inferers.poses import pose_space
from monai_inn.metrics import find_modes
from monai_inn.problems import PoseRegistration
from monai_inn.problems.patient import patient_registration
from monai_inn.problems.pose_grid import PoseGrid

SIZE, NOISE, LENGTH_MM, SEED = 64, 0.05, 20.0, 11
LEVEL, HEAVY, SAMPLES = 0.9, 0.05, 1000
WRONG_DEGREES = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cts", type=Path, required=True)
    parser.add_argument("--case", default="abdomen", choices=tuple(CASES))
    parser.add_argument("--xrays", type=int, default=300)
    parser.add_argument("--mismatch", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2])
    options = parser.parse_args()
    ct, labels, keep = CASES[options.case]
    plain = patient_registration(
        options.cts / ct, labels=options.cts / labels, keep=keep, size=SIZE, field_mm=FIELD_MM
    )
    naive = _with_noise(plain, 0.0).grid()
    for mismatch in options.mismatch:
        problem = _with_noise(plain, mismatch)
        theta, y = problem.simulate(options.xrays, SEED)
        grid = problem.grid()
        exact = grid.log_mass(y)
        row = {"case": options.case, "mismatch": mismatch, **_summary(grid, exact, theta)}
        row["several poses"] = _several(grid, exact)
        if mismatch:
            row["ignoring it"] = _summary(naive, naive.log_mass(y), theta)
        print(json.dumps(row), flush=True)


def _with_noise(problem: PoseRegistration, mismatch: float) -> PoseRegistration:
    config = problem.to_config()
    config["noise"] = {"sd": NOISE, "mismatch_sd": mismatch, "mismatch_mm": LENGTH_MM}
    return PoseRegistration(problem.volume.values, **config)


def _summary(grid: PoseGrid, log_mass: Tensor, theta: Tensor) -> dict[str, float]:
    """Entropy in nats of the density per square degree, coverage, and what is far from the truth."""
    entropy = -(log_mass.exp() * log_mass).sum(1) + float(grid.step.log().sum())
    away = (theta.double().unsqueeze(1) - grid.centre).abs()
    away[..., 0] = torch.minimum(away[..., 0], 360 - away[..., 0])
    own = (away / grid.step).amax(-1).argmin(1, keepdim=True)
    above = log_mass.exp() * (log_mass > log_mass.gather(1, own))
    far = (away.amax(-1) > WRONG_DEGREES).double()
    return {
        "entropy": round(float(entropy.mean()), 2),
        f"coverage at {LEVEL:.0%}": round(float((above.sum(1) < LEVEL).double().mean()), 3),
        "mass beyond 20 degrees": round(float((log_mass.exp() * far).sum(1).mean()), 3),
        "best pose wrong": round(float(far.gather(1, log_mass.argmax(1, keepdim=True)).mean()), 3),
    }


def _several(grid: PoseGrid, log_mass: Tensor) -> float:
    """Share of the posteriors that have two modes of a twentieth of the mass or more."""
    space, count = pose_space(grid.problem), 0
    for row in log_mass:
        index = torch.multinomial(row.exp(), SAMPLES, replacement=True)
        shift = torch.rand(SAMPLES, len(grid.step), dtype=torch.float64) - 0.5
        modes = find_modes(grid.centre[index] + grid.step * shift, space)
        count += sum(mode.mass >= HEAVY for mode in modes) > 1
    return round(count / len(log_mass), 3)


if __name__ == "__main__":
    main()
