"""Does the trust score notice X-rays that the bundle's CT cannot have cast?

X-rays of a registration bundle are changed in ways that happen, and the share that is flagged at 5 % false
alarms is printed, beside the AUROC. `--cts` as in `registration.py`; other patients are its other cases.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from registration import CASES, problem_of
from torch import Tensor

import monai_inn as mi
from monai_inn.metrics import auroc
from monai_inn.problems import PoseRegistration

XRAYS, SEED = 1000, 5


def changed(problem: PoseRegistration, folder: Path, case: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """What happens to clean images `(N, C)`, before noise."""
    rows, columns = problem.observation.size
    v, u = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")

    def screw(y: Tensor) -> Tensor:
        rod = ((u - 0.15).abs() < 0.05) & (v.abs() < 0.4)
        return y + 0.8 * rod.flatten()

    def collimated(y: Tensor) -> Tensor:
        closed = (u.abs() > 0.6) | (v.abs() > 0.6)
        return torch.where(closed.flatten(), 1.2, y)

    def mirrored(y: Tensor) -> Tensor:
        return y.reshape(-1, rows, columns).flip(-1).flatten(1)

    def patient(name: str) -> Callable[[Tensor], Tensor]:
        other = problem_of(name, folder)
        theta = other.space.sample_prior(XRAYS, torch.Generator().manual_seed(SEED))
        # Line integrals count in shares of the bundle's brightest, as `register` reads them.
        return lambda y: other.forward(theta) * (other.brightest / problem.brightest)

    result = {
        "inverted grey values": lambda y: y.amax(1, keepdim=True) - y,
        "metal rod": screw,
        "collimated": collimated,
        "shown from the other side": mirrored,
        "exposure 20 % off": lambda y: 1.2 * y,
        "rotated by 30 degrees": lambda y: _rotated(y.reshape(-1, rows, columns), 30.0).flatten(1),
    }
    return result | {f"another patient: {name}": patient(name) for name in CASES if name != case}


def _rotated(images: Tensor, degrees: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0]])
    grid = torch.nn.functional.affine_grid(
        turn.expand(len(images), 2, 3), (len(images), 1, *images.shape[1:]), align_corners=False
    )
    return torch.nn.functional.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1)


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
        generator = torch.Generator().manual_seed(SEED)
        theta = problem.space.sample_prior(XRAYS, generator)
        clean = problem.forward(theta)
        known = fitted.waic(problem.noise(clean, generator))
        found = {"none": [round(float(fitted.guard.is_out(known).float().mean()), 3), 0.5]}
        for name, change in changed(problem, options.cts, case).items():
            scores = fitted.waic(problem.noise(change(clean), generator))
            flagged = float(fitted.guard.is_out(scores).float().mean())
            found[name] = [round(flagged, 3), round(auroc(scores, known), 3)]
        print(json.dumps({"case": case, "flagged share, AUROC": found}, indent=1), flush=True)


if __name__ == "__main__":
    main()
