"""Alignment of small simulated images with a CT: errors, coverage, wrong levels; beside SimpleITK's.

    python benchmarks/alignment.py --ct CT.nii.gz --at R A S [R A S …] [--draws 20] [--kind mr] [--json]

A small image about one of the points is simulated: a cone-beam CT with another grey scale, cupping and noise,
or an MR-like contrast, which is a curve of the CT's grey values that rises and falls, with a bias field and
noise; it is not a measured MR. Its place is lost, its rotation known to 12°. For SimpleITK see
``alignment_peer``.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from alignment_peer import by_itk
from scipy.ndimage import gaussian_filter, map_coordinates

from monai_inn.applications.registration.carm import geodesic_degrees
from monai_inn.applications.rigid.motion import Motions
from monai_inn.applications.rigid.solver import align_volumes
from monai_inn.applications.rigid.volumes import Volume, load_volume

CURVE = ((-1000, -200, -100, -20, 40, 80, 150, 300, 700, 2000), (0, 20, 800, 350, 400, 450, 520, 380, 60, 20))
REGION, LEVEL_MM = 10.64, (15.0, 60.0)  # 90 % of chi-square with six degrees of freedom


def simulate(
    fixed: Volume, at: np.ndarray, kind: str, size_mm: np.ndarray, noise: float, rng: np.random.Generator
) -> tuple[Volume, torch.Tensor]:
    """A small image about a point of the fixed one, and the motion that takes it there."""
    theta = torch.from_numpy(np.r_[rng.uniform(-12, 12, 3), rng.uniform(-60, 60, 3)])
    spacing = rng.choice([1.0, 1.5, 2.0])
    n = np.round(size_mm / spacing).astype(int) + 1
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = at - theta[3:].numpy() - affine[:3, :3] @ ((n - 1) / 2)
    moving = Volume(torch.zeros(*n.tolist()), torch.from_numpy(affine))
    matrix = Motions.of(theta[None]).matrix(moving.centre)[0]
    points = moving.points() @ matrix[:3, :3].T + matrix[:3, 3]
    inverse = torch.linalg.inv(fixed.affine)
    index = (points @ inverse[:3, :3].T + inverse[:3, 3]).numpy().T
    x = map_coordinates(fixed.values.numpy(), index, order=3, mode="nearest").reshape(n)
    grid = np.meshgrid(*(np.linspace(-1, 1, k) for k in n), indexing="ij")
    radius = grid[0] ** 2 + grid[1] ** 2
    if kind == "mr":
        bias = sum(b * g for b, g in zip(rng.normal(size=4) * 0.15, (*grid, radius), strict=True))
        y = gaussian_filter(np.interp(x, *CURVE) * np.exp(bias), 0.5 / spacing)
        y = np.hypot(y + noise * rng.normal(size=n), noise * rng.normal(size=n))
    else:
        y = gaussian_filter(0.85 * np.clip(x, -1000, 2000) + 30 + 90 * radius, 0.7 / spacing)
        y = y + noise * (0.5 * rng.normal(size=n) + 3 * gaussian_filter(rng.normal(size=n), 0.8))
    return moving._replace(values=torch.from_numpy(y.astype(np.float32))), theta


def one(fixed: Volume, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    at = np.array(arguments.at).reshape(-1, 3)
    size = np.array(arguments.size) * rng.uniform(0.85, 1.15, 3)
    moving, theta = simulate(fixed, at[rng.integers(len(at))], arguments.kind, size, arguments.noise, rng)
    began = time.monotonic()
    solution = align_volumes(fixed, moving, seed=seed)
    seconds = time.monotonic() - began
    found = solution.alignment
    away = found.mean - theta
    turned = geodesic_degrees(Motions.of(found.mean[:1]).rotation, Motions.of(theta[None]).rotation)
    distance = away[:, 3:].norm(dim=1)
    near = int(distance.argmin())
    began = time.monotonic()
    theirs = float((by_itk(fixed, moving, seed)[0] - moving.centre - theta[3:]).norm())
    return {
        "mm": float(distance[0]), "degrees": float(turned), "seconds": seconds,
        "inside": float(away[near] @ torch.linalg.solve(found.covariance[near], away[near])) < REGION,
        "right_mass": float(found.masses[distance < 10].sum()), "explained": solution.explained[0],
        "itk_mm": theirs, "itk_seconds": time.monotonic() - began,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ct", required=True)
    parser.add_argument("--at", type=float, nargs="+", required=True, help="points R A S, mm")
    parser.add_argument("--size", type=float, nargs=3, default=(95, 95, 75), help="of the small image, mm")
    parser.add_argument("--kind", choices=("cone-beam", "mr"), default="cone-beam")
    parser.add_argument("--noise", type=float, default=60.0)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    fixed, rows = load_volume(arguments.ct), []
    for k in range(arguments.draws):
        rows.append(one(fixed, arguments, arguments.seed + k))
        if not arguments.json:
            print(k, {name: round(value, 2) for name, value in rows[-1].items()}, flush=True)
    low, high = LEVEL_MM
    summary = {
        "within_1mm_1deg": np.mean([r["mm"] < 1 and r["degrees"] < 1 for r in rows]),
        "coverage_90": np.mean([r["inside"] for r in rows]),
        "wrong_mass_over_5_percent": np.mean([r["right_mass"] < 0.95 for r in rows]),
        "wrong_and_sure": np.mean([r["right_mass"] < 0.05 and r["explained"] >= 0.5 for r in rows]),
        "itk_within_2mm": np.mean([r["itk_mm"] < 2 for r in rows]),
        "itk_one_level_off": np.mean([low < r["itk_mm"] < high for r in rows]),
        "seconds": np.median([r["seconds"] for r in rows]),
        "itk_seconds": np.median([r["itk_seconds"] for r in rows]),
    }
    print(json.dumps({name: round(float(value), 3) for name, value in summary.items()}, indent=2))


if __name__ == "__main__":
    main()
