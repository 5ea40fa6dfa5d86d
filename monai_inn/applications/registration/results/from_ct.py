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

from monai_inn.applications.registration.carm import camera_to_world, gantry_motion, geodesic_degrees
from monai_inn.applications.registration.pose_draws import Draws
from monai_inn.applications.registration.pose_joint import Joint, joined
from monai_inn.applications.registration.pose_solver import SIZES, Solution, Solver
from monai_inn.applications.registration.poses import PosePosterior
from monai_inn.applications.registration.prepared import Patient
from monai_inn.applications.registration.problem import RANGES, PoseRegistration
from monai_inn.applications.registration.radiograph import NUISANCES
from monai_inn.applications.registration.results.record import ambiguity, direction_in_words
from monai_inn.applications.registration.results.registering import (
    check_samples,
    describe_poses,
    describe_source,
    write_poses,
)
from monai_inn.applications.registration.results.schema import REGISTRATION
from monai_inn.applications.registration.xrays.formats import Xray
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
_LEAST_SCORE, _LEAST_LEAD = 0.9, 0.15
_MOST_APART = 22.46  # of chi-square with six degrees of freedom, .999
_LAID = 30.0  # degrees by which a patient on the table may be turned


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
    second: str | PathLike[str] | None = None,
    turned: Sequence[float] | None = None,
    gantry: Sequence[float] | None = None,
    gantry_sd: float | None = None,
    leave_out: str | PathLike[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
    frame: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
    **reading: Any,
) -> dict[str, Any]:
    """Find the poses from which an X-ray of a CT was taken, and write them into a folder.

    Args:
        ct: CT in Hounsfield units (NIfTI, NRRD or MetaImage), or the folder of a prepared patient.
        xray: PNG, JPEG, TIFF, DICOM, NIfTI, NRRD or MetaImage.
        out: folder to write; it has its record once it is complete.
        labels: segmentation on the CT's voxels; this and the next four are settled for a prepared patient.
        keep: labels of the structures that are compared; all of the CT by default, which real X-rays need.
        free: ranges of the pose parameters to find; all six by default.
        fixed: values of others.
        target: point that angles turn about, RAS in mm; the centre of the bone by default.
        second: another X-ray of the patient, who kept still while the C-arm turned; poses are those of the
            first.
        turned: ``lao`` and ``cra`` in degrees that the gantry showed at the first and at the second; by
            default what the files say.
        gantry: ``lao`` and ``cra`` that it showed at the first; by default as for ``turned``.
        gantry_sd: degrees by which the patient may lie turned (standard deviation): makes the gantry's angles
            a prior; without, they are compared with what was found.
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
    paths = [path for path in (xray, second) if path is not None]
    with new_folder(out, REGISTRATION, "a registration") as draft:
        read = [read_xray(path, frame=frame) for path in paths]
        images = [images_by_size(one, SIZES, **reading) for one in read]
        angles = _angles(read, turned, gantry, needed=second is not None or gantry_sd is not None)
        who = (
            Patient.load(ct)
            if Path(ct).is_dir()
            else Patient.of_files(ct, labels=labels, keep=keep, free=free, fixed=fixed, target=target)
        )
        problem = who.problem(images[0][0][-1][0])
        began = time.monotonic()
        solver = who.solver(problem.target)
        shown_by_gantry: Sequence[Sequence[float]] = angles or [()] * len(images)
        priors = [who.unknowns(_about(problem, pair, gantry_sd)) for pair in shown_by_gantry]
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
        joint = _joint(solver, found, angles, samples, seed) if second is not None else None
        best = found[0] if joint is None else _shown_with(found[0], joint.draws)
        seconds = time.monotonic() - began
        answer, shown, drrs = _answer(problem, best)
        record: dict[str, Any] = {"format_version": FORMAT_VERSION, "command": "register"}
        record |= made_with(settings) | {"intended_use": INTENDED_USE, "warnings": []}
        record["bundle"] = _patient(who)
        record["xray"], *others = (
            describe_source(path, one) | {"notes": [*one.notes, *notes, *_seen(each)]}
            for path, one, (_, notes), each in zip(paths, read, images, found, strict=True)
        )
        record["xray"]["notes"] += _compared(best, angles)
        record["second_xray"] = others[0] | {"turned_deg": [*angles[0], *angles[1]]} if others else None
        record |= describe_poses(problem, shown, answer, drrs)
        record |= {"trust": trust_of(found, joint), "weights": _weights(found[0]), "unit": _unit(best)}
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
    problem: PoseRegistration, shown: Sequence[float], sd: float | None
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


def _angles(
    xrays: Sequence[Xray], turned: Sequence[float] | None, gantry: Sequence[float] | None, needed: bool
) -> list[list[float]]:
    """What the gantry showed at each X-ray; nothing where that is not known and not needed."""
    told = [[(x.geometry or {}).get(name) for name in ("lao_deg", "cra_deg")] for x in xrays]
    if gantry is not None:
        told[0] = list(gantry)
    if turned is not None:
        told = [list(turned[2 * k : 2 * k + 2]) for k in range(len(xrays))]
    if any(None in pair for pair in told):
        if needed:
            raise ValueError(
                "the angles of the gantry are needed and the files do not say them; give --turned LAO1 CRA1 "
                "LAO2 CRA2 for two X-rays, --gantry LAO CRA for one."
            )
        return []
    return [[float(angle) for angle in pair if angle is not None] for pair in told]


def _joint(
    solver: Solver, found: Sequence[Solution], angles: list[list[float]], samples: int, seed: int
) -> Joint:
    """The posterior of the first X-ray's pose, given both."""
    first, second = found
    one, other = angles
    motion = gantry_motion((one[0], one[1]), (other[0], other[1]), first.detector)
    detectors = (first.detector, second.detector)
    return joined(first.draws, second.draws, motion, detectors, solver.target, solver.unknowns, samples, seed)


