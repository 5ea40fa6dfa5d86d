"""Does the trust score notice X-rays that the bundle's CT cannot have cast?

X-rays of a registration bundle are changed in ways that happen, and the share that is flagged at 5 % false
alarms is printed, beside the AUROC. `--cts` as in `registration.py`; other patients are its other cases.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from registration import CASES, problem_of
from torch import Tensor

import monai_inn as mi
from monai_inn.metrics import auroc
from monai_inn.problems import PoseRegistration

XRAYS, SEED = 1000, 5


def changed(problem: PoseRegistration, folder: Path, case: str) -> dict[str, Tensor]:
    """X-rays `(N, C)` of the case that were changed, and of other patients."""
    generator = torch.Generator().manual_seed(SEED)
    theta = problem.space.sample_prior(XRAYS, generator)
    y = problem.noise(problem.forward(theta), generator)

    def patient(name: str) -> Tensor:
        other = problem_of(name, folder)
        theta = other.space.sample_prior(XRAYS, torch.Generator().manual_seed(SEED))
        # Line integrals count in shares of the bundle's brightest, as `register` reads them.
        return problem.noise(other.forward(theta) * (other.brightest / problem.brightest), generator)

    others = {f"another patient: {name}": patient(name) for name in CASES if name != case}
    return {"none": y, **problem.application.corruptions(y), **others}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cts", type=Path, required=True)
    parser.add_argument("--bundles", type=Path, required=True, help="folder that `registration.py` wrote")
    parser.add_argument("--only", nargs="+", default=list(CASES))
    options = parser.parse_args()
    for case in options.only:
        fitted = mi.load(options.bundles / case)
        problem = fitted.problem
        assert isinstance(problem, PoseRegistration)
        found = {}
        sets = changed(problem, options.cts, case)
        known = fitted.waic(sets["none"])
        for name, y in sets.items():
            scores = fitted.waic(y)
            flagged = float(fitted.guard.is_out(scores).float().mean())
            found[name] = [round(flagged, 3), round(auroc(scores, known), 3)]
        print(json.dumps({"case": case, "flagged share, AUROC": found}, indent=1), flush=True)


if __name__ == "__main__":
    main()
