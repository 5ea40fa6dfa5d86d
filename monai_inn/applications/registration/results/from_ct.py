"""From a CT and an X-ray to the folder that says which poses explain it: without a bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import camera_to_world, geodesic_degrees
from monai_inn.applications.registration.pose_draws import Draws
from monai_inn.applications.registration.pose_solver import SIZES, Solution
from monai_inn.applications.registration.poses import PosePosterior
from monai_inn.applications.registration.prepared import Patient
from monai_inn.applications.registration.problem import RANGES, PoseRegistration
from monai_inn.applications.registration.radiograph import NUISANCES
from monai_inn.applications.registration.results.agreement import Agreement, agreement_of
from monai_inn.applications.registration.results.record import ambiguity, direction_in_words
from monai_inn.applications.registration.results.registering import (
    check_samples,
    describe_poses,
    describe_sources,
    gantry_angles,
    several,
    write_poses,
)
from monai_inn.applications.registration.results.residual import describe_residual
from monai_inn.applications.registration.results.schema import REGISTRATION
from monai_inn.applications.registration.xrays.reading import read_xray
from monai_inn.applications.registration.xrays.sizes import images_by_size, left_out_of
from monai_inn.bundles.metadata import INTENDED_USE
from monai_inn.folders import new_folder
from monai_inn.metrics.modes import Mode
from monai_inn.reports.records import made_with
from monai_inn.reports.results import write_json
from monai_inn.reports.schemas import FORMAT_VERSION

__all__ = ["register_to_ct"]

# Explained share and lead together, and lead alone; measured, see docs/registration.md.
_LEAST_SCORE, _LEAST_LEAD = 0.9, 0.2
_LAID = 30.0  # degrees by which a patient on the table may be turned


def register_to_ct(
    ct: str | PathLike[str],
    xrays: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    labels: str | PathLike[str] | None = None,
    keep: Sequence[int] = (),
    free: Mapping[str, Sequence[float]] | None = None,
    fixed: Mapping[str, float] | None = None,
    target: Sequence[float] | None = None,
    gantry: Sequence[float] | None = None,
    gantry_sd: float | None = None,
    leave_out: str | PathLike[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
    frame: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
    **reading: Any,
) -> dict[str, Any]:
    """Find the poses from which X-rays of a CT were taken, and write them into a folder.

    Of several X-rays the patient kept still while the C-arm turned; poses are those of the first that agrees
    with the others.

    Args:
        ct: CT in Hounsfield units (NIfTI, NRRD or MetaImage), or the folder of a prepared patient.
        xrays: one or several; PNG, JPEG, TIFF, DICOM, NIfTI, NRRD or MetaImage.
        out: folder to write; it has its record once it is complete.
        labels: segmentation on the CT's voxels; this and the next four are settled for a prepared patient.
        keep: labels of the structures that are compared; all of the CT by default, which real X-rays need.
        free: ranges of the pose parameters to find; all six by default.
        fixed: values of others.
        target: point that angles turn about, RAS in mm; the centre of the bone by default.
        gantry: ``lao`` and ``cra`` in degrees that it showed at each X-ray; by default what the files say.
        gantry_sd: degrees by which the patient may lie turned (standard deviation): makes the gantry's angles
            at the first X-ray a prior; without, they are compared with what was found.
        leave_out: mask of what is not to be compared in the first X-ray, see ``left_out_of``.
        samples: posterior samples.
        seed: seed of the draws.
        frame: frame of a DICOM run, from 1.
        progress: called with the share done.
        reading: how the images are meant, see ``images_by_size``.

    Returns:
        The content of ``registration.json``.

    Raises:
        ValueError: if CT, X-ray or an argument is not usable.
        OSError: if a file cannot be read or written.
    """
    check_samples(samples)
    settings = {"samples": samples, "seed": seed, "frame": frame, "gantry_sd": gantry_sd}
    settings |= {"leave_out": None if leave_out is None else str(Path(leave_out).resolve())} | reading
    paths = several(xrays)
    with new_folder(out, REGISTRATION, "a registration") as draft:
        read = [read_xray(path, frame=frame) for path in paths]
        images = [images_by_size(one, SIZES, **reading) for one in read]
        angles = gantry_angles(read, gantry, needed=len(read) > 1 or gantry_sd is not None)
        who = (
            Patient.load(ct)
            if Path(ct).is_dir()
            else Patient.of_files(ct, labels=labels, keep=keep, free=free, fixed=fixed, target=target)
        )
        problem = who.problem(images[0][0][-1][0])
        began = time.monotonic()
        solver = who.solver(problem.target)
        about = _about(problem, angles[0], gantry_sd) if angles else {}
        # It is one patient who may lie turned: the prior counts once.
        priors = [who.unknowns(about if number == 0 else None) for number in range(len(images))]
        mirror = bool(reading.get("mirror"))
        masks: list[Tensor | None] = [None] * len(images)
        if leave_out is not None:
            masks[0] = left_out_of(leave_out, problem.detector, mirror)
        found = [
            solver.knowing(prior).solve(
                by_size, samples, seed, partial(_part, progress, number, len(images)), mask
            )
            for number, ((by_size, _), prior, mask) in enumerate(zip(images, priors, masks, strict=True))
        ]
        agreement = agreement_of(solver, found, angles, paths, samples, seed) if len(found) > 1 else None
        base = 0 if agreement is None else agreement.base
        if base:
            problem = who.problem(found[base].detector)
        best = found[base] if agreement is None else _shown_with(found[base], agreement.draws)
        seconds = time.monotonic() - began
        answer, shown, drrs = _answer(problem, best)
        record: dict[str, Any] = {"format_version": FORMAT_VERSION, "command": "register"}
        record |= made_with(settings) | {"intended_use": INTENDED_USE, "warnings": []}
        record["bundle"] = _patient(who)
        notes = [
            [*one.notes, *told, *_seen(each)]
            for one, (_, told), each in zip(read, images, found, strict=True)
        ]
        described = describe_sources(paths, read, notes, angles)
        record["xray"] = described.pop(base)
        record["other_xrays"] = described
        if angles:
            record["xray"]["notes"].append(_compared(best, *angles[base]))
        record["residual"] = describe_residual(found[base], None if base else masks[0], seed)
        if (place := record["residual"]["unexplained"]) is not None:
            record["xray"]["notes"].append(place["statement"])
        record |= describe_poses(problem, shown, answer, drrs)
        record |= {"trust": trust_of(found, agreement), "weights": _weights(found[base]), "unit": _unit(best)}
        record |= {"ambiguity": ambiguity(record), "seconds": round(seconds, 3)}
        files = [
            *write_poses(draft, problem, shown, answer, drrs),
            _write_left_out(draft, best.window.flip(-1) if mirror else best.window),
        ]
        record |= {"files": files, "pictures": ["overview.png"]}
        from monai_inn.applications.registration.results.figures import pose_figure

        pose_figure(problem, shown, answer, drrs, record, draft / "overview.png", best.window > 0.5)
        write_json(draft / REGISTRATION, record)
    return record


def _about(
    problem: PoseRegistration, shown: tuple[float, float], sd: float | None
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of the free angles that the gantry tells."""
    if sd is None:
        return {}
    told = zip(("lao", "cra"), shown, strict=True)
    return {name: (angle, sd) for name, angle in told if name in problem.targets}


