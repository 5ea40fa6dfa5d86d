"""From an X-ray file to the folder that says which poses explain it, and whether to believe that."""

from __future__ import annotations

import time
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_inn.bundles.folders import new_folder
from monai_inn.bundles.layout import sha256
from monai_inn.bundles.reading import load
from monai_inn.inferers.poses import (
    PosePosterior,
    infer_pose,
    reconcile,
    refine,
    registration_problem,
)
from monai_inn.metrics.poses import point_spread, registration_error
from monai_inn.physics.carm import POSE, gantry_motion, geodesic_degrees
from monai_inn.reports.pose_files import detector_ncc, write_detector_image, write_samples, write_transforms
from monai_inn.reports.records import provenance
from monai_inn.reports.results import forget_older, write_json

if TYPE_CHECKING:
    from monai_inn.inferers import FittedPosterior
    from monai_inn.metrics.modes import Mode
    from monai_inn.problems import PoseRegistration
    from monai_inn.transforms import Xray

__all__ = ["REGISTRATION", "angle_in_words", "register_xray"]

REGISTRATION = "registration.json"
_FORMAT_VERSION = 1
_DECIMALS = 4


def register_xray(
    bundle: str | PathLike[str],
    xray: str | PathLike[str],
    out: str | PathLike[str],
    *,
    samples: int = 1000,
    false_alarm: float = 0.05,
    refined: bool = False,
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
        out: folder to write; appears complete or not at all.
        samples: posterior samples.
        false_alarm: share of X-rays like the simulated that may be called untrusted.
        refined: also climb from each pose to the top of the likelihood.
        second: another X-ray of the patient, who kept still while the C-arm turned; poses are those of the
            first that explain both.
        turned: ``lao`` and ``cra`` in degrees that the gantry shows at the first and at the second X-ray,
            four numbers; those of the files if both are DICOM.
        device: where to compute.
        seed: seed of the samples.
        reading: how grey values are meant, see ``transforms.match_detector``.

    Returns:
        The content of ``registration.json``; ``docs/registration.md`` says what is in it.

    Raises:
        ValueError: if bundle, X-ray or an argument is not usable.
        OSError: if a file cannot be read or written.
    """
    from monai_inn.transforms import match_detector, read_xray

    if samples < 100:
        raise ValueError(f"samples = {samples}; modes need at least 100 to be told from noise.")
    fitted = load(bundle, device)
    problem = registration_problem(fitted)
    frame = {"frame": reading.pop("frame")} if "frame" in reading else {}
    with new_folder(out, REGISTRATION, "registration", forget_older(REGISTRATION)) as draft:
        read = [read_xray(path, **frame) for path in (xray, second) if path is not None]
        seen = [match_detector(x, problem.detector, problem.brightest, **reading) for x in read]
        observations, notes = torch.stack([image for image, _ in seen]), [n for _, text in seen for n in text]
        observation = observations[0]
        started = time.monotonic()
        if second is None:
            answer = infer_pose(fitted, observation, samples, seed)
        else:
            motions = _motions(problem, read, turned)
            answer = reconcile(fitted, observations, motions, samples, seed)
        trust = _trust(fitted, observations, false_alarm)
        seconds = time.monotonic() - started
        drrs = [problem.forward(mode.parameters.float()) for mode in answer.modes]
        modes = [_mode(problem, observation, answer, k, drr, refined) for k, drr in enumerate(drrs)]
        settings = {"samples": samples, "seed": seed, "false_alarm": false_alarm, "refined": refined}
        record: dict[str, Any] = {"format_version": _FORMAT_VERSION, "command": "register"}
        record |= provenance(bundle, settings | reading | {"device": device})
        record["xray"] = _read(xray, read[0]) | {"notes": [*(n for x in read for n in x.notes), *notes]}
        record["second_xray"] = (
            None
            if second is None
            else _read(second, read[1]) | {"turned_deg": None if turned is None else list(turned)}
        )
        record |= _about(problem) | {"trust": trust, "modes": modes}
        record |= {"differences": _differences(problem, answer)}
        record |= {"ambiguity": _ambiguity(record), "seconds": round(seconds, 3)}
        record |= {"files": _write(draft, problem, observation, answer, drrs), "pictures": ["overview.png"]}
        from monai_inn.reports.pose_figure import pose_figure

        pose_figure(problem, observation, answer, drrs, record, draft / "overview.png")
        write_json(draft / REGISTRATION, record)
    return record


def _read(path: str | PathLike[str], xray: Xray) -> dict[str, Any]:
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


def _trust(fitted: FittedPosterior, observations: Tensor, false_alarm: float) -> dict[str, Any]:
    """The verdict on the X-ray, or on the worse of two."""
    score = fitted.waic(observations).max()[None]
    limit, p_value = fitted.guard.threshold(false_alarm), float(fitted.guard.p_value(score)[0])
    trusted = not bool(fitted.guard.is_out(score, false_alarm)[0])
    statement = (
        "The X-ray resembles the simulated ones of this patient; that does not prove the poses right."
        if trusted
        else "Do not use these poses: the X-ray is unlike those simulated from this patient's CT. Another "
        "patient or body part, inverted grey values, metal or a collimator may be the reason."
    )
    return {
        "waic": round(float(score[0]), _DECIMALS),
        "limit": round(limit, _DECIMALS),
        "p_value": p_value,
        "is_trusted": trusted,
        "statement": statement,
    }


def _about(problem: PoseRegistration) -> dict[str, Any]:
    """Geometry and parameters."""
    free = {p.name: p for p in problem.parameters}
    rows = []
    for name, (unit, description) in POSE.items():
        p = free.get(name)
        value = problem.fixed.get(name, 0.0)
        rows.append(
            {
                "name": name,
                "unit": unit,
                "description": description,
                "low": value if p is None else p.low,
                "high": value if p is None else p.high,
                "is_free": p is not None,
                "is_periodic": p is not None and p.is_periodic,
            }
        )
    return {
        "detector": problem.detector.to_config(),
        "target_ras_mm": _numbers(problem.target),
        "landmarks_ras_mm": _numbers(problem.landmarks),
        "parameters": rows,
    }


def _mode(
    problem: PoseRegistration,
    observation: Tensor,
    answer: PosePosterior,
    index: int,
    drr: Tensor,
    refined: bool,
) -> dict[str, Any]:
    """All that is said of one plausible pose."""
    mode, number = answer.modes[index], index + 1
    camera, own = _camera(problem, mode.parameters), answer.samples[mode.members].double()
    cameras = problem.cameras(own)
    error = registration_error(cameras, camera, problem.landmarks).quantile(
        torch.tensor([0.025, 0.5, 0.975], dtype=torch.float64)
    )
    spread = point_spread(cameras, camera, problem.target)
    residual = problem.features(observation) - problem.features(drr)
    names = ("low", "median", "high")
    return {
        "number": number,
        "mass": round(mode.mass, _DECIMALS),
        "pose": _named(problem.poses(mode.parameters)),
        "spread": {n: 0.0 for n in POSE} | dict(zip(problem.targets, _numbers(mode.spread), strict=True)),
        "camera_to_world": camera.tolist(),
        "files": {
            "tfm": f"pose_{number}.tfm",
            "h5": f"pose_{number}.h5",
            "drr": f"drr_{number}.nii.gz",
            "difference": f"difference_{number}.nii.gz",
        },
        "mtre_mm": dict(zip(names, _numbers(error), strict=True)),
        "target": {"mean_ras_mm": _numbers(spread.mean), "covariance_mm2": _numbers(spread.covariance)},
        "similarity": {
            "ncc": round(detector_ncc(observation, drr), _DECIMALS),
            "noise_ratio": round(float(residual.square().mean()), _DECIMALS),
        },
        "refined": _refined(problem, observation, mode) if refined else None,
    }


def _refined(problem: PoseRegistration, observation: Tensor, mode: Mode) -> dict[str, Any]:
    found = refine(problem, observation, mode.parameters)
    return {
        "pose": _named(problem.poses(found.parameters)),
        "sd": dict(zip(problem.targets, _numbers(found.sd), strict=True)),
        "log_likelihood_gain": round(found.gain, _DECIMALS),
        "camera_to_world": _camera(problem, found.parameters).tolist(),
    }


def _differences(problem: PoseRegistration, answer: PosePosterior) -> list[dict[str, Any]]:
    """How the heaviest pose and each other one differ."""
    cameras = [_camera(problem, mode.parameters) for mode in answer.modes]
    first = cameras[0]
    rows = []
    for number, other in enumerate(cameras[1:], start=2):
        moved = point_spread(other[None], first, problem.target).mean - problem.target
        rows.append(
            {
                "modes": [1, number],
                "rotation_deg": round(float(geodesic_degrees(first, other)), 2),
                "target_mm": round(float(moved.norm()), 2),
                "mtre_mm": round(float(registration_error(other, first, problem.landmarks)), 2),
            }
        )
    return rows


def _ambiguity(record: dict[str, Any]) -> dict[str, Any]:
    """What a surgeon reads first."""
    modes = record["modes"]
    told = "; ".join(
        f"{mode['mass']:.0%} at {angle_in_words(mode['pose']['lao'], 'LAO', 'RAO')}, "
        f"{angle_in_words(mode['pose']['cra'], 'CRA', 'CAU')}"
        for mode in modes
    )
    if len(modes) == 1:
        statement = f"One pose explains this X-ray: {told}."
    else:
        apart = record["differences"][0]
        statement = (
            f"{len(modes)} poses explain this X-ray: {told}. The first two differ by "
            f"{apart['rotation_deg']:.0f}°, bone by {apart['mtre_mm']:.0f} mm on average. Use what you know "
            "about the patient's side, or take a second view."
        )
    return {"num_plausible": len(modes), "statement": statement}


def angle_in_words(value: float, positive: str, negative: str) -> str:
    """Return an angle in degrees with the name of its side."""
    return f"{abs(value):.0f}° {positive if value >= 0 else negative}"


def _write(
    folder: Path,
    problem: PoseRegistration,
    observation: Tensor,
    answer: PosePosterior,
    drrs: Sequence[Tensor],
) -> list[dict[str, Any]]:
    """Write images, transforms and samples; returns what each file is."""
    size, detector = problem.image_size or (1, 1), problem.detector
    write_detector_image(folder / "xray.nii.gz", observation.reshape(size), detector)
    files = [{"file": "xray.nii.gz", "what": "the X-ray as line integrals on the bundle's detector"}]
    for number, (mode, drr) in enumerate(zip(answer.modes, drrs, strict=True), start=1):
        write_detector_image(folder / f"drr_{number}.nii.gz", drr.reshape(size), detector)
        write_detector_image(
            folder / f"difference_{number}.nii.gz", (observation - drr).reshape(size), detector
        )
        names = write_transforms(folder, f"pose_{number}", _camera(problem, mode.parameters))
        files += [
            {"file": f"drr_{number}.nii.gz", "what": f"simulated X-ray of pose {number}"},
            {"file": f"difference_{number}.nii.gz", "what": f"X-ray minus that of pose {number}"},
            *(
                {"file": n, "what": f"pose {number} as ITK transform, CT to C-arm, LPS"}
                for n in names.values()
            ),
        ]
    theta = answer.samples.double()
    files += write_samples(
        folder, problem.poses(theta), problem.cameras(theta), answer.labels + 1, answer.log_density
    )
    return files


def _camera(problem: PoseRegistration, theta: Tensor) -> Tensor:
    return problem.cameras(theta.double())


def _named(pose: Tensor) -> dict[str, float]:
    return dict(zip(POSE, _numbers(pose), strict=True))


def _numbers(values: Tensor) -> Any:
    return torch.round(values.double(), decimals=_DECIMALS).tolist()
