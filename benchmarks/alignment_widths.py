"""Errors of `align` and its regions of 90 % on right pairs; fits begin at the true place, without a search.

    python benchmarks/alignment_widths.py --ct CT.nii.gz CT.nii.gz --mr FOLDER [--seeds 200 212]

Cone-beam and MR-like images are those of ``alignment_pairs``. Contrasts of an MR are registered to one
another only approximately: six parts of each pair, half of them in the one direction and half in the other,
share an offset, which is the data's. Their scatter about it is the error of `align`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from alignment import REGION
from alignment_pairs import KINDS, image_of, part_of

from monai_inn.applications.rigid import solver
from monai_inn.applications.rigid.fit import curvature
from monai_inn.applications.rigid.likelihood import Comparison
from monai_inn.applications.rigid.volumes import Volume, load_volume

PAIRS, EACH, MR_SEED = (("19", "t1", "t2"), ("07", "flair", "t1"), ("26", "t1post", "flair")), 3, 77
MISREGISTERED = 0.02  # mm and degrees that an offset is uncertain by


@torch.no_grad()
def error(fixed: Volume, moving: Volume, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Error of the best fit near the truth, degrees and mm, and its covariance."""
    bounds, generator = solver.bounds_of(fixed, moving, {}), torch.Generator().manual_seed(0)
    start = (theta + 0.2 * torch.randn(6, generator=generator).double())[None]
    near = fixed.cropped(solver._corners(moving, start), solver._MARGIN_MM)
    larger, smaller = solver._at(near, moving, solver._finer(8.0, fixed, moving)[-1], 1.0, "cpu")
    empty = Comparison(larger, smaller, torch.zeros(2, *larger.values.shape), moving.centre)
    match, comparison = solver._settled(solver._averaged(fixed, moving, empty, start), bounds, start)
    covariance = torch.linalg.inv(curvature(match)[0]) * comparison.dependence(match.theta[0])
    return match.theta[0] - theta, covariance + torch.diag(solver._misplaced(fixed, moving).square())


def distance(away: torch.Tensor, covariance: torch.Tensor) -> float:
    return float(away @ torch.linalg.solve(covariance, away))


def of_mr(folder: Path) -> list[tuple[torch.Tensor, float]]:
    """Scatter of the parts about the offset of their pair, and its squared length in standard deviations."""
    found = []
    for patient, one, two in PAIRS:
        rows = []
        for fixed, moving, sign in ((one, two, 1), (two, one, -1)):
            rng = np.random.default_rng((MR_SEED, sum(map(ord, patient + fixed + moving))))
            images = [load_volume(folder / f"patient{patient}_{name}.nii.gz") for name in (fixed, moving)]
            for _ in range(EACH):
                away, covariance = error(images[0], *part_of(images[1], rng))
                rows.append((sign * away, covariance))
        weights = [torch.linalg.inv(c + MISREGISTERED**2 * torch.eye(6).double()) for _, c in rows]
        summed = sum(w @ away for w, (away, _) in zip(weights, rows, strict=True))
        offset = torch.linalg.solve(sum(weights), summed)
        print(f"patient {patient}, {two} in {one}: offset", [round(v, 3) for v in offset.tolist()])
        lost = len(rows) / (len(rows) - 1)  # a degree of freedom went to the offset
        found += [(away - offset, lost * distance(away - offset, c)) for away, c in rows]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ct", type=Path, nargs="+", default=[])
    parser.add_argument("--mr", type=Path)
    parser.add_argument("--seeds", type=int, nargs=2, default=(200, 212))
    options = parser.parse_args()
    volumes = [load_volume(path) for path in options.ct]
    for number, kind in enumerate(KINDS if volumes else (), start=1):
        rows = []
        for seed in range(*options.seeds):
            fixed = volumes[seed % len(volumes)]
            away, covariance = error(fixed, *image_of(fixed, kind, np.random.default_rng((seed, number))))
            rows.append((away, distance(away, covariance)))
        told(kind, rows)
    if options.mr:
        told("MR of another contrast", of_mr(options.mr))


def told(kind: str, rows: list[tuple[torch.Tensor, float]]) -> None:
    mm = [float(away[3:].norm()) for away, _ in rows]
    summary = {"images": len(rows), "truth in the region of 90 %": sum(d < REGION for _, d in rows)}
    print(kind, json.dumps(summary | {"median mm": float(np.median(mm)), "largest mm": max(mm)}), flush=True)


if __name__ == "__main__":
    main()
