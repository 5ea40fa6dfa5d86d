"""Registration of realistic X-rays to a CT: six unknowns, rods, collimators; errors, coverage, time.

    python benchmarks/registration_real.py --ct CT.nii.gz [CT.nii.gz …] [--xrays 50] [--seed 0] [--json]

X-rays are simulated otherwise than the solver models them: by another renderer (nanodrr) on the CT's own
voxels with sixteen rays a pixel, five energies, water and bone apart, scatter of random amount and width,
blur, photon noise, an unknown exposure. In one of six a rod lies over the patient, in one of six a collimator
closes up to 36 % on each axis.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from monai_inn.applications.registration.carm import Detector, camera_to_world
from monai_inn.applications.registration.ct import bone_centre, landmarks, read_ct
from monai_inn.applications.registration.pose_fit import Unknowns
from monai_inn.applications.registration.pose_solver import SIZES, Solution, Solver
from monai_inn.applications.registration.problem import RANGES
from monai_inn.applications.registration.projection import AttenuationVolume, Projector
from monai_inn.applications.registration.results.from_ct import trust_of
from monai_inn.metrics.scores import registration_error

# At 40, 50, 60, 80, 100 keV: share of the photons; water and bone in cm²/g (NIST XCOM), 1 and 1.92 g/cm³.
SPECTRUM = (0.15, 0.25, 0.30, 0.20, 0.10)
WATER = (0.2683, 0.2269, 0.2059, 0.1837, 0.1707)
BONE = (0.6655, 0.4242, 0.3148, 0.2229, 0.1855)
FIELD_MM, PIXELS, FINER, RAYS = 240.0, 128, 2, 2
INSIDE, LEVEL = 0.9, {2: 4.61, 6: 10.64}  # of the range of each parameter; 90 % of chi-square


class Unit:
    """An X-ray unit in front of a patient."""

    def __init__(self, ct: AttenuationVolume) -> None:
        hounsfield = ct.values
        bone = ((hounsfield - 100) / 1480).clamp_min(0)
        water = torch.where(hounsfield < 100, 1 + hounsfield / 1000, 1.1 * (1 - bone)).clamp_min(0)
        attenuation = AttenuationVolume(0.0192 * (1 + hounsfield / 1000).clamp_min(0), ct.affine)
        self.target, self.landmarks = bone_centre(attenuation), landmarks(attenuation)
        self.fine = detector(PIXELS * FINER)
        rays = detector(PIXELS * FINER * RAYS)
        self.parts = [Projector(AttenuationVolume(v.float(), ct.affine), rays) for v in (water, 1.92 * bone)]

    def __call__(self, pose: Tensor, kind: int, generator: np.random.Generator) -> np.ndarray:
        """Intensity at the fine pixels' double size, arbitrary exposure."""
        camera = camera_to_world(pose, self.fine, self.target)
        water, bone = (
            torch.nn.functional.avg_pool2d(p(camera)[None], RAYS)[0].double().numpy() for p in self.parts
        )
        beam = sum(
            s * np.exp(-0.1 * (water * w + bone * b)) for s, w, b in zip(SPECTRUM, WATER, BONE, strict=True)
        )
        beam, is_open = self._covered(beam, kind, generator)
        width, share = generator.uniform(25, 60) / self.fine.spacing_mm, generator.uniform(0.3, 0.8)
        scatter = gaussian_filter(beam, width, mode="nearest")
        scatter *= share * beam[is_open].mean() / scatter[is_open].mean()
        photons = 20_000
        seen = generator.poisson(gaussian_filter(beam + scatter, 0.7) * photons) / photons
        n = PIXELS
        return generator.uniform(0.3, 3) * np.maximum(
            seen.reshape(n, FINER, n, FINER).mean((1, 3)), 0.5 / photons
        )

    def _covered(
        self, beam: np.ndarray, kind: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The beam behind a rod (kind 0) or between the blades of a collimator (kind 3)."""
        size, pixel = len(beam), self.fine.spacing_at_isocentre_mm
        is_open = np.ones_like(beam, bool)
        if kind == 0:
            y, x = np.mgrid[:size, :size] - size / 2 + 0.5
            angle, offset = generator.uniform(0, np.pi), generator.uniform(-0.25, 0.25) * size
            away = np.abs(np.cos(angle) * x + np.sin(angle) * y - offset)
            along, radius = np.cos(angle) * y - np.sin(angle) * x, generator.uniform(2, 4) / pixel
            rod = (away < radius) & (along > generator.uniform(-0.5, 0.1) * size)
            chord = 2 * np.sqrt(np.clip(radius**2 - away**2, 0, None)) * pixel
            return np.where(rod, beam * np.exp(-0.35 * chord), beam), ~rod
        if kind == 3:
            top, bottom, left, right = generator.integers(0, int(0.18 * size), 4)
            is_open[:] = False
            is_open[top : size - bottom, left : size - right] = True
            return np.where(is_open, beam, 0.01 * beam), is_open
        return beam, is_open


def detector(pixels: int) -> Detector:
    return Detector(pixels, pixels, FIELD_MM * 1.2 / pixels)


def at_size(image: np.ndarray, size: int) -> Tensor:
    step = len(image) // size
    return torch.from_numpy(-np.log(image.reshape(size, step, size, step).mean((1, 3)))).float()


def measure(unit: Unit, truth: Tensor, found: Solution, seconds: float, kind: int) -> dict[str, Any]:
    draws = found.draws
    away = draws.fit.x[0, :6] - truth
    away[0] = torch.remainder(away[0] + 180, 360) - 180
    camera, true_camera = (
        camera_to_world(p, found.detector, unit.target) for p in (draws.fit.x[0, :6], truth)
    )
    at, true_at = ((unit.landmarks - c[:3, 3]) @ c[:3, :3] for c in (camera, true_camera))
    return {
        "kind": {0: "rod", 3: "collimator"}.get(kind, "open"),
        "error": [round(float(v), 4) for v in away],
        "in_plane_mm": float((at - true_at)[:, :2].norm(dim=1).mean()),
        "mtre_mm": float(registration_error(camera, true_camera, unit.landmarks)),
        "distance": float(away @ torch.linalg.solve(draws.covariance[0], away)),
        "mass": float(draws.masses[0]),
        "inflation": draws.inflation,
        "effective": draws.effective,
        "explained": found.explained,
        "lead": found.lead,
        "trusted": trust_of([found])["is_trusted"],
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ct", type=Path, nargs="+", required=True)
    parser.add_argument("--xrays", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    low, high = (torch.tensor(edges).double() for edges in zip(*RANGES.values(), strict=True))
    for path in options.ct:
        began = time.monotonic()
        ct = read_ct(path)
        unit = Unit(ct)
        solver = Solver(ct, unit.target, Unknowns.of(RANGES, {}))
        for size in SIZES:
            solver.caster(detector(size))
        solver.bank(detector(SIZES[0]))
        prepared, rows = time.monotonic() - began, []
        for number in range(options.xrays):
            generator = np.random.default_rng((options.seed, number))
            share = torch.from_numpy(generator.uniform(size=6)) - 0.5
            truth = (low + high) / 2 + (high - low) * share * torch.tensor([1.0, *[INSIDE] * 5]).double()
            image = unit(truth, number % 6, generator)
            began = time.monotonic()
            found = solver.solve([(detector(n), at_size(image, n)) for n in SIZES], seed=number)
            rows.append(measure(unit, truth, found, time.monotonic() - began, number % 6))
            print(json.dumps({"ct": path.name, "number": number} | rows[-1]), flush=True)
        print(json.dumps(summary(path, rows, prepared), indent=None if options.json else 2), flush=True)


def summary(path: Path, rows: list[dict[str, Any]], prepared: float) -> dict[str, Any]:
    found = [row for row in rows if row["in_plane_mm"] <= 1]
    return {
        "ct": path.name,
        "xrays": len(rows),
        "within 1 mm in plane": len(found) / len(rows),
        "missed, by kind": [row["kind"] for row in rows if row["in_plane_mm"] > 1],
        "median in-plane error, mm": statistics.median(row["in_plane_mm"] for row in rows),
        "median mTRE, mm": statistics.median(row["mtre_mm"] for row in rows),
        "truth inside the 90 % region, all": sum(row["distance"] < LEVEL[6] for row in rows) / len(rows),
        "truth inside the 90 % region, of those found": sum(row["distance"] < LEVEL[6] for row in found)
        / len(found),
        "draws that count, median": statistics.median(row["effective"] for row in rows),
        "structure explained, least": min(row["explained"] for row in rows),
        "seconds an X-ray, median": statistics.median(row["seconds"] for row in rows),
        "seconds of preparation": prepared,
    }


if __name__ == "__main__":
    main()
