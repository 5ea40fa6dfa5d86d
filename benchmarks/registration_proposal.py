"""Whether a network's poses, as starts of a registration straight from a CT, find what its own search misses.

    python benchmarks/registration_proposal.py [--xrays 18] [--seed 200]

X-rays of the kind that the shipped bundle `lumbar_spine` was trained for are registered up to 64 pixels from
the solver's radiographs, from these and the network's modes, and from the modes alone. Best poses are
compared by one likelihood, that of the first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

import monai_inn as mi
from monai_inn.applications.registration.carm import Detector, camera_to_world, geodesic_degrees
from monai_inn.applications.registration.poses import solver as solving
from monai_inn.applications.registration.poses.fit import climb
from monai_inn.applications.registration.poses.inference import infer_pose
from monai_inn.applications.registration.prepared import Patient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Resources"))
from make_xray import errors, lumbar_spine, xray_problem
from train_bundles import CT

LEAST_MASS, NATS, STARTS = 0.05, 6.0, 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--xrays", type=int, default=18)
    parser.add_argument("--seed", type=int, default=200)
    options = parser.parse_args()
    fitted, coarse = mi.load("lumbar_spine"), lumbar_spine()
    fine, target = xray_problem(coarse), coarse.target.double()
    who = Patient.of_files(
        CT / "lumbar_ct.nii.gz", labels=CT / "lumbar_vertebrae.nii.gz", keep=(21, 22, 23),
        free={p.name: (p.low, p.high) for p in coarse.parameters}, target=target.tolist(),
    )  # fmt: skip
    like, side = fine.detector.to_config(), fine.detector.spacing_mm * fine.detector.rows
    detectors = [Detector(**like | {"rows": n, "columns": n, "spacing_mm": side / n}) for n in solving.SIZES]
    solver = who.solver(target)
    solver.prepare(detectors, lambda share: None)

    def away(poses: Tensor, truth: Tensor) -> list[float]:
        cameras = (camera_to_world(p, detectors[0], torch.zeros(3)) for p in (poses, truth))
        return [round(float(v), 1) for v in geodesic_degrees(*cameras)]

    for seed in range(options.seed, options.seed + options.xrays):
        generator = torch.Generator().manual_seed(seed)
        theta = coarse.space.sample_prior(1, generator)
        clean = fine.projector(fine.cameras(theta[0]))
        y = clean + errors(coarse, generator) * coarse.brightest
        seen = torch.nn.functional.avg_pool2d(y[None], fine.detector.rows // coarse.detector.rows).flatten()
        modes = infer_pose(fitted, seen / coarse.brightest, seed=seed).modes
        network = coarse.poses(torch.stack([m.parameters for m in modes if m.mass > LEAST_MASS])).double()
        truth = coarse.poses(theta).double()
        row = {"seed": seed, "truth": theta[0].tolist(), "network off": away(network, truth)}
        print(
            json.dumps(row | registered(solver, shot(y, detectors), network, truth, seed, away)), flush=True
        )


def shot(y: Tensor, detectors: list[Detector]) -> solving._Shot:
    """An X-ray of line integrals at each size."""
    images = [
        (d, -torch.nn.functional.adaptive_avg_pool2d(torch.exp(-y)[None], d.rows)[0].clamp_min(1e-6).log())
        for d in detectors
    ]
    everywhere = torch.ones_like(y)
    return solving._Shot(images, everywhere, everywhere, solving.photon_variance(images[-1][1], everywhere))


def registered(solver, xray, network, truth, seed, away) -> dict:  # type: ignore[no-untyped-def]
    """Degrees that poses are off, best first, processor seconds, and nats that the best is worse."""
    searched, told, best, level = solving.candidates, {}, [], None
    for name, use_bank, use_network in (("bank", 1, 0), ("both", 1, 1), ("network", 0, 1)):

        def starts(*given, bank=use_bank, net=use_network):  # type: ignore[no-untyped-def]
            return torch.cat([*[searched(*given)] * bank, *[network] * net])

        began = time.process_time()
        with patch.object(solving, "candidates", starts):
            place = solver._located(xray, seed, STARTS)
        seconds = time.process_time() - began
        level = level or place.level
        kept = place.fit.x[place.fit.loss < place.fit.loss.min() + NATS, :6]
        best.append(place.fit.x[:1])
        told[name] = {"off": away(kept, truth), "processor_seconds": round(seconds, 2)}
    loss = climb(level, solver.unknowns, torch.cat(best), 6).loss
    for one, nats in zip(told.values(), (loss - loss[0]).tolist(), strict=True):
        one["nats worse"] = round(nats, 2)
    return told


if __name__ == "__main__":
    main()
