"""From an X-ray file to the folder that says which poses explain it, and whether to believe that."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_inn.applications.registration import Xray
from monai_inn.applications.registration.carm import gantry_motion
from monai_inn.applications.registration.poses import inference
from monai_inn.applications.registration.poses.weights import (
    NotWeighedError,
    Reweighted,
    reconcile,
    reweight,
)
from monai_inn.applications.registration.problem import PoseRegistration
from monai_inn.applications.registration.results import files as pose_files
from monai_inn.applications.registration.results import record as account
from monai_inn.applications.registration.results.schema import REGISTRATION
from monai_inn.files import write_json
from monai_inn.fitted import FittedPosterior
from monai_inn.fitted.layout import sha256
from monai_inn.fitted.reading import load_shared
from monai_inn.folders import new_folder
from monai_inn.reports.records import provenance
from monai_inn.reports.schemas import FORMAT_VERSION

__all__ = [
    "REGISTRATION",
    "check_samples",
    "describe_poses",
    "describe_sources",
    "gantry_angles",
    "register_xray",
    "several",
    "write_poses",
]


def register_xray(
    bundle: str | PathLike[str],
    xrays: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    samples: int = 1000,
    false_alarm: float = 0.05,
    refined: bool = False,
    reweighted: bool = False,
    gantry: Sequence[float] | None = None,
    device: str = "cpu",
    seed: int = 0,
    **reading: Any,
) -> dict[str, Any]:
    """Find the poses that explain an X-ray and write them into a folder.

    Of several X-rays the patient kept still while the C-arm turned; poses are those of the first that explain
    all.

    Args:
        bundle: folder of a bundle that ``monai-inn fit registration`` wrote.
        xrays: one or several; PNG, JPEG, TIFF, DICOM, NIfTI, NRRD or MetaImage.
        out: folder to write; it has its record once it is complete.
        samples: posterior samples.
        false_alarm: share of X-rays like the simulated that may be called untrusted.
        refined: also climb from each pose to the top of the likelihood.
        reweighted: weigh samples by the likelihood itself, which takes a simulated X-ray for each.
        gantry: ``lao`` and ``cra`` in degrees that it showed at each of several X-rays; by default what the
            files say.
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
    paths = several(xrays)
    if len(paths) > 1 and (reweighted or refined):
        option = "--reweight" if reweighted else "--refine"
        raise ValueError(f"{option} works on one X-ray; {len(paths)} were given. Leave out {option}.")
    if len(paths) == 1 and gantry is not None:
        raise ValueError("--turned is for several X-rays if there is a bundle; leave it out.")
    fitted = load_shared(bundle, device)
    problem = inference.registration_problem(fitted)
    frame = {"frame": reading.pop("frame")} if "frame" in reading else {}
    settings = {"samples": samples, "seed": seed, "false_alarm": false_alarm}
    settings |= {"refined": refined, "reweighted": reweighted}
    with new_folder(out, REGISTRATION, "a registration", source=paths[0]) as draft:
        read = [read_xray(path, **frame) for path in paths]
        seen = [match_detector(x, problem.detector, problem.brightest, **reading) for x in read]
        observations, assumed = torch.stack([image for image, _ in seen]), [n for _, t in seen for n in t]
        started = time.monotonic()
        angles = gantry_angles(read, gantry, needed=True) if len(read) > 1 else []
        motions = [gantry_motion(angles[0], shown, problem.detector) for shown in angles]
        answer, weighed, doubt = _answer(fitted, observations, motions, samples, seed, reweighted)
        trust = account.trust_verdict(fitted, observations, false_alarm)
        if doubt and motions:
            trust |= {"is_trusted": False, "statement": f"Do not use these poses. {doubt}"}
        seconds = time.monotonic() - started
        drrs = [problem.forward(mode.parameters.float()) for mode in answer.modes]
        tops = [
            inference.refine(problem, observations[0], m.parameters) if refined else None
            for m in answer.modes
        ]
        record: dict[str, Any] = {"format_version": FORMAT_VERSION, "command": "register"}
        record |= provenance(bundle, settings | reading | {"device": device})
        record["warnings"] = [*record["warnings"], *([doubt] if doubt else [])]
        notes = [[*(n for x in read for n in x.notes), *assumed], *[[] for _ in paths[1:]]]
        record["xray"], *record["other_xrays"] = describe_sources(paths, read, notes, angles)
        record |= describe_poses(problem, observations[0], answer, drrs, tops)
        for mode, drr in zip(record["modes"], drrs, strict=True):
            mode["similarity"]["noise_ratio"] = account.noise_ratio(problem, observations[0], drr)
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


