"""From a CT and an X-ray to the folder that says which poses explain it: without a bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.registration.patient import in_order, problem_of, read_patient
from monai_inn.applications.registration.pose_fit import Unknowns
from monai_inn.applications.registration.pose_solver import SIZES, Solution, Solver
from monai_inn.applications.registration.poses import PosePosterior
from monai_inn.applications.registration.problem import RANGES, PoseRegistration
from monai_inn.applications.registration.radiograph import NUISANCES
from monai_inn.applications.registration.results import record as account
from monai_inn.applications.registration.results.registering import (
    check_samples,
    describe_source,
    write_poses,
)
from monai_inn.applications.registration.results.schema import REGISTRATION
from monai_inn.applications.registration.xrays.reading import read_xray
from monai_inn.applications.registration.xrays.sizes import images_by_size
from monai_inn.bundles.layout import sha256
from monai_inn.bundles.metadata import INTENDED_USE
from monai_inn.folders import new_folder
from monai_inn.metrics.modes import Mode
from monai_inn.reports.records import made_with
from monai_inn.reports.results import write_json
from monai_inn.reports.schemas import FORMAT_VERSION

__all__ = ["register_to_ct"]

_LEAST_EXPLAINED = 0.2  # measured, see docs/registration.md


def register_to_ct(
    ct: str | PathLike[str],
    xray: str | PathLike[str],
    out: str | PathLike[str],
    *,
    labels: str | PathLike[str] | None = None,
    keep: Sequence[int] = (),
    free: Mapping[str, Sequence[float]] | None = None,
    fixed: Mapping[str, float] | None = None,
    target: Sequence[float] | None = None,
    samples: int = 1000,
    seed: int = 0,
    frame: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
    **reading: Any,
) -> dict[str, Any]:
    """Find the poses from which an X-ray of a CT was taken, and write them into a folder.

    Args:
        ct: CT in Hounsfield units: NIfTI, NRRD or MetaImage.
        xray: PNG, JPEG, TIFF, DICOM, NIfTI, NRRD or MetaImage.
        out: folder to write; it has its record once it is complete.
        labels: segmentation on the CT's voxels.
        keep: labels of the structures that are compared; all of the CT by default, which real X-rays need.
        free: ranges of the pose parameters to find; all six by default.
        fixed: values of others.
        target: point that angles turn about, RAS in mm; the centre of the bone by default.
        samples: posterior samples.
        seed: seed of the draws.
        frame: frame of a DICOM run, from 1.
        progress: called with the share done.
        reading: how the image is meant, see ``images_by_size``.

    Returns:
        The content of ``registration.json``.

    Raises:
        ValueError: if CT, X-ray or an argument is not usable.
        OSError: if a file cannot be read or written.
    """
    check_samples(samples)
    settings = {"samples": samples, "seed": seed, "keep": list(keep), "frame": frame} | reading
    with new_folder(out, REGISTRATION, "a registration") as draft:
        read = read_xray(xray, frame=frame)
        images, notes = images_by_size(read, SIZES, **reading)
        hounsfield, mask = read_patient(ct, labels, keep)
        if free is None:
            free = {name: edges for name, edges in RANGES.items() if name not in (fixed or {})}
        problem = problem_of(
            hounsfield, mask, images[-1][0], free=in_order(free), fixed=fixed, target=target, brightest=1.0
        )
        began = time.monotonic()
        unknowns = Unknowns.of({p.name: (p.low, p.high) for p in problem.parameters}, problem.fixed)
        solver = Solver(hounsfield, problem.target, unknowns, mask)
        found = solver.solve(images, samples, seed, progress)
        seconds = time.monotonic() - began
        answer, shown, drrs = _answer(problem, found)
        record: dict[str, Any] = {"format_version": FORMAT_VERSION, "command": "register"}
        record |= made_with(settings) | {"intended_use": INTENDED_USE, "warnings": []}
        name = Path(ct).name
        record["bundle"] = {
            "name": f"CT {name}",
            "path": str(Path(ct).resolve()),
            "sha256": {name: sha256(Path(ct))},
        }
        record["xray"] = describe_source(xray, read) | {"notes": [*read.notes, *notes, *_seen(found)]}
        record["second_xray"] = None
        record |= account.describe_problem(problem) | {
            "modes": [
                account.describe_mode(problem, shown, answer, k, drr, None) for k, drr in enumerate(drrs)
            ],
            "differences": account.differences(problem, answer),
        }
        record |= {"trust": _trust(found), "weights": _weights(found), "unit": _unit(found)}
        record |= {"ambiguity": account.ambiguity(record), "seconds": round(seconds, 3)}
        record |= {"files": write_poses(draft, problem, shown, answer, drrs), "pictures": ["overview.png"]}
        from monai_inn.applications.registration.results.figures import pose_figure

        pose_figure(problem, shown, answer, drrs, record, draft / "overview.png", found.window > 0.5)
        write_json(draft / REGISTRATION, record)
    return record


def _answer(problem: PoseRegistration, found: Solution) -> tuple[PosePosterior, Tensor, list[Tensor]]:
    """Posterior, X-ray and simulated X-rays; images as shares of what the best one shows."""
    index = [list(RANGES).index(name) for name in problem.targets]
    draws = found.draws
    modes = []
    for k, mass in enumerate(draws.masses.tolist()):
        members = torch.nonzero(draws.labels == k).flatten()
        spread = draws.covariance[k].diagonal().sqrt().float()
        modes.append(Mode(draws.fit.x[k, index].float(), mass, spread, None, members))
    counted = found.models[0][found.window > 0.5]
    low, high = float(counted.min()), float(counted.max())
    shown = ((found.image - low) / (high - low)).clamp(-0.2, 1.5).flatten()
    drrs = [((model - low) / (high - low)).flatten() for model in found.models]
    return PosePosterior(draws.samples[:, index].float(), draws.log_density.float(), modes), shown, drrs


def _seen(found: Solution) -> list[str]:
    """What was left out of the X-ray."""
    covered = 1 - float((found.window > 0.5).float().mean())
    return [f"{covered:.0%} of the image was left out: collimator, tools, or what the CT does not show."]


def _trust(found: Solution) -> dict[str, Any]:
    """Whether the CT explains what the X-ray shows."""
    trusted = found.explained >= _LEAST_EXPLAINED
    statement = (
        f"The best pose explains {found.explained:.0%} of the X-ray's structure; that is no proof of it."
        if trusted
        else f"Do not use these poses: the best explains {found.explained:.0%} of the X-ray's structure, at "
        f"least {_LEAST_EXPLAINED:.0%} are expected. Another patient or body part, or a wrong reading of the "
        "grey values, may be the reason."
    )
    return {
        "explained": round(found.explained, 4),
        "limit_explained": _LEAST_EXPLAINED,
        "is_trusted": trusted,
        "statement": statement,
    }


def _weights(found: Solution) -> dict[str, Any]:
    """How well the draws were proposed, and how far errors of the simulation widen them."""
    draws = found.draws
    return {
        "proposals": draws.weighed,
        "effective": round(draws.effective * draws.weighed, 1),
        "inflation": round(draws.inflation, 3),
        "statement": (
            f"By the likelihood: {draws.effective:.0%} of {draws.weighed} draws counted. Errors of the "
            f"simulation widen the poses {draws.inflation:.1f} times."
        ),
    }


def _unit(found: Solution) -> dict[str, float]:
    """What was fitted of the X-ray unit."""
    return {n.name: round(float(v), 4) for n, v in zip(NUISANCES, found.draws.fit.x[0, 6:], strict=True)}
