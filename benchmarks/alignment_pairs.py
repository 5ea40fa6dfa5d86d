"""The verdict of `align` on right and wrong pairs of images.

    python benchmarks/alignment_pairs.py --ct CT.nii.gz CT.nii.gz --mr FOLDER [--rounds 4] [--seed 0] [--peer]

Right pairs are simulated cone-beam and MR-like images (``alignment.simulate``) about random places of the
bone of each CT, and turned parts of one MR with another contrast of the same patient. Wrong ones are images
of the other CT's patient or of a part that the fixed image does not show, another patient's MR, mirrored.
The folder has ``patient07_t1.nii.gz`` and the like, all in one space. Each pair is one line of JSON. With
``--peer`` the right pairs go to SimpleITK, see ``alignment_peer``, and not to `align`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alignment import REGION, simulate
from alignment_peer import by_itk

from monai_inn.applications.registration.carm import geodesic_degrees
from monai_inn.applications.rigid.detail import fine_detail
from monai_inn.applications.rigid.motion import Motions
from monai_inn.applications.rigid.results import LEAST_DETAIL
from monai_inn.applications.rigid.solver import align_volumes
from monai_inn.applications.rigid.volumes import Volume, load_volume

PATIENTS, CONTRASTS = ("07", "19", "26"), ("t1", "t2", "flair", "t1post")
KINDS, BONE = ("cone-beam", "mr"), 150.0
EDGE, MOST_AT_EDGE = 0.05, 0.5  # as in rigid.results
Pair = tuple[str, Volume, Volume, torch.Tensor | None]


def pairs(options: argparse.Namespace, number: int) -> Iterator[Pair]:
    """Names, fixed and moving images, and the motion of right pairs."""
    rng = np.random.default_rng((options.seed, number))
    for k, path in enumerate(options.ct):
        ct, other = load_volume(path), load_volume(options.ct[(k + 1) % len(options.ct)])
        for kind in KINDS:
            moving, theta = image_of(ct, kind, rng)
            yield f"{kind} of {path.name}", ct, moving, theta
            what = (number + k + KINDS.index(kind)) % 3
            if what == 0:
                yield f"{kind} of {path.name}, mirrored", ct, mirrored(moving), None
            elif what == 1:
                yield f"{kind} of another patient in {path.name}", ct, image_of(other, kind, rng)[0], None
            else:
                lower, upper = (part(ct, *shares) for shares in ((0, 0.4), (0.4, 1)))
                yield f"{kind} of another region of {path.name}", upper, image_of(lower, kind, rng)[0], None
    if options.mr:
        first, second = rng.permutation(PATIENTS)[:2]
        one, two = rng.permutation(CONTRASTS)[:2]
        fixed, own, strange = (
            load_volume(options.mr / f"patient{p}_{c}.nii.gz")
            for p, c in ((first, one), (first, two), (second, two))
        )
        moving, theta = part_of(own, rng)
        yield f"MR {two} in {one}", fixed, moving, theta
        yield f"MR {two} in {one}, mirrored", fixed, mirrored(moving), None
        yield f"MR {two} in {one} of another patient", fixed, part_of(strange, rng)[0], None


def image_of(ct: Volume, kind: str, rng: np.random.Generator) -> tuple[Volume, torch.Tensor]:
    """A simulated image about a place in the bone, and its motion."""
    size = rng.uniform((60, 60, 45), (110, 110, 80))
    low = torch.tensor(size) * 0.35 / ct.spacing_mm
    at = torch.nonzero(ct.values > BONE)
    at = at[((at >= low) & (at <= torch.tensor(ct.values.shape) - 1 - low)).all(1)]
    place = ct.affine[:3, :3] @ at[rng.integers(len(at))].double() + ct.affine[:3, 3]
    noise = rng.uniform(30, 90) if kind == "cone-beam" else rng.uniform(20, 60)
    return simulate(ct, place.numpy(), kind, size, noise, rng)


def part_of(mr: Volume, rng: np.random.Generator) -> tuple[Volume, torch.Tensor]:
    """A turned part of the middle of an MR, with noise, and its motion."""
    theta = torch.from_numpy(np.r_[rng.uniform(-12, 12, 3), rng.uniform(-60, 60, 3)])
    spacing = 1.5
    n = np.round(rng.uniform((60, 70, 50), (85, 100, 75)) / spacing).astype(int) + 1
    affine = np.diag([-spacing, spacing, spacing, 1.0])
    at = mr.centre.numpy() + rng.uniform(-15, 15, 3)
    affine[:3, 3] = at - theta[3:].numpy() - affine[:3, :3] @ ((n - 1) / 2)
    moving = Volume(torch.zeros(*n.tolist()), torch.from_numpy(affine))
    matrix = Motions.of(theta[None]).matrix(moving.centre)[0]
    seen = mr.at(moving.points() @ matrix[:3, :3].T + matrix[:3, 3]).nan_to_num(0.0).reshape(*n.tolist())
    sd = float(seen[seen > 0].std()) * rng.uniform(0.02, 0.15)
    return moving._replace(values=(seen + sd * torch.from_numpy(rng.normal(size=n))).float()), theta


def mirrored(volume: Volume) -> Volume:
    return volume._replace(values=volume.values.flip(0).contiguous())


def part(volume: Volume, low: float, high: float) -> Volume:
    """Slices of the last axis, between two shares of it."""
    a, b = int(low * volume.values.shape[2]), int(high * volume.values.shape[2])
    affine = volume.affine.clone()
    affine[:3, 3] += affine[:3, 2] * a
    return Volume(volume.values[:, :, a:b].contiguous(), affine)


def one(pair: Pair, seed: int, peer: bool) -> dict[str, Any] | None:
    name, fixed, moving, theta = pair
    if peer and theta is None:
        return None
    began = time.process_time()
    if peer:
        place, rotation = by_itk(fixed, moving, seed)
        turned = Motions.of(theta[None]).rotation[0]
        return {"pair": name, "mm": float((place - moving.centre - theta[3:]).norm()),
                "degrees": float(geodesic_degrees(rotation, turned)),
                "processor_seconds": time.process_time() - began}  # fmt: skip
    solution = align_volumes(fixed, moving, seed=seed)
    seconds = time.process_time() - began
    found, bounds = solution.alignment, solution.bounds
    drawn, _ = found.sample(1000, seed)
    room = EDGE * (bounds.high - bounds.low)
    at_edge = float(((drawn < bounds.low + room) | (drawn > bounds.high - room)).double().mean(0).max())
    detail = fine_detail(fixed, moving, found.best[0])
    row = {"pair": name, "is_right": theta is not None, "detail": detail, "at_edge": at_edge,
           "explained": solution.explained[0], "processor_seconds": seconds,
           "trusted": detail >= LEAST_DETAIL and at_edge <= MOST_AT_EDGE}  # fmt: skip
    if theta is not None:
        away = found.mean[0] - theta
        row["mm"] = float(away[3:].norm())
        row["inside"] = float(away @ torch.linalg.solve(found.covariance[0], away)) < REGION
        row["degrees"] = float(
            geodesic_degrees(*(Motions.of(t[None]).rotation[0] for t in (found.mean[0], theta)))
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ct", type=Path, nargs="+", required=True)
    parser.add_argument("--mr", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", action="store_true", help="SimpleITK in the place of `align`")
    options = parser.parse_args()
    rows = []
    for number in range(options.rounds):
        for pair in pairs(options, number):
            row = one(pair, number, options.peer)
            if row is not None:
                rows.append(row)
                print(json.dumps(row), flush=True)
    print(json.dumps(summary(rows, options.peer), indent=2))


def summary(rows: list[dict[str, Any]], peer: bool) -> dict[str, Any]:
    right, wrong = ([r for r in rows if r.get("is_right", True) == side] for side in (True, False))
    told: dict[str, Any] = {
        "right pairs": len(right),
        "within 1 mm and 1 degree": sum(r["mm"] < 1 and r["degrees"] < 1 for r in right),
        "median error, mm": float(np.median([r["mm"] for r in right])),
        "median processor seconds": float(np.median([r["processor_seconds"] for r in right])),
    }
    if peer:
        return told
    inside = sum(r["inside"] for r in right)
    return told | {
        "truth in the region of 90 %": inside,
        "right pairs untrusted": sum(not r["trusted"] for r in right),
        "wrong pairs": len(wrong),
        "wrong pairs trusted": sum(r["trusted"] for r in wrong),
    }


if __name__ == "__main__":
    main()