def several(xrays: str | PathLike[str] | Sequence[str | PathLike[str]]) -> list[str | PathLike[str]]:
    """Return the paths of one X-ray or of several as a list."""
    return [xrays] if isinstance(xrays, str | PathLike) else list(xrays)


def gantry_angles(
    xrays: Sequence[Xray], given: Sequence[float] | None, *, needed: bool
) -> list[tuple[float, float]]:
    """Return ``lao`` and ``cra`` in degrees that the gantry showed at each X-ray.

    Args:
        xrays: what was read of each.
        given: the same one after the other; those of the files where not given.
        needed: whether they must be known; else nothing is returned where one is not.

    Raises:
        ValueError: if they are needed and not known, or others than two for each X-ray are given.
    """
    numbers = [(x.geometry or {}).get(name) for x in xrays for name in ("lao_deg", "cra_deg")]
    if given is not None and (len(given) != len(numbers) or not all(math.isfinite(a) for a in given)):
        raise ValueError(
            f"--turned {' '.join(f'{a:g}' for a in given)}: two angles for each X-ray are expected, in "
            f"degrees: LAO and CRA of {len(xrays)}, {len(numbers)} numbers."
        )
    angles = [float(a) for a in (numbers if given is None else given) if a is not None]
    if len(angles) < len(numbers):
        if needed:
            raise ValueError(
                "the gantry's angles are needed and the files do not say them; give what it showed at each "
                "X-ray: --turned LAO1 CRA1 LAO2 CRA2 …, in degrees."
            )
        return []
    return list(zip(angles[::2], angles[1::2], strict=True))


def _answer(
    fitted: FittedPosterior,
    observations: Tensor,
    motions: list[Tensor],
    samples: int,
    seed: int,
    reweighted: bool,
) -> tuple[inference.PosePosterior, Reweighted | None, str]:
    """The posterior of one X-ray, of one weighed by its likelihood, or of several from turned C-arms.

    Where it cannot be weighed it is that of the network for the first X-ray, and the text says why.
    """
    doubt = ""
    try:
        if motions:
            return reconcile(fitted, observations, torch.stack(motions), samples, seed), None, doubt
        if reweighted:
            weighed = reweight(fitted, observations[0], samples, seed)
            return weighed.posterior, weighed, doubt
    except NotWeighedError as error:
        failed = "The X-rays were not joined" if motions else "The poses were not weighed by the likelihood"
        doubt = f"{failed}: {error} They are those of the network{' for the first X-ray' * bool(motions)}."
    return inference.infer_pose(fitted, observations[0], samples, seed), None, doubt


def describe_poses(
    problem: PoseRegistration,
    observation: Tensor,
    answer: inference.PosePosterior,
    drrs: Sequence[Tensor],
    tops: Sequence[inference.Refined | None] | None = None,
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


def describe_sources(
    paths: Sequence[str | PathLike[str]],
    xrays: Sequence[Xray],
    notes: Sequence[list[str]],
    angles: Sequence[tuple[float, float]],
) -> list[dict[str, Any]]:
    """Which file each X-ray was read from, what it says of itself, and what its gantry showed, if known."""
    described = [
        {
            "path": str(Path(path).resolve()),
            "sha256": {Path(path).name: sha256(Path(path))},
            "shape": list(xray.values.shape),
            "spacing_mm": None if xray.spacing_mm is None else list(xray.spacing_mm),
            "geometry": xray.geometry,
            "notes": own,
        }
        for path, xray, own in zip(paths, xrays, notes, strict=True)
    ]
    for one, shown in zip(described, angles, strict=False):
        one["gantry_deg"] = list(shown)
    return described


def write_poses(
    folder: Path,
    problem: PoseRegistration,
    observation: Tensor,
    answer: inference.PosePosterior,
    drrs: Sequence[Tensor],
    tops: Sequence[inference.Refined | None] | None = None,
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
