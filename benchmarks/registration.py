"""Is a learned posterior over the pose of a C-arm the exact one on real CTs, and at what cost?

For each CT: three vertebrae, 32 x 32 pixels, two or three free angles, independent noise. The exact posterior
is a grid of 2 degrees. Beside it multi-start registration by image similarity, on the same X-rays. `--cts` is
a folder with the CTs of `CASES`; see `docs/registration_results.md` for where they come from.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from registration_measure import measure_posterior
from registration_peer import measure_peer

import monai_inn as mi
from monai_inn.applications.registration.carm import RANGES
from monai_inn.problems import PoseRegistration
from monai_inn.training import Recipe

CASES: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "abdomen": (
        "abdomen_totalseg_3mm.nii.gz",
        "abdomen_totalseg_3mm_vertebrae.nii.gz",
        (28, 29, 30),
    ),
    "lumbar": ("lumbar_tptbox_1p5mm.nii.gz", "lumbar_tptbox_1p5mm_vertebrae.nii.gz", (21, 22, 23)),
    # The lowest vertebrae that are complete, T11 to L1: L3 and the spinous process of L2 are cut off.
    "chest": ("chest_lidc0001_2mm.nii.gz", "chest_lidc0001_2mm_labels.nii.gz", (31, 32, 33)),
}
NOISE, NOISE_SYMMETRIC, SIZE, FIELD_MM = 0.3, 0.2, 32, 170.0


def problem_of(
    case: str,
    folder: Path,
    mismatch: float = 0.0,
    noise: float = NOISE,
    free: Sequence[str] = ("lao", "cra"),
) -> PoseRegistration:
    """The registration of a case; `symmetric` is the abdomen averaged with its mirror image, parallel."""
    ct, labels, keep = CASES["abdomen" if case == "symmetric" else case]
    options: dict[str, Any] = {"size": SIZE, "field_mm": FIELD_MM, "keep": keep}
    options["free"] = {name: RANGES[name] for name in free}
    if case == "symmetric":
        options["beam"] = "parallel"
    made = PoseRegistration.of_ct(
        folder / ct, labels=folder / labels, noise={"sd": noise, "mismatch_sd": mismatch}, **options
    )
    if case != "symmetric":
        return made
    values, affine = made.volume
    return PoseRegistration(
        (values + values.flip(0)) / 2,
        affine.tolist(),
        target=made.volume.centre.tolist(),
        free=options["free"],
        detector=made.detector,
        noise={"sd": NOISE_SYMMETRIC},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cts", type=Path, required=True, help="folder with the CTs")
    parser.add_argument("--out", type=Path, required=True, help="folder for bundles and results")
    parser.add_argument("--only", nargs="+", default=["symmetric", *CASES], help="cases")
    parser.add_argument("--minutes", type=float, default=18.0, help="training time (18)")
    parser.add_argument("--xrays", type=int, default=500, help="held-out X-rays against the grid (500)")
    parser.add_argument(
        "--reweighted", type=int, default=100, help="of these also answered by the likelihood (100)"
    )
    parser.add_argument("--peer-xrays", type=int, default=40, help="X-rays for the peer (40)")
    parser.add_argument("--mismatch", type=float, default=0.0, help="smooth error of the simulation (0)")
    parser.add_argument("--noise", type=float, default=NOISE, help="white noise of the real CTs (0.3)")
    parser.add_argument("--free", nargs="+", default=["lao", "cra"], help="unknowns (lao cra)")
    parser.add_argument("--warm", help="bundle of another patient to start from")
    parser.add_argument("--steps", type=int, help="posterior steps, instead of --minutes")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for case in options.only:
        problem = problem_of(case, options.cts, options.mismatch, options.noise, options.free)
        bundle = options.out / case
        if not bundle.exists():
            began = time.monotonic()
            recipe = Recipe(150_000, options.steps, 1500) if options.steps else None
            minutes = None if recipe else options.minutes
            donor = mi.load(options.warm) if options.warm else None
            fitted = mi.fit(problem, minutes=minutes, recipe=recipe, seed=0, warm=donor)
            fitted.save(bundle)
            print(f"{case}: trained in {(time.monotonic() - began) / 60:.1f} min", flush=True)
        fitted = mi.load(bundle)
        result = {"case": case, "threads": torch.get_num_threads(), "training": fitted.card["training"]}
        result["posterior"] = measure_posterior(fitted, options.xrays, options.reweighted)
        if options.peer_xrays:
            result["peer"] = measure_peer(problem, options.peer_xrays)
        (options.out / f"{case}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(json.dumps({k: v for k, v in result.items() if k != "training"}, indent=1), flush=True)


if __name__ == "__main__":
    main()
