"""Registration of realistic X-rays to a CT: six unknowns, rods, collimators; errors, coverage, time.

    python benchmarks/registration_real.py --ct CT.nii.gz [CT.nii.gz …] [--xrays 50] [--seed 0] [--json]

X-rays are simulated otherwise than the solver models them, see ``xray_unit``. In one of six a rod lies over
the patient, in one of six a collimator closes up to 36 % on each axis. With several CTs half as many X-rays
of each are registered to the next one: the verdict should refuse them.

With ``--peer N`` the first N X-rays of each CT are also registered as toolkits do: correlation of image
gradients (nanodrr's renderer and similarity) climbed by Adam from 16 starts around the circle.

With ``--source-sd MM`` the source is off its place. With ``--wide`` poses are drawn from, and searched in,
the ranges that ``monai-inn register`` has by default: the isocentre within 60 mm of the centre of the bone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from registration_peer import register as climb_similarity
from torch import Tensor
from xray_unit import Unit, detector

from monai_inn.applications.registration.carm import RANGES, WIDE_RANGES, camera_to_world, pose_difference
from monai_inn.applications.registration.ct import read_ct
from monai_inn.applications.registration.poses.fit import Unknowns
from monai_inn.applications.registration.poses.solver import SIZES, Solution, Solver
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.applications.registration.projection import AttenuationVolume
from monai_inn.applications.registration.results.case import trust_of
from monai_inn.metrics.scores import registration_error

Ranges = Mapping[str, tuple[float, float]]

PEER_STARTS, PEER_STEPS = 16, 100
INSIDE, LEVEL = 0.9, {2: 4.61, 6: 10.64}  # of the range of each parameter; 90 % of chi-square


def at_size(image: np.ndarray, size: int) -> Tensor:
    step = len(image) // size
    return torch.from_numpy(-np.log(image.reshape(size, step, size, step).mean((1, 3)))).float()


def measure(unit: Unit, truth: Tensor, found: Solution, seconds: float, kind: int) -> dict[str, Any]:
    draws = found.draws
    away = pose_difference(draws.fit.x[0, :6], truth)
    camera, true_camera = (
        camera_to_world(p, found.detector, unit.target) for p in (draws.fit.x[0, :6], truth)
    )
    return {
        "kind": {0: "rod", 3: "collimator"}.get(kind, "open"),
        "error": [round(float(v), 4) for v in away],
        "in_plane_mm": in_plane(unit, camera, truth),
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
    parser.add_argument("--peer", type=int, default=0, metavar="N", help="X-rays that the peer gets (0)")
    parser.add_argument(
        "--source-sd", type=float, default=0.0, metavar="MM", help="of sources off their place"
    )
    parser.add_argument("--wide", action="store_true", help="ranges of the command line, not of a bundle")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ranges = WIDE_RANGES if options.wide else RANGES
    cts = [read_ct(path) for path in options.ct]
    for k, path in enumerate(options.ct):
        began = time.monotonic()
        solver = ready(cts[k], options.source_sd, ranges)
        prepared, rows, strangers = time.monotonic() - began, [], []
        for number in range(options.xrays):
            rows.append(one(Unit(cts[k]), solver, options.seed, number, options.source_sd, ranges))
            print(json.dumps({"ct": path.name, "number": number} | rows[-1]), flush=True)
        for number in range(options.xrays // 2 if len(cts) > 1 else 0):
            other = Unit(cts[(k + 1) % len(cts)])
            strangers.append(one(other, solver, options.seed + 1, number, options.source_sd, ranges))
        told = summary(path, rows, prepared) | verdicts(rows, strangers)
        if options.peer:
            told["peer"] = peer(cts[k], options.seed, options.peer, ranges)
        print(json.dumps(told, indent=None if options.json else 2), flush=True)


def ready(ct: AttenuationVolume, source_sd: float, ranges: Ranges = RANGES) -> Solver:
    """A solver with all that does not depend on the X-ray."""
    solver = Solver(ct, Unit(ct).target, Unknowns.of(ranges, {}, source_sd=source_sd))
    solver.prepare([detector(size) for size in SIZES], lambda share: None)
    return solver


def one(
    unit: Unit, solver: Solver, seed: int, number: int, source_sd: float, ranges: Ranges = RANGES
) -> dict[str, Any]:
    """One X-ray, registered."""
    truth, image = taken(unit, seed, number, source_sd, ranges)
    began = time.monotonic()
    found = solver.solve([(detector(n), at_size(image, n)) for n in SIZES], seed=number)
    return measure(unit, truth, found, time.monotonic() - began, number % 6)


def taken(
    unit: Unit, seed: int, number: int, source_sd: float = 0.0, ranges: Ranges = RANGES
) -> tuple[Tensor, np.ndarray]:
    """A pose and its X-ray, from a source that is off its place."""
    low, high = (torch.tensor(edges).double() for edges in zip(*ranges.values(), strict=True))
    generator = np.random.default_rng((seed, number))
    share = torch.from_numpy(generator.uniform(size=6)) - 0.5
    truth = (low + high) / 2 + (high - low) * share * torch.tensor([1.0, *[INSIDE] * 5]).double()
    source = source_sd * np.random.default_rng((seed, number, 1)).normal(size=3)
    return truth, unit(truth, number % 6, generator, tuple(source.tolist()))


def peer(ct: AttenuationVolume, seed: int, xrays: int, ranges: Ranges) -> dict[str, Any]:
    """Errors of the best similarity, and whether any of the ends was right."""
    unit, size = Unit(ct), 64
    attenuation = AttenuationVolume(0.0192 * (1 + ct.values / 1000).clamp_min(0), ct.affine)
    problem = PoseRegistration(
        attenuation.values, attenuation.affine.tolist(), ranges, target=unit.target.tolist(),
        landmarks=unit.landmarks.tolist(), detector=detector(size),
    )  # fmt: skip
    plane, total, best, seconds = [], [], [], []
    for number in range(xrays):
        truth, image = taken(unit, seed, number, ranges=ranges)
        began = time.monotonic()
        ends, score = climb_similarity(problem, at_size(image, size).flatten(), PEER_STARTS, PEER_STEPS, True)
        seconds.append(time.monotonic() - began)
        each = [in_plane(unit, camera, truth) for camera in problem.cameras(ends.double())]
        plane.append(each[int(score.argmax())])
        first = problem.cameras(ends[score.argmax()].double())
        true_camera = camera_to_world(truth, problem.detector, unit.target)
        total.append(float(registration_error(first, true_camera, unit.landmarks)))
        best.append(min(each))
    return {
        "xrays": xrays,
        "within 1 mm in plane": sum(e <= 1 for e in plane) / xrays,
        "within 5 mm in plane": sum(e <= 5 for e in plane) / xrays,
        "any end within 1 mm in plane": sum(e <= 1 for e in best) / xrays,
        "any end within 5 mm in plane": sum(e <= 5 for e in best) / xrays,
        "median in-plane error, mm": statistics.median(plane),
        "median mTRE, mm": statistics.median(total),
        "seconds an X-ray, median": statistics.median(seconds),
    }


def in_plane(unit: Unit, camera: Tensor, truth: Tensor) -> float:
    """Mean distance of landmarks across the beam, mm, by two poses."""
    at, true_at = (
        (unit.landmarks - c[:3, 3]) @ c[:3, :3]
        for c in (camera, camera_to_world(truth, unit.fine, unit.target))
    )
    return float((at - true_at)[:, :2].norm(dim=1).mean())


def verdicts(rows: list[dict[str, Any]], strangers: list[dict[str, Any]]) -> dict[str, Any]:
    right = [row for row in rows if row["in_plane_mm"] <= 1]
    return {
        "false alarms, of those found": share(not row["trusted"] for row in right),
        "missed and trusted": sum(row["trusted"] for row in rows if row["in_plane_mm"] > 1),
        "X-rays of another patient": len(strangers),
        "of which trusted": sum(row["trusted"] for row in strangers),
    }


def share(hits: Iterable[bool]) -> float | None:
    """The share of hits; none of nothing."""
    every = list(hits)
    return sum(every) / len(every) if every else None


def summary(path: Path, rows: list[dict[str, Any]], prepared: float) -> dict[str, Any]:
    found = [row for row in rows if row["in_plane_mm"] <= 1]
    return {
        "ct": path.name,
        "xrays": len(rows),
        "within 1 mm in plane": share(row["in_plane_mm"] <= 1 for row in rows),
        "missed, by kind": [row["kind"] for row in rows if row["in_plane_mm"] > 1],
        "median in-plane error, mm": statistics.median(row["in_plane_mm"] for row in rows),
        "median mTRE, mm": statistics.median(row["mtre_mm"] for row in rows),
        "truth inside the 90 % region, all": share(row["distance"] < LEVEL[6] for row in rows),
        "truth inside the 90 % region, of those found": share(row["distance"] < LEVEL[6] for row in found),
        "draws that count, median": statistics.median(row["effective"] for row in rows),
        "seconds an X-ray, median": statistics.median(row["seconds"] for row in rows),
        "seconds of preparation": prepared,
    }


if __name__ == "__main__":
    main()