def _write_left_out(folder: Path, window: Tensor) -> dict[str, str]:
    """Write what was left out of the X-ray as it is in its file, to be corrected and given back."""
    from PIL import Image

    Image.fromarray(((window <= 0.5) * 255).byte().numpy()).save(folder / "left_out.png")
    return {
        "file": "left_out.png",
        "what": "white: pixels that were not compared; correct it for --leave-out",
    }


def _patient(who: Patient) -> dict[str, Any]:
    """What stands in the place of a bundle."""
    name = who.source["name"]
    return {"name": f"CT {name}", "path": who.source["path"], "sha256": {name: who.source["sha256"]}}


def _part(progress: Callable[[float], None], number: int, count: int, share: float) -> None:
    progress((number + share) / count)


def _shown_with(found: Solution, draws: Draws) -> Solution:
    """The same X-ray with another posterior."""
    x = draws.fit.x
    return found._replace(draws=draws, models=found.level.radiograph(x[:, :6], x[:, 6:]))


def _compared(found: Solution, lao: float, cra: float) -> str:
    """What the gantry's angles say of the pose."""
    directions = torch.zeros(2, 6, dtype=torch.float64)
    directions[0, :2], directions[1, :2] = torch.tensor([lao, cra]).double(), found.draws.fit.x[0, :2]
    cameras = camera_to_world(directions, found.detector, torch.zeros(3))
    apart = float(geodesic_degrees(cameras[0], cameras[1]))
    gantry = direction_in_words(lao, cra)
    if apart <= _LAID:
        return f"The gantry showed {gantry}, {apart:.0f}° from the first pose's direction."
    return (
        f"The gantry showed {gantry}, but the first pose looks from a direction {apart:.0f}° away: the "
        "patient did not lie on the back, head first, or the pose is wrong."
    )


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
    return [f"{covered:.0%} of the image was left out: collimator, tools, what lies beyond the CT."]


def trust_of(found: Sequence[Solution], agreement: Agreement | None = None) -> dict[str, Any]:
    """Return whether the CT explains what the X-rays show, and whether they agree."""
    least = min(found, key=lambda one: one.explained + one.lead)
    told = min(one.lead for one in found) >= _LEAST_LEAD
    explained = least.explained + least.lead >= _LEAST_SCORE
    trusted = (agreement is None or agreement.is_whole) and told and explained
    share = f"{least.explained:.0%} of the X-ray's structure"
    lead = f"{max(0, least.lead):.0%} of what the next best leaves"
    if agreement is not None and not agreement.is_whole:
        statement = agreement.statement
    elif trusted:
        statement = f"The best pose explains {share}, and {lead}; that is no proof of it."
    elif explained:
        statement = (
            f"Do not use these poses: the best explains {share}, but others elsewhere nearly as much. Too "
            "little of the patient's bone may be visible; show more of it, or mask less."
        )
    else:
        statement = (
            f"Do not use these poses: the best explains {share} and {lead}, too little for X-rays of this "
            "patient. Another patient or body part, or a wrong reading of the grey values, may be the reason."
        )
    return {
        "explained": round(least.explained, 4),
        "lead": round(least.lead, 4),
        "limit": _LEAST_SCORE,
        "is_trusted": trusted,
        "statement": statement,
    } | ({} if agreement is None else agreement.record)


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
