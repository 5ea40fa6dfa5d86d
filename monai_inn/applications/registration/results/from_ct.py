"""From a CT and an X-ray to the folder that says which poses explain it: without a bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.poses.solver import SIZES
from monai_inn.applications.registration.prepared import Patient
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.applications.registration.results.agreement import agreement_of
from monai_inn.applications.registration.results.case import Case
from monai_inn.applications.registration.results.registering import (
    check_samples,
    describe_sources,
    gantry_angles,
    several,
    write_poses,
)
from monai_inn.applications.registration.results.schema import PATIENT, REGISTRATION
from monai_inn.applications.registration.xrays.reading import read_xray
from monai_inn.applications.registration.xrays.sizes import images_by_size, left_out_of
from monai_inn.files import write_json
from monai_inn.fitted.metadata import INTENDED_USE
from monai_inn.folders import new_folder
from monai_inn.reports.records import made_with
from monai_inn.reports.schemas import FORMAT_VERSION

__all__ = ["register_to_ct"]

_MOST_MM = 50.0  # that a source may be off its place, standard deviation
_MOST_TURNED = 180.0  # degrees
_SAME_SIDE = 0.01  # of an image's side: pixels are rounded


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
    source_sd: float = 0.0,
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
        ct: CT in Hounsfield units (NIfTI, NRRD, MetaImage or the folder of a DICOM series), or the folder of
            a prepared patient.
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
        source_sd: mm by which the source may be off its place (standard deviation in each direction), which
            widens the poses.
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
    if not 0 <= source_sd <= _MOST_MM:
        raise ValueError(
            f"a source off its place by {source_sd:g} mm; give 0 to {_MOST_MM:g} mm, or its distances."
        )
    if gantry_sd is not None and not 0 < gantry_sd <= _MOST_TURNED:
        raise ValueError(
            f"a patient turned by {gantry_sd:g}° (standard deviation); give more than 0 and at most "
            f"{_MOST_TURNED:g}°, or leave --gantry-sd out."
        )
    settings: dict[str, Any] = {"samples": samples, "seed": seed, "frame": frame}
    settings |= {"gantry_sd": gantry_sd, "source_sd": source_sd}
    settings |= {"leave_out": None if leave_out is None else str(Path(leave_out).resolve())} | reading
    paths = several(xrays)
    with new_folder(out, REGISTRATION, "a registration", source=paths[0]) as draft:
        read = [read_xray(path, frame=frame) for path in paths]
        images = [images_by_size(one, SIZES, **reading) for one in read]
        angles = gantry_angles(read, gantry, needed=len(read) > 1 or gantry_sd is not None)
        who = (
            Patient.load(ct)
            if (Path(ct) / PATIENT).is_file()
            else Patient.of_files(ct, labels=labels, keep=keep, free=free, fixed=fixed, target=target)
        )
        if who.prepared and reading.get("spacing_mm") is not None:
            _check_sides(who.prepared, [by_size[-1][0] for by_size, _ in images])
        problem = who.problem(images[0][0][-1][0])
        began = time.monotonic()
        solver = who.solver(problem.target)
        about = _about(problem, angles[0], gantry_sd) if angles else {}
        # It is one patient who may lie turned: the prior counts once.
        priors = [who.unknowns(about if n == 0 else None, source_sd) for n in range(len(images))]
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
        seconds = time.monotonic() - began
        told = [[*one.notes, *notes] for one, (_, notes) in zip(read, images, strict=True)]
        sources = describe_sources(paths, read, told, angles)
        case = Case(who, problem, sources, angles, found, agreement, masks[0], seed)
        record: dict[str, Any] = {"format_version": FORMAT_VERSION, "command": "register"}
        record |= made_with(settings) | {"intended_use": INTENDED_USE}
        record |= {"warnings": _doubts(who, case.base, gantry_sd)}
        record |= case.described() | {"seconds": round(seconds, 3)}
        _write(draft, case, record, mirror)
    return record


def _check_sides(prepared: Detector, given: Sequence[Detector]) -> None:
    """Refuse a spacing that makes an X-ray of another size than a patient was prepared for."""
    known, *sides = (max(d.rows, d.columns) * d.spacing_mm for d in (prepared, *given))
    wrong = [side for side in sides if abs(side / known - 1) > _SAME_SIDE]
    if wrong:
        raise ValueError(
            f"by --spacing the X-ray is {wrong[0]:g} mm wide, but the patient was prepared for {known:g} mm; "
            "correct --spacing, or prepare the patient for such X-rays (--side, --like)."
        )


def _doubts(who: Patient, base: int, gantry_sd: float | None) -> list[str]:
    """What of the options does not do what one may expect."""
    doubts = []
    if who.keep is not None:
        doubts.append(
            "Only the structures that --keep names were compared. Real X-rays show the rest as well, without "
            "which their poses may be wrong."
        )
    if base and gantry_sd is not None:
        doubts.append(
            "--gantry-sd had no effect: the gantry's angles are a prior at the first X-ray, which does not "
            "agree with the others."
        )
    return doubts


def _write(draft: Path, case: Case, record: dict[str, Any], mirror: bool) -> None:
    """Write all files; the record, which names them, last."""
    from monai_inn.applications.registration.results.figures import pose_figure

    problem, window = case.problem, case.best.window
    answer, shown, drrs = case.answer()
    files = [
        *write_poses(draft, problem, shown, answer, drrs),
        _write_left_out(draft, window.flip(-1) if mirror else window),
    ]
    record |= {"files": files, "pictures": ["overview.png"]}
    pose_figure(problem, shown, answer, drrs, record, draft / "overview.png", window > 0.5)
    write_json(draft / REGISTRATION, record)


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


def _part(progress: Callable[[float], None], number: int, count: int, share: float) -> None:
    progress((number + share) / count)
