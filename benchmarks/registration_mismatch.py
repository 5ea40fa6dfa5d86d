"""How ambiguous is the pose of a spine really? It depends on how the simulation differs from an X-ray.

Exact posteriors, 5 % white noise, errors of the simulation of some size and correlation length. For each: how
many X-rays leave more than one pose, how wide the posterior is and how well it covers the truth; the same for
a model that ignores the errors. No network is trained. `--cts` as in `registration.py`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from registration import CASES, FIELD_MM
from registration_measure import cell_samples
from torch import Tensor

from monai_inn.applications.registration.poses.grid import Cells, PoseGrid
from monai_inn.applications.registration.poses.inference import pose_space
from monai_inn.metrics import find_modes
from monai_inn.metrics.scores import registration_error
from monai_inn.problems import PoseRegistration

NOISE, SEED = 0.05, 11
LEVEL, HEAVY, FAR_MM = 0.9, 0.05, 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cts", type=Path, required=True)
    parser.add_argument("--case", default="lumbar", choices=tuple(CASES))
    parser.add_argument("--xrays", type=int, default=60)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument(
        "--mismatch", nargs="+", default=["0:20", "0.2:20", "0.3:5"], help="SD:MM, sd and length"
    )
    options = parser.parse_args()
    ct, labels, keep = CASES[options.case]
    plain = PoseRegistration.of_ct(
        options.cts / ct, labels=options.cts / labels, keep=keep, size=options.size, field_mm=FIELD_MM
    )
    naive = _with_noise(plain, 0.0, 20.0).grid()
    for text in options.mismatch:
        sd, length_mm = (float(number) for number in text.split(":"))
        problem = _with_noise(plain, sd, length_mm)
        theta, y = problem.simulate(options.xrays, SEED)
        row: dict[str, Any] = {"case": options.case, "size": options.size, "mismatch": sd, "mm": length_mm}
        row["right model"] = _summary(problem.grid() if sd else naive, theta, y)
        if sd:
            row["ignoring it"] = _summary(naive, theta, y)
        print(json.dumps(row), flush=True)


def _with_noise(problem: PoseRegistration, sd: float, length_mm: float) -> PoseRegistration:
    config = problem.to_config()
    config["noise"] = {"sd": NOISE, "mismatch_sd": sd, "mismatch_mm": length_mm}
    return PoseRegistration(problem.volume.values, **config)


def _summary(grid: PoseGrid, theta: Tensor, y: Tensor) -> dict[str, float]:
    """What the exact posteriors of X-rays say about the poses that made them."""
    torch.manual_seed(SEED)
    problem, several, above, width, far = grid.problem, [], [], [], []
    space = pose_space(problem)
    for truth, image in zip(theta.double(), y, strict=True):
        cells = grid.refined(image)
        above.append(_mass_above(cells, truth, problem))
        drawn = cell_samples(cells.centre, cells.step, cells.log_mass)
        modes = find_modes(drawn, space)
        several.append(sum(mode.mass >= HEAVY for mode in modes) > 1)
        best = cells.centre[cells.log_mass.argmax()]
        width.append(float(space.difference(drawn, best).square().mean(0).sqrt().amax()))
        camera = problem.cameras(torch.stack([truth, best]))
        far.append(float(registration_error(camera[1:], camera[0], problem.landmarks)[0]) > FAR_MM)
    return {
        "several poses": round(statistics.mean(several), 3),
        f"truth inside the {LEVEL:.0%} region": round(statistics.mean(a < LEVEL for a in above), 3),
        "median rms width, degrees": round(statistics.median(width), 2),
        f"best pose more than {FAR_MM:g} mm wrong": round(statistics.mean(far), 3),
    }


def _mass_above(cells: Cells, truth: Tensor, problem: PoseRegistration) -> float:
    """Mass of the cells that are denser than that of the truth; 1 if it is in none."""
    away = (truth - cells.centre).abs()
    away = torch.minimum(away, problem.space.period - away)
    own = int((away / cells.step).amax(1).argmin())
    if float((away / cells.step)[own].max()) > 0.501:
        return 1.0
    return float(cells.log_mass[cells.log_mass > cells.log_mass[own]].exp().sum())


if __name__ == "__main__":
    main()