def _shown_with(found: Solution, draws: Draws) -> Solution:
    """The same X-ray with another posterior."""
    x = draws.fit.x
    return found._replace(draws=draws, models=found.level.radiograph(x[:, :6], x[:, 6:]))


def _compared(found: Solution, angles: list[list[float]]) -> list[str]:
    """What the gantry's angles say of the pose."""
    if not angles:
        return []
    lao, cra = angles[0]
    directions = torch.zeros(2, 6, dtype=torch.float64)
    directions[0, :2], directions[1, :2] = torch.tensor([lao, cra]).double(), found.draws.fit.x[0, :2]
    cameras = camera_to_world(directions, found.detector, torch.zeros(3))
    apart = float(geodesic_degrees(cameras[0], cameras[1]))
    gantry = direction_in_words(lao, cra)
    if apart <= _LAID:
        return [f"The gantry showed {gantry}, {apart:.0f}° from the first pose's direction."]
    return [
        f"The gantry showed {gantry}, but the first pose looks from a direction {apart:.0f}° away: the "
        "patient did not lie on the back, head first, or the pose is wrong."
    ]


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


def trust_of(found: Sequence[Solution], joint: Joint | None = None) -> dict[str, Any]:
    """Return whether the CT explains what the X-rays show, and whether they agree."""
    least = min(found, key=lambda one: one.explained + one.lead)
    told = min(one.lead for one in found) >= _LEAST_LEAD
    agreed = joint is None or joint.distance <= _MOST_APART
    explained = least.explained + least.lead >= _LEAST_SCORE
    trusted = agreed and told and explained
    share = f"{least.explained:.0%} of the X-ray's structure"
    lead = f"{max(0, least.lead):.0%} of what the next best leaves"
    if not agreed:
        statement = (
            "Do not use these poses: the two X-rays do not agree about the patient's place. The patient "
            "moved, the gantry's angles are wrong, or one X-ray is of another patient."
        )
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
    } | ({} if joint is None else {"distance": round(joint.distance, 2), "limit_distance": _MOST_APART})


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
