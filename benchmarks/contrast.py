"""Contrast translation, one patient left out: bits, coverage inside and outside lesions, recalibration.

python benchmarks/contrast.py FOLDER --held-out 26 --target flair --given t1,t2 --json

The folder holds `patientNN_CONTRAST.nii.gz` and `patientNN_lesions.nii.gz`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import monai_inn
from monai_inn.applications.contrast.measures import bits_per_pixel, strata, widened
from monai_inn.applications.contrast.problem import ContrastTranslation
from monai_inn.applications.contrast.scans import Scan, read_volume
from monai_inn.applications.contrast.translation import translated
from monai_inn.fitted import FittedPosterior

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Resources"))

from train_bundles import RECIPES

PATIENTS = ("07", "19", "26")
INTERVAL, SAMPLES = 0.9, 48


def files(folder: Path, patient: str, contrasts: Sequence[str]) -> dict[str, Path]:
    """Files of a patient."""
    return {contrast: folder / f"patient{patient}_{contrast}.nii.gz" for contrast in contrasts}


def problem_of(folder: Path, given: Sequence[str], target: str, held_out: str) -> ContrastTranslation:
    """The problem whose training does not see one patient."""
    patients = {patient: files(folder, patient, (*given, target)) for patient in PATIENTS}
    return ContrastTranslation.of_files(patients, given, target, held_out=held_out)


def trained(problem: ContrastTranslation, steps: int, seed: int = 0) -> FittedPosterior:
    """Train by steps, not by minutes, so that other work on the machine changes nothing."""
    _, network, recipe = RECIPES["contrast_translation"]
    recipe = replace(recipe, posterior_steps=steps)
    return monai_inn.fit(problem, recipe=recipe, network=network, seed=seed)


def measured(fitted: FittedPosterior, folder: Path, patient: str, every: int = 4) -> dict[str, Any]:
    """Figures of a patient, of each fourth slice, which costs a quarter."""
    problem = fitted.problem
    assert isinstance(problem, ContrastTranslation)
    scan = Scan.read(
        files(folder, patient, (*problem.given, problem.target)), problem.spacing_mm, patient, extra=1
    )
    bits = bits_per_pixel(fitted, scan)
    lesions, _, turned = read_volume(folder / f"patient{patient}_lesions.nii.gz", problem.spacing_mm)
    thin = Scan(patient, scan.values[..., ::every], scan.peak, scan.affine, turned)
    maps, trust = translated(fitted, thin, samples=SAMPLES, interval=INTERVAL, keep=2)
    found = strata(
        maps,
        thin.harmonised(problem.peaks)[-1],
        (torch.from_numpy(lesions) > 0)[..., ::every],
        maps["mean"].isfinite(),
    )
    return {"bits_per_pixel": round(bits, 3), **found, "trust": trust}


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--given", default="t1,t2")
    parser.add_argument("--target", default="flair")
    parser.add_argument("--held-out", default="26")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--bundle", type=Path, help="measure this one; written if it does not exist")
    parser.add_argument("--other", help="patient that --other-bundle did not see")
    parser.add_argument("--other-bundle", type=Path, help="bundle whose spread on that patient is taken over")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began = time.process_time()
    if options.bundle is not None and options.bundle.exists():
        fitted = monai_inn.load(options.bundle)
    else:
        problem = problem_of(options.folder, options.given.split(","), options.target, options.held_out)
        fitted = trained(problem, options.steps)
        if options.bundle is not None:
            fitted.save(options.bundle)
    result: dict[str, Any] = {"processor_minutes": round((time.process_time() - began) / 60, 1)}
    for patient in PATIENTS:
        kind = "new" if patient == options.held_out else "seen"
        result[f"{patient} {kind}"] = measured(fitted, options.folder, patient)
    if options.other_bundle is not None:
        other = monai_inn.load(options.other_bundle)
        names = (*other.problem.given, other.problem.target)
        scan = Scan.read(files(options.folder, options.other, names), other.problem.spacing_mm, extra=1)
        spread = widened(other, [scan]).network.flow.image.spread
        fitted.network.flow.image.widen(spread.tolist())
        result["widened by"] = [round(factor, 3) for factor in spread.tolist()]
        result[f"{options.held_out} widened"] = measured(fitted, options.folder, options.held_out)
    print(json.dumps(result, indent=2 if not options.json else None))


if __name__ == "__main__":
    main()
