"""Masses of two poses that both explain an X-ray, against a grid over the same likelihood.

    python benchmarks/registration_masses.py --ct CT.nii.gz [--xrays 50] [--seed 0] [--json]

A patient who is nearly mirror-symmetric, seen by a nearly parallel beam, has two poses for every X-ray: lao
and 180° - lao, with cra of either sign. The CT is averaged with its mirror image until a small share of it is
left as it was; that share decides how far the two can be told apart. X-rays are simulated otherwise than the
solver models them, see ``xray_unit``. Two angles are unknown, and the seven numbers of the X-ray unit; on the
grid of angles the latter are integrated by Laplace's formula. X-rays count as ambiguous if the grid leaves
the lesser pose 5 % or more.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from registration_real import at_size
from torch import Tensor
from xray_unit import Unit, detector, parallel

from monai_inn.applications.registration.carm import Detector, camera_to_world, geodesic_degrees
from monai_inn.applications.registration.ct import read_ct
from monai_inn.applications.registration.poses.fit import Level, Unknowns, climb
from monai_inn.applications.registration.poses.solver import SIZES, Solution, Solver
from monai_inn.applications.registration.projection import AttenuationVolume

FREE = {"lao": (-180.0, 180.0), "cra": (-30.0, 30.0)}
FAR_MM = 4e6  # at 40 m perspective still tells one pose from the other, by 30 nats
REACH, POINTS = 3.6, 7  # standard deviations of a pose and cells along them
LEAST = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ct", type=Path, required=True)
    parser.add_argument("--xrays", type=int, default=50, help="ambiguous ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--asymmetry", type=float, default=0.015, help="largest share left as it is")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ct, rows, number = read_ct(options.ct), [], 0
    while sum(row["grid"] >= LEAST for row in rows) < options.xrays and number < 10 * options.xrays:
        rows.append(one(ct, options, number))
        print(json.dumps(rows[-1]), flush=True)
        number += 1
    told = [row for row in rows if row["grid"] >= LEAST]
    print(json.dumps(summary(told), indent=None if options.json else 2))


def one(ct: AttenuationVolume, options: argparse.Namespace, number: int) -> dict[str, Any]:
    generator = np.random.default_rng((options.seed, number))
    share = generator.uniform(0, options.asymmetry)
    values = share * ct.values + (1 - share) * (ct.values + ct.values.flip(0)) / 2
    patient = AttenuationVolume(values, ct.affine)
    unit = Unit(patient, made=parallel)
    middle = ct.affine.double() @ torch.tensor([(ct.values.shape[0] - 1) / 2, 0, 0, 1]).double()
    unit.target = torch.cat([middle[:1], unit.target[1:].double()]).to(unit.target)
    truth = torch.zeros(6, dtype=torch.float64)
    truth[0], truth[1] = float(generator.uniform(-180, 180)), float(generator.uniform(-25, 25))
    image = unit(truth, 1, generator)
    solver = Solver(patient, unit.target, Unknowns.of(FREE, {}))
    found = solver.solve([(far(n), at_size(image, n)) for n in SIZES], seed=number)
    other = truth * torch.tensor([-1.0, -1, 1, 1, 1, 1]) + torch.tensor([180.0, 0, 0, 0, 0, 0])
    masses, tempered = grid(found, solver.unknowns, torch.stack([truth, other]))
    own = near_to(found, truth)
    return {
        "asymmetry": share,
        "view": truth[:2].round(decimals=1).tolist(),
        "grid": min(masses.tolist()),
        "truth": float(masses[0]),
        "truth, widened": float(tempered[0]),
        "found": own,
        "inflation": found.draws.inflation,
        "effective": found.draws.effective,
        "modes": found.draws.masses.tolist(),
    }


def far(pixels: int) -> Detector:
    """A detector for a beam that is parallel, but for a source at some distance."""
    return replace(detector(pixels), source_detector_mm=1.2 * FAR_MM, source_isocentre_mm=FAR_MM)


def near_to(found: Solution, pose: Tensor) -> float:
    """The mass of the modes within 5° of a pose."""
    camera = camera_to_world(found.draws.fit.x[:, :6], found.detector, torch.zeros(3))
    away = geodesic_degrees(camera, camera_to_world(pose, found.detector, torch.zeros(3)))
    return float(found.draws.masses[away < 5].sum())


def grid(found: Solution, unknowns: Unknowns, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Masses ``(2,)`` about two poses, by the likelihood and by one widened as the solver's."""
    level: Level = found.level
    unit = unknowns.mean[6:].expand(len(starts), -1)
    top = climb(level, unknowns, torch.cat([starts, unit], 1), 25)
    covariance, count = torch.linalg.inv(top.curvature(unknowns)), len(FREE)
    lower = torch.linalg.cholesky(covariance[:, :count, :count])
    along = covariance[:, count:, :count] @ torch.linalg.inv(covariance[:, :count, :count])
    axis = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    cells = torch.einsum("kij,nj->kni", lower, torch.cartesian_prod(*[axis] * count))
    x = top.x[:, None].repeat(1, cells.shape[1], 1)
    # The X-ray unit's numbers begin where they are best in the linear approximation.
    x[..., unknowns.free] += torch.cat([cells, torch.einsum("kij,knj->kni", along, cells)], 2)
    fixed = unknowns._replace(free=torch.cat([torch.zeros(6, dtype=torch.bool), unknowns.free[6:]]))
    fits = [climb(level, fixed, part, 2) for part in x.flatten(0, 1).split(27)]
    loss = torch.cat([fit.loss for fit in fits]).view(len(starts), -1)
    narrow = torch.cat([torch.logdet(fit.curvature(fixed)) for fit in fits]).view(len(starts), -1)
    cell = lower.diagonal(dim1=1, dim2=2).log().sum(1)[:, None]
    temper = max(found.draws.inflation**2, 1.0)
    return tuple((-loss / t - 0.5 * narrow + cell).logsumexp(1).softmax(0) for t in (1.0, temper))  # type: ignore[return-value]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    off = [abs(row["found"] - row["truth"]) for row in rows]
    widened = [abs(row["found"] - row["truth, widened"]) for row in rows]
    return {
        "ambiguous X-rays": len(rows),
        "mass off the grid's, median": statistics.median(off),
        "mass off the grid's, largest": max(off),
        "mass off the widened grid's, median": statistics.median(widened),
        "mass off the widened grid's, largest": max(widened),
        "both found": sum(len(row["modes"]) > 1 for row in rows),
        "mean log score of the truth, nats": {
            name: statistics.mean(math.log(max(row[name], 1e-9)) for row in rows)
            for name in ("truth", "truth, widened", "found")
        },
    }


if __name__ == "__main__":
    main()
