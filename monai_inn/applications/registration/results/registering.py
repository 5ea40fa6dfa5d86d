"""From an X-ray file to the folder that says which poses explain it, and whether to believe that."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.registration import Xray, poses
from monai_inn.applications.registration.carm import gantry_motion
from monai_inn.applications.registration.pose_weights import Reweighted, reconcile, reweight
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.applications.registration.results import files as pose_files
from monai_inn.applications.registration.results import record as account
from monai_inn.applications.registration.results.schema import REGISTRATION
from monai_inn.bundles.layout import sha256
from monai_inn.bundles.reading import load
from monai_inn.folders import new_folder
from monai_inn.inferers import FittedPosterior
from monai_inn.reports.records import provenance
from monai_inn.reports.results import write_json
from monai_inn.reports.schemas import FORMAT_VERSION

__all__ = [
    "REGISTRATION",
    "check_samples",
    "describe_poses",
    "describe_source",
    "register_xray",
    "write_poses",
]


def register_xray(
    bundle: str | PathLike[str],
    xray: str | PathLike[str],
    out: str | PathLike[str],
    *,
    samples: int = 1000,
    false_alarm: float = 0.05,
    refined: bool = False,
    reweighted: bool = False,
    second: str | PathLike[str] | None = None,
    turned: Sequence[float] | None = None,
    device: str = "cpu",
    seed: int = 0,
    **reading: Any,
) -> dict[str, Any]:
    """Find the poses that explain an X-ray and write them into a folder.

    Args:
        bundle: folder of a bundle that ``monai-inn fit registration`` wrote.
        xray: PNG, JPEG, TIFF, DICOM, NIfTI, NRRD or MetaImage.
        out: folder to write; it has its record once it is complete.
        samples: posterior samples.
        false_alarm: share of X-rays like the simulated that may be called untrusted.
        refined: also climb from each pose to the top of the likelihood.
        reweighted: weigh samples by the likelihood itself, which takes a simulated X-ray for each.
        second: another X-ray of the patient, who kept still while the C-arm turned; poses are those of the
            first that explain both.
        turned: ``lao`` and ``cra`` in degrees that the gantry shows at the first and at the second X-ray,
            four numbers; those of the files if both are DICOM.
        device: where to compute.
        seed: seed of the samples.
        reading: how grey values are meant, see ``xrays.matching``.

    Returns:
        The content of ``registration.json``; ``docs/registration.md`` says what is in it.

    Raises:
        ValueError: if bundle, X-ray or an argument is not usable.
        OSError: if a file cannot be read or written.
    """
    from monai_inn.applications.registration import match_detector, read_xray

    check_samples(samples)
    if second is not None and (reweighted or refined):
        option = "--reweight" if reweighted else "--refine"
        raise ValueError(f"{option} works on one X-ray; leave out --second or {option}.")
    fitted = load(bundle, device)
    problem = poses.registration_problem(fitted)
    frame = {"frame": reading.pop("frame")} if "frame" in reading else {}
    settings = {"samples": samples, "seed": seed, "false_alarm": false_alarm}
    settings |= {"refined": refined, "reweighted": reweighted}
    with new_folder(out, REGISTRATION, "a registration") as draft:
        paths = [path for path in (xray, second) if path is not None]
        read = [read_xray(path, **frame) for path in paths]
        seen = [match_detector(x, problem.detector, problem.brightest, **reading) for x in read]
        observations, notes = torch.stack([image for image, _ in seen]), [n for _, text in seen for n in text]
        started = time.monotonic()
        motions = None if second is None else _motions(problem, read, turned)
        answer, weighed = _answer(fitted, observations, motions, samples, seed, reweighted)
        trust = account.trust_verdict(fitted, observations, false_alarm)
        seconds = time.monotonic() - started
        drrs = [problem.forward(mode.parameters.float()) for mode in answer.modes]
        tops = [
            poses.refine(problem, observations[0], m.parameters) if refined else None for m in answer.modes
        ]
        record: dict[str, Any] = {"format_version": FORMAT_VERSION, "command": "register"}
        record |= provenance(bundle, settings | reading | {"device": device})
        first, *others = (describe_source(path, x) for path, x in zip(paths, read, strict=True))
        record["xray"] = first | {"notes": [*(n for x in read for n in x.notes), *notes]}
        angles = None if turned is None else list(turned)
        record["second_xray"] = others[0] | {"turned_deg": angles} if others else None
        record |= describe_poses(problem, observations[0], answer, drrs, tops)
        record |= {"trust": trust, "weights": account.describe_weights(weighed)}
        record |= {"ambiguity": account.ambiguity(record), "seconds": round(seconds, 3)}
        files = write_poses(draft, problem, observations[0], answer, drrs, tops)
        record |= {"files": files, "pictures": ["overview.png"]}
        from monai_inn.applications.registration.results.figures import pose_figure

        pose_figure(problem, observations[0], answer, drrs, record, draft / "overview.png")
        write_json(draft / REGISTRATION, record)
    return record


def check_samples(samples: int) -> None:
    """Refuse a number of samples of which no modes can be found.

    Raises:
        ValueError: if there are fewer than 100.
    """
    if samples < 100:
        raise ValueError(f"samples = {samples}; modes need at least 100 to be told from noise.")


def _answer(
    fitted: FittedPosterior,
    observations: Tensor,
    motions: Tensor | None,
    samples: int,
    seed: int,
    reweighted: bool,
) -> tuple[poses.PosePosterior, Reweighted | None]:
    """The posterior of one X-ray, of one weighed by its likelihood, or of two from turned C-arms."""
    if motions is not None:
        return reconcile(fitted, observations, motions, samples, seed), None
    if not reweighted:
        return poses.infer_pose(fitted, observations[0], samples, seed), None
    weighed = reweight(fitted, observations[0], samples, seed)
    return weighed.posterior, weighed


def describe_poses(
    problem: PoseRegistration,
    observation: Tensor,
    answer: poses.PosePosterior,
    drrs: Sequence[Tensor],
    tops: Sequence[poses.Refined | None] | None = None,
) -> dict[str, Any]:
    """What the record says of the problem, its poses and how they differ."""
    tops = [None] * len(drrs) if tops is None else tops
    modes = [
        account.describe_mode(problem, observation, answer, k, drr, top)
        for k, (drr, top) in enumerate(zip(drrs, tops, strict=True))
    ]
    return account.describe_problem(problem) | {
        "modes": modes,
        "differences": account.differences(problem, answer),
    }


def describe_source(path: str | PathLike[str], xray: Xray) -> dict[str, Any]:
    """Which file an X-ray was read from, and what it says of itself."""
    return {
        "path": str(Path(path).resolve()),
        "sha256": {Path(path).name: sha256(Path(path))},
        "shape": list(xray.values.shape),
        "spacing_mm": None if xray.spacing_mm is None else list(xray.spacing_mm),
        "geometry": xray.geometry,
    }


def _motions(problem: PoseRegistration, xrays: list[Xray], turned: Sequence[float] | None) -> Tensor:
    """From each camera to the first, shape ``(2, 4, 4)``."""
    told = [(x.geometry or {}).get(name) for x in xrays for name in ("lao_deg", "cra_deg")]
    angles = [float(angle) for angle in (told if turned is None else turned) if angle is not None]
    if len(angles) != 4:
        raise ValueError(
            "the turn of the C-arm between the two X-rays is not known; give what the gantry showed: "
            "--turned LAO1 CRA1 LAO2 CRA2, in degrees."
        )
    motion = gantry_motion((angles[0], angles[1]), (angles[2], angles[3]), problem.detector)
    return torch.stack([torch.eye(4, dtype=torch.float64), motion])


def write_poses(
    folder: Path,
    problem: PoseRegistration,
    observation: Tensor,
    answer: poses.PosePosterior,
    drrs: Sequence[Tensor],
    tops: Sequence[poses.Refined | None] | None = None,
) -> list[dict[str, Any]]:
    """Write images, transforms and samples; returns what each file is."""
    size, detector = problem.observation.size, problem.detector
    tops = [None] * len(drrs) if tops is None else tops
    pose_files.write_detector_image(folder / "xray.nii.gz", observation.reshape(size), detector)
    files = [
        {"file": "xray.nii.gz", "what": "the X-ray as line integrals, as large as poses were found from"}
    ]
    for number, (mode, drr, top) in enumerate(zip(answer.modes, drrs, tops, strict=True), start=1):
        files += _write_pose(folder, problem, f"{number}", mode.parameters, drr)
        difference = f"difference_{number}.nii.gz"
        pose_files.write_detector_image(folder / difference, (observation - drr).reshape(size), detector)
        files.append({"file": difference, "what": f"X-ray minus that of pose {number}"})
        if top is not None:
            drr = problem.forward(top.parameters)
            files += _write_pose(folder, problem, f"{number}_refined", top.parameters, drr)
    pose_files.write_bone(folder / "bone.nii.gz", problem.volume)
    files.append({"file": "bone.nii.gz", "what": "bone of the CT for 3-D views, attenuation in 1/mm"})
    theta = answer.samples.double()
    files += pose_files.write_samples(
        folder, problem.poses(theta), problem.cameras(theta), answer.labels + 1, answer.log_density
    )
    return files


def _write_pose(
    folder: Path, problem: PoseRegistration, name: str, theta: Tensor, drr: Tensor
) -> Iterator[dict[str, Any]]:
    """Write the simulated X-ray of a pose, and the pose itself; returns what each file is."""
    number, *how = name.split("_")
    files, said = pose_files.files_of_pose(name), " ".join([*how, "pose", number])
    pose_files.write_detector_image(
        folder / files["drr"], drr.reshape(problem.observation.size), problem.detector
    )
    yield {"file": files["drr"], "what": f"simulated X-ray of {said}"}
    camera = problem.cameras(theta.double())
    for ending in ("tfm", "h5"):
        pose_files.write_transform(folder / files[ending], camera)
        yield {"file": files[ending], "what": f"{said} as ITK transform, CT to C-arm, LPS"}
